//! Reading and checking lines, on all cores.

use std::{
    io::BufRead,
    num::NonZero,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use heliograph_policy::{EventLimits, Reader, RelayUrls, admit_event};
use heliograph_protocol::{Event, Kind, KindClass, Outcome, Timestamp};
use heliograph_verify::{KeyCache, verify_many};
use tokio::sync::mpsc;

use super::{
    counts::{Answer, Counts},
    target::Target,
};
use crate::tools::{
    archive::SeatMap,
    lines::{Batch, LINE_BYTES_MAX, Lines},
};

/// What the workers need to know.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) limits: EventLimits,
    pub(super) relay_urls: RelayUrls,
    pub(super) now: Timestamp,
    pub(super) keys: KeyCache,
    /// Of archives: what keeps old versions away.
    pub(super) seats: SeatMap,
}

/// A batch after its checks.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// To be stored.
    pub(super) events: Vec<Arc<Event>>,
    pub(super) counts: Counts,
    /// Bad lines: number and reason.
    pub(super) bad: Vec<(u64, String)>,
    /// Why the input ended early.
    pub(super) failure: Option<String>,
}

type Work = Result<Batch, (Batch, String)>;

/// No limit on size, age or work: what a line must be is what the protocol says (R01, R59-5, R62-1).
pub(super) fn open_limits() -> EventLimits {
    EventLimits {
        event_bytes_max: usize::MAX,
        event_tags_max: usize::MAX,
        indexed_tags_max: None,
        created_at_upper_limit_secs: None,
        created_at_lower_limit_secs: None,
        ephemeral_age_max_secs: None,
        ..EventLimits::default()
    }
}

/// Starts the reader and the workers; they end with the input, or when the receiver is dropped.
pub(super) fn start_threads(
    reader: Box<dyn BufRead + Send>,
    rules: &Arc<Rules>,
    protected: bool,
    target: &Target,
) -> anyhow::Result<mpsc::Receiver<Checked>> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let (work, batches) = sync_channel(workers);
    let (results, checked) = mpsc::channel(workers);
    let batches = Arc::new(Mutex::new(batches));
    let spawn = |name: String| thread::Builder::new().name(name);
    spawn("import-read".to_owned()).spawn(move || read(reader, &work))?;
    for number in 0..workers {
        let (batches, results) = (Arc::clone(&batches), results.clone());
        let checker = Checker {
            rules: Arc::clone(rules),
            protected,
            target: target.clone(),
        };
        let worker = move || checker.run(&batches, &results);
        spawn(format!("import-check-{number}")).spawn(worker)?;
    }
    Ok(checked)
}

fn read(reader: Box<dyn BufRead + Send>, work: &SyncSender<Work>) {
    let mut lines = Lines::new(reader);
    loop {
        let item = match lines.next_batch() {
            Ok(Some(batch)) => Ok(batch),
            Ok(None) => return,
            Err((batch, error)) => Err((batch, error.to_string())),
        };
        let over = item.is_err();
        if work.send(item).is_err() || over {
            return;
        }
    }
}

/// One worker.
struct Checker {
    rules: Arc<Rules>,
    protected: bool,
    target: Target,
}

impl Checker {
    fn run(&self, batches: &Mutex<Receiver<Work>>, results: &mpsc::Sender<Checked>) {
        loop {
            let next = batches
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .recv();
            let Ok(item) = next else { return };
            let (batch, failure) = match item {
                Ok(batch) => (batch, None),
                Err((batch, error)) => (batch, Some(error)),
            };
            let mut checked = self.check(&batch);
            checked.failure = failure;
            if results.blocking_send(checked).is_err() {
                return;
            }
        }
    }

    /// Checks a batch, the cheapest first: what the store has isn't verified again.
    fn check(&self, batch: &Batch) -> Checked {
        let mut checked = Checked::default();
        for number in &batch.too_long {
            checked.refuse(*number, format!("longer than {LINE_BYTES_MAX} bytes"));
        }
        let mut candidates = Vec::new();
        for (number, line) in batch.lines() {
            match check_line(line, &self.rules, self.protected) {
                Ok(event) if self.target.contains(event.id()) => {
                    checked.counts.add(Answer::Stored(Outcome::Duplicate));
                }
                Ok(event) => candidates.push((number, event)),
                Err((Answer::Bad, reason)) => checked.refuse(number, reason),
                Err((answer, _)) => checked.counts.add(answer),
            }
        }
        let (numbers, events): (Vec<_>, Vec<_>) = candidates.into_iter().unzip();
        let verdicts = verify_many(&events, &self.rules.keys);
        for ((number, event), verdict) in numbers.into_iter().zip(events).zip(verdicts) {
            match verdict {
                Ok(()) => checked.events.push(event),
                Err(error) => checked.refuse(number, error.to_string()),
            }
        }
        checked
    }
}

impl Checked {
    fn refuse(&mut self, number: u64, reason: String) {
        self.counts.add(Answer::Bad);
        self.bad.push((number, reason));
    }
}

/// Reads one line and says what becomes of it if that is known without signature and store.
fn check_line(line: &[u8], rules: &Rules, protected: bool) -> Result<Arc<Event>, (Answer, String)> {
    let bad = |reason: String| (Answer::Bad, reason);
    let text = std::str::from_utf8(line).map_err(|_invalid| bad("not UTF-8".to_owned()))?;
    let event = Event::parse(text.trim()).map_err(|error| bad(error.to_string()))?;
    let silent = |answer| Err((answer, String::new()));
    if event.kind() == Kind::CLIENT_AUTH {
        return silent(Answer::Authentication);
    }
    if event.kind().class() == KindClass::Ephemeral {
        return silent(Answer::Ephemeral);
    }
    if event.is_expired(rules.now) {
        return silent(Answer::Expired);
    }
    if event.is_protected() && !protected {
        return silent(Answer::Protected);
    }
    if rules.seats.keep_away(&event) {
        return silent(Answer::Stored(Outcome::Superseded));
    }
    // The operator speaks for the authors.
    let author = Reader {
        keys: vec![*event.pubkey()],
    };
    admit_event(&event, &rules.limits, &rules.relay_urls, &author, rules.now)
        .map_err(|refusal| bad(refusal.to_string()))?;
    Ok(Arc::new(event))
}
