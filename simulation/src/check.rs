//! Decides whether what clients saw is what the relay promises.
//!
//! The truth is what the simulation itself knows: every event that was written to the database, and
//! every commit in order. What an event does to another is asked of the memory store, which is the
//! oracle of all stores.

mod live;
mod stored;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use heliograph_bus::Committed;
use heliograph_policy::RelayUrls;
use heliograph_protocol::{Event, EventId, Filter, Kind, Timestamp};
use heliograph_store::{Budget, End, EventStore, MemoryStore, Scan, ScanRequest, StoreError};

use crate::{
    history::{History, Publication, Subscription},
    journal::short,
    run::Counts,
};

/// Rows read at once.
const PAGE_ROWS: usize = 100;

/// Characters of a filter in a message; those of the workload are ASCII.
const FILTER_SHOWN: usize = 120;

/// Everything that is known of a run.
#[derive(Debug)]
pub struct Facts {
    pub(crate) sent: BTreeMap<EventId, Arc<Event>>,
    pub(crate) publications: Vec<Publication>,
    pub(crate) subscriptions: Vec<Subscription>,
    /// The subscriptions of the end: what each gateway answers when all is mended.
    pub(crate) last: BTreeSet<usize>,
    /// The place of the first announcement of each event among all commits, from 0.
    pub(crate) announced: BTreeMap<EventId, usize>,
    /// Everything written, merged in one go.
    model: MemoryStore,
    pub(crate) written: BTreeSet<EventId>,
    beaten: BTreeMap<EventId, Vec<EventId>>,
    pub(crate) now: Timestamp,
    /// Whether every event has to be announced, however long that takes.
    patient: bool,
    /// Events that may be repeated, since they were announced too late.
    pub(crate) late: BTreeSet<EventId>,
}

impl Facts {
    /// Gathers them. `commits` are all commits in order, `written` all events that reached the
    /// database, `last` the numbers of the subscriptions of the end, `now` the time then; `patient`
    /// if the stream of commits goes back to the beginning, `late` what was announced too late.
    #[expect(clippy::too_many_arguments, reason = "the list of what is known")]
    #[must_use]
    pub fn gather(
        history: &History,
        commits: &[Vec<Committed>],
        written: &[Arc<Event>],
        last: BTreeSet<usize>,
        urls: &RelayUrls,
        now: Timestamp,
        patient: bool,
        late: BTreeSet<EventId>,
    ) -> Self {
        let sent = history.sent();
        let mut announced = BTreeMap::new();
        for (place, commit) in commits.iter().enumerate() {
            for change in commit {
                if let Committed::Winner(event) = change {
                    announced.entry(*event.id()).or_insert(place);
                }
            }
        }
        let model = MemoryStore::new(urls.clone());
        let mut sorted = written.to_vec();
        sorted.sort_by_key(|event| event.position());
        ready(model.write(sorted)).expect("memory doesn't fail");
        Self {
            beaten: beaten(&sent, urls),
            publications: history.publications(),
            subscriptions: history.subscriptions(),
            written: written.iter().map(|event| *event.id()).collect(),
            sent,
            last,
            announced,
            model,
            now,
            patient,
            late,
        }
    }

    /// Everything that is wrong, in words.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        self.check_answers(&mut wrong);
        self.check_acknowledged(&mut wrong);
        for (number, subscription) in self.subscriptions.iter().enumerate() {
            let mut found = Vec::new();
            self.check_stored(subscription, &mut found);
            self.check_live(subscription, &mut found);
            if self.last.contains(&number) {
                self.check_last(subscription, &mut found);
            }
            let (name, mut text) = (&subscription.name, subscription.text.clone());
            text.truncate(FILTER_SHOWN);
            let found = found.into_iter();
            wrong.extend(found.map(|what| format!("{name} {text}: {what}")));
        }
        wrong
    }

    /// What a store has to hold at the end, in order.
    #[must_use]
    pub fn expected(&self, filter: &Filter) -> Vec<EventId> {
        visible(&self.model, filter, self.now)
    }

    /// Whether everybody may see an event, whose end in time isn't near.
    pub(crate) fn is_plain(event: &Event) -> bool {
        let kind = event.kind();
        kind != Kind::VANISH && !kind.is_ephemeral()
    }

    /// What may remove this event or keep it out, of all that was sent.
    pub(crate) fn beaten_by(&self, id: &EventId) -> &[EventId] {
        self.beaten.get(id).map_or(&[], Vec::as_slice)
    }

    /// Events sent without one OK each are wrong, unless their connection ended.
    fn check_answers(&self, wrong: &mut Vec<String>) {
        for publication in &self.publications {
            let id = short(publication.event.id());
            match publication.answers.len() {
                0 if publication.lost => {}
                0 => wrong.push(format!("{id} was never answered")),
                1 => {}
                many => wrong.push(format!("{id} was answered {many} times")),
            }
        }
        for subscription in &self.subscriptions {
            let name = &subscription.name;
            match subscription.closed() {
                Some(why) if !why.starts_with("error:") => {
                    wrong.push(format!("{name} was closed: {why}"));
                }
                None if subscription.is_open() && subscription.commits_at_eose.is_none() => {
                    wrong.push(format!("{name} was never answered"));
                }
                _ => {}
            }
        }
    }

    /// What was acknowledged has been written.
    fn check_acknowledged(&self, wrong: &mut Vec<String>) {
        for publication in &self.publications {
            let event = &publication.event;
            let accepted = publication.answers.iter().any(|(_, accepted, _)| *accepted);
            if !accepted || event.kind().is_ephemeral() {
                continue;
            }
            let id = event.id();
            if !self.written.contains(id) {
                wrong.push(format!("{} was acknowledged and lost", short(id)));
            } else if self.patient && self.is_lasting(event) && !self.announced.contains_key(id) {
                wrong.push(format!("{} was acknowledged and not announced", short(id)));
            }
        }
    }

    /// At the end every gateway answers what the model does.
    fn check_last(&self, subscription: &Subscription, wrong: &mut Vec<String>) {
        let got: Vec<EventId> = subscription
            .events()
            .filter(|(_, _, stored)| *stored)
            .map(|(_, id, _)| id)
            .collect();
        compare(
            "the last answer",
            &got,
            &self.seen_by_all(&subscription.filter),
            wrong,
        );
    }

    /// How much there was to check.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let accepted = |publication: &&Publication| {
            publication.answers.iter().any(|(_, accepted, _)| *accepted)
        };
        let subscriptions = &self.subscriptions;
        Counts {
            publications: self.publications.len(),
            accepted: self.publications.iter().filter(accepted).count(),
            subscriptions: subscriptions.len(),
            closed: subscriptions
                .iter()
                .filter(|s| s.closed().is_some())
                .count(),
            deliveries: subscriptions.iter().map(|s| s.events().count()).sum(),
            open: subscriptions.iter().filter(|s| s.is_open()).count(),
            commits: 0,
        }
    }

    /// What everybody sees at the end.
    #[must_use]
    pub fn seen_by_all(&self, filter: &Filter) -> Vec<EventId> {
        let mut expected = self.expected(filter);
        expected.retain(|id| self.sent.get(id).is_none_or(|event| Self::is_plain(event)));
        expected
    }
}

