//! The phase of the process, set by one and watched by all.

use std::sync::Arc;

use tokio::sync::watch;

/// How far stopping has come. Later phases are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Accepting and serving.
    Running,
    /// Says that it isn't ready, but accepts on, until load balancers have noticed.
    Unready,
    /// Accepts nothing new: answers what is pending, flushes, closes connections.
    Draining,
    /// Everything ends now.
    Stopped,
}

/// The phase of the process. Clones share it.
#[derive(Debug, Clone)]
pub struct Shutdown {
    sender: Arc<watch::Sender<Phase>>,
}

/// Watches a [`Shutdown`].
#[derive(Debug, Clone)]
pub struct PhaseWatch {
    receiver: watch::Receiver<Phase>,
}

impl Phase {
    /// The name in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Unready => "unready",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A process that runs.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sender: Arc::new(watch::Sender::new(Phase::Running)),
        }
    }

    /// The phase at this moment.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.sender.borrow()
    }

    /// Advances to `phase`; does nothing if that phase or a later one is reached already.
    pub fn advance(&self, phase: Phase) {
        let advanced = self.sender.send_if_modified(|current| {
            let later = phase > *current;
            if later {
                *current = phase;
            }
            later
        });
        if advanced {
            tracing::info!(phase = phase.as_str(), "phase reached");
        }
    }

    /// A watch of its own for a task.
    #[must_use]
    pub fn watch(&self) -> PhaseWatch {
        PhaseWatch {
            receiver: self.sender.subscribe(),
        }
    }
}

impl PhaseWatch {
    /// The phase at this moment; [`Phase::Stopped`] once every [`Shutdown`] is gone.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.receiver.has_changed().is_err() {
            return Phase::Stopped;
        }
        *self.receiver.borrow()
    }

    /// Waits until `phase` or a later one is reached and returns the one that is. Safe to cancel.
    pub async fn reached(&mut self, phase: Phase) -> Phase {
        match self.receiver.wait_for(|current| *current >= phase).await {
            Ok(current) => *current,
            // Nobody can advance any more: the process is ending.
            Err(_gone) => Phase::Stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_never_go_back() {
        let shutdown = Shutdown::new();
        let watch = shutdown.watch();
        shutdown.advance(Phase::Draining);
        shutdown.advance(Phase::Unready);
        assert_eq!(
            (shutdown.phase(), watch.phase()),
            (Phase::Draining, Phase::Draining)
        );
    }

    #[tokio::test]
    async fn a_watch_sees_a_phase_that_was_skipped() {
        let shutdown = Shutdown::new();
        let mut watch = shutdown.watch();
        shutdown.advance(Phase::Stopped);
        assert_eq!(watch.reached(Phase::Unready).await, Phase::Stopped);
    }

    #[tokio::test]
    async fn a_watch_without_its_shutdown_is_stopped() {
        let mut watch = Shutdown::new().watch();
        assert_eq!(watch.phase(), Phase::Stopped);
        assert_eq!(watch.reached(Phase::Draining).await, Phase::Stopped);
    }
}
