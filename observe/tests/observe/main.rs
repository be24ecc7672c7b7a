//! What operators see of a live cluster: every panel has data, no metric is unknown, every fault that can be
//! staged here has its alert, a rolling restart has none, and nobody can fill Prometheus with series.
//!
//! One cluster serves all of it, in the order of the test below.

mod boards;
mod faults;
mod restart;
mod scrape;

use std::time::{Duration, Instant};

use heliograph_faults::bed::say;
use heliograph_observe::{
    compress::Compression,
    live,
    load::Load,
    stand::{SCRAPE_INTERVAL, Stand},
};

use crate::faults::Day;

/// What rules' durations are divided by: five minutes are fifteen seconds.
const FACTOR: f64 = 20.0;

/// Some samples in the shortest window.
const WINDOW_MIN: Duration = Duration::from_secs(4);

/// Events a second at the cluster and at the relay in one process: gentle, as two slow cores do everything.
const CLUSTER_RATE: u32 = 40;
const ALONE_RATE: u32 = 20;

/// How many events are stored before anything is looked at.
const WARM_EVENTS: usize = 600;

/// How many more before pictures are taken for the documentation.
const PICTURE_EVENTS: usize = 5_000;

/// How long that may take.
const WARM_PATIENCE: Duration = Duration::from_secs(120);

/// The environment variable that says what durations are divided by on a game day.
const GAME_DAY: &str = "HELIOGRAPH_GAMEDAY_FACTOR";

/// Everything that runs.
struct Show {
    cluster_load: Load,
    alone_load: Load,
    stand: Stand,
    began: Instant,
    started: f64,
}

impl Show {
    fn start(factor: f64) -> Option<Self> {
        let began = Instant::now();
        let stand = Stand::start(Compression {
            factor,
            window_min: WINDOW_MIN.max(SCRAPE_INTERVAL * 3),
        })?;
        let started = live::now(&stand.prometheus);
        let show = Self {
            cluster_load: Load::start(1, CLUSTER_RATE, stand.bed.gateways()),
            alone_load: Load::start(2, ALONE_RATE, vec![stand.alone.address()]),
            stand,
            began,
            started,
        };
        show.phase("load");
        show.cluster_load.progress(WARM_EVENTS, WARM_PATIENCE);
        show.alone_load.progress(WARM_EVENTS / 2, WARM_PATIENCE);
        Some(show)
    }

    /// Says what begins.
    fn phase(&self, name: &str) {
        say(&format!(
            "== {:6.1} s  {name}",
            self.began.elapsed().as_secs_f64()
        ));
    }
}

#[test]
fn the_cluster_is_seen_and_its_faults_are_noticed() {
    let Some(mut show) = Show::start(FACTOR) else {
        return;
    };
    if boards::are_wanted() {
        show.cluster_load
            .progress(PICTURE_EVENTS, WARM_PATIENCE * 4);
    }
    let undisturbed = live::now(&show.stand.prometheus);
    show.phase("a rolling restart");
    restart::roll(&mut show.stand);
    show.phase("every metric is in the reference, and every one of the reference is shown");
    scrape::is_documented(&show.stand);
    show.phase("latencies lead to traces");
    scrape::leads_to_traces(&show.stand, show.started);
    show.phase("ten minutes without one process of each role");
    restart::lose_one_of_each(&show.stand, FACTOR);
    show.phase("pictures");
    boards::are_drawn(&show.stand, show.started);
    show.phase("no alert for all of that");
    restart::was_silent(&show.stand, undisturbed, FACTOR);
    // When the restarts are long over.
    show.phase("every panel and every recording rule has data");
    boards::have_data(&show.stand, show.started);
    show.phase("every fault has its alert");
    faults::are_noticed(&mut show.stand, Day { factor: FACTOR });
    show.phase("abuse makes no series");
    show.cluster_load.stop();
    show.alone_load.stop();
    scrape::does_not_grow(&show.stand);
    say(&format!(
        "== {:6.1} s  done",
        show.began.elapsed().as_secs_f64()
    ));
}

/// The faults in real time, or as compressed as the environment says: `cargo xtask gameday`.
#[test]
#[ignore = "takes most of an hour: cargo xtask gameday"]
fn game_day() {
    let factor = heliograph_testkit::process::option(GAME_DAY);
    let factor = factor.map_or(1.0, |text| {
        let text = text.to_string_lossy().into_owned();
        text.parse()
            .unwrap_or_else(|_| panic!("{GAME_DAY}={text}: expected a number"))
    });
    let Some(mut show) = Show::start(factor) else {
        return;
    };
    show.phase("game day");
    faults::are_noticed(&mut show.stand, Day { factor });
    say(&format!(
        "== {:6.1} s  done",
        show.began.elapsed().as_secs_f64()
    ));
}
