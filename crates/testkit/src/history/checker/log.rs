//! Reads the entries once: which answer belongs to which request, and what came on each subscription.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use heliograph_protocol::{EventId, Filter, Timestamp};
use serde_json::Value;

use super::{
    Expect, Rule, Violation,
    model::{Model, Standing},
};
use crate::history::{Entry, What};

/// One EVENT that was sent.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) fact: usize,
    pub(super) entry: usize,
    pub(super) connection: u32,
    /// Its OK.
    pub(super) ok: Option<usize>,
}

/// One REQ or COUNT and all that came of it.
#[derive(Debug)]
pub(super) struct Sub {
    pub(super) name: Arc<str>,
    pub(super) connection: u32,
    pub(super) gateway: usize,
    /// As sent; as read, unless one of them is none.
    pub(super) texts: Vec<String>,
    pub(super) filters: Option<Vec<Filter>>,
    pub(super) req: usize,
    pub(super) is_count: bool,
    pub(super) counted: Option<(usize, u64)>,
    pub(super) eose: Option<usize>,
    /// EOSE said that there is no more (NIP-67).
    pub(super) finished: bool,
    /// CLOSED came.
    pub(super) closed: Option<usize>,
    /// CLOSE was sent.
    pub(super) close: Option<usize>,
    /// The connection ended.
    pub(super) cut: Option<usize>,
    /// Entry and fact, in order.
    pub(super) deliveries: Vec<(usize, usize)>,
}

impl Sub {
    /// Whether it was open when the history ended.
    pub(super) fn is_open(&self) -> bool {
        self.closed.is_none() && self.close.is_none() && self.cut.is_none()
    }

    /// How many of the deliveries came before EOSE.
    pub(super) fn stored(&self) -> usize {
        let eose = self.eose.unwrap_or(usize::MAX);
        self.deliveries.partition_point(|(entry, _)| *entry < eose)
    }
}

/// A history, taken apart.
#[derive(Debug)]
pub(super) struct Log<'a> {
    pub(super) started: Timestamp,
    pub(super) entries: &'a [Entry],
    pub(super) expect: &'a Expect,
    pub(super) model: Model<'a>,
    pub(super) sendings: Vec<Sending>,
    pub(super) subs: Vec<Sub>,
    /// Connections that the relay or the network ended, and when.
    pub(super) cut: HashMap<u32, usize>,
    /// Connections that the client ended, and when.
    pub(super) left: HashMap<u32, usize>,
    /// Connections that read back.
    pub(super) reading_back: HashSet<u32>,
    /// When each gateway couldn't answer.
    frozen: HashMap<usize, Vec<(Duration, Duration)>>,
    pub(super) violations: Vec<Violation>,
    waiting: HashMap<(u32, EventId), VecDeque<usize>>,
    names: HashMap<(u32, Arc<str>), usize>,
}

impl<'a> Log<'a> {
    pub(super) fn read(started: Timestamp, entries: &'a [Entry], expect: &'a Expect) -> Self {
        let mut log = Self {
            started,
            entries,
            expect,
            model: Model::default(),
            sendings: Vec::new(),
            subs: Vec::new(),
            cut: HashMap::new(),
            left: HashMap::new(),
            reading_back: HashSet::new(),
            frozen: HashMap::new(),
            violations: Vec::new(),
            waiting: HashMap::new(),
            names: HashMap::new(),
        };
        for number in 0..entries.len() {
            log.take(number);
        }
        for sending in &log.sendings {
            if sending.ok.is_none() {
                let end = entries.len();
                log.model.answered(sending.fact, Standing::Unsure, end);
            }
        }
        log.model.relate(&expect.relay_url);
        log
    }

    /// Notes a broken promise that this entry shows.
    pub(super) fn broken(&mut self, rule: Rule, entry: usize, what: String) {
        self.violations.push(Violation { rule, entry, what });
    }

