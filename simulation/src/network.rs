//! Who listens where, and the connections between processes.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    pipe::{End, Pipe},
    process::Process,
    random::Random,
};

/// Connections that wait to be accepted.
const BACKLOG: usize = 64;

/// All connections of a run. Clones share it.
#[derive(Debug, Clone)]
pub struct Network {
    shared: Arc<Mutex<Shared>>,
    random: Random,
    delay: Duration,
    room: usize,
}

#[derive(Debug, Default)]
struct Shared {
    listeners: BTreeMap<String, (Arc<Process>, mpsc::Sender<End>)>,
    pipes: Vec<Pipe>,
    /// Between these two nothing gets through until then.
    stalled: Vec<([String; 2], Instant)>,
}

impl Network {
    /// Nobody listens yet. What is written arrives within `delay`; `room` bytes may be on the way.
    #[must_use]
    pub fn new(random: Random, delay: Duration, room: usize) -> Self {
        Self {
            shared: Arc::default(),
            random,
            delay,
            room,
        }
    }

    /// Listens at `address` until the process ends.
    pub fn listen(&self, process: &Arc<Process>, address: &str) -> mpsc::Receiver<End> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let listener = (Arc::clone(process), sender);
        let mut shared = self.shared.lock();
        shared.listeners.insert(address.to_owned(), listener);
        receiver
    }

    /// Connects to an address, which is that of a process of the same name.
    ///
    /// # Errors
    ///
    /// Nobody listens there.
    pub async fn dial(&self, process: &Arc<Process>, address: &str) -> io::Result<End> {
        sleep(self.random.delay(self.delay)).await;
        loop {
            let until = self.shared.lock().stalled(process.name(), address);
            match until {
                Some(until) => sleep_until(until).await,
                None => break,
            }
        }
        let mut shared = self.shared.lock();
        shared.pipes.retain(|pipe| !pipe.is_over());
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let (listener, accept) = shared.listeners.get(address).ok_or_else(refused)?;
        let (pipe, near, far) = Pipe::new(process, listener, &self.random, self.delay, self.room);
        accept.try_send(far).map_err(|_full| refused())?;
        shared.pipes.push(pipe);
        Ok(near)
    }

    /// A process ended: its peers find their connections lost, and nobody listens there.
    pub fn lose(&self, process: &Process) {
        let mut shared = self.shared.lock();
        let same = |listener: &Arc<Process>| listener.incarnation() == process.incarnation();
        shared.listeners.retain(|_, (listener, _)| !same(listener));
        let lost = shared.pipes.extract_if(.., |pipe| pipe.joins(process));
        lost.for_each(|pipe| pipe.break_off());
    }

    /// Breaks all connections between two.
    pub fn break_off(&self, one: &str, other: &str) {
        let mut shared = self.shared.lock();
        let between = |pipe: &mut Pipe| is_pair(pipe.names(), one, other);
        let lost = shared.pipes.extract_if(.., between);
        lost.for_each(|pipe| pipe.break_off());
    }

    /// Nothing gets through between two, in either direction, for this time.
    pub fn stall(&self, one: &str, other: &str, time: Duration) {
        let until = Instant::now() + time;
        let mut shared = self.shared.lock();
        for pipe in &shared.pipes {
            if is_pair(pipe.names(), one, other) {
                pipe.stall(until);
            }
        }
        let pair = [one.to_owned(), other.to_owned()];
        shared.stalled.push((pair, until));
    }
}

impl Shared {
    fn stalled(&mut self, one: &str, other: &str) -> Option<Instant> {
        let now = Instant::now();
        self.stalled.retain(|(_, until)| *until > now);
        let stalled = self.stalled.iter();
        let stalled = stalled.filter(|(pair, _)| is_pair([&pair[0], &pair[1]], one, other));
        stalled.map(|(_, until)| *until).max()
    }
}

fn is_pair(names: [&str; 2], one: &str, other: &str) -> bool {
    names == [one, other] || names == [other, one]
}
