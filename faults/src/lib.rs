//! Whole clusters of real processes under faults: the bed, the seeded schedule, the work that
//! goes on meanwhile, and what is checked afterwards.
//!
//! One test at a time has a [`bed::Bed`]: clusters beside each other would starve on two cores, and
//! what is measured on them would be measured twice as long.

pub mod bed;
pub mod builds;
pub mod effects;
pub mod schedule;
mod servers;
mod wait;
mod ways;
pub mod workload;
