//! The generated pages of `docs/reference/`, from the very tables that the program runs on.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
};

use heliograph_bus_nats::Side;
use heliograph_config::reference_markdown;
use heliograph_gateway::Durability;
use heliograph_recent::RecentStats;
use heliograph_store_embedded::{StoreStats, Times};
use heliograph_telemetry::{ConfigState, Health, ShownCertificate, metrics_reference};
use heliograph_verify::Verifier;

use crate::{cli::ReferencePage, metrics, telemetry};

/// Prints a page to the standard output.
pub(crate) fn print(page: ReferencePage) -> ExitCode {
    let text = match page {
        ReferencePage::Config => Ok(reference_markdown()),
        ReferencePage::Metrics => metrics_page(),
    };
    match text.and_then(|text| io::stdout().write_all(text.as_bytes())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_closed) => ExitCode::FAILURE,
    }
}

/// Registers what a whole relay registers, without starting one.
fn metrics_page() -> io::Result<String> {
    let certificate = ShownCertificate::ending("nats", 1);
    let (health, state) = (Health::new(), ConfigState::default());
    let mut registry = telemetry::registry(&health, &state, vec![certificate]);
    drop(heliograph_ingest::Metrics::register(&mut registry));
    drop(heliograph_matcher::Metrics::register(&mut registry));
    drop(heliograph_gateway::Metrics::register(
        &mut registry,
        Durability::Fsync,
    ));
    let recent = RecentStats {
        events: 0,
        texts: 0,
        text_bytes: 0,
        index_bytes: 0,
        remembered: 0,
        floor: None,
        evictions: 0,
    };
    let verifier = Arc::new(Verifier::start(1, 1)?);
    let times = Times::default();
    metrics::register_store(&mut registry, Box::new(StoreStats::default), &times);
    metrics::register_recent(&mut registry, Box::new(move || recent));
    metrics::register_verifier(&mut registry, verifier);
    drop(heliograph_bus_nats::Metrics::register(
        &mut registry,
        Side::All,
    ));
    drop(heliograph_control::Metrics::register(&mut registry));
    drop(heliograph_link::ClientMetrics::register(&mut registry));
    drop(heliograph_link::ServerMetrics::register(&mut registry));
    drop(heliograph_store_scylla::Metrics::register(&mut registry));
    let readers = heliograph_canary::READERS_MAX;
    drop(heliograph_canary::Metrics::register(&mut registry, readers));
    Ok(metrics_reference(&registry))
}
