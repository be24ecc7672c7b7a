//! One relay that is read: everything that it has, newest first, then what it gets.
//!
//! NIP-01 has no pages: a page is asked for by `until` and `limit`, and the next one begins with the
//! oldest second of the one before. A second with more events than one answer is asked for kind by kind.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

use heliograph_canary::client::Message;
use heliograph_protocol::{Event, Timestamp};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::{
    line::{Heard, Line, Pauses, Relay},
    place::{Covered, PlaceFile},
    target::{Target, Waiting},
};
use crate::tools::output::note;

/// Events asked for at once: most relays give as many.
const PAGE: u64 = 500;

/// An answer of fewer events wasn't cut: no relay gives less at once.
const ANSWER_MIN: usize = 20;

/// How far behind the last moment everything is asked for again after an interruption: events come late
/// and with clocks that differ.
const OVERLAP_SECS: u64 = 15 * 60;

/// How long a relay may think before the next message of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How often the place is written while events come live.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// Kinds in one filter, where a second has more events than an answer: relays limit how many they take.
const KINDS_AT_ONCE: u16 = 400;

const LIVE: &str = "live";

/// What is mirrored, without bounds of time.
#[derive(Debug, Clone)]
pub(super) struct BaseFilter(Map<String, Value>);

/// How a source ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Seconds of which not all events could be read.
    pub(super) unread: u64,
}

/// A relay that is read.
pub(super) struct Source {
    relay: Relay,
    filter: BaseFilter,
    target: Target,
    place: Rc<RefCell<PlaceFile>>,
    once: bool,
    covered: Covered,
    /// Live events that wait for their answer.
    live: VecDeque<Waiting>,
    /// The most events that came in one answer: an answer as long may have been cut.
    answer_max: usize,
    requests: u64,
    unread: u64,
}

/// Why a session ended early.
enum Trouble {
    /// The connection, to be made again.
    Lost(String),
    /// Nothing to go on with.
    Fatal(anyhow::Error),
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self::Lost(why)
    }
}

impl BaseFilter {
    /// Takes a filter that is one.
    pub(super) fn new(filter: &str) -> anyhow::Result<Self> {
        let mut filter: Map<String, Value> = serde_json::from_str(filter)?;
        for bound in ["since", "until", "limit"] {
            filter.remove(bound);
        }
        Ok(Self(filter))
    }

    pub(super) fn text(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    fn with(&self, more: &[(&str, Option<Value>)]) -> Value {
        let mut filter = self.0.clone();
        for (key, value) in more {
            if let Some(value) = value {
                filter.insert((*key).to_owned(), value.clone());
            }
        }
        Value::Object(filter)
    }

    /// The kinds that can be asked for one by one.
    fn kinds(&self) -> Vec<u16> {
        match self.0.get("kinds").and_then(Value::as_array) {
            Some(kinds) => kinds
                .iter()
                .filter_map(|kind| u16::try_from(kind.as_u64()?).ok())
                .collect(),
            // Ephemeral ones aren't stored.
            None => (0..20_000).chain(30_000..=u16::MAX).collect(),
        }
    }
}

impl Source {
    pub(super) fn new(
        relay: Relay,
        filter: BaseFilter,
        target: Target,
        place: Rc<RefCell<PlaceFile>>,
        once: bool,
    ) -> Self {
        let covered = place.borrow().get(relay.target.as_str());
        Self {
            relay,
            filter,
            target,
            place,
            once,
            covered,
            live: VecDeque::new(),
            answer_max: ANSWER_MIN,
            requests: 0,
            unread: 0,
        }
    }

    /// Reads until everything is read, if it is told to end then.
    ///
    /// # Errors
    ///
    /// The place can't be written.
    pub(super) async fn run(mut self) -> anyhow::Result<Ended> {
        let mut pauses = Pauses::default();
        loop {
            let why = match self.session(&mut pauses).await {
                Ok(()) => {
                    return Ok(Ended {
                        unread: self.unread,
                    });
                }
                Err(Trouble::Fatal(error)) => return Err(error),
                Err(Trouble::Lost(why)) => why,
            };
            let pause = pauses.next();
            let (url, secs) = (self.relay.target.as_str(), pause.as_secs_f32());
            note(&format!("{url}: {why}; again in {secs:.1} s"));
            sleep(pause).await;
        }
    }

