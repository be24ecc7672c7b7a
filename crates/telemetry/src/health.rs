//! Is the process alive, is it ready: what `/livez` and `/readyz` answer.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// A runtime that hasn't ticked for so long is stuck.
pub const HEARTBEAT_AGE_MAX: Duration = Duration::from_secs(10);

/// How often a runtime ticks.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Says why the process isn't ready, if it isn't.
pub type ReadyCheck = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the process knows of itself. Clones share it.
#[derive(Clone)]
pub struct Health {
    shared: Arc<Shared>,
}

struct Shared {
    started: Instant,
    beats: Mutex<Vec<Weak<Beat>>>,
    checks: Mutex<Vec<(&'static str, ReadyCheck)>>,
}

#[derive(Debug)]
struct Beat {
    name: &'static str,
    started: Instant,
    /// Milliseconds from `started` to the last tick.
    last_ms: AtomicU64,
}

/// Ticked by a runtime that serves data; dropping it says that the runtime ended on purpose.
#[derive(Debug)]
pub struct Heartbeat(Arc<Beat>);

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Alive and ready.
    #[must_use]
    pub fn new() -> Self {
        let shared = Shared {
            started: Instant::now(),
            beats: Mutex::default(),
            checks: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// A heartbeat that counts from now on.
    #[must_use]
    pub fn heartbeat(&self, name: &'static str) -> Heartbeat {
        let started = self.shared.started;
        let beat = Beat {
            name,
            started,
            last_ms: AtomicU64::new(millis_since(started)),
        };
        let beat = Arc::new(beat);
        let mut beats = self.shared.beats.lock();
        beats.retain(|beat| beat.strong_count() > 0);
        beats.push(Arc::downgrade(&beat));
        Heartbeat(beat)
    }

    /// Adds a condition to being ready. It is called at each probe, so it only looks.
    pub fn ready_when(
        &self,
        name: &'static str,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.shared.checks.lock().push((name, Box::new(check)));
    }

    /// # Errors
    ///
    /// The runtimes that are stuck, a line each.
    pub fn live(&self) -> Result<(), String> {
        self.live_at(Instant::now())
    }

    pub(crate) fn live_at(&self, now: Instant) -> Result<(), String> {
        let beats: Vec<_> = self
            .shared
            .beats
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        let stuck: Vec<_> = beats
            .iter()
            .filter_map(|beat| {
                let age = beat.age(now);
                let line = || format!("{}: no heartbeat for {} s", beat.name, age.as_secs());
                (age >= HEARTBEAT_AGE_MAX).then(line)
            })
            .collect();
        if stuck.is_empty() {
            Ok(())
        } else {
            Err(stuck.join("\n"))
        }
    }

    /// # Errors
    ///
    /// The conditions that don't hold, a line each; those that are stuck as well.
    pub fn ready(&self) -> Result<(), String> {
        let mut problems: Vec<_> = self.live().err().into_iter().collect();
        for (name, check) in self.shared.checks.lock().iter() {
            if let Err(problem) = check() {
                problems.push(format!("{name}: {problem}"));
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems.join("\n"))
        }
    }
}

impl Beat {
    fn age(&self, now: Instant) -> Duration {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(self.started)
            .saturating_sub(last)
    }
}

impl Heartbeat {
    /// The runtime works.
    pub fn tick(&self) {
        self.0
            .last_ms
            .store(millis_since(self.0.started), Ordering::Relaxed);
    }

    /// Ticks for ever, on the runtime that it is spawned on. Dropping the future ends it.
    pub async fn run(self) {
        loop {
            self.tick();
            tokio::time::sleep(HEARTBEAT_INTERVAL).await;
        }
    }
}

fn millis_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("live", &self.live())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_that_stops_ticking_is_stuck_after_ten_seconds() {
        let health = Health::new();
        let _heart = health.heartbeat("data");
        let after = |secs| health.live_at(Instant::now() + Duration::from_secs(secs));
        assert_eq!(after(9), Ok(()));
        assert_eq!(after(11), Err("data: no heartbeat for 11 s".to_owned()));
    }

    #[test]
    fn a_heartbeat_that_was_dropped_is_not_missed() {
        let health = Health::new();
        drop(health.heartbeat("data"));
        assert_eq!(
            health.live_at(Instant::now() + Duration::from_secs(60)),
            Ok(())
        );
    }

    #[test]
    fn it_is_ready_when_every_check_holds() {
        let health = Health::new();
        assert_eq!(health.ready(), Ok(()));
        health.ready_when("phase", || Ok(()));
        health.ready_when("store", || Err("disk full".to_owned()));
        health.ready_when("bus", || Err("gone".to_owned()));
        assert_eq!(
            health.ready(),
            Err("store: disk full\nbus: gone".to_owned())
        );
    }
}
