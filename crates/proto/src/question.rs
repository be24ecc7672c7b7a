//! What a gateway asks: COUNT whole; REQ in the link itself, which has slots of its own.

use std::sync::Arc;

use heliograph_bus::{CommitNumber, Count};
use heliograph_protocol::{Timestamp, TraceContext};

use crate::{FormError, read_filters, v1, write_filters};

impl From<&Count> for v1::CountRequest {
    fn from(count: &Count) -> Self {
        Self {
            filters: write_filters(&count.filters),
            reader: Some((&*count.reader).into()),
            after: count.after.0,
            now: count.now.as_secs(),
            traceparent: count.trace.as_ref().map(ToString::to_string),
        }
    }
}

impl TryFrom<v1::CountRequest> for Count {
    type Error = FormError;

    fn try_from(count: v1::CountRequest) -> Result<Self, FormError> {
        Ok(Self {
            filters: read_filters(count.filters)?,
            reader: Arc::new(count.reader.unwrap_or_default().try_into()?),
            after: CommitNumber(count.after),
            now: Timestamp::from_secs(count.now),
            trace: count.traceparent.as_deref().and_then(TraceContext::parse),
        })
    }
}
