//! The path of an EVENT through the gateway, whole. Cheapest check first (R01-16): parsing and the
//! id were paid for when the message was read.

use std::{sync::Arc, time::Instant};

use heliograph_bus::{Bus, BusError, CommitNumber};
use heliograph_policy::{Reader, admit_event, exceeded_limit, vanish_in_force};
use heliograph_protocol::{
    Event, EventId, Origin, Outcome, Prefix, Refusal, Timestamp, TraceContext,
};
use heliograph_telemetry::trace::SpanKind;
use heliograph_verify::{Verdict, VerifyError};

use crate::{
    metrics::{EventResult, Limit, RateLimit},
    options::Options,
    received::Asked,
    server::Gateway,
    verified::Verified,
};

/// Looks an event's id up among those that are stored: it may miss some, never invent one.
pub type Lookup = Arc<dyn Fn(&Event) -> bool + Send + Sync>;

/// Asked before a signature is checked, since that costs thirty times as much.
#[derive(Clone)]
pub struct Known {
    /// Answers from memory, at once.
    pub recent: Lookup,
    /// May read from disk; asked on the pool that checks signatures.
    pub archive: Lookup,
    /// Whether the author of an ephemeral event, which no store sees, has deleted it or vanished
    /// (R62-4). May read from disk; asked on the pool.
    pub vanished: Lookup,
    /// Events whose signature was checked here lately, where no store can be asked: they go on to
    /// the bus unchecked, and the store says what becomes of them.
    pub verified: Option<Arc<Verified>>,
}

impl Known {
    /// Of a gateway without a store.
    #[must_use]
    pub fn remembered(verified: Arc<Verified>) -> Self {
        let nothing: Lookup = Arc::new(|_event| false);
        Self {
            recent: Arc::clone(&nothing),
            archive: Arc::clone(&nothing),
            vanished: nothing,
            verified: Some(verified),
        }
    }
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").finish_non_exhaustive()
    }
}

/// An event that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// The text after `true`.
    pub(crate) message: &'static str,
    /// What a later REQ on this connection has to see (R01-57).
    pub(crate) commit: CommitNumber,
    /// The same for those who count.
    pub(crate) result: EventResult,
}

/// An event that wasn't taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The answer.
    pub(crate) refusal: Refusal,
    /// Whether its signature was false: such clients are watched.
    pub(crate) bad_signature: bool,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            bad_signature: false,
        }
    }
}

impl From<VerifyError> for Refused {
    fn from(error: VerifyError) -> Self {
        Self {
            refusal: error.into(),
            bad_signature: error.is_bad(),
        }
    }
}

/// Takes an event from `reader`, durably (R01-33).
pub(crate) async fn publish<B: Bus>(
    gateway: &Gateway<B>,
    options: &Options,
    event: Arc<Event>,
    reader: &Reader,
    asked: &Asked,
) -> Result<Accepted, Refused> {
    let now = asked.received.now();
    if (gateway.known.recent)(&event) && !event.is_expired(now) {
        if !vanish_in_force(&event, &options.urls) {
            options.control().load().check_bans(&event, reader)?;
        }
        return Ok(duplicate(gateway));
    }
    admit(gateway, options, &event, reader, now)?;
    let verifying = asked.part("verify", SpanKind::Internal);
    let verdict = verify_unknown(gateway, &event, asked.trace()).await;
    drop(verifying);
    if verdict? == Verdict::Known {
        return Ok(duplicate(gateway));
    }
    let accepted = store(gateway, options, Arc::clone(&event), asked).await?;
    if accepted.result != EventResult::Duplicate {
        gateway.metrics.tops.accepted(&event, Instant::now());
    }
    Ok(accepted)
}

/// Says whether policy lets the event in, and counts the bound that it exceeds if not.
fn admit<B: Bus>(
    gateway: &Gateway<B>,
    options: &Options,
    event: &Event,
    reader: &Reader,
    now: Timestamp,
) -> Result<(), Refusal> {
    let limits = &options.events;
    let admitted = admit_event(event, limits, &options.urls, reader, now);
    if let Err(refusal) = &admitted
        && matches!(refusal.prefix, Prefix::Invalid | Prefix::Pow)
        && let Some(limit) = exceeded_limit(event, limits, now)
    {
        gateway.metrics.limits.bound(Limit::Event(limit)).inc();
    }
    admitted
}

