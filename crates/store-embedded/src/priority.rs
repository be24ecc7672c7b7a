//! Threads whose work can wait: long reads and flushes give way to sockets and short reads.

use rustix::process::{getpriority_process, setpriority_process};

/// A third of the share of an ordinary thread while the cores are busy, all of it otherwise.
const NICE: i32 = 5;

/// Lowers the priority of the calling thread. Where the system doesn't allow it, all threads are
/// equal.
pub(crate) fn give_way() {
    let thread = Some(rustix::thread::gettid());
    // A process that was started low stays there.
    let lower =
        getpriority_process(thread).and_then(|nice| setpriority_process(thread, nice.max(NICE)));
    if let Err(error) = lower {
        tracing::debug!(%error, "failed to lower the priority of a thread");
    }
}

#[cfg(test)]
mod tests {
    use rustix::thread::gettid;

    use super::*;

    #[test]
    fn only_the_calling_thread_gives_way() {
        let before = getpriority_process(Some(gettid())).unwrap();
        let lowered = std::thread::spawn(|| {
            give_way();
            getpriority_process(Some(gettid())).unwrap()
        });
        assert_eq!(lowered.join().unwrap(), before.max(NICE));
        assert_eq!(getpriority_process(Some(gettid())).unwrap(), before);
    }
}