    /// Whether an event had been answered for before an entry. One that is refused as replaced was
    /// announced perhaps, by a worker that died before it answered.
    pub(super) fn was_refused(&self, fact: usize, entry: usize) -> bool {
        let sendings = self.sendings.iter().filter(|sending| sending.fact == fact);
        let mut answers = sendings.filter_map(|sending| sending.ok);
        answers.any(|ok| ok < entry)
    }

    /// Whether what happened at entry `earlier` has to be known at entry `now`.
    pub(super) fn is_known(&self, earlier: usize, now: usize) -> bool {
        earlier < now && self.entries[earlier].at + self.expect.lag <= self.entries[now].at
    }

    /// The wall clock at an entry, and at the end for what is later than all.
    pub(super) fn clock(&self, entry: usize) -> Timestamp {
        let at = self.entries.get(entry).or(self.entries.last());
        self.started.plus(at.map_or(0, |entry| entry.at.as_secs()))
    }

    /// When an entry happened; the end for what is later than all.
    pub(super) fn at(&self, entry: usize) -> Duration {
        let entry = self.entries.get(entry).or(self.entries.last());
        entry.map_or(Duration::ZERO, |entry| entry.at)
    }

    /// The time from one moment to another in which the gateway wasn't frozen.
    pub(super) fn waited(&self, gateway: usize, from: Duration, to: Duration) -> Duration {
        let frozen: Duration = self
            .frozen
            .get(&gateway)
            .into_iter()
            .flatten()
            .map(|(begin, end)| (*end).min(to).saturating_sub((*begin).max(from)))
            .sum();
        to.saturating_sub(from).saturating_sub(frozen)
    }

    /// When a connection ended, by either side.
    pub(super) fn end_of(&self, connection: u32) -> Option<usize> {
        let (cut, left) = (self.cut.get(&connection), self.left.get(&connection));
        cut.into_iter().chain(left).min().copied()
    }

    fn take(&mut self, number: usize) {
        let entries = self.entries;
        let entry = &entries[number];
        let connection = entry.connection;
        match &entry.what {
            What::Publish { event } => {
                let fact = self.model.sent(event, number);
                let waiting = self.waiting.entry((connection, *event.id())).or_default();
                waiting.push_back(self.sendings.len());
                self.sendings.push(Sending {
                    fact,
                    entry: number,
                    connection,
                    ok: None,
                });
            }
            What::Ok { id, accepted, text } => self.take_ok(number, id, *accepted, text),
            What::Req { sub, filters } => self.open(number, sub, filters, false),
            What::Count { sub, filters } => self.open(number, sub, filters, true),
            What::Close { sub } => {
                if let Some(sub) = self.named(connection, sub) {
                    sub.close.get_or_insert(number);
                }
            }
            What::Event { .. } | What::Eose { .. } | What::Closed { .. } | What::Counted { .. } => {
                self.take_answer(number);
            }
            What::Disconnected { .. } => {
                self.cut.entry(connection).or_insert(number);
                for sub in &mut self.subs {
                    if sub.connection == connection {
                        sub.cut.get_or_insert(number);
                    }
                }
            }
            What::Left { .. } => {
                self.left.insert(connection, number);
                for sub in &mut self.subs {
                    if sub.connection == connection {
                        sub.close.get_or_insert(number);
                    }
                }
            }
            What::Illegal { why } => {
                let what = format!("connection {connection}: {why}");
                self.broken(Rule::Protocol, number, what);
            }
            What::ReadBack => {
                self.reading_back.insert(connection);
            }
            What::Frozen => {
                let times = self.frozen.entry(entry.gateway).or_default();
                times.push((entry.at, Duration::MAX));
            }
            What::Thawed => {
                let times = self.frozen.entry(entry.gateway).or_default();
                if let Some(last) = times.last_mut() {
                    last.1 = entry.at;
                }
            }
            What::Connected
            | What::Unreachable { .. }
            | What::Notice { .. }
            | What::Mark { .. }
            | What::Begin { .. }
            | What::End { .. } => {}
        }
    }

