//! Runs every seed and every input that once failed, without a fuzzer.

use std::{fs, panic::catch_unwind, path::Path};

#[track_caller]
fn check(target: &str, check: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(target);
    let mut seeds: Vec<_> = fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.expect("a readable directory").path())
        .collect();
    seeds.sort();
    assert!(seeds.len() >= 5, "{} has its seeds", dir.display());
    for seed in seeds {
        let data = fs::read(&seed).expect("a readable file");
        let holds = catch_unwind(|| (0..=data.len()).for_each(|end| check(&data[..end])));
        assert!(holds.is_ok(), "{} or a beginning of it", seed.display());
    }
}

#[test]
fn event_seeds_hold() {
    check("event", heliograph_fuzz::check_event);
}

#[test]
fn filter_seeds_hold() {
    check("filter", heliograph_fuzz::check_filter);
}

#[test]
fn frame_seeds_hold() {
    check("frame", heliograph_fuzz::check_frame);
}