/// The answer for an event that is stored. Its id was recomputed, so the stored one is this one.
fn duplicate<B: Bus>(gateway: &Gateway<B>) -> Accepted {
    gateway.metrics.events.duplicates_early.inc();
    let message = Outcome::Duplicate.answer().unwrap_or_default();
    Accepted {
        message,
        commit: CommitNumber::default(),
        result: EventResult::Duplicate,
    }
}

/// Looks the event up where that may block, then checks its signature, both on the CPU pool.
async fn verify_unknown<B: Bus>(
    gateway: &Gateway<B>,
    event: &Arc<Event>,
    trace: Option<TraceContext>,
) -> Result<Verdict, Refused> {
    let ephemeral = event.kind().is_ephemeral();
    let Known {
        archive,
        vanished,
        verified,
        ..
    } = &gateway.known;
    if verified
        .as_ref()
        .is_some_and(|verified| verified.holds(event))
    {
        gateway.metrics.events.verifications_spared.inc();
        return Ok(Verdict::Valid);
    }
    let (lookup, looked_up) = (
        Arc::clone(if ephemeral { vanished } else { archive }),
        Arc::clone(event),
    );
    let known = move |_id: &EventId| lookup(&looked_up);
    let begun = Instant::now();
    let checked = gateway.verifier.check(Arc::clone(event), known).await;
    let verdict = judged(gateway, begun, checked, trace)?;
    if let Some(verified) = verified {
        verified.note(event);
    }
    if ephemeral && verdict == Verdict::Known {
        Outcome::Vanished.answer()?;
    }
    Ok(verdict)
}

/// Checks the signature on the CPU pool.
pub(crate) async fn verify<B: Bus>(
    gateway: &Gateway<B>,
    event: &Arc<Event>,
) -> Result<(), Refused> {
    let begun = Instant::now();
    let checked = gateway.verifier.verify(event).await;
    judged(gateway, begun, checked, None).map_err(Refused::from)
}

/// Counts what the pool said.
fn judged<B: Bus, T>(
    gateway: &Gateway<B>,
    begun: Instant,
    checked: Result<T, VerifyError>,
    trace: Option<TraceContext>,
) -> Result<T, VerifyError> {
    let metrics = &gateway.metrics;
    match checked {
        Err(VerifyError::Busy) => {
            metrics.limits.rate(RateLimit::VerifyQueue).inc();
        }
        Err(VerifyError::Stopped) => {}
        Ok(_) | Err(VerifyError::BadSignature | VerifyError::BadKey) => {
            let seconds = begun.elapsed().as_secs_f64();
            let verify_seconds = &metrics.events.verify_seconds;
            verify_seconds.observe_traced(seconds, trace);
        }
    }
    checked
}

/// Hands the event to the bus and waits for the receipt.
async fn store<B: Bus>(
    gateway: &Gateway<B>,
    options: &Options,
    event: Arc<Event>,
    asked: &Asked,
) -> Result<Accepted, Refusal> {
    let patience = options.limits.receipt_timeout;
    let publishing = asked.part("publish", SpanKind::Producer);
    let event = match &publishing {
        None => event,
        // What follows on other machines is caused by this span.
        Some(span) => {
            let origin = Origin::new(asked.received.unix_micros, Some(span.context()));
            Arc::new(Event::clone(&event).with_origin(origin))
        }
    };
    if event.kind().is_ephemeral() {
        tokio::time::timeout(patience, gateway.bus.publish_ephemeral(event))
            .await
            .map_err(|_elapsed| BusError::TimedOut)??;
        return Ok(Accepted {
            message: "",
            commit: CommitNumber::default(),
            result: EventResult::Ephemeral,
        });
    }
    let publish = gateway.bus.publish(event);
    let receipt = tokio::time::timeout(patience, publish)
        .await
        .map_err(|_elapsed| BusError::TimedOut)??;
    drop(publishing);
    let result = match receipt.outcome {
        Outcome::Duplicate => EventResult::Duplicate,
        _ => EventResult::Stored,
    };
    // The number of an event that JetStream alone has taken so far ("quorum") is not known yet.
    let message = receipt.outcome.answer()?;
    Ok(Accepted {
        message,
        commit: receipt.commit,
        result,
    })
}
