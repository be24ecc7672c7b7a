//! `import`: every line is parsed, checked and verified on all cores, then stored.
//!
//! ```text
//! reader thread ─batches of lines─▶ one worker a core ─checked events─▶ here ─▶ store
//! ```
//! Every arrow is a bounded channel, so memory doesn't depend on the size of the input.

use std::{
    io::{BufRead, Write},
    num::NonZero,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::Ordering,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use anyhow::{Context as _, bail};
use heliograph_policy::{EventLimits, Reader, RelayUrls, admit_event};
use heliograph_protocol::{Event, Kind, KindClass, Outcome, Timestamp};
use heliograph_store::EventStore as _;
use heliograph_store_embedded::EmbeddedStore;
use heliograph_verify::{KEYS_MAX, KeyCache, verify_many};
use serde_json::{Map, Value};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    input::Input,
    lines::{Batch, LINE_BYTES_MAX, Lines},
    output::table,
    progress::Progress,
    store::Place,
};
use crate::cli::Import;

const WITH_TOTAL: &str =
    "{wide_bar} {bytes}/{total_bytes}, {msg}, {binary_bytes_per_sec}, {eta} left";
const WITHOUT_TOTAL: &str = "{spinner} {bytes}, {msg}, {binary_bytes_per_sec}, {elapsed}";

/// Writes under way: the store commits them together, so more than one keeps it busy while workers
/// fill the next ones. Each holds one batch of lines.
const WRITES_MAX: usize = 8;

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Stored(Outcome),
    /// Its expiration has passed (R40-1).
    Expired,
    /// Of an ephemeral kind (R01-46).
    Ephemeral,
    /// An authentication (kind 22242, R42-8).
    Authentication,
    /// Protected, and that wasn't asked for (R70-2).
    Protected,
    /// Not an event, or one that may not be stored.
    Bad,
}

/// How many lines got which answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts([u64; Answer::ALL.len()]);

/// What the workers need to know.
#[derive(Debug)]
struct Rules {
    protected: bool,
    limits: EventLimits,
    relay_urls: RelayUrls,
    now: Timestamp,
    keys: KeyCache,
}

/// A batch after its checks.
#[derive(Debug, Default)]
struct Checked {
    /// To be stored.
    events: Vec<Arc<Event>>,
    counts: Counts,
    /// Bad lines: number and reason.
    bad: Vec<(u64, String)>,
    /// Why the input ended early.
    failure: Option<String>,
}

type Work = Result<Batch, (Batch, String)>;

impl Answer {
    const ALL: [Self; 10] = [
        Self::Stored(Outcome::Stored),
        Self::Stored(Outcome::Duplicate),
        Self::Stored(Outcome::Superseded),
        Self::Stored(Outcome::Deleted),
        Self::Stored(Outcome::Vanished),
        Self::Expired,
        Self::Ephemeral,
        Self::Authentication,
        Self::Protected,
        Self::Bad,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Stored(outcome) => outcome.as_str(),
            Self::Expired => "expired",
            Self::Ephemeral => "ephemeral",
            Self::Authentication => "authentication",
            Self::Protected => "protected",
            Self::Bad => "bad",
        }
    }
}

impl Counts {
    fn add(&mut self, answer: Answer) {
        let place = Answer::ALL.iter().position(|other| *other == answer);
        self.0[place.expect("every answer is listed")] += 1;
    }

