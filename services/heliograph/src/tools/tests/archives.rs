//! Archives: what each run adds, what is refused, what comes back.

use std::{fs, path::PathBuf};

use heliograph_protocol::{Event, Timestamp};
use heliograph_testkit::keys::Key;
use serde_json::Value;

use super::{Bench, lines, notes};

impl Bench {
    #[track_caller]
    fn archive(&self, flags: &[&str]) -> String {
        let to = self.path("archive");
        self.run(&[&["archive", "--to", &to], flags].concat())
    }

    /// What comes of the archive in an empty store.
    #[track_caller]
    fn restored(&self) -> String {
        let data = format!(
            "restored {}",
            fs::read_dir(self.dir.path()).unwrap().count()
        );
        self.on(&data, &["import", &self.path("archive")]);
        self.on(&data, &["export"])
    }

    /// The names of files in the archive that end so, in order.
    fn files(&self, ending: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("archive")).unwrap();
        let mut files: Vec<PathBuf> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_str().unwrap().ends_with(ending))
            .collect();
        files.sort();
        files
    }

    fn manifest(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("archive/manifest.jsonl")).unwrap();
        let line = |line: &str| serde_json::from_str(line).unwrap();
        text.lines().map(line).collect()
    }

    /// Tries to import the archive into a store that isn't there.
    fn refused(&self) -> String {
        let (done, _) = self.try_on("refused", &["import", &self.path("archive")]);
        assert!(!PathBuf::from(self.path("refused")).exists());
        format!("{:#}", done.unwrap_err())
    }
}

