//! What is promised holds when things break: see docs/reliability.md.

mod idle;
mod late;
mod network;
mod outage;
mod processes;
mod random;
mod replication;
mod takeover;
mod upgrade;
