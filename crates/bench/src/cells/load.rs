//! Bulk load: every event of the corpus over a few connections, as fast as they are answered.

use super::{
    Bench, Effect, Figures, Measured,
    publish::{Messages, in_flight},
};

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
