//! Random histories against the memory store: events committed, then applied late and out of order
//! and repeated, while the index is filled, evicts, drops texts, is read page by page, and is lost and
//! built anew; events expire meanwhile and are purged.

use std::{collections::HashSet, future::Future, sync::Arc};

use heliograph_protocol::{Event, EventId, Filter, Outcome, Timestamp};
use heliograph_store::{
    Budget, EventStore, MemoryStore, Scan, ScanRequest,
    conformance::{NOW, Rng, collect, event, random_events, random_filter, relay_urls},
};

use crate::{Applied, Recent, RecentOptions, RecentScan, warm};

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime without drivers").block_on(future)
}

/// Random events expire in the seconds from here on.
const FAR: u64 = 4_000_000_000;

/// A read under way.
struct Reading {
    filter: Filter,
    scan: RecentScan<MemoryStore>,
    answer: Vec<Arc<Event>>,
    /// What was visible in both tiers when it began, and still is.
    stable: HashSet<EventId>,
    /// What was visible at some time since.
    seen: HashSet<EventId>,
}

struct Model {
    seed: u64,
    rng: Rng,
    options: RecentOptions,
    /// So little is remembered that only what comes in order and once can be told from what was
    /// removed; and a page of the warm-up that has grown old can't.
    forgetful: bool,
    now: Timestamp,
    archive: MemoryStore,
    recent: Recent<MemoryStore>,
    events: Vec<Arc<Event>>,
    /// The stream: what was committed, with outcomes.
    stream: Vec<(Arc<Event>, Outcome)>,
    /// Committed and not applied yet.
    pending: Vec<(Arc<Event>, Outcome)>,
    applied: Vec<Arc<Event>>,
    committed: Vec<EventId>,
    delivered: HashSet<EventId>,
    readings: Vec<Reading>,
    /// A page of the archive that isn't taken in yet, and may have grown old.
    page: Option<warm::Reading>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let forgetful = rng.one_in(3);
        let options = RecentOptions {
            events_max: *rng.pick(&[0, 1, 3, 10, 40, 100, 1_000]),
            text_bytes_max: *rng.pick(&[0, 3_000, 20_000, 1 << 20]),
            remembered_max: if forgetful { rng.index(4) } else { 10_000 },
        };
        let archive = MemoryStore::new(relay_urls());
        let recent = Recent::new(archive.clone(), options, relay_urls());
        let events = random_events(&mut rng, 250, false);
        Self {
            seed,
            rng,
            options,
            forgetful,
            now: NOW,
            archive,
            recent,
            events,
            stream: Vec::new(),
            pending: Vec::new(),
            applied: Vec::new(),
            committed: Vec::new(),
            delivered: HashSet::new(),
            readings: Vec::new(),
            page: None,
        }
    }

    async fn visible(&self) -> HashSet<EventId> {
        let all = collect(&self.archive, &Filter::default(), self.now).await;
        all.iter().map(|event| *event.id()).collect()
    }

    /// Stores events by way of another process, or through the index, and announces them.
    async fn commit(&mut self, count: usize) {
        let batch = self.events.drain(..count.min(self.events.len()));
        // What has expired is refused before it comes here (R40-1).
        let batch: Vec<_> = batch.filter(|event| !event.is_expired(self.now)).collect();
        self.committed.extend(batch.iter().map(|event| *event.id()));
        // What is written here is known before what was committed elsewhere and isn't applied.
        let here = self.rng.one_in(4) && !self.forgetful;
        let outcomes = if here {
            self.recent.write(batch.clone()).await
        } else {
            self.archive.write(batch.clone()).await
        };
        let outcomes = outcomes.expect("memory doesn't fail");
        let committed = batch.into_iter().zip(outcomes);
        let announced = committed.filter(|(event, outcome)| {
            let seat = *outcome == Outcome::Deleted && event.kind().has_address();
            *outcome == Outcome::Stored || seat
        });
        let announced: Vec<_> = announced.collect();
        self.stream.extend_from_slice(&announced);
        self.pending.extend(announced);
        self.notice_changes().await;
    }

    async fn notice_changes(&mut self) {
        let visible = self.visible().await;
        for reading in &mut self.readings {
            reading.stable.retain(|id| visible.contains(id));
            reading.seen.extend(&visible);
        }
    }

    /// Time passes, and the archive purges what is over.
    async fn expire(&mut self) {
        let next = self.now.as_secs().max(FAR - 1) + 1;
        self.now = Timestamp::from_secs(next.min(FAR + 5));
        self.archive.purge_expired(self.now);
        self.notice_changes().await;
    }

    /// The index is lost; a new one follows the stream from some place on.
    fn rebuild(&mut self) {
        self.recent = Recent::new(self.archive.clone(), self.options, relay_urls());
        let from = self.rng.index(self.stream.len() + 1);
        self.pending = self.stream[from..].to_vec();
        let before = self.stream[..from].iter();
        self.applied = before.map(|(event, _outcome)| Arc::clone(event)).collect();
        self.delivered.clear();
        self.readings.clear();
        self.page = None;
    }

    /// A worker writes once more what is stored, and can't tell whether it was announced.
    async fn write_again(&mut self) {
        let held = collect(&self.archive, &Filter::default(), self.now).await;
        if !held.is_empty() && !self.forgetful {
            self.recent.take_again(self.rng.pick(&held));
        }
    }

    /// Applies one of the oldest few that are pending, and now and then one again.
    async fn apply(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let apart = if self.forgetful { 1 } else { 4 };
        let at = self.rng.index(self.pending.len().min(apart));
        let (event, outcome) = self.pending.remove(at);
        if outcome == Outcome::Deleted {
            self.recent.take_seat(&event);
            return;
        }
        self.deliver(&event).await;
        for reading in &mut self.readings {
            // It may be gone from the archive, by something that is still pending.
            reading.seen.insert(*event.id());
        }
        self.applied.push(event);
        if self.rng.one_in(5) && !self.forgetful {
            let again = self.rng.pick(&self.applied);
            if !self.delivered.contains(again.id()) {
                return;
            }
            let again = Arc::clone(again);
            let applied = self.recent.apply(&[again]);
            assert_ne!(
                applied,
                [Applied::New],
                "seed {}: delivered twice",
                self.seed
            );
        }
    }

    async fn deliver(&mut self, event: &Arc<Event>) {
        let applied = self.recent.apply(&[Arc::clone(event)]);
        let first = self.delivered.insert(*event.id());
        assert!(first, "seed {}: an event is committed once", self.seed);
        // Whoever wrote it again here may know by now that it is deleted.
        let stored = self.archive.contains(event.id()).await;
        assert!(
            applied != [Applied::Known] || stored == Ok(false),
            "seed {}: never delivered {}",
            self.seed,
            event.as_str()
        );
    }

    async fn begin(&mut self) {
        let mut pool = self.applied.clone();
        pool.extend(self.events.iter().cloned());
        let filter = random_filter(&mut self.rng, &pool);
        let late: HashSet<_> = self.pending.iter().map(|(event, _)| *event.id()).collect();
        let seen = self.visible().await;
        let all = collect(&self.archive, &filter, self.now).await;
        let stable = all
            .iter()
            .map(|event| *event.id())
            .filter(|id| !late.contains(id))
            .collect();
        let scan = self.recent.scan(ScanRequest {
            filter: Arc::new(filter.clone()),
            after: None,
            now: self.now,
            budget: Budget::UNLIMITED,
        });
        // What is still to be removed may be seen; that nothing else is left is checked when quiet.
        let state = self.recent.shared.state.read();
        let held = self
            .committed
            .iter()
            .filter(|id| state.index.find(id).is_some());
        let seen = seen.into_iter().chain(held.copied()).collect();
        drop(state);
        self.readings.push(Reading {
            filter,
            scan,
            answer: Vec::new(),
            stable,
            seen,
        });
    }

    async fn read(&mut self) {
        if self.readings.is_empty() {
            return;
        }
        let at = self.rng.index(self.readings.len());
        let rows = 1 + self.rng.index(6);
        let page = self.readings[at]
            .scan
            .next(rows)
            .await
            .expect("memory doesn't fail");
        assert!(page.events.len() <= rows);
        self.readings[at].answer.extend(page.events);
        if page.end.is_some() {
            let reading = self.readings.swap_remove(at);
            self.check_reading(&reading);
        }
    }

    fn check_reading(&self, reading: &Reading) {
        let (seed, answer) = (self.seed, &reading.answer);
        let filter = &reading.filter;
        let ordered = answer
            .windows(2)
            .all(|two| two[0].position() < two[1].position());
        assert!(ordered, "seed {seed}: {filter:?} out of order or twice");
        for event in answer {
            assert!(
                filter.matches(event),
                "seed {seed}: {filter:?} got {}",
                event.as_str()
            );
            assert!(
                reading.seen.contains(event.id()),
                "seed {seed}: {} unseen",
                event.as_str()
            );
        }
        let got: HashSet<_> = answer.iter().map(|event| *event.id()).collect();
        let missed: Vec<_> = reading.stable.difference(&got).collect();
        assert!(
            missed.is_empty(),
            "seed {seed}: {filter:?} missed {missed:?}"
        );
    }

    /// Every stored and applied event from the floor on is in the index.
    async fn check_floor(&self) {
        let late: HashSet<_> = self.pending.iter().map(|(event, _)| *event.id()).collect();
        let all = collect(&self.archive, &Filter::default(), self.now).await;
        let state = self.recent.shared.state.read();
        state.index.check();
        for event in all.iter().filter(|event| !late.contains(event.id())) {
            let held = state.index.find(event.id()).is_some();
            assert!(
                held || !state.covers(event.created_at()),
                "seed {}: the floor {} lies about {}",
                self.seed,
                state.floor,
                event.as_str()
            );
        }
    }

    /// With nothing pending every answer is that of the archive.
    async fn check_quiet(&mut self) {
        while !self.pending.is_empty() {
            self.apply().await;
        }
        let pool = self.applied.clone();
        for _ in 0..if pool.is_empty() { 0 } else { 20 } {
            let filter = random_filter(&mut self.rng, &pool);
            let expected = collect(&self.archive, &filter, self.now).await;
            let answer = collect(&self.recent, &filter, self.now).await;
            let same = answer == expected;
            assert!(
                same,
                "seed {}: {filter:?} at {}\n{expected:?}\n{answer:?}",
                self.seed, self.now
            );
        }
        for event in &pool {
            let stored = self
                .archive
                .contains(event.id())
                .await
                .expect("memory doesn't fail");
            let known = self.recent.known(event.id());
            // The index hides what has expired; it needn't know what was purged.
            assert!(
                stored || !known || event.is_expired(self.now),
                "seed {}: knows {}",
                self.seed,
                event.as_str()
            );
        }
    }

    /// Reads a page of the archive, or takes in the one that was read a while ago.
    async fn warm(&mut self) {
        let rows = 1 + self.rng.index(15);
        let Some(page) = self.page.take() else {
            self.page = self
                .recent
                .read_older(rows)
                .await
                .expect("memory doesn't fail");
            return;
        };
        self.recent.take_reading(&page);
        for reading in &mut self.readings {
            // As with a late event: what removes them may still be pending.
            reading.seen.extend(page.ids());
        }
    }

    async fn run(mut self) {
        let early = self.rng.index(200);
        self.commit(early).await;
        if self.rng.one_in(2) {
            // What was there before the stream began.
            self.applied
                .extend(self.pending.drain(..).map(|(event, _outcome)| event));
        }
        while !self.events.is_empty() || !self.pending.is_empty() || !self.readings.is_empty() {
            match self.rng.below(12) {
                0..3 => {
                    let count = 1 + self.rng.index(4);
                    self.commit(count).await;
                }
                3..6 => self.apply().await,
                6 if self.readings.len() < 5 && !self.events.is_empty() => self.begin().await,
                7 => self.warm().await,
                _ => self.read().await,
            }
            match self.rng.below(150) {
                0 => self.rebuild(),
                1 => self.expire().await,
                2..12 => self.write_again().await,
                12..17 => self.check_quiet().await,
                _ => {}
            }
            self.check_floor().await;
        }
        for _ in 0..1_000 {
            if self.recent.warm_step(7).await.expect("memory doesn't fail") {
                break;
            }
        }
        assert!(
            self.recent.floor().is_some(),
            "seed {}: the warm-up ends",
            self.seed
        );
        self.check_floor().await;
        self.check_quiet().await;
    }
}