    fn add_all(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    fn lines(&self) -> u64 {
        self.0.iter().sum()
    }

    fn rows(&self) -> Vec<(&'static str, u64)> {
        let answers = Answer::ALL
            .iter()
            .zip(self.0)
            .map(|(answer, count)| (answer.name(), count));
        std::iter::once(("lines", self.lines()))
            .chain(answers)
            .collect()
    }
}

/// Imports a file and prints what became of its lines.
///
/// # Errors
///
/// Not every line was answered: the input ended early or the store failed. The counts are printed
/// all the same; importing again is safe.
pub(crate) async fn run(
    arguments: &Import,
    place: &Place,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    // First, so that a wrong name doesn't leave an empty store behind.
    let input = Input::open(&arguments.file)?;
    let store = place.write()?;
    let rules = Rules {
        protected: arguments.protected,
        limits: open_limits(),
        relay_urls: place.relay_urls.clone(),
        now: Timestamp::now(),
        keys: KeyCache::new(KEYS_MAX),
    };
    let mut counts = Counts::default();
    let imported = import(input, rules, &store, &mut counts).await;
    store.close();
    if arguments.json {
        let rows = counts.rows().into_iter();
        let object: Map<_, _> = rows
            .map(|(name, count)| (name.to_owned(), Value::from(count)))
            .collect();
        writeln!(out, "{}", Value::Object(object))?;
    } else {
        table(out, &counts.rows())?;
    }
    imported
}

/// No limit on size, age or work: what a line must be is what the protocol says (R01, R59-5, R62-1).
fn open_limits() -> EventLimits {
    EventLimits {
        event_bytes_max: usize::MAX,
        event_tags_max: usize::MAX,
        created_at_upper_limit_secs: None,
        created_at_lower_limit_secs: None,
        ephemeral_age_max_secs: None,
        ..EventLimits::default()
    }
}

async fn import(
    input: Input,
    rules: Rules,
    store: &EmbeddedStore,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    let template = if input.total_bytes.is_some() {
        WITH_TOTAL
    } else {
        WITHOUT_TOTAL
    };
    let progress = Progress::new(input.total_bytes, template);
    let read_bytes = Arc::clone(&input.read_bytes);
    let mut checked = start_threads(input.reader, rules, store)?;
    let mut writes = JoinSet::new();
    let mut failure = None;
    while let Some(batch) = checked.recv().await {
        counts.add_all(&batch.counts);
        for (number, reason) in &batch.bad {
            progress.note(&format!("line {number}: {reason}"));
        }
        failure = batch.failure.or(failure);
        while writes.len() >= WRITES_MAX {
            count_write(&mut writes, counts).await?;
        }
        if !batch.events.is_empty() {
            let store = store.clone();
            writes.spawn(async move { store.write(batch.events).await });
        }
        progress.set(read_bytes.load(Ordering::Relaxed));
        progress.say(format!("{} lines", counts.lines()));
    }
    while !writes.is_empty() {
        count_write(&mut writes, counts).await?;
    }
    match failure {
        Some(failure) => bail!("the input ends early: {failure}"),
        None => Ok(()),
    }
}

type WriteResult = Result<Vec<Outcome>, heliograph_store::StoreError>;

async fn count_write(writes: &mut JoinSet<WriteResult>, counts: &mut Counts) -> anyhow::Result<()> {
    if let Some(written) = writes.join_next().await {
        let outcomes = written.context("a write panicked")?;
        let outcomes = outcomes.context("can't store; what is counted is safe, the rest isn't")?;
        for outcome in outcomes {
            counts.add(Answer::Stored(outcome));
        }
    }
    Ok(())
}

/// Starts the reader and the workers; they end with the input, or when the receiver is dropped.
fn start_threads(
    reader: Box<dyn BufRead + Send>,
    rules: Rules,
    store: &EmbeddedStore,
) -> anyhow::Result<mpsc::Receiver<Checked>> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let (work, batches) = sync_channel(workers);
    let (results, checked) = mpsc::channel(workers);
    let (rules, batches) = (Arc::new(rules), Arc::new(Mutex::new(batches)));
    let spawn = |name: String| thread::Builder::new().name(name);
    spawn("import-read".to_owned()).spawn(move || read(reader, &work))?;
    for number in 0..workers {
        let (rules, batches, results) = (Arc::clone(&rules), Arc::clone(&batches), results.clone());
        let store = store.clone();
        let worker = move || check_batches(&rules, &batches, &results, &store);
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

fn check_batches(
    rules: &Rules,
    batches: &Mutex<Receiver<Work>>,
    results: &mpsc::Sender<Checked>,
    store: &EmbeddedStore,
) {
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
        let mut checked = check_batch(&batch, rules, store);
        checked.failure = failure;
        if results.blocking_send(checked).is_err() {
            return;
        }
    }
}

/// Checks a batch, the cheapest first: what the store has isn't verified again.
fn check_batch(batch: &Batch, rules: &Rules, store: &EmbeddedStore) -> Checked {
    let mut checked = Checked::default();
    for number in &batch.too_long {
        checked.refuse(*number, format!("longer than {LINE_BYTES_MAX} bytes"));
    }
    let mut candidates = Vec::new();
    for (number, line) in batch.lines() {
        match check_line(line, rules) {
            Ok(event) if store.contains_blocking(event.id()).unwrap_or(false) => {
                checked.counts.add(Answer::Stored(Outcome::Duplicate));
            }
            Ok(event) => candidates.push((number, event)),
            Err((Answer::Bad, reason)) => checked.refuse(number, reason),
            Err((answer, _)) => checked.counts.add(answer),
        }
    }
    let (numbers, events): (Vec<_>, Vec<_>) = candidates.into_iter().unzip();
    let verdicts = verify_many(&events, &rules.keys);
    for ((number, event), verdict) in numbers.into_iter().zip(events).zip(verdicts) {
        match verdict {
            Ok(()) => checked.events.push(event),
            Err(error) => checked.refuse(number, error.to_string()),
        }
    }
    checked
}

impl Checked {
    fn refuse(&mut self, number: u64, reason: String) {
        self.counts.add(Answer::Bad);
        self.bad.push((number, reason));
    }
}

/// Reads one line and says what becomes of it if that is known without signature and store.
fn check_line(line: &[u8], rules: &Rules) -> Result<Arc<Event>, (Answer, String)> {
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
    if event.is_protected() && !rules.protected {
        return silent(Answer::Protected);
    }
    // The operator speaks for the authors.
    let author = Reader {
        keys: vec![*event.pubkey()],
    };
    admit_event(&event, &rules.limits, &rules.relay_urls, &author, rules.now)
        .map_err(|refusal| bad(refusal.to_string()))?;
    Ok(Arc::new(event))
}
