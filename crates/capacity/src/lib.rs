//! How much of everything a relay needs: formulas over coefficients that were measured, and the
//! document that says so.
//!
//! Pure functions of values: nothing here reads a clock, a file or a socket. What was measured is in
//! JSON files beside the sources, which `cargo xtask` writes and the compiler takes in.

pub mod assumptions;
pub mod coefficients;
mod document;
mod figure;
#[cfg(test)]
mod limits_tests;
mod load;
pub mod messages;
mod notes;
mod parts;
mod plan;
#[cfg(test)]
mod plan_tests;
pub mod scaling;
mod single;
mod text;

pub use coefficients::Coefficients;
pub use document::document;
pub use figure::{Figure, Run};
pub use load::{Build, Load, Prices, Refused};
pub use notes::KEYS;
pub use plan::{Bandwidth, Cost, Demand, Mode, Part, Plan, Streams, plan};
