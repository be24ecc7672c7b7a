//! Faults in an order drawn from a seed: see `heliograph_faults::schedule` for how to replay one.

use heliograph_faults::{
    bed::Bed,
    schedule::{Layout, Schedule, seeds},
};
use heliograph_sandbox::{
    cluster::{Links, NatsServers},
    nats::NatsOptions,
};

/// Drawn before anything was known of what they do.
const SEEDS: [u64; 1] = [0x11];

/// Faults of one schedule.
const STEPS: usize = 6;

#[test]
fn nothing_is_lost_whatever_happens_in_whatever_order() {
    for seed in seeds(&SEEDS) {
        let bed = Bed::with(
            |options| {
                options.links = Links::Namespaces;
                options.nats = NatsServers::Start(NatsOptions {
                    nodes: 3,
                    sync_always: true,
                    ..NatsOptions::default()
                });
            },
            &["shutdown.drain_secs=1"],
        );
        let Some(mut bed) = bed else { return };
        let layout = Layout::of(&bed);
        Schedule::from_seed(seed, &layout, STEPS).check(&mut bed);
    }
}
