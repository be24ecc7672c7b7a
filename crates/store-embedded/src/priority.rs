//! Threads whose work can wait: long reads and flushes give way to sockets and short reads.

/// A third of the share of an ordinary thread while the cores are busy, all of it otherwise.
const NICE: i32 = 5;

/// Lowers the priority of the calling thread. Where the system doesn't allow it, all threads are
/// equal.
pub(crate) fn give_way() {
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
        tracing::debug!(%error, "failed to lower the priority of a thread");
    }
}

#[cfg(test)]
mod tests {
    use rustix::{process::getpriority_process, thread::gettid};

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
