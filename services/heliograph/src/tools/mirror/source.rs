//! One relay that is read: everything that it has, newest first, then what it gets.
//!
//! NIP-01 has no pages: a page is asked for by `until` and `limit`, and the next one begins with the
//! oldest second of the one before. A second with more events than one answer is asked for kind by kind.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

use anyhow::anyhow;
use heliograph_canary::client::Message;
use heliograph_protocol::{Event, Timestamp};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{
    answer::{ANSWER_MIN, Answer, BaseFilter, Question, Step},
    line::{Heard, Line, Pauses, Relay, shown},
    place::{Covered, PlaceFile},
    target::{Target, Waiting},
};
use crate::tools::output::note;

/// How far behind the last moment everything is asked for again after an interruption: events come late
/// and with clocks that differ.
const OVERLAP_SECS: u64 = 15 * 60;

/// How long a relay may think before the next message of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How often the place is written while events come live.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// Kinds in one filter, where a second has more events than an answer: relays limit how many they take.
const KINDS_AT_ONCE: u16 = 400;

/// Live events whose answers nobody has looked at yet: while pages are read there may be any number.
const LIVE_MAX: usize = 1_024;

const LIVE: &str = "live";

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
    /// Before the next connection; short again once a question was answered.
    pauses: Pauses,
    /// Whether the person knows that something was left out.
    is_doubt_told: bool,
}

