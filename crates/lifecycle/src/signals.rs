//! SIGINT and SIGTERM stop, SIGHUP reloads.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Which signal asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// Ctrl-C.
    Interrupt,
    /// What service managers send.
    Terminate,
}

/// The signals that the process listens to. From [`listen`](Self::listen) on they no longer end it
/// by themselves, so somebody has to wait for them.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// The system refuses the handlers.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGINT or SIGTERM and calls `reload` at each SIGHUP until then. Called again, it
    /// waits for the second one, which is to force the end. Safe to cancel.
    pub async fn stop(&mut self, mut reload: impl FnMut()) -> StopSignal {
        loop {
            // Stopping first: a flood of SIGHUP must not delay it.
            tokio::select! {
                biased;
                Some(()) = self.interrupt.recv() => return StopSignal::Interrupt,
                Some(()) = self.terminate.recv() => return StopSignal::Terminate,
                Some(()) = self.hangup.recv() => reload(),
                // The runtime's signal driver is gone.
                else => return StopSignal::Terminate,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    // One test, since signals go to the whole process.
    #[tokio::test]
    async fn hangup_reloads_and_each_stop_signal_is_seen_once() {
        let mut signals = Signals::listen().unwrap();
        let send = |signal| kill_process(getpid(), signal).unwrap();
        send(Signal::HUP);
        let mut reloads = 0;
        let first = signals.stop(|| {
            reloads += 1;
            kill_process(getpid(), Signal::TERM).unwrap();
        });
        assert_eq!(first.await, StopSignal::Terminate);
        assert_eq!(reloads, 1);
        send(Signal::INT);
        assert_eq!(signals.stop(|| {}).await, StopSignal::Interrupt);
    }
}
