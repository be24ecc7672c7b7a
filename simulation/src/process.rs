//! A simulated process: tasks that can be stopped for a while, or ended at any point where they wait.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use heliograph_lifecycle::Tasks;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

/// One process, from its start to its end; a restart is another one of the same name.
#[derive(Debug)]
pub struct Process {
    name: String,
    incarnation: u64,
    tasks: Tasks,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    handles: Vec<AbortHandle>,
    dead: bool,
    stopped: bool,
    /// Whether it can reach the bus.
    cut_off: bool,
    parked: Vec<Waker>,
}

impl Process {
    /// Starts a process without tasks.
    #[must_use]
    pub fn start(name: &str, incarnation: u64) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            incarnation,
            tasks: Tasks::new(),
            state: Mutex::default(),
        })
    }

    /// Its name, the same after every start.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Unique among all processes of a run.
    #[must_use]
    pub const fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Where the services spawn what they spawn themselves.
    #[must_use]
    pub const fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Runs a task until it is over or the process ends.
    pub fn spawn<F>(self: &Arc<Self>, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if self.is_dead() {
            return;
        }
        let gated = Gated {
            process: Arc::clone(self),
            task: Box::pin(task),
        };
        let handle = self.tasks.spawn(name, gated).abort_handle();
        let mut state = self.state.lock();
        state.handles.retain(|handle| !handle.is_finished());
        state.handles.push(handle);
    }

    /// Ends all tasks where they stand (SIGKILL).
    pub fn kill(&self) {
        let mut state = self.state.lock();
        state.dead = true;
        let handles = std::mem::take(&mut state.handles);
        drop(state);
        handles.iter().for_each(AbortHandle::abort);
        self.wake();
    }

    /// Stops all tasks where they stand, until they may go on (SIGSTOP).
    pub fn stop(&self) {
        self.state.lock().stopped = true;
    }

    /// Lets them go on (SIGCONT).
    pub fn go_on(&self) {
        self.state.lock().stopped = false;
        self.wake();
    }

    /// Whether it was killed.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state.lock().dead
    }

    /// Whether it stands still.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// Cuts it off the bus, or connects it again.
    pub fn cut_off(&self, cut_off: bool) {
        self.state.lock().cut_off = cut_off;
    }

    /// Whether it reaches the bus and the store.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        let state = self.state.lock();
        !state.dead && !state.cut_off
    }

    /// Whether it runs and others hear of it.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let state = self.state.lock();
        !state.dead && !state.cut_off && !state.stopped
    }

    /// Whether the task may not be polled now; it is woken when it may.
    pub fn park(&self, context: &Context<'_>) -> bool {
        let mut state = self.state.lock();
        if state.stopped && !state.dead {
            state.parked.push(context.waker().clone());
            return true;
        }
        false
    }

    fn wake(&self) {
        let parked = std::mem::take(&mut self.state.lock().parked);
        parked.into_iter().for_each(Waker::wake);
    }
}

struct Gated<F> {
    process: Arc<Process>,
    task: Pin<Box<F>>,
}

impl<F: Future<Output = ()>> Future for Gated<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.process.park(context) {
            return Poll::Pending;
        }
        self.task.as_mut().poll(context)
    }
}
