//! Nostr events, filters, client and relay messages as plain values: no IO, no async, no clock.
//!
//! First step of the path: socket → **parse → id** → admit → verify → bus → store → match → deliver.
//! What always holds: an [`Event`] carries its canonical wire form and an id that was recomputed
//! from it (NIP-01); a [`Filter`] carries only what a relay may be asked; nothing here panics on
//! any input.
#![warn(missing_docs)]

mod deletion;
mod event;
mod filter;
mod hex;
mod json;
mod kind;
mod message;
mod network;
mod origin;
mod outcome;
mod pow;
mod refusal;
mod relay_message;
mod subscription_id;
mod tags;
mod time;
mod types;

pub use deletion::{DeletionTargets, deletion_targets, is_deletable, owners};
pub use event::{Address, Event, EventError, Expiration, WireError};
pub use filter::{Filter, INDEXED_VALUE_BYTES_MAX, TagCondition};
pub use hex::{decode_hex, encode_hex};
pub use json::{JsonError, JsonStr, NESTING_MAX, write_json_string};
pub use kind::{Kind, KindClass};
pub use message::{ClientMessage, MessageError};
pub use network::IpNetwork;
pub use origin::{Origin, TraceContext};
pub use outcome::Outcome;
pub use pow::difficulty;
pub use refusal::{Prefix, Refusal};
pub use relay_message::{EoseHint, RelayMessage, event_head};
pub use subscription_id::{SUBSCRIPTION_ID_CHARS_MAX, SubscriptionId};
pub use tags::{Tag, Tags};
pub use time::Timestamp;
pub use types::{EventId, HexError, PublicKey, Signature};
