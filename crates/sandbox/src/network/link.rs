//! What a way between two processes does to the bytes on it, in each direction.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Which way bytes go: as seen by the one who connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the one who connected.
    Out,
    /// To the one who connected.
    Back,
}

impl Direction {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Out, Self::Back];
}

/// How one direction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Condition {
    /// Nothing gets through, and nobody is told.
    silent: bool,
    /// How late everything arrives, at least.
    delay: Duration,
    /// How much later at most.
    jitter: Duration,
    /// Bytes a second; 0 is no limit.
    rate: u32,
}

/// A way that faults happen to. Any number of connections may go over it.
#[derive(Debug, Default)]
pub struct Link {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    out: Condition,
    back: Condition,
    /// Connections are refused, and none is left.
    is_cut: bool,
    /// How often it was cut: connections end that are from before.
    cuts: u64,
    /// For the jitter.
    drawn: u64,
}

/// Why bytes don't go on: their connection ends, and its two ends are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WasCut;

impl Link {
    /// Ends every connection with a reset and refuses new ones in the same way.
    pub fn cut(&self) {
        self.change(|state| {
            state.is_cut = true;
            state.cuts += 1;
        });
    }

    /// Ends every connection with a reset; new ones are taken.
    pub fn reset(&self) {
        self.change(|state| state.cuts += 1);
    }

    /// Lets nothing through in either direction. Connections stay open, new ones are taken and
    /// get no answer: a network that drops everything.
    pub fn silence(&self) {
        self.change(|state| {
            state.out.silent = true;
            state.back.silent = true;
        });
    }

    /// As [`silence`](Self::silence), in one direction.
    pub fn silence_one(&self, direction: Direction) {
        self.change(|state| state.of(direction).silent = true);
    }

    /// Everything arrives later, in both directions: by `delay`, and by up to `jitter` more, in
    /// order all the same.
    pub fn slow(&self, delay: Duration, jitter: Duration) {
        self.change(|state| {
            for direction in Direction::BOTH {
                let condition = state.of(direction);
                (condition.delay, condition.jitter) = (delay, jitter);
            }
        });
    }

    /// At most so many bytes a second get through in each direction and connection; 0 is no limit.
    pub fn limit(&self, bytes_per_second: u32) {
        self.change(|state| {
            state.out.rate = bytes_per_second;
            state.back.rate = bytes_per_second;
        });
    }

    /// All is well again: what was held back goes on, connections that were cut can be made anew.
    pub fn heal(&self) {
        self.change(|state| {
            state.out = Condition::default();
            state.back = Condition::default();
            state.is_cut = false;
        });
    }

    /// How often it was cut so far; an error if connections are refused.
    pub(crate) fn cuts(&self) -> Result<u64, WasCut> {
        let state = self.lock();
        if state.is_cut {
            return Err(WasCut);
        }
        Ok(state.cuts)
    }

    /// When bytes that came now are due.
    pub(crate) fn due(&self, direction: Direction) -> Instant {
        let mut state = self.lock();
        let condition = *state.of(direction);
        state.drawn = state.drawn.wrapping_add(1);
        Instant::now() + condition.delay + part(condition.jitter, state.drawn)
    }

    /// Waits until `bytes` that are due then may go on, by a connection that began after `cuts` cuts.
    /// Returns when the bytes behind them may.
    pub(crate) fn wait(
        &self,
        direction: Direction,
        cuts: u64,
        due: Instant,
        bytes: usize,
    ) -> Result<Instant, WasCut> {
        let mut state = self.lock();
        loop {
            if state.cuts != cuts {
                return Err(WasCut);
            }
            let condition = *state.of(direction);
            let now = Instant::now();
            if !condition.silent && due <= now {
                return Ok(now + duration(bytes, condition.rate));
            }
            state = if condition.silent {
                let waited = self.changed.wait(state);
                waited.unwrap_or_else(PoisonError::into_inner)
            } else {
                let waited = self.changed.wait_timeout(state, due - now);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn of(&mut self, direction: Direction) -> &mut Condition {
        match direction {
            Direction::Out => &mut self.out,
            Direction::Back => &mut self.back,
        }
    }
}

/// A part of `whole` that looks random.
fn part(whole: Duration, number: u64) -> Duration {
    // The high bits of a multiple of the golden ratio (Fibonacci hashing).
    let hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
    let thousandths = u32::try_from(hash).unwrap_or(0);
    whole * thousandths / 1_024
}

/// How long so many bytes take.
fn duration(bytes: usize, rate: u32) -> Duration {
    if rate == 0 {
        return Duration::ZERO;
    }
    let nanos = (bytes as u64).saturating_mul(1_000_000_000) / u64::from(rate);
    Duration::from_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_below_its_bound_and_is_spread() {
        let whole = Duration::from_millis(100);
        let parts: Vec<Duration> = (0..1_000).map(|n| part(whole, n)).collect();
        assert!(parts.iter().all(|part| *part < whole));
        let above = parts.iter().filter(|part| **part > whole / 2).count();
        assert!((400..600).contains(&above), "{above}");
    }

    #[test]
    fn bytes_take_their_time() {
        assert_eq!(duration(5_000, 10_000), Duration::from_millis(500));
        assert_eq!(duration(5_000, 0), Duration::ZERO);
    }
}
