//! A client that publishes, asks, closes, goes away and comes back, at random.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use heliograph_protocol::Event;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    connection::{Connection, Place},
    history::Seen,
    random::Random,
    workload::Workload,
};

/// Open subscriptions of one client at most.
const SUBSCRIPTIONS_MAX: usize = 4;

/// The pause before a client that was refused comes again.
const RECONNECT: Duration = Duration::from_millis(200);

/// What a client does until when.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The gateways that it may choose.
    pub(crate) gateways: Vec<String>,
    /// Whether it still does something new.
    pub(crate) active: watch::Receiver<bool>,
    /// The pause between two actions at most, in milliseconds.
    pub(crate) pause_max: u64,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    place: Place,
    plan: Plan,
    random: Random,
    workload: Workload,
    /// What wasn't taken and is to be sent again.
    again: VecDeque<Arc<Event>>,
}

impl Client {
    /// A client that isn't connected yet.
    #[must_use]
    pub(crate) fn new(place: Place, plan: Plan, random: Random, workload: Workload) -> Self {
        Self {
            place,
            plan,
            random,
            workload,
            again: VecDeque::new(),
        }
    }

    /// Runs for ever.
    pub(crate) async fn run(mut self) {
        loop {
            let Some(gateway) = self.random.pick(&self.plan.gateways).cloned() else {
                return;
            };
            match Connection::open(&self.place, &gateway).await {
                Ok(connection) => self.use_connection(connection).await,
                Err(_refused) => sleep(RECONNECT).await,
            }
        }
    }

    async fn use_connection(&mut self, mut connection: Connection) {
        let mut next = Instant::now();
        loop {
            let active = *self.plan.active.borrow();
            // What comes first: a client that acts without end reads all the same.
            tokio::select! {
                biased;
                read = connection.read() => if read.is_err() {
                    return;
                },
                () = sleep_until(next), if active => {
                    if self.act(&mut connection).await {
                        return;
                    }
                    next = Instant::now() + self.random.millis(1..self.plan.pause_max);
                }
            }
        }
    }

    /// Does one thing; whether it leaves.
    async fn act(&mut self, connection: &mut Connection) -> bool {
        match self.random.range(0..1_000) {
            0..430 => {
                let event = self.again.pop_front();
                let event = event.unwrap_or_else(|| self.workload.event());
                connection.publish(&event);
                self.note_failures(&event);
            }
            430..520 => {
                if let Some(event) = self.workload.old_event() {
                    connection.publish(&event);
                }
            }
            520..830 => {
                let open = connection.open_subscriptions();
                if open.len() >= SUBSCRIPTIONS_MAX
                    && let Some(id) = self.random.pick(&open)
                {
                    connection.unsubscribe(id);
                }
                connection.subscribe(&self.workload.filter());
            }
            830..900 => {
                if let Some(id) = self.random.pick(&connection.open_subscriptions()) {
                    connection.unsubscribe(id);
                }
            }
            900..930 => sleep(self.random.millis(1..2_000)).await,
            930..945 => return true,
            _ => {}
        }
        false
    }

    /// Some events are sent again whatever came of them: clients do.
    fn note_failures(&mut self, event: &Arc<Event>) {
        if self.random.chance(100) {
            self.again.push_back(Arc::clone(event));
        }
    }
}

/// Publishes until it is taken or refused for good. `false` if neither in time.
pub(crate) async fn publish(
    place: &Place,
    gateway: &str,
    event: &Arc<Event>,
    wait: Duration,
) -> bool {
    let trying = async {
        loop {
            let Ok(mut connection) = Connection::open(place, gateway).await else {
                sleep(RECONNECT).await;
                continue;
            };
            connection.publish(event);
            let Some(number) = place.history.last_of(event.id()) else {
                continue;
            };
            loop {
                let answers = place.history.publications()[number].answers.clone();
                match answers.first() {
                    Some((_, true, _)) => return,
                    Some((_, false, text)) if !text.starts_with("error:") => return,
                    Some(_) => break,
                    None => {}
                }
                if connection.read().await.is_err() {
                    break;
                }
            }
            sleep(RECONNECT).await;
        }
    };
    timeout(wait, trying).await.is_ok()
}

/// Asks until there is an EOSE; the number of the subscription that had it.
pub(crate) async fn ask(
    place: &Place,
    gateway: &str,
    filter: &str,
    wait: Duration,
) -> Option<usize> {
    let asking = async {
        loop {
            let Ok(mut connection) = Connection::open(place, gateway).await else {
                sleep(RECONNECT).await;
                continue;
            };
            let (_, number) = connection.subscribe(filter);
            loop {
                let seen = place.history.last_seen(number);
                match seen {
                    Some(Seen::Eose) => return number,
                    Some(Seen::Closed(_)) => break,
                    _ => {}
                }
                if connection.read().await.is_err() {
                    break;
                }
            }
            sleep(RECONNECT).await;
        }
    };
    timeout(wait, asking).await.ok()
}
