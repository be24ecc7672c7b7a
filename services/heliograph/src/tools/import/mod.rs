//! `import`: every line is parsed, checked and verified on all cores, then stored, or published into a
//! cluster.
//!
//! ```text
//! reader thread ─batches of lines─▶ one worker a core ─checked events─▶ here ─▶ store or cluster
//! ```
//! Every arrow is a bounded channel, so memory doesn't depend on the size of the input. Archives are
//! read whole before anything is stored, so that one that is damaged changes nothing.

mod check;
mod counts;
mod target;

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use anyhow::{Context as _, bail};
use heliograph_policy::RelayUrls;
use heliograph_protocol::Timestamp;
use heliograph_verify::{KEYS_MAX, KeyCache};
use serde_json::{Map, Value};
use tokio::task::JoinSet;

use self::{
    check::{Checked, Rules, open_limits, start_threads},
    counts::{Answer, Counts},
    target::Target,
};
use super::{
    archive::{Backup, MANIFEST, SeatMap},
    input::Input,
    output::{note, table},
    progress::Progress,
    publish::Published,
    store::Place,
};
use crate::cli::Import;

const WITH_TOTAL: &str =
    "{wide_bar} {bytes}/{total_bytes}, {msg}, {binary_bytes_per_sec}, {eta} left";
const WITHOUT_TOTAL: &str = "{spinner} {bytes}, {msg}, {binary_bytes_per_sec}, {elapsed}";

/// Writes under way: the store commits them together, so more than one keeps it busy while workers
/// fill the next ones. Each holds one batch of lines.
const WRITES_MAX: usize = 8;

/// What is imported, in order.
#[derive(Debug, Default)]
struct Inputs {
    files: Vec<File>,
    /// Of the archives among them.
    seats: SeatMap,
    /// Whoever writes these archives removes nothing meanwhile.
    held: Vec<std::fs::File>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    /// Whether this is a segment of an archive.
    archived: bool,
}

/// Imports files and archives and prints what became of their lines.
///
/// # Errors
///
/// Not every line was answered: an input ended early or is damaged, or the store or cluster failed. The
/// counts are printed all the same; importing again is safe.
pub(crate) async fn run(
    arguments: &Import,
    place: &Place,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    run_at(arguments, place, out, Timestamp::now()).await
}

/// The same at this moment.
pub(super) async fn run_at(
    arguments: &Import,
    place: &Place,
    out: &mut impl Write,
    now: Timestamp,
) -> anyhow::Result<()> {
    // First, so that a wrong name doesn't leave an empty store behind.
    let inputs = look(arguments, &place.urls(arguments.cluster)?, now)?;
    let first = match inputs.files.first() {
        Some(file) => Some(Input::open(&file.path)?),
        None => None,
    };
    let target = Target::open(arguments.cluster, place).await?;
    let rules = Rules {
        limits: open_limits(),
        relay_urls: place.relay_urls.clone(),
        now,
        keys: KeyCache::new(KEYS_MAX),
        seats: inputs.seats,
    };
    let mut run = Run {
        arguments,
        rules: Arc::new(rules),
        target: target.clone(),
        several: inputs.files.len() > 1,
        counts: Counts::default(),
    };
    let mut imported = run.import_all(inputs.files, first).await;
    if imported.is_ok() {
        imported = target.take_seats(run.rules.seats.to_vec()).await;
    }
    let counts = run.counts;
    drop(run);
    drop(inputs.held);
    target.close().await;
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

/// Finds what there is to import, and reads archives through.
fn look(arguments: &Import, own: &RelayUrls, now: Timestamp) -> anyhow::Result<Inputs> {
    let mut inputs = Inputs::default();
    for path in &arguments.inputs {
        if !path.is_dir() {
            if path.as_os_str() != "-" {
                std::fs::metadata(path)
                    .with_context(|| format!("can't read {}", path.display()))?;
            }
            inputs.files.push(File {
                path: path.clone(),
                archived: false,
            });
            continue;
        }
        if !path.join(MANIFEST).exists() {
            bail!(
                "{} is a directory and no archive: it has no {MANIFEST}",
                path.display()
            );
        }
        let backup = Backup::read(path, now)?;
        if !backup.damage.is_empty() && !arguments.keep_going {
            bail!(
                "the archive in {} is damaged: {}. Nothing was imported; --keep-going imports the \
                 rest",
                path.display(),
                backup.damage.join("; ")
            );
        }
        if !arguments.other_relay {
            refuse_other_relay(path, &backup, own)?;
        }
        for damage in &backup.damage {
            note(&format!("{}: {damage}", path.display()));
        }
        inputs.seats.add_all(backup.seats);
        inputs.held.extend(backup.held);
        inputs
            .files
            .extend(backup.files.into_iter().map(|path| File {
                path,
                archived: true,
            }));
    }
    Ok(inputs)
}

/// Requests to vanish are in force where they name the relay (NIP-62): under another name, who has
/// vanished would come back.
fn refuse_other_relay(path: &Path, backup: &Backup, own: &RelayUrls) -> anyhow::Result<()> {
    let urls = backup.contents.relay_urls.iter();
    let strange: Vec<&str> = urls
        .map(String::as_str)
        .filter(|url| !own.names_us(url))
        .collect();
    if strange.is_empty() {
        return Ok(());
    }
    let own: Vec<&str> = own.iter().collect();
    bail!(
        "the archive in {} is of the relay at {}, this configuration is of the one at {}: requests to \
         vanish that name the former wouldn't count, and who has vanished would come back. Name the \
         relay's configuration with --config, or put that URL into relay.url; --other-relay imports it \
         all the same. Nothing was imported",
        path.display(),
        strange.join(", "),
        own.join(", ")
    )
}

struct Run<'a> {
    arguments: &'a Import,
    rules: Arc<Rules>,
    target: Target,
    several: bool,
    counts: Counts,
}

