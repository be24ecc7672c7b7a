//! The wire forms between the roles of a cluster, and the way between them and our own values.
//!
//! [`v1`] is generated from `proto/` by `cargo xtask proto`; the other modules convert. What always
//! holds: reading never panics and never allocates by a declared number, whatever the bytes; an
//! event travels as the JSON text that clients get, and is read back as a slice of what came in.

mod answer;
mod events;
mod filters;
mod question;
mod slots;

/// Generated types, and client and server of the link.
#[rustfmt::skip]
#[path = "generated/v1.rs"]
#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::cast_possible_truncation,
    clippy::clone_on_ref_ptr,
    clippy::doc_markdown,
    clippy::large_futures,
    clippy::missing_errors_doc,
    clippy::needless_pass_by_value,
    clippy::str_to_string,
    clippy::too_many_lines,
    clippy::wildcard_imports,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    reason = "generated: which lints it trips changes with the generator"
)]
pub mod v1;

pub use events::{copied_event, read_origin, shared_event, write_origin};
pub use filters::{encode_filters, read_filters, write_filters};
pub use slots::SLOTS_MAX;

use heliograph_protocol::WireError;

/// Bytes from a peer aren't what they should be: another program's, or of a version too far away.
/// Trying again doesn't help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Not a message at all.
    #[error("unreadable: {0}")]
    Decode(#[from] prost::DecodeError),
    /// Not an event.
    #[error(transparent)]
    Event(#[from] WireError),
    /// Something that has to be there isn't.
    #[error("missing {0}")]
    Missing(&'static str),
    /// A number that stands for nothing, or a value out of its range.
    #[error("{field} can't be {value}")]
    Range {
        /// The field.
        field: &'static str,
        /// What stands in it.
        value: i64,
    },
    /// A blob of the wrong length.
    #[error("{field} can't have {bytes} bytes")]
    Length {
        /// The field.
        field: &'static str,
        /// Its length.
        bytes: usize,
    },
}

impl FormError {
    fn range(field: &'static str, value: impl TryInto<i64>) -> Self {
        Self::Range {
            field,
            value: value.try_into().unwrap_or(i64::MAX),
        }
    }
}