    fn take_ok(&mut self, number: usize, id: &EventId, accepted: bool, text: &str) {
        let connection = self.entries[number].connection;
        let waiting = self.waiting.get_mut(&(connection, *id));
        let Some(sending) = waiting.and_then(VecDeque::pop_front) else {
            let what = format!("connection {connection}: an OK more than EVENTs for {id}");
            return self.broken(Rule::Answer, number, what);
        };
        let sending = &mut self.sendings[sending];
        sending.ok = Some(number);
        let standing = Standing::of(accepted, text);
        self.model.answered(sending.fact, standing, number);
    }

    fn open(&mut self, number: usize, name: &Arc<str>, filters: &[Value], is_count: bool) {
        let entry = &self.entries[number];
        let texts: Vec<String> = filters.iter().map(Value::to_string).collect();
        let sub = Sub {
            name: Arc::clone(name),
            connection: entry.connection,
            gateway: entry.gateway,
            filters: texts.iter().map(|text| Filter::parse(text).ok()).collect(),
            texts,
            req: number,
            is_count,
            counted: None,
            eose: None,
            finished: false,
            closed: None,
            close: None,
            cut: None,
            deliveries: Vec::new(),
        };
        // A REQ with an id in use ends the other (NIP-01).
        if let Some(earlier) = self.named(entry.connection, name) {
            earlier.close.get_or_insert(number);
        }
        let key = (entry.connection, Arc::clone(name));
        self.names.insert(key, self.subs.len());
        self.subs.push(sub);
    }

    fn named(&mut self, connection: u32, name: &Arc<str>) -> Option<&mut Sub> {
        let index = self.names.get(&(connection, Arc::clone(name)))?;
        self.subs.get_mut(*index)
    }

    fn take_answer(&mut self, number: usize) {
        let entry = &self.entries[number];
        let name: Arc<str> = entry.what.sub().unwrap_or_default().into();
        let who = format!("connection {} sub {name}", entry.connection);
        let known = self.names.get(&(entry.connection, name)).copied();
        let Some(index) = known else {
            return self.broken(Rule::Answer, number, format!("{who}: nobody asked"));
        };
        let sub = &mut self.subs[index];
        if sub.closed.is_some() || sub.counted.is_some() {
            let what = format!("{who}: an answer after its end");
            return self.broken(Rule::Answer, number, what);
        }
        match &entry.what {
            What::Eose { .. } if sub.eose.is_some() || sub.is_count => {
                self.broken(Rule::Answer, number, format!("{who}: an EOSE too many"));
            }
            What::Eose { hint, .. } => {
                sub.eose = Some(number);
                sub.finished = hint.as_deref() == Some("finish");
            }
            What::Closed { .. } => sub.closed = Some(number),
            What::Counted { count, .. } if sub.is_count => sub.counted = Some((number, *count)),
            What::Event { .. } if !sub.is_count => self.take_event(number, index, &who),
            _ => self.broken(Rule::Answer, number, format!("{who}: the wrong answer")),
        }
    }

    fn take_event(&mut self, number: usize, sub: usize, who: &str) {
        let What::Event { event, .. } = &self.entries[number].what else {
            return;
        };
        let id = event.id();
        let Some(&fact) = self.model.by_id.get(id) else {
            let what = format!("{who}: nobody had sent {id}");
            return self.broken(Rule::Foreign, number, what);
        };
        if self.model.facts[fact].event != event {
            let what = format!("{who}: {id} isn't what was sent");
            self.broken(Rule::Foreign, number, what);
        }
        let filters = self.subs[sub].filters.as_ref();
        if filters.is_some_and(|filters| !filters.iter().any(|filter| filter.matches(event))) {
            let what = format!("{who}: {id} doesn't match");
            self.broken(Rule::Foreign, number, what);
        }
        self.subs[sub].deliveries.push((number, fact));
    }
}
