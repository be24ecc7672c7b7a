//! The k6 suite, run: its smoke profile against whole relays, and against relays that break one
//! promise each, so that every threshold is seen to fail.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at what it didn't expect, and says what it skipped"
)]

mod bed;
mod breach;
mod cases;
mod compared;
mod corpora;
mod extension;
mod hook;
mod operator;
mod peer;
mod proxied;
mod proxy;
mod smoke;
mod writes;
