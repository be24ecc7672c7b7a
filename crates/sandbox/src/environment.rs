//! The variables that tests and tools are told by, and names that nobody else has.

use std::{
    hash::{BuildHasher, RandomState},
    process,
};

/// A variable, if it is set, not empty and UTF-8.
#[expect(
    clippy::disallowed_methods,
    reason = "for tests and tools only: their caller's environment is their configuration"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A variable that holds a list `a,b,c`, if there is anything in it.
pub(crate) fn list(name: &str) -> Option<Vec<String>> {
    let values: Vec<String> = variable(name)?
        .split(',')
        .map(str::trim)
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
        .collect();
    (!values.is_empty()).then_some(values)
}

/// Sixteen hex digits that nobody else has: for names on servers that are shared.
pub(crate) fn unique() -> String {
    // Its keys are random, as those of every hash map.
    format!("{:016x}", RandomState::new().hash_one(process::id()))
}
