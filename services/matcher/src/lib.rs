//! Matcher: answers REQ and COUNT from the store, follows the committed events, and pushes live
//! ones to the gateways.
//!
//! Last steps of the path: … → store → **match → deliver**. The stored and the live part of a
//! subscription join here and nowhere else: it is registered first, then read, so that every
//! event is in one part or in both, and the gateway drops what both hold.

mod answer;
mod count;
mod lately;
mod live;
mod matching;
mod metrics;
mod options;
mod progress;
mod replay;
mod resume;
mod stream;
#[cfg(test)]
mod tests;

pub use matching::{Clock, Matcher, Sink, run};
pub use metrics::Metrics;
pub use options::Options;
pub use progress::{Batches, Progress};
