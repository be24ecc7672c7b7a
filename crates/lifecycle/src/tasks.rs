//! Tasks that shutdown waits for.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::watch, task::JoinHandle, time::timeout};

/// Tasks of the process that ended in a panic.
static PANICKED: AtomicU64 = AtomicU64::new(0);

/// How many tasks of the process ended in a panic so far, whoever spawned them through [`Tasks`].
#[must_use]
pub fn tasks_panicked() -> u64 {
    PANICKED.load(Ordering::Relaxed)
}

/// Spawns tasks and knows which of them still run. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    by_name: Mutex<BTreeMap<&'static str, usize>>,
    running: watch::Sender<usize>,
    panicked: watch::Sender<u64>,
}

/// Counts one task out when it ends, however it does.
struct Running {
    name: &'static str,
    shared: Arc<Shared>,
}

/// Tasks that still ran when the wait ended: a name and how many, in order of names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftTasks(pub Vec<(&'static str, usize)>);

impl Default for Shared {
    fn default() -> Self {
        Self {
            by_name: Mutex::default(),
            running: watch::Sender::new(0),
            panicked: watch::Sender::new(0),
        }
    }
}

impl Tasks {
    /// No tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a task on the runtime of the caller. Its name is that of its job, shared by all that
    /// do the same: `"connection"`.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.spawn_on(&Handle::current(), name, task)
    }

    /// Spawns a task on another runtime.
    pub fn spawn_on<F>(
        &self,
        runtime: &Handle,
        name: &'static str,
        task: F,
    ) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let running = self.count_in(name);
        runtime.spawn(async move {
            let _running = running;
            task.await
        })
    }

    fn count_in(&self, name: &'static str) -> Running {
        *self.shared.by_name.lock().entry(name).or_default() += 1;
        self.shared.running.send_modify(|count| *count += 1);
        Running {
            name,
            shared: Arc::clone(&self.shared),
        }
    }

    /// How many run.
    #[must_use]
    pub fn running(&self) -> usize {
        *self.shared.running.borrow()
    }

    /// How many ended in a panic so far.
    #[must_use]
    pub fn panicked(&self) -> u64 {
        *self.shared.panicked.borrow()
    }

    /// Waits until no task runs, at most for `grace`, and returns those that are left.
    pub async fn wait(&self, grace: Duration) -> LeftTasks {
        let mut running = self.shared.running.subscribe();
        let all_over = running.wait_for(|count| *count == 0);
        match timeout(grace, all_over).await {
            Ok(_over) => LeftTasks::default(),
            Err(_elapsed) => self.left(),
        }
    }

    /// The tasks that run at this moment.
    #[must_use]
    pub fn left(&self) -> LeftTasks {
        let by_name = self.shared.by_name.lock();
        LeftTasks(
            by_name
                .iter()
                .map(|(name, count)| (*name, *count))
                .collect(),
        )
    }
}

impl LeftTasks {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().map(|(_, count)| count).sum()
    }
}

/// `connection × 12, flush × 1`.
impl fmt::Display for LeftTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, count)) in self.0.iter().enumerate() {
            write!(f, "{}{name} × {count}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.panicked.send_modify(|count| *count += 1);
            PANICKED.fetch_add(1, Ordering::Relaxed);
            tracing::error!(task = self.name, "task panicked");
        }
        let mut by_name = self.shared.by_name.lock();
        if let Some(count) = by_name.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                by_name.remove(self.name);
            }
        }
        drop(by_name);
        // Last, so that whoever waits for zero finds the names gone as well.
        self.shared.running.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_the_last_task() {
        let tasks = Tasks::new();
        let started = tokio::time::Instant::now();
        tasks.spawn("short", tokio::time::sleep(Duration::from_secs(1)));
        tasks.spawn("long", tokio::time::sleep(Duration::from_secs(3)));
        assert_eq!(tasks.wait(GRACE).await, LeftTasks::default());
        assert_eq!(started.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_past_the_grace_period_are_named_and_counted() {
        let tasks = Tasks::new();
        for _ in 0..2 {
            tasks.spawn("connection", pending::<()>());
        }
        tasks.spawn("accept", pending::<()>());
        tasks.spawn("flush", async {});
        let left = tasks.wait(GRACE).await;
        assert_eq!(left, LeftTasks(vec![("accept", 1), ("connection", 2)]));
        assert_eq!(
            (left.count(), left.to_string().as_str()),
            (3, "accept × 1, connection × 2")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn aborted_and_panicking_tasks_are_over() {
        let tasks = Tasks::new();
        let before = tasks_panicked();
        tasks.spawn("aborted", pending::<()>()).abort();
        tasks.spawn("panicking", async { panic!("on purpose") });
        assert_eq!(tasks.wait(GRACE).await, LeftTasks::default());
        assert_eq!(tasks.panicked(), 1);
        assert!(tasks_panicked() > before, "the process counts all of them");
    }
}
