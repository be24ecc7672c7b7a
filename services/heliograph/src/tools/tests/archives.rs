//! Archives: what each run adds, what is refused, what comes back.

use std::{fs, path::PathBuf};

use heliograph_protocol::Timestamp;
use heliograph_testkit::keys::Key;
use serde_json::Value;

use super::{super::archive::Backup, Bench, lines, notes};

impl Bench {
    #[track_caller]
    pub(super) fn archive(&self, flags: &[&str]) -> String {
        let to = self.path("archive");
        self.run(&[&["archive", "--to", &to], flags].concat())
    }

    /// What comes of the archive in an empty store.
    #[track_caller]
    pub(super) fn restored(&self) -> String {
        let data = format!(
            "restored {}",
            fs::read_dir(self.dir.path()).unwrap().count()
        );
        self.on(&data, &["import", &self.path("archive")]);
        self.on(&data, &["export"])
    }

    /// The names of files in the archive that end so, in order.
    pub(super) fn files(&self, ending: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("archive")).unwrap();
        let mut files: Vec<PathBuf> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_str().unwrap().ends_with(ending))
            .collect();
        files.sort();
        files
    }

    pub(super) fn manifest(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("archive/manifest.jsonl")).unwrap();
        let line = |line: &str| serde_json::from_str(line).unwrap();
        text.lines().map(line).collect()
    }

    /// Tries to import the archive into a store that isn't there.
    pub(super) fn refused(&self) -> String {
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
            .contains("manifest.jsonl is damaged in line 4")
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
fn another_store_under_the_same_archive_is_refused_until_full_is_said() {
    let bench = Bench::new();
    let (before, after) = (notes(30), [Key::nth(1).note(5, "other")]);
    bench.import_events(&before);
    bench.archive(&[]);
    let manifest = bench.manifest();
    fs::rename(bench.path("data"), bench.path("aside")).unwrap();
    // A volume that wasn't mounted: the relay begins with an empty store.
    bench.import_events(&after);
    let to = bench.path("archive");
    for flags in [&[][..], &["--follow"]] {
        let (done, _) = bench.try_on("data", &[&["archive", "--to", &to], flags].concat());
        let told = done.unwrap_err().to_string();
        for part in [
            "this isn't the store of the archive in",
            "Nothing was dropped",
            "--full",
        ] {
            assert!(told.contains(part), "{told}");
        }
    }
    assert_eq!(bench.manifest(), manifest);
    assert_eq!(bench.restored(), lines(&before));
    // The right one again.
    fs::rename(bench.path("data"), bench.path("other")).unwrap();
    fs::rename(bench.path("aside"), bench.path("data")).unwrap();
    assert_eq!(count_of(&bench.archive(&[]), "events"), 0);
    // An operator's word.
    let out = bench.on("other", &["archive", "--to", &to, "--full"]);
    assert_eq!(count_of(&out, "events"), 1);
    assert_eq!(bench.files(".jsonl.zst").len(), 1, "the old pass is there");
    assert_eq!(bench.restored(), lines(&after));
}

#[test]
fn a_full_run_that_was_cut_short_drops_nothing_for_another_store() {
    let bench = Bench::new();
    let before = notes(30);
    bench.import_events(&before);
    bench.archive(&[]);
    let whole = fs::read_to_string(bench.path("archive/manifest.jsonl")).unwrap();
    bench.archive(&["--full"]);
    // As it was once the new pass had begun.
    let second = fs::read_to_string(bench.path("archive/manifest.jsonl")).unwrap();
    let pass = second[whole.len()..].split_inclusive('\n').next().unwrap();
    assert!(pass.contains(r#""record":"pass""#), "{pass}");
    fs::remove_dir_all(bench.path("archive")).unwrap();
    bench.archive(&[]);
    let begun = fs::read_to_string(bench.path("archive/manifest.jsonl")).unwrap() + pass;
    fs::write(bench.path("archive/manifest.jsonl"), begun).unwrap();
    fs::rename(bench.path("data"), bench.path("aside")).unwrap();
    bench.import_events(&[Key::nth(1).note(5, "other")]);
    let (done, _) = bench.try_on("data", &["archive", "--to", &bench.path("archive")]);
    assert!(
        done.unwrap_err()
            .to_string()
            .contains("Nothing was dropped")
    );
    assert_eq!(bench.restored(), lines(&before));
    // The same store goes on with it.
    let out = bench.on("aside", &["archive", "--to", &bench.path("archive")]);
    assert_eq!(count_of(&out, "events"), 30);
    assert_eq!(bench.files(".jsonl.zst").len(), 1);
}

#[test]
fn nothing_is_removed_while_somebody_reads_the_archive() {
    let (events, bench) = (notes(30), Bench::new());
    bench.import_events(&events);
    bench.archive(&[]);
    let dir = PathBuf::from(bench.path("archive"));
    let backup = Backup::read(&dir, Timestamp::now()).unwrap();
    bench.archive(&["--full"]);
    assert_eq!(bench.files(".jsonl.zst").len(), 2);
    assert!(backup.files.iter().all(|file| file.exists()));
    // Somebody else may read it at the same time, and it is as good as ever.
    bench.archive(&["--check"]);
    assert_eq!(bench.restored(), lines(&events));
    drop(backup);
    bench.archive(&[]);
    assert_eq!(bench.files(".jsonl.zst").len(), 1);
    assert_eq!(bench.restored(), lines(&events));
}

#[test]
fn a_copy_of_an_archive_is_good_if_seats_change_while_it_is_made() {
    let (author, bench) = (Key::nth(0), Bench::new());
    let delete = |n: u64| {
        let d = n.to_string();
        let event = author.sign(10 + n, 30_023, &[&["d", &d]], "");
        let deletion = author.sign(20 + n, 5, &[&["e", &event.id().to_hex()]], "");
        for event in [&event, &deletion] {
            bench.import(&[event.as_str()], &[]);
        }
    };
    delete(0);
    bench.archive(&[]);
    delete(1);
    bench.archive(&[]);
    let copy = PathBuf::from(bench.path("copy"));
    fs::create_dir(&copy).unwrap();
    let manifest = "manifest.jsonl";
    fs::copy(bench.path("archive/manifest.jsonl"), copy.join(manifest)).unwrap();
    delete(2);
    bench.archive(&[]);
    for file in bench.files(".zst") {
        fs::copy(&file, copy.join(file.file_name().unwrap())).unwrap();
    }
    bench.run(&["archive", "--check", "--to", copy.to_str().unwrap()]);
    // Not all of them stay.
    delete(3);
    bench.archive(&[]);
    assert_eq!(bench.files(".seats.zst").len(), 2);
    bench.archive(&["--check"]);
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
