//! A look into the store from another process, while this one writes.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use heliograph_protocol::Filter;
use heliograph_store::{
    Budget, Scan, ScanRequest,
    conformance::{self, NOW, event},
};

use super::{block_on, note, open, write};
use crate::{EmbeddedReader, OpenError};

const DIR: &str = "HELIOGRAPH_TEST_LOOK_DIR";

/// The other process: prints how many events a filter has, for each line that it reads.
#[test]
#[ignore = "the child of the other tests"]
#[expect(
    clippy::disallowed_methods,
    reason = "how the parent tells its child where to look"
)]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let look = EmbeddedReader::open(Path::new(&dir), conformance::relay_urls()).unwrap();
    for line in std::io::stdin().lines() {
        let filter = Filter::parse(&line.unwrap()).unwrap().into();
        let request = ScanRequest {
            filter,
            after: None,
            now: NOW,
            budget: Budget::UNLIMITED,
        };
        let mut scan = look.scan(request);
        let mut events = 0;
        loop {
            let page = block_on(scan.next(50)).unwrap();
            events += page.events.len();
            if page.end.is_some() {
                break;
            }
        }
        println!("found {events} of {}", look.info().unwrap().events);
    }
}

struct Look {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Look {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "tests::look::child",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(DIR, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let ask = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            ask,
            answers,
        }
    }

    fn ask(&mut self, filter: &str) -> String {
        writeln!(self.ask, "{filter}").unwrap();
        loop {
            let mut line = String::new();
            assert!(
                self.answers.read_line(&mut line).unwrap() > 0,
                "the child ended"
            );
            if let Some(at) = line.find("found ") {
                return line[at..].trim_end().to_owned();
            }
        }
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn another_process_sees_what_was_acknowledged_before_it_asked() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, &[note(1, 1)]);
    let mut look = Look::start(dir.path());
    assert_eq!(look.ask("{}"), "found 1 of 1");
    for n in 2..6 {
        write(&store, &[note(n, 1)]);
        assert_eq!(look.ask("{}"), format!("found {n} of {n}"), "in the log");
        store.flush().unwrap();
        assert_eq!(
            look.ask("{}"),
            format!("found {n} of {n}"),
            "in the database"
        );
    }
    let request = event(1, 20, 5, &[&["e", &note(1, 1).id().to_hex()]], "");
    write(&store, &[request]);
    assert_eq!(
        look.ask(r#"{"kinds":[1]}"#),
        "found 4 of 6",
        "a deletion in the log hides"
    );
    // Beyond the map that the other process began with.
    let many: Vec<_> = (100..20_000).map(|n| note(n, 5)).collect();
    many.chunks(5_000)
        .for_each(|chunk| drop(write(&store, chunk)));
    store.flush().unwrap();
    assert_eq!(
        look.ask(r#"{"since":5,"kinds":[1]}"#),
        "found 19900 of 19905"
    );
    store.compact().unwrap();
    write(&store, &[note(99, 1)]);
    assert_eq!(
        look.ask(r#"{"since":1,"kinds":[1]}"#),
        "found 19905 of 19906"
    );
}

#[test]
fn a_closed_store_can_be_looked_into() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, &[note(1, 1)]);
    store.close();
    let look = EmbeddedReader::open(dir.path(), conformance::relay_urls()).unwrap();
    assert_eq!(look.info().unwrap().events, 1);
    assert_eq!(look.contains_blocking(note(1, 1).id()), Ok(true));
}

#[test]
fn an_empty_directory_has_no_store() {
    let dir = tempfile::tempdir().unwrap();
    let look = EmbeddedReader::open(dir.path(), conformance::relay_urls());
    assert!(matches!(look, Err(OpenError::Absent(_))));
}