#[test]
fn random_histories_agree_with_the_archive() {
    for seed in 0..150 {
        block_on(Model::new(seed).run());
    }
}

#[test]
fn what_an_operator_removes_while_a_page_is_read_stays_away() {
    block_on(async {
        let archive = MemoryStore::new(relay_urls());
        let recent = Recent::new(archive.clone(), RecentOptions::default(), relay_urls());
        let events = random_events(&mut Rng::new(1), 20, false);
        archive.write(events).await.expect("memory doesn't fail");
        let page = recent.read_older(100).await.expect("memory doesn't fail");
        let page = page.expect("nothing was read yet");
        let gone = page.ids().next().expect("something is stored");
        recent.remove(&[gone]);
        assert!(!recent.take_reading(&page), "the page is read again");
        assert!(!recent.known(&gone));
        assert_eq!(recent.floor(), None);
    });
}

/// What was removed since the page was read, and is remembered no more, must not come back with it.
#[test]
fn a_page_older_than_what_is_remembered_is_read_again() {
    block_on(async {
        let archive = MemoryStore::new(relay_urls());
        let options = RecentOptions {
            remembered_max: 1,
            ..RecentOptions::default()
        };
        let recent = Recent::new(archive.clone(), options, relay_urls());
        let notes = [1, 2].map(|author| event(author, 10, 1, &[], ""));
        archive
            .write(notes.to_vec())
            .await
            .expect("memory doesn't fail");
        let page = recent.read_older(100).await.expect("memory doesn't fail");
        let page = page.expect("nothing was read yet");
        for (author, note) in (1..).zip(&notes) {
            let deletion = event(author, 20, 5, &[&["e", &note.id().to_hex()]], "");
            recent
                .write(vec![deletion])
                .await
                .expect("memory doesn't fail");
        }
        assert!(!recent.take_reading(&page), "the page is read again");
        assert!(notes.iter().all(|note| !recent.known(note.id())));
        while !recent.warm_step(100).await.expect("memory doesn't fail") {}
        assert_eq!(collect(&recent, &Filter::default(), NOW).await.len(), 2);
    });
}