fn count_of(printed: &str, name: &str) -> u64 {
    let line = printed.lines().find_map(|line| line.strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in {printed}"));
    line.trim().parse().unwrap()
}

#[test]
fn an_archive_imports_to_the_same_set() {
    let (events, bench) = (notes(300), Bench::new());
    bench.import_events(&events);
    assert_eq!(count_of(&bench.archive(&[]), "events"), 300);
    assert_eq!(bench.restored(), lines(&events));
}

#[test]
fn each_run_adds_what_is_new() {
    let (events, bench) = (notes(300), Bench::new());
    bench.import_events(&events[..100]);
    assert_eq!(count_of(&bench.archive(&[]), "events"), 100);
    let first = fs::read(&bench.files(".jsonl.zst")[0]).unwrap();
    assert_eq!(count_of(&bench.archive(&[]), "events"), 0);
    bench.import_events(&events[100..]);
    assert_eq!(count_of(&bench.archive(&[]), "events"), 200);
    let files = bench.files(".jsonl.zst");
    assert_eq!(files.len(), 2);
    assert!(
        fs::read(&files[0]).unwrap() == first,
        "a sealed segment changed"
    );
    assert_eq!(bench.restored(), lines(&events));
}

#[test]
fn segments_are_sealed_by_size_and_the_manifest_tells_what_is_in_each() {
    let (events, bench) = (notes(4_000), Bench::new());
    bench.import_events(&events);
    let out = bench.archive(&["--segment-bytes", "100000"]);
    let sealed: Vec<Value> = bench
        .manifest()
        .into_iter()
        .filter(|line| line["record"] == "segment")
        .collect();
    assert_eq!(count_of(&out, "segments"), sealed.len() as u64);
    assert!(sealed.len() > 3, "{}", sealed.len());
    let sum = |key: &str| {
        sealed
            .iter()
            .map(|line| line[key].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(sum("events"), 4_000);
    assert_eq!(sum("bytes"), count_of(&out, "bytes"));
    assert_eq!(sum("text_bytes"), lines(&events).len() as u64);
    let check = bench.archive(&["--check"]);
    assert_eq!(count_of(&check, "events"), 4_000);
    assert!(count_of(&check, "complete up to") + 60 > Timestamp::now().as_secs());
    assert_eq!(bench.restored(), lines(&events));
}

#[test]
fn a_flipped_bit_is_refused_and_told_with_what_is_lost() {
    let (events, bench) = (notes(4_000), Bench::new());
    bench.import_events(&events);
    bench.archive(&["--segment-bytes", "300000"]);
    let segments = bench.files(".jsonl.zst");
    let damaged = &segments[1];
    let mut bytes = fs::read(damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(damaged, bytes).unwrap();
    let told = bench.refused();
    let lost = bench
        .manifest()
        .into_iter()
        .filter(|line| line["record"] == "segment");
    let lost = lost
        .map(|line| line["events"].as_u64().unwrap())
        .nth(1)
        .unwrap();
    for part in [
        "000002.jsonl.zst is damaged (its SHA-256 isn't that of the manifest)",
        &format!("its {lost} events are lost"),
        "Nothing was imported; --keep-going imports the rest",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let (done, _) = bench.try_on(
        "data",
        &["archive", "--to", &bench.path("archive"), "--check"],
    );
    assert!(format!("{:#}", done.unwrap_err()).contains("000002.jsonl.zst is damaged"));
    let out = bench.on(
        "rest",
        &["import", "--json", "--keep-going", &bench.path("archive")],
    );
    let counts: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(counts["stored"], 4_000 - lost);
}

#[test]
fn what_is_missing_or_was_never_complete_is_refused() {
    let bench = Bench::new();
    bench.import_events(&notes(10));
    bench.archive(&[]);
    let manifest = bench.path("archive/manifest.jsonl");
    let whole = fs::read_to_string(&manifest).unwrap();
    let segment = bench.files(".jsonl.zst").remove(0);
    let away = segment.with_extension("away");
    fs::rename(&segment, &away).unwrap();
    assert!(
        bench
            .refused()
            .contains("000001.jsonl.zst is missing: its 10 events are lost")
    );
    fs::rename(&away, &segment).unwrap();

    let unfinished: Vec<&str> = whole
        .split_inclusive('\n')
        .filter(|line| !line.contains("caught-up"))
        .collect();
    fs::write(&manifest, unfinished.concat()).unwrap();
    assert!(bench.refused().contains("it isn't complete"));

    fs::write(&manifest, whole.replace("\"events\":10", "\"events\":11")).unwrap();
    assert!(
        bench
            .refused()
            .contains("manifest.jsonl is damaged in line 3")
    );

    fs::remove_file(&manifest).unwrap();
    assert!(bench.refused().contains("is a directory and no archive"));
}

#[test]
fn what_a_crash_left_is_gone_on_with() {
    let (events, bench) = (notes(30), Bench::new());
    bench.import_events(&events[..20]);
    bench.archive(&[]);
    let manifest = bench.path("archive/manifest.jsonl");
    let whole = fs::read_to_string(&manifest).unwrap();
    // Cut anywhere: in the middle of a line, behind a segment that isn't named, before the end.
    for cut in (0..=whole.len()).step_by(7) {
        fs::write(&manifest, &whole[..cut]).unwrap();
        fs::write(bench.path("archive/000007.jsonl.zst.partial"), "begun").unwrap();
        let named = whole[..cut].matches('\n').count() > 0;
        if !named {
            // Not even that this is an archive was written: then nothing else was.
            fs::remove_dir_all(bench.path("archive")).unwrap();
            fs::create_dir(bench.path("archive")).unwrap();
            fs::write(&manifest, &whole[..cut]).unwrap();
        }
        bench.archive(&[]);
        assert_eq!(bench.restored(), lines(&events[..20]), "cut at {cut}");
        assert_eq!(bench.files(".partial"), Vec::<PathBuf>::new());
    }
}

#[test]
fn an_archive_has_one_writer_and_one_source() {
    let bench = Bench::new();
    bench.import_events(&notes(2));
    bench.archive(&[]);
    let lock = fs::File::open(bench.path("archive/lock")).unwrap();
    lock.lock().unwrap();
    let to = bench.path("archive");
    let (done, _) = bench.try_on("data", &["archive", "--to", &to]);
    assert!(
        done.unwrap_err()
            .to_string()
            .contains("another process archives into")
    );
    drop(lock);
    bench.archive(&[]);

    let full = bench.path("full");
    fs::create_dir(&full).unwrap();
    fs::write(bench.path("full/letter.txt"), "mine").unwrap();
    let (done, _) = bench.try_on("data", &["archive", "--to", &full]);
    assert!(
        done.unwrap_err()
            .to_string()
            .contains("holds other files and no archive")
    );
    let inside = bench.path("data/archive");
    let (done, _) = bench.try_on("data", &["archive", "--to", &inside]);
    assert!(
        done.unwrap_err()
            .to_string()
            .contains("inside of the store")
    );
}

#[test]
fn another_store_under_the_same_archive_is_archived_whole() {
    let bench = Bench::new();
    let (before, after) = (notes(30), [Key::nth(1).note(5, "other")]);
    bench.import_events(&before);
    bench.archive(&[]);
    fs::remove_dir_all(bench.path("data")).unwrap();
    bench.import_events(&after);
    assert_eq!(count_of(&bench.archive(&[]), "events"), 1);
    assert_eq!(
        bench.files(".jsonl.zst").len(),
        1,
        "the old pass is dropped"
    );
    assert_eq!(bench.restored(), lines(&after));
}

#[test]
fn a_full_run_forgets_what_was_removed() {
    let (events, bench) = (notes(30), Bench::new());
    bench.import_events(&events);
    bench.archive(&[]);
    bench.run(&["delete", "--filter", r#"{"since":1700000010}"#, "--yes"]);
    bench.archive(&[]);
    assert_eq!(bench.restored(), lines(&events), "it was archived before");
    bench.archive(&["--full"]);
    assert_eq!(bench.restored(), lines(&events[..10]));
}

/// Imports these, one after another, each in the database before the next, with an archive run after
/// those that `archived` says.
#[track_caller]
fn history(bench: &Bench, events: &[&Event], archived: &[usize]) {
    for (n, event) in events.iter().enumerate() {
        bench.import(&[event.as_str()], &[]);
        if archived.contains(&n) {
            bench.archive(&[]);
        }
    }
}

#[test]
fn what_was_replaced_by_something_that_is_gone_stays_away() {
    let author = Key::nth(0);
    let old = author.sign(10, 30_023, &[&["d", "x"]], "old");
    let new = author.sign(11, 30_023, &[&["d", "x"]], "new");
    let deletion = author.sign(12, 5, &[&["e", &new.id().to_hex()]], "");
    // The archive never saw the version that replaced the one that it has.
    for archived in [&[0, 2][..], &[0, 1, 2], &[1, 2], &[2]] {
        let bench = Bench::new();
        history(&bench, &[&old, &new, &deletion], archived);
        assert_eq!(bench.run(&["export"]), format!("{}\n", deletion.as_str()));
        assert_eq!(bench.restored(), bench.run(&["export"]), "{archived:?}");
    }
}

#[test]
fn what_was_replaced_by_something_that_has_expired_stays_away() {
    let author = Key::nth(0);
    let end = (Timestamp::now().as_secs() + 2).to_string();
    let old = author.sign(10, 30_023, &[&["d", "x"]], "old");
    let new = author.sign(11, 30_023, &[&["d", "x"], &["expiration", &end]], "new");
    let bench = Bench::new();
    history(&bench, &[&old, &new], &[0, 1]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !bench.run(&["export"]).is_empty() {
        assert!(std::time::Instant::now() < deadline, "it never expires");
    }
    assert_eq!(bench.restored(), "");
}

#[test]
fn protected_and_private_events_come_back_from_an_archive() {
    let (author, bench) = (Key::nth(0), Bench::new());
    let to = ["p", &Key::nth(1).hex()];
    let events = [
        author.sign(10, 1, &[&["-"]], "protected"),
        author.sign(11, 4, &[&to], "x?iv=x"),
        author.sign(12, 1_059, &[&to], "wrapped"),
    ];
    let text: Vec<&str> = events.iter().map(Event::as_str).collect();
    assert_eq!(bench.import(&text, &["--protected"])["stored"], 3);
    bench.archive(&[]);
    assert_eq!(bench.restored(), lines(&events));
}

#[test]
fn several_inputs_are_imported_in_one_go_and_bad_lines_told_by_file() {
    let (events, bench) = (notes(6), Bench::new());
    let (a, b) = (bench.path("a.jsonl"), bench.path("b.jsonl"));
    fs::write(&a, lines(&events[..2])).unwrap();
    fs::write(&b, format!("rubbish\n{}", lines(&events[2..4]))).unwrap();
    bench.import_events(&events[4..]);
    bench.archive(&[]);
    let archive = bench.path("archive");
    let out = bench.on("all", &["import", "--json", &a, &archive, &b]);
    let counts: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&counts["stored"], &counts["bad"]), (&6.into(), &1.into()));
    assert_eq!(bench.on("all", &["export"]), lines(&events));
}