    async fn session(&mut self, pauses: &mut Pauses) -> Result<(), Trouble> {
        let mut line = Line::connect(&self.relay).await?;
        let began = Timestamp::now().as_secs();
        if !self.once {
            // Before the rest, so that nothing comes in between.
            let filter = self.live_filter(began);
            line.send(json!(["REQ", LIVE, filter]).to_string()).await?;
        }
        let high = self.covered.high;
        if let Some(high) = high {
            let stop = high.saturating_sub(OVERLAP_SECS);
            self.walk(&mut line, None, Some(stop), None).await?;
            self.cover(|covered| covered.high = Some(began))?;
        }
        pauses.reset();
        if !self.covered.complete {
            let from = self.covered.low;
            self.walk(&mut line, from, None, Some(began)).await?;
            self.cover(|covered| {
                covered.complete = true;
                covered.high = covered.high.max(Some(began));
            })?;
        }
        if self.once {
            return Ok(());
        }
        note(&format!("{}: caught up", self.relay.target.as_str()));
        self.follow(&mut line).await
    }

    fn live_filter(&self, now: u64) -> Value {
        let since = now.saturating_sub(OVERLAP_SECS);
        self.filter.with(&[("since", Some(since.into()))])
    }

    fn cover(&mut self, change: impl FnOnce(&mut Covered)) -> Result<(), Trouble> {
        change(&mut self.covered);
        let url = self.relay.target.as_str();
        let saved = self.place.borrow_mut().set(url, self.covered);
        saved.map_err(Trouble::Fatal)
    }

    /// Reads page by page from `until` back to `stop`. With `began`, notes how far it is.
    async fn walk(
        &mut self,
        line: &mut Line,
        mut until: Option<u64>,
        stop: Option<u64>,
        began: Option<u64>,
    ) -> Result<(), Trouble> {
        loop {
            let filter = self.filter.with(&[
                ("until", until.map(Into::into)),
                ("since", stop.map(Into::into)),
                ("limit", Some(PAGE.into())),
            ]);
            let page = self.ask(line, &filter).await?;
            let count = page.len();
            let Some(oldest) = page.iter().map(|event| event.created_at().as_secs()).min() else {
                return Ok(());
            };
            self.answer_max = self.answer_max.max(count);
            self.publish(line, page).await?;
            let next = if until == Some(oldest) {
                if count >= self.answer_max {
                    self.second(line, oldest).await?;
                }
                let Some(before) = oldest.checked_sub(1) else {
                    return Ok(());
                };
                before
            } else {
                oldest
            };
            until = Some(next);
            if let Some(began) = began {
                self.cover(|covered| {
                    covered.low = Some(next);
                    covered.high = covered.high.or(Some(began));
                })?;
            }
            if stop.is_some_and(|stop| next < stop) {
                return Ok(());
            }
        }
    }

    /// Reads a second that may have more events than one answer: some kinds at once, fewer where an
    /// answer may have been cut.
    async fn second(&mut self, line: &mut Line, at: u64) -> Result<(), Trouble> {
        let kinds = self.filter.kinds();
        let chunks = kinds.chunks(usize::from(KINDS_AT_ONCE));
        let mut parts: VecDeque<Vec<u16>> = chunks.map(<[u16]>::to_vec).collect();
        while let Some(part) = parts.pop_front() {
            let filter = self.filter.with(&[
                ("since", Some(at.into())),
                ("until", Some(at.into())),
                ("kinds", Some(json!(part))),
                ("limit", Some(PAGE.into())),
            ]);
            let page = match self.ask(line, &filter).await {
                // Too many kinds for this relay, perhaps.
                Err(Trouble::Lost(why)) if part.len() > 1 && why.starts_with(REFUSED) => Vec::new(),
                page => {
                    let page = page?;
                    if page.len() < self.answer_max {
                        self.publish(line, page).await?;
                        continue;
                    }
                    page
                }
            };
            self.publish(line, page).await?;
            if part.len() > 1 {
                let (left, right) = part.split_at(part.len() / 2);
                parts.push_front(right.to_vec());
                parts.push_front(left.to_vec());
                continue;
            }
            self.unread += 1;
            let url = self.relay.target.as_str();
            note(&format!(
                "{url}: more events of kind {} in the second {at} than it gives at once: the others \
                 can't be read",
                part.first().copied().unwrap_or_default()
            ));
        }
        Ok(())
    }

