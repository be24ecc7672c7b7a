//! What the link shows. Every series exists from the start.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry},
};

/// Metrics of a matcher's end.
#[derive(Debug)]
pub struct ServerMetrics {
    pub(crate) sessions: Gauge,
    pub(crate) sessions_opened: Counter,
    pub(crate) cut_off: Counter,
    pub(crate) queue_bytes: Gauge,
    pub(crate) deliveries: Counter,
    pub(crate) pages: Counter,
    pub(crate) resumes: Counter,
}

/// Metrics of a gateway's end.
#[derive(Debug)]
pub struct ClientMetrics {
    pub(crate) connected: Gauge,
    pub(crate) reconnects: Counter,
    pub(crate) resume_seconds: Histogram,
    pub(crate) ended: Counter,
    pub(crate) deliveries: Counter,
    pub(crate) interrupted: Counter,
    pub(crate) queue_bytes: Gauge,
}

impl ServerMetrics {
    /// Registers everything on `registry`, whose prefix is the program's.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let r = registry.sub_registry_with_prefix("link");
        Self {
            sessions: add(r, "sessions", "Gateways that this matcher serves"),
            sessions_opened: add(r, "sessions_opened", "Sessions of gateways so far"),
            cut_off: add(
                r,
                "sessions_cut_off",
                "Sessions ended because the gateway was too slow; it resumes in a new one",
            ),
            queue_bytes: add(r, "queue_bytes", "Bytes that wait to be sent to gateways"),
            deliveries: add(
                r,
                "deliveries_sent",
                "Live events sent, each counted once for a gateway",
            ),
            pages: add(r, "pages", "Pages of stored answers sent"),
            resumes: add(
                r,
                "resumes",
                "Times a gateway's subscriptions were taken over",
            ),
        }
    }
}

impl ClientMetrics {
    /// Registers everything on `registry`, whose prefix is the program's.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let r = registry.sub_registry_with_prefix("link");
        let resume_seconds = Histogram::new([0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]);
        r.register(
            "resume_seconds",
            "Time from a new session until its subscriptions have what they missed",
            resume_seconds.clone(),
        );
        Self {
            connected: add(
                r,
                "connected",
                "Whether a matcher serves this gateway: 0 or 1",
            ),
            reconnects: add(r, "reconnects", "Sessions opened after the first one"),
            resume_seconds,
            ended: add(
                r,
                "subscriptions_ended",
                "Live subscriptions closed because no matcher could go on with them",
            ),
            deliveries: add(r, "deliveries_received", "Live events received"),
            interrupted: add(
                r,
                "answers_interrupted",
                "Stored answers that the matcher could not finish; they are asked again",
            ),
            queue_bytes: add(
                r,
                "control_queue_bytes",
                "Bytes of closes and the like that wait to be sent to the matcher",
            ),
        }
    }
}

fn add<M: Metric + Default + Clone>(
    registry: &mut Registry,
    name: &'static str,
    help: &'static str,
) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}
