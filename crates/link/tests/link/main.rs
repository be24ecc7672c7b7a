//! Gateways and matchers over real connections: what is delivered, to whom, in which order, and what
//! is left of it when a connection, a matcher or a client breaks.

mod answers;
mod bed;
mod delivery;
mod failover;
mod refusal;
mod tls;