/// Says in what two lists of ids differ.
pub fn compare(what: &str, got: &[EventId], expected: &[EventId], wrong: &mut Vec<String>) {
    if got == expected {
        return;
    }
    let (has, wants) = (BTreeSet::from_iter(got), BTreeSet::from_iter(expected));
    let short =
        |ids: Vec<&&EventId>| -> Vec<String> { ids.into_iter().map(|id| short(id)).collect() };
    let missing = short(wants.difference(&has).collect());
    let extra = short(has.difference(&wants).collect());
    wrong.push(format!(
        "{what} lacks {missing:?} and has {extra:?} too much"
    ));
}

/// The ids that a store shows for a filter, in order.
#[must_use]
pub fn visible<S: EventStore>(store: &S, filter: &Filter, now: Timestamp) -> Vec<EventId> {
    let mut scan = store.scan(ScanRequest {
        filter: Arc::new(filter.clone()),
        ..everything(now)
    });
    let mut ids = Vec::new();
    loop {
        let page = ready(scan.next(PAGE_ROWS)).expect("memory doesn't fail");
        ids.extend(page.events.iter().map(|event| *event.id()));
        if page.end == Some(End::Complete) {
            return ids;
        }
    }
}

/// The ids of everything that a store shows, in order.
///
/// # Errors
///
/// It can't be read.
pub async fn read_all<S: EventStore>(
    store: &S,
    now: Timestamp,
) -> Result<Vec<EventId>, StoreError> {
    let mut scan = store.scan(everything(now));
    let mut ids = Vec::new();
    loop {
        let page = scan.next(PAGE_ROWS).await?;
        ids.extend(page.events.iter().map(|event| *event.id()));
        if page.end == Some(End::Complete) {
            return Ok(ids);
        }
    }
}

fn everything(now: Timestamp) -> ScanRequest {
    ScanRequest {
        filter: Arc::default(),
        after: None,
        now,
        budget: Budget::UNLIMITED,
    }
}

/// Which events remove which.
fn beaten(
    sent: &BTreeMap<EventId, Arc<Event>>,
    urls: &RelayUrls,
) -> BTreeMap<EventId, Vec<EventId>> {
    let strong = sent.values().filter(|event| {
        let kind = event.kind();
        kind.has_address() || kind == Kind::DELETION || kind == Kind::VANISH
    });
    let mut beaten: BTreeMap<EventId, Vec<EventId>> = BTreeMap::new();
    for winner in strong {
        for loser in sent.values() {
            if winner.pubkey() == loser.pubkey()
                && winner.id() != loser.id()
                && !loser.kind().is_ephemeral()
                && beats(winner, loser, urls)
            {
                beaten.entry(*loser.id()).or_default().push(*winner.id());
            }
        }
    }
    beaten
}

fn beats(winner: &Arc<Event>, loser: &Arc<Event>, urls: &RelayUrls) -> bool {
    let store = MemoryStore::new(urls.clone());
    let both = vec![Arc::clone(winner), Arc::clone(loser)];
    ready(store.write(both)).expect("memory doesn't fail");
    !ready(store.contains(loser.id())).expect("memory doesn't fail")
}

/// The memory store never waits, so one poll is the whole future.
fn ready<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the memory store never waits"),
    }
}