/// Why a session ended early.
enum Trouble {
    /// The connection, to be made again.
    Lost(String),
    /// The relay doesn't want to answer this question.
    Refused(String),
    /// Nothing to go on with.
    Fatal(anyhow::Error),
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self::Lost(why)
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
            pauses: Pauses::default(),
            is_doubt_told: false,
        }
    }

    /// Reads until everything is read, if it is told to end then.
    ///
    /// # Errors
    ///
    /// The place can't be written, or the relay gives what wasn't asked for.
    pub(super) async fn run(mut self) -> anyhow::Result<Ended> {
        loop {
            let why = match self.session().await {
                Ok(()) => {
                    return Ok(Ended {
                        unread: self.unread,
                    });
                }
                Err(Trouble::Fatal(error)) => return Err(error),
                Err(Trouble::Lost(why)) => why,
                Err(Trouble::Refused(why)) => format!("the relay closed the subscription: {why}"),
            };
            let pause = self.pauses.next();
            let (url, secs) = (self.relay.target.as_str(), pause.as_secs_f32());
            let why = shown(&why);
            note(&format!("{url}: {why}; again in {secs:.1} s"));
            sleep(pause).await;
        }
    }

    async fn session(&mut self) -> Result<(), Trouble> {
        let mut line = Line::connect(&self.relay).await?;
        let began = Timestamp::now().as_secs();
        if !self.once {
            // Before the rest, so that nothing comes in between.
            self.ask_live(&mut line, began).await?;
        }
        let high = self.covered.high;
        if let Some(high) = high {
            let stop = high.saturating_sub(OVERLAP_SECS);
            self.walk(&mut line, None, Some(stop), None).await?;
            self.cover(|covered| covered.high = Some(began))?;
        }
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

    async fn ask_live(&self, line: &mut Line, now: u64) -> Result<(), Trouble> {
        let filter = self.filter.live(now.saturating_sub(OVERLAP_SECS));
        line.send(json!(["REQ", LIVE, filter]).to_string()).await?;
        Ok(())
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
            let question = Question {
                since: stop,
                until,
                kinds: None,
            };
            let answer = self.ask(line, &question).await?;
            if answer.count == 0 {
                return Ok(());
            }
            let step = answer.step(until).ok_or_else(|| self.misled())?;
            let count = answer.count;
            self.answer_max = self.answer_max.max(count);
            self.publish(answer.events).await?;
            let next = match step {
                Step::Back(next) => next,
                Step::Within(at) => {
                    if count >= ANSWER_MIN {
                        self.second(line, at).await?;
                    }
                    let Some(before) = at.checked_sub(1) else {
                        return Ok(());
                    };
                    before
                }
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

    fn misled(&self) -> Trouble {
        let url = self.relay.target.as_str();
        Trouble::Fatal(anyhow!(
            "{url} gives events that weren't asked for, none of them within since and until: it can't \
             be mirrored"
        ))
    }

    /// Reads a second that may have more events than one answer: some kinds at once, fewer where an
    /// answer may have been cut.
    async fn second(&mut self, line: &mut Line, at: u64) -> Result<(), Trouble> {
        let kinds = self.filter.kinds();
        let chunks = kinds.chunks(usize::from(KINDS_AT_ONCE));
        let mut parts: VecDeque<Vec<u16>> = chunks.map(<[u16]>::to_vec).collect();
        while let Some(part) = parts.pop_front() {
            let question = Question {
                since: Some(at),
                until: Some(at),
                kinds: Some(part.clone()),
            };
            let answer = match self.ask(line, &question).await {
                // Too many kinds for this relay, perhaps.
                Err(Trouble::Refused(_why)) if part.len() > 1 => None,
                answer => Some(answer?),
            };
            // Whether there is something to be found by asking for fewer kinds.
            let mut is_of_use = true;
            if let Some(Answer { events, count, .. }) = answer {
                is_of_use = !events.is_empty();
                self.publish(events).await?;
                let is_whole = part.len() == 1 && is_of_use && count < self.answer_max;
                if count < ANSWER_MIN || is_whole {
                    continue;
                }
            }
            if part.len() > 1 && is_of_use {
                let (left, right) = part.split_at(part.len() / 2);
                parts.push_front(right.to_vec());
                parts.push_front(left.to_vec());
                continue;
            }
            self.unread += 1;
            let url = self.relay.target.as_str();
            let kind = part.first().copied().unwrap_or_default();
            note(&if is_of_use {
                format!(
                    "{url}: more events of kind {kind} in the second {at} than it gives at once: the \
                     others can't be read"
                )
            } else {
                format!(
                    "{url}: asked for the kinds from {kind} on in the second {at}, it gives only others: \
                     these can't be read"
                )
            });
        }
        Ok(())
    }

    /// Asks a question and takes the whole answer.
    async fn ask(&mut self, line: &mut Line, question: &Question) -> Result<Answer, Trouble> {
        self.requests += 1;
        let sub = format!("page-{}", self.requests);
        let text = json!(["REQ", sub, self.filter.page(question)]).to_string();
        line.send(text.clone()).await?;
        let mut answer = Answer::default();
        loop {
            let heard = timeout(ANSWER_TIMEOUT, line.next()).await;
            let heard = heard.map_err(|_elapsed| "no answer in time".to_owned())??;
            match heard {
                Heard::Said(Message::Event(of, event)) if of == sub => {
                    answer.take(*event, &self.filter, question)?;
                }
                Heard::Unreadable(of, at, bytes) if of == sub => {
                    answer.count(at, bytes, question)?;
                }
                Heard::Said(Message::Event(of, event)) if of == LIVE => {
                    self.take_live(*event).await?;
                }
                Heard::Said(Message::Eose(of)) if of == sub => {
                    line.send(json!(["CLOSE", sub]).to_string()).await?;
                    self.pauses.reset();
                    self.tell_doubt(&answer);
                    return Ok(answer);
                }
                Heard::Said(Message::Closed(of, why)) if of == sub => {
                    return Err(Trouble::Refused(why));
                }
                Heard::Said(Message::Closed(of, why)) if of == LIVE => {
                    return Err(live_closed(&why));
                }
                Heard::Authenticated => {
                    // Both were refused before; a repeated one only begins anew.
                    answer = Answer::default();
                    if !self.once {
                        self.ask_live(line, Timestamp::now().as_secs()).await?;
                    }
                    line.send(text.clone()).await?;
                }
                Heard::Said(_) | Heard::Later(_) | Heard::Unreadable(..) => {}
            }
        }
    }

    /// Says once that something was left out.
    fn tell_doubt(&mut self, answer: &Answer) {
        if answer.events.len() < answer.count && !std::mem::replace(&mut self.is_doubt_told, true) {
            let url = self.relay.target.as_str();
            note(&format!(
                "{url}: gives events that weren't asked for or can't be read: they are left out"
            ));
        }
    }

    /// Publishes a page and waits until all of it is answered. Live events that come meanwhile wait in
    /// the socket.
    async fn publish(&mut self, page: Vec<Event>) -> Result<(), Trouble> {
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
        if !self.filter.wants(&event) {
            return Ok(());
        }
        if self.live.len() >= LIVE_MAX
            && let Some(one) = self.live.pop_front()
        {
            self.target.settle(one).await?;
        }
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
                    return Err(live_closed(&why));
                }
                Ok(Ok(Heard::Authenticated)) => {
                    self.ask_live(line, seen).await?;
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

/// Without it nothing new would come: to be begun anew.
fn live_closed(why: &str) -> Trouble {
    Trouble::Lost(format!("the relay closed the live subscription: {why}"))
}
