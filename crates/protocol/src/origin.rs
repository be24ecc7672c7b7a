//! What this relay notes about an event beside the event: when it came, and who follows its way.

use std::fmt;

use crate::{decode_hex, encode_hex};

/// Where an event came from, as far as this relay knows. It travels beside the wire form and is no part
/// of the event: two events are equal whatever their origins.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    received_micros: u64,
    trace: Option<Box<TraceContext>>,
}

impl Origin {
    /// Of an event that a gateway read at `received_micros`, in microseconds since 1970; 0 is not known.
    #[must_use]
    pub fn new(received_micros: u64, trace: Option<TraceContext>) -> Self {
        Self {
            received_micros,
            trace: trace.map(Box::new),
        }
    }

    /// When a gateway read the event, in microseconds since 1970; `None` if nobody noted it.
    #[must_use]
    pub fn received_micros(&self) -> Option<u64> {
        (self.received_micros > 0).then_some(self.received_micros)
    }

    /// The trace that the event's way belongs to, if it is sampled.
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        self.trace.as_deref().copied()
    }
}

/// A sampled trace and the span that caused what follows (W3C Trace Context, level 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// Names the trace.
    pub trace_id: [u8; 16],
    /// Names the span; all zero at the root of a trace, where there is none yet.
    pub span_id: [u8; 8],
}

impl TraceContext {
    /// Reads a `traceparent`. `None` if it is malformed or not sampled.
    #[must_use]
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let [version] = decode_hex::<1>(version.as_bytes())?;
        // Later versions may append parts, version 0 has none.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let [flags] = decode_hex::<1>(flags.as_bytes())?;
        let context = Self {
            trace_id: decode_hex(trace.as_bytes())?,
            span_id: decode_hex(span.as_bytes())?,
        };
        let valid = context.trace_id != [0; 16] && context.span_id != [0; 8];
        (valid && flags & 1 == 1).then_some(context)
    }

    /// The trace's name as 32 hex digits.
    #[must_use]
    pub fn trace_id_hex(&self) -> String {
        hex(&self.trace_id)
    }
}

/// As a `traceparent`: `00-<trace id>-<span id>-01`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-01", hex(&self.trace_id), hex(&self.span_id))
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(2 * bytes.len());
    encode_hex(bytes, &mut out);
    String::from_utf8(out).expect("hex digits are ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the recommendation, §3.2.
    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_written() {
        let context = TraceContext::parse(EXAMPLE).unwrap();
        assert_eq!(context.trace_id_hex(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.to_string(), EXAMPLE);
        let later = EXAMPLE.replacen("00", "01", 1) + "-more";
        assert_eq!(TraceContext::parse(&later), Some(context));
    }

    #[test]
    fn what_is_malformed_or_not_sampled_is_no_trace() {
        let zero_span = EXAMPLE.replace("00f067aa0ba902b7", "0000000000000000");
        let not_sampled = EXAMPLE.replace("-01", "-00");
        let invalid_version = EXAMPLE.replacen("00", "ff", 1);
        let more = format!("{EXAMPLE}-more");
        for text in ["", "00", &zero_span, &not_sampled, &invalid_version, &more] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
    }
}
