//! The bus on real NATS servers: the conformance suite of all buses, and what only a cluster has.
//!
//! Most tests share one server, each with a cluster name of its own; those that kill servers start
//! their own. Modules are marked as tests for the lints: helpers may unwrap.

#[cfg(test)]
mod bed;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod dead_letters;
#[cfg(test)]
mod feed;
#[cfg(test)]
mod intake;
#[cfg(test)]
mod membership;
#[cfg(test)]
mod publishing;
#[cfg(test)]
mod restarts;
