//! Control records: what operators decide while a cluster runs, one record each in a NATS key-value
//! bucket, in force on every gateway and matcher within 2 s.
//!
//! [`ControlStore`] is for the tool that writes them, its [`Follower`] for the processes that obey:
//! it reads all records, follows their changes, and puts the checked
//! [`ControlRules`](heliograph_policy::ControlRules) where event checks and answers look. What
//! always holds: rules are replaced as a whole; a process that has never read them knows that it
//! hasn't; one that lost the servers keeps the last rules and says how old they are; records that
//! this version doesn't understand are left as they are and ignored.

mod command;
mod error;
mod follow;
mod metrics;
mod nip19;
mod record;
mod records;
mod store;
mod until;
mod value;

pub use command::Command;
pub use error::ControlError;
pub use follow::{ControlState, Follower, ReadState};
pub use metrics::Metrics;
pub use nip19::{parse_event_id, parse_pubkey};
pub use record::{Record, RecordKey};
pub use store::{ControlOptions, ControlStore, Listed};
pub use until::parse_until;
pub use value::RecordValue;
