//! A canary against relays that misbehave on purpose, as no real one can be made to.
#![expect(clippy::unwrap_used, reason = "a test stops at what it didn't expect")]

mod bed;
mod connections;
mod fake;
mod once;
mod probes;
