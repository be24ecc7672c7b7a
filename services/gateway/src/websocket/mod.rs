//! The server side of RFC 6455: frames in, frames out, and nothing buffered that it forbids.
//!
//! Reading happens in place: a frame is checked by its header before its payload is kept, unmasked
//! where it lies, and handed on as a slice. A connection holds memory only for what has arrived of
//! an unfinished message (ADR 4).

mod decoder;
pub(crate) mod deflate;
mod encoder;
mod handshake;

pub(crate) use decoder::{Decoder, Incoming, Violation};
pub(crate) use encoder::{Frame, PING, PONG, RSV1, TEXT};
pub(crate) use handshake::Handshake;

/// Close codes (RFC 6455 §7.4.1).
pub(crate) mod close {
    pub(crate) const GOING_AWAY: u16 = 1001;
    pub(crate) const PROTOCOL_ERROR: u16 = 1002;
    pub(crate) const INVALID_TEXT: u16 = 1007;
    pub(crate) const POLICY: u16 = 1008;
    pub(crate) const TOO_BIG: u16 = 1009;
    /// Registered with IANA.
    pub(crate) const RESTART: u16 = 1012;
}