    /// Asks a question and takes the whole answer.
    async fn ask(&mut self, line: &mut Line, filter: &Value) -> Result<Vec<Event>, Trouble> {
        self.requests += 1;
        let sub = format!("page-{}", self.requests);
        let question = json!(["REQ", sub, filter]).to_string();
        line.send(question.clone()).await?;
        let mut events = Vec::new();
        loop {
            let heard = timeout(ANSWER_TIMEOUT, line.next()).await;
            let heard = heard.map_err(|_elapsed| "no answer in time".to_owned())??;
            match heard {
                Heard::Said(Message::Event(of, event)) if of == sub => events.push(*event),
                Heard::Said(Message::Event(of, event)) if of == LIVE => {
                    self.take_live(*event).await?;
                }
                Heard::Said(Message::Eose(of)) if of == sub => {
                    line.send(json!(["CLOSE", sub]).to_string()).await?;
                    return Ok(events);
                }
                Heard::Said(Message::Closed(of, why)) if of == sub || of == LIVE => {
                    return Err(Trouble::Lost(format!("{REFUSED} {why}")));
                }
                Heard::Authenticated => {
                    // Both were refused before; a repeated one only begins anew.
                    events.clear();
                    if !self.once {
                        let filter = self.live_filter(Timestamp::now().as_secs());
                        line.send(json!(["REQ", LIVE, filter]).to_string()).await?;
                    }
                    line.send(question.clone()).await?;
                }
                Heard::Said(_) | Heard::Later(_) => {}
            }
        }
    }

    /// Publishes a page and waits until all of it is answered. Live events that come meanwhile wait in
    /// the socket.
    async fn publish(&mut self, _line: &mut Line, page: Vec<Event>) -> Result<(), Trouble> {
        let mut waiting = Vec::with_capacity(page.len());
        for event in page {
            waiting.extend(self.target.submit(event).await?);
        }
        for one in waiting {
            self.target.settle(one).await?;
        }
        Ok(())
    }

    async fn take_live(&mut self, event: Event) -> Result<(), Trouble> {
        let waiting = self.target.submit(event).await?;
        self.live.extend(waiting);
        Ok(())
    }

    /// Takes what comes live, until the connection ends.
    async fn follow(&mut self, line: &mut Line) -> Result<(), Trouble> {
        let mut saved = Instant::now();
        loop {
            let seen = Timestamp::now().as_secs();
            let heard = timeout(SAVE_EVERY, line.next()).await;
            match heard {
                Ok(Ok(Heard::Said(Message::Event(of, event)))) if of == LIVE => {
                    self.take_live(*event).await?;
                }
                Ok(Ok(Heard::Said(Message::Closed(of, why)))) if of == LIVE => {
                    return Err(Trouble::Lost(format!("{REFUSED} {why}")));
                }
                Ok(Ok(Heard::Authenticated)) => {
                    let filter = self.live_filter(seen);
                    line.send(json!(["REQ", LIVE, filter]).to_string()).await?;
                }
                Ok(Ok(_)) | Err(_) => {}
                Ok(Err(why)) => return Err(Trouble::Lost(why)),
            }
            if saved.elapsed() >= SAVE_EVERY {
                while let Some(one) = self.live.pop_front() {
                    self.target.settle(one).await?;
                }
                self.cover(|covered| covered.high = Some(seen))?;
                saved = Instant::now();
            }
        }
    }
}

/// How the text of a question that the relay has closed begins.
const REFUSED: &str = "the relay closed the subscription:";