impl Run<'_> {
    async fn import_all(
        &mut self,
        files: Vec<File>,
        mut first: Option<Input>,
    ) -> anyhow::Result<()> {
        for file in files {
            let input = match first.take() {
                Some(input) => input,
                None => Input::open(&file.path)?,
            };
            self.import(&file, input).await?;
        }
        Ok(())
    }

    async fn import(&mut self, file: &File, input: Input) -> anyhow::Result<()> {
        let template = if input.total_bytes.is_some() {
            WITH_TOTAL
        } else {
            WITHOUT_TOTAL
        };
        let progress = Progress::new(input.total_bytes, template);
        let read_bytes = Arc::clone(&input.read_bytes);
        let prefix = match self.several {
            true => format!("{}: ", file.path.display()),
            false => String::new(),
        };
        // Whoever has an archive is the operator.
        let protected = self.arguments.protected || file.archived;
        let mut checked = start_threads(input.reader, &self.rules, protected, &self.target)?;
        let mut writes = JoinSet::new();
        let mut failure = None;
        while let Some(batch) = checked.recv().await {
            let Checked {
                events,
                counts,
                bad,
                failure: ended,
            } = batch;
            self.counts.add_all(&counts);
            for (number, reason) in &bad {
                progress.note(&format!("{prefix}line {number}: {reason}"));
            }
            failure = ended.or(failure);
            while writes.len() >= WRITES_MAX {
                self.count_write(&mut writes, &progress).await?;
            }
            if !events.is_empty() {
                let ids: Vec<_> = events.iter().map(|event| *event.id()).collect();
                let target = self.target.clone();
                writes.spawn(async move {
                    let written = target.write(events).await?;
                    Ok(ids.into_iter().zip(written).collect())
                });
            }
            progress.set(read_bytes.load(Ordering::Relaxed));
            progress.say(format!("{} lines", self.counts.lines()));
        }
        while !writes.is_empty() {
            self.count_write(&mut writes, &progress).await?;
        }
        match failure {
            Some(failure) => bail!("{prefix}the input ends early: {failure}"),
            None => Ok(()),
        }
    }

    async fn count_write(
        &mut self,
        writes: &mut JoinSet<Written>,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let Some(written) = writes.join_next().await else {
            return Ok(());
        };
        let outcomes = written.context("a write panicked")?;
        let outcomes = outcomes.context("what is counted is safe, the rest isn't stored")?;
        for (id, outcome) in outcomes {
            match outcome {
                Ok(outcome) => self.counts.add(Answer::Stored(outcome)),
                Err(why) => {
                    self.counts.add(Answer::Bad);
                    progress.note(&format!("{}: {why}", id.to_hex()));
                }
            }
        }
        Ok(())
    }
}

type Written = anyhow::Result<Vec<(heliograph_protocol::EventId, Published)>>;
