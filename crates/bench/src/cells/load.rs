//! Bulk load: every event of the corpus over a few connections, as fast as they are answered.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{
    Bench, Effect, Figures, Measured,
    publish::{Messages, in_flight},
};

/// How long a cluster may take until it stores events as fast as they come.
const WARM_UP_MAX: Duration = Duration::from_secs(180);

/// Events that it has to take without a refusal.
const WARM_UP_EVENTS: u64 = 40;

/// Publishes a few events until all of some are taken: the first ones after its start find a database
/// that has just begun.
///
/// # Errors
///
/// Some are still refused when its time is over.
pub(super) async fn warm_up(bench: &Bench<'_>) -> Result<()> {
    let deadline = Instant::now() + WARM_UP_MAX;
    let mut sent = 0;
    loop {
        let events = bench.work.first_events(sent, WARM_UP_EVENTS);
        sent += WARM_UP_EVENTS;
        let messages = Messages::of(events.iter().map(|event| event.as_str().as_bytes()))?;
        let seen = in_flight(bench, &messages, 4, 2).await?;
        if seen.operations == WARM_UP_EVENTS {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let why = seen.refusals.examples.join("; ");
            bail!("events are refused for {WARM_UP_MAX:?} after its start: {why}");
        }
    }
}

pub(super) async fn run(bench: &Bench<'_>) -> Measured {
    let (connections, window) = bench.sizes.load;
    let figures = match Messages::of(bench.work.loaded()) {
        Ok(messages) => {
            let load = in_flight(bench, &messages, connections, window);
            bench.measure("event", Effect::Writes, load).await
        }
        Err(error) => Err(error),
    };
    (
        "load".to_owned(),
        figures.map(|figures| with_disk(figures, bench)),
    )
}

/// Adds what the store takes of the disk as a multiple of the text.
fn with_disk(mut figures: Figures, bench: &Bench<'_>) -> Figures {
    let times = figures.disk as f64 / bench.work.loaded_bytes().max(1) as f64;
    figures.extra.insert("disk, × JSONL".to_owned(), times);
    figures
}
