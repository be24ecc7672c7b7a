//! Configuration: TOML file, environment and flags, read once and checked as a whole.
//!
//! Everything derives from one table of keys ([`KEYS`], in `keys.rs`): the checked type [`Config`],
//! the names of the environment variables, `config print`, the reference page. A later layer wins:
//! default < file < `HELIOGRAPH_*` < flags. What always holds: a [`Config`] has every unit and range
//! proven, and a load that fails names everything that is wrong, one line each.

mod canary;
mod check;
mod cluster;
mod environment;
mod error;
mod hash;
mod keys;
mod print;
mod read;
mod relations;
mod reload;
mod suggest;
mod table;
mod traces;
mod value;
mod words;

pub use cluster::{DatacenterReplicas, Secret};
pub use environment::environment;
pub use error::{ConfigError, ConfigErrors};
pub use heliograph_protocol::IpNetwork;
pub use keys::{
    Admin, Auth, Canary, Cluster, Config, Gateway, Ingest, KEYS, Log, Matcher, Nats, Policy,
    Recent, Relay, Scylla, Shutdown, Store, Traces, Verify,
};
pub use print::reference_markdown;
pub use read::{Loaded, load};
pub use reload::Reload;
pub use table::Key;
pub use traces::Header;
pub use value::{Consistency, Durability, LogFormat, Source, StreamStorage, SyncMode};
