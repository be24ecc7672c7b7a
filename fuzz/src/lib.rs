//! What has to hold for any bytes from a socket: one function for each target in `fuzz_targets/`.
//!
//! Each compares the parser with a second opinion (`serde_json` and plain code), so a wrong answer
//! is found like a panic. The functions are in a library so that the tests can run the seeds, and
//! any input that once failed, without a fuzzer.

mod event;
mod filter;
mod frame;

pub use event::check_event;
pub use filter::check_filter;
pub use frame::check_frame;
