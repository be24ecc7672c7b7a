//! One frame that waits: what it costs, and how it is written.

use std::sync::Arc;

use heliograph_protocol::{Event, TraceContext};

use crate::{
    budget::Charge,
    metrics::Frames,
    websocket::{Frame, TEXT, deflate::Compressor},
};

/// Bytes that a queued frame costs beside its payload.
const FRAME_COST_BYTES: usize = 64;

/// Something that waits to be written.
#[derive(Debug)]
pub(super) enum Waiting {
    /// A text message.
    Text(Vec<u8>),
    /// `["EVENT",<id>,` + event + `]`: both parts are shared.
    Event {
        head: Arc<[u8]>,
        event: Arc<Event>,
        /// Whether it was sent to a live subscription, and not as a part of an answer.
        live: bool,
        /// Counts its bytes once for all that it waits for; without it they are counted here.
        charge: Option<Arc<Charge>>,
    },
    /// A live event whose way is followed to here.
    Traced(Box<Traced>),
    /// A ping, or a pong with its payload.
    Control { opcode: u8, payload: Vec<u8> },
    /// The last frame.
    Close { code: u16, reason: &'static str },
}

/// A live event of a sampled trace.
#[derive(Debug)]
pub(super) struct Traced {
    pub(super) head: Arc<[u8]>,
    pub(super) event: Arc<Event>,
    /// As of every event that waits.
    pub(super) charge: Option<Arc<Charge>>,
    pub(super) trace: TraceContext,
    /// When it came to this gateway, in microseconds since 1970.
    pub(super) arrived: u64,
}

impl Waiting {
    pub(super) fn bytes(&self) -> usize {
        FRAME_COST_BYTES
            + match self {
                Self::Text(text) => text.len(),
                Self::Event { head, event, .. } => head.len() + event.json().len(),
                Self::Traced(traced) => traced.head.len() + traced.event.json().len(),
                Self::Control { payload, .. } => payload.len(),
                Self::Close { .. } => 0,
            }
    }

    /// What the budget counts for it: an event that lies in memory once for many is counted once.
    pub(super) fn share(&self) -> usize {
        let of = |event: &Event, charge: &Option<Arc<Charge>>| match charge {
            Some(_) => 0,
            None => event.json().len(),
        };
        FRAME_COST_BYTES
            + match self {
                Self::Text(text) => text.len(),
                Self::Event { event, charge, .. } => of(event, charge),
                Self::Traced(traced) => of(&traced.event, &traced.charge),
                Self::Control { payload, .. } => payload.len(),
                Self::Close { .. } => 0,
            }
    }
}

/// Writes its frame, and counts what it is.
pub(super) fn encode(
    frame: &Waiting,
    compressor: Option<&Compressor>,
    out: &mut Vec<u8>,
    frames: &mut Frames,
) {
    let start = out.len();
    match frame {
        Waiting::Text(text) => {
            frames.payload += text.len() as u64;
            if compressor.is_some_and(|compressor| compressor.text(text, out)) {
                frames.compressed += (out.len() - start) as u64;
                return;
            }
            Frame::whole(TEXT, text, out);
        }
        Waiting::Event { head, event, .. } => {
            return encode_event(head, event, compressor, out, frames);
        }
        Waiting::Traced(traced) => {
            return encode_event(&traced.head, &traced.event, compressor, out, frames);
        }
        Waiting::Control { opcode, payload } => Frame::whole(*opcode, payload, out),
        Waiting::Close { code, reason } => Frame::close(*code, reason, out),
    }
    frames.plain += (out.len() - start) as u64;
}

fn encode_event(
    head: &[u8],
    event: &Event,
    compressor: Option<&Compressor>,
    out: &mut Vec<u8>,
    frames: &mut Frames,
) {
    let (start, json) = (out.len(), event.json());
    let payload = head.len() + json.len() + 1;
    frames.payload += payload as u64;
    if compressor.is_some_and(|compressor| compressor.event(head, event, out)) {
        frames.compressed += (out.len() - start) as u64;
        return;
    }
    Frame::header(TEXT, payload, out);
    out.extend_from_slice(head);
    out.extend_from_slice(json);
    out.push(b']');
    frames.plain += (out.len() - start) as u64;
}
