//! The protocol's test vectors, read from `tests/vectors` (see the README there).

use std::{fs, path::PathBuf};

use serde::de::DeserializeOwned;

/// The directory of the vector files.
#[must_use]
pub fn dir() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors"))
}

/// Reads a JSON Lines file, one value a row.
///
/// # Panics
///
/// If the file is missing, empty, or a row isn't a `T`; the message has the row's number.
#[must_use]
#[track_caller]
pub fn lines<T: DeserializeOwned>(file: &str) -> Vec<T> {
    let text = read(file);
    let row = |(index, line): (usize, &str)| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{file}:{}: {error}", index + 1))
    };
    let rows: Vec<T> = text.lines().enumerate().map(row).collect();
    assert!(!rows.is_empty(), "{file} is empty");
    rows
}

/// Reads a file that holds one JSON value.
///
/// # Panics
///
/// If the file is missing or isn't a `T`.
#[must_use]
#[track_caller]
pub fn json<T: DeserializeOwned>(file: &str) -> T {
    serde_json::from_str(&read(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[track_caller]
fn read(file: &str) -> String {
    let path = dir().join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
