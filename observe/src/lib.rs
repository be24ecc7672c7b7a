//! A live cluster under load as operators see it: its boards, rules and alerts in a real Prometheus.

pub mod abuse;
pub mod board;
pub mod compress;
pub mod live;
pub mod load;
pub mod pages;
pub mod picture;
pub mod stand;
