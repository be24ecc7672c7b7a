//! Commands of the page on clusters that need nothing but NATS, run as they stand there.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use heliograph_sandbox::{nats, or_skip, process::hide_variables};
use heliograph_testkit::{
    process::binary,
    tool::{Finished, run},
};
use tempfile::TempDir;

use super::{read, shell_lines};

const PAGE: &str = "docs/operate/cluster.md";

/// The letter that the page speaks of.
const LETTER: usize = 17;

/// Lines of the page that begin so; the only ones.
#[track_caller]
fn lines(beginning: &str, count: usize) -> Vec<String> {
    let mut lines = shell_lines(&read(PAGE));
    lines.retain(|line| line.starts_with(beginning));
    assert_eq!(lines.len(), count, "{lines:?}");
    lines
}

/// A directory with the configuration of a cluster of its own.
struct Place {
    directory: TempDir,
    server: String,
    cluster: String,
}

impl Place {
    /// `None` after saying so where there is no NATS.
    fn new() -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let server = or_skip(nats::shared())?.swap_remove(0);
        let directory = tempfile::tempdir().unwrap();
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let cluster = format!("documented-{}-{number}", std::process::id());
        let config = format!(
            "[cluster]\nname = \"{cluster}\"\n[nats]\nservers = [\"{server}\"]\nreplicas = 1\n"
        );
        fs::write(directory.path().join("cluster.toml"), config).unwrap();
        let program = directory.path().join("heliograph");
        std::os::unix::fs::symlink(binary(), program).unwrap();
        Some(Self {
            directory,
            server,
            cluster,
        })
    }

    #[track_caller]
    fn run(&self, line: &str) -> Finished {
        let mut path = self.directory.path().as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        hide_variables(&mut shell, "HELIOGRAPH_");
        shell
            .args(["-euc", line])
            .current_dir(self.directory.path())
            .env("PATH", path);
        run(&mut shell, b"")
    }

    #[track_caller]
    fn succeed(&self, line: &str) -> String {
        self.run(line).success().stdout
    }

    /// Puts what nobody could store where ingest puts it.
    fn set_aside(&self, letters: usize) {
        let address = self.server.trim_start_matches("nats://");
        let mut socket = TcpStream::connect(address).unwrap();
        let letter = format!("PUB {}.dead 3\r\n\u{7}no\r\n", self.cluster);
        let text = format!(
            "CONNECT {{\"verbose\":false}}\r\n{}PING\r\n",
            letter.repeat(letters)
        );
        socket.write_all(text.as_bytes()).unwrap();
        // The answer comes after all of it was read.
        let mut said = String::new();
        while !said.contains("PONG") {
            let mut bytes = [0; 4_096];
            let count = socket.read(&mut bytes).unwrap();
            assert!(count > 0, "{said}");
            said += &String::from_utf8_lossy(&bytes[..count]);
        }
        assert!(!said.contains("-ERR"), "{said}");
    }

    /// With so many letters.
    fn with_letters(letters: usize) -> Option<Self> {
        let place = Self::new()?;
        // Makes the streams.
        let list = &lines("heliograph dead-letters list --config", 1)[0];
        assert_eq!(place.succeed(list), "");
        place.set_aside(letters);
        heliograph_sandbox::wait::within(heliograph_testkit::PATIENCE, "letters", || {
            (place.succeed(list).lines().count() == letters).then_some(())
        });
        Some(place)
    }
}

#[test]
fn dead_letters_are_listed_replayed_and_discarded() {
    let Some(place) = Place::with_letters(LETTER) else {
        return;
    };
    let [list, json, replay, all, discard] = &lines("heliograph dead-letters ", 5)[..] else {
        panic!("other commands");
    };
    for number in 1..=LETTER {
        let line = format!("{number}\tat ");
        assert!(
            place
                .succeed(list)
                .lines()
                .any(|one| one.starts_with(&line))
        );
    }
    let listed = place.succeed(json);
    let last: serde_json::Value = serde_json::from_str(listed.lines().last().unwrap()).unwrap();
    assert_eq!(last["number"], LETTER);
    assert_eq!(place.succeed(replay), "given back: 1\n");
    assert_eq!(place.succeed(list).lines().count(), LETTER - 1);
    assert_eq!(place.succeed(all), format!("given back: {}\n", LETTER - 1));
    assert_eq!(place.succeed(list), "");
    // There is none any more.
    let refused = place.run(discard).failure();
    assert!(refused.stderr.contains("17"), "{refused}");

    let other = Place::with_letters(LETTER).expect("NATS is there");
    assert_eq!(other.succeed(discard), "thrown away: 1\n");
    assert_eq!(other.succeed(list).lines().count(), LETTER - 1);
}

#[test]
fn control_records_are_written_and_taken_back() {
    let Some(place) = Place::new() else {
        return;
    };
    let [list, ban, unban, ip, name] = &lines("heliograph control ", 5)[..] else {
        panic!("other commands");
    };
    let listed = || place.succeed(list);
    assert_eq!(listed(), "");
    place.succeed(ban);
    assert!(listed().contains("spam"), "{}", listed());
    place.succeed(unban);
    assert!(!listed().contains("spam"), "{}", listed());
    place.succeed(ip);
    place.succeed(name);
    for record in ["192.0.2.0/24", "My relay"] {
        assert!(listed().contains(record), "{}", listed());
    }
}
