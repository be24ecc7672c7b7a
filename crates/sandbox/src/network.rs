//! The network between processes, which can be cut, silenced and slowed.

pub mod link;
pub mod namespace;
pub(crate) mod owner;
pub mod proxy;
