//! `copy`: a store into a cluster, beside the relay that writes to the store, so that it can be moved
//! without a pause.
//!
//! The place to go on from moves only behind events that have their receipts.

use std::{fs, io::Write, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use heliograph_lifecycle::Signals;
use heliograph_protocol::{Outcome, Timestamp};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    archive::Cursor,
    output::{note, table},
    progress::Progress,
    publish::Publisher,
    source::{Step, StoreSource},
    store::Place,
};
use crate::cli::CopyTo;

/// How often the store is looked at. What its relay took is in the cluster about so much later.
const POLL: Duration = Duration::from_millis(100);

/// How often it is looked whether the relay still runs.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long nobody may write to the store before its relay is taken to have stopped: a restart is shorter.
const STOPPED_AFTER: Duration = Duration::from_secs(10);

/// How often the place is written to the disk, while there is something new.
const SAVE_EVERY: Duration = Duration::from_secs(1);

const TEMPLATE: &str = "{spinner} {human_pos} events copied, {per_sec}, {elapsed}";

/// What became of events.
#[derive(Debug, Default)]
struct Counts {
    copied: u64,
    known: u64,
    expired: u64,
    refused: u64,
}

/// Copies until all is copied, or what was asked for has happened.
///
/// # Errors
///
/// The store can't be read, the cluster takes no events, or it can't take some.
pub(super) async fn run(
    arguments: CopyTo,
    place: &Place,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut source = StoreSource::open(place)?;
    let publisher = Box::pin(Publisher::connect(&place.config)).await?;
    let path = match arguments.cursor {
        Some(path) => path,
        None => place.beside("copy.cursor"),
    };
    let mut copying = Copying {
        publisher: publisher.clone(),
        counts: Counts::default(),
        place: PlaceFile::new(
            &path,
            &place.config.cluster.name,
            &publisher.commits_id().await?,
        ),
        progress: Progress::new(None, TEMPLATE),
    };
    let ending = if arguments.until_stopped {
        Ending::RelayStopped
    } else if arguments.follow {
        Ending::Told
    } else {
        Ending::CaughtUp
    };
    let done = copying.copy(&mut source, ending).await;
    publisher.close().await;
    let Counts {
        copied,
        known,
        expired,
        refused,
    } = copying.counts;
    drop(copying.progress);
    table(
        out,
        &[
            ("copied", copied),
            ("known", known),
            ("expired", expired),
            ("refused", refused),
        ],
    )?;
    done?;
    if refused > 0 {
        bail!("the cluster couldn't take {refused} events, named above");
    }
    Ok(())
}

/// When to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    CaughtUp,
    Told,
    RelayStopped,
}

/// Whether the relay of the store has stopped for good.
#[derive(Debug, Default)]
struct Watch {
    looked: Option<Instant>,
    /// Since when nobody was seen to write.
    free_since: Option<Instant>,
}

impl Watch {
    fn has_stopped(&mut self, source: &StoreSource) -> anyhow::Result<bool> {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return Ok(false);
        }
        self.looked = Some(Instant::now());
        if self.is_back(source)? {
            return Ok(false);
        }
        let since = *self.free_since.get_or_insert_with(|| {
            let secs = STOPPED_AFTER.as_secs();
            note(&format!(
                "the relay has stopped: ends in {secs} s unless it comes back"
            ));
            Instant::now()
        });
        Ok(since.elapsed() >= STOPPED_AFTER)
    }

    /// Whether somebody writes to the store.
    fn is_back(&mut self, source: &StoreSource) -> anyhow::Result<bool> {
        let is_in_use = source.reader.is_in_use()?;
        if is_in_use && self.free_since.take().is_some() {
            note("the relay is back");
        }
        Ok(is_in_use)
    }
}

struct Copying {
    publisher: Publisher,
    counts: Counts,
    place: PlaceFile,
    progress: Progress,
}

impl Copying {
    async fn copy(&mut self, source: &mut StoreSource, ending: Ending) -> anyhow::Result<()> {
        let mut signals = Signals::listen().context("can't listen for signals")?;
        match self.place.read()? {
            Some(cursor) if source.go_on(&cursor)? => {}
            Some(_gone) => {
                note(
                    "the place where the last copy ended is not in this store: all is copied anew",
                );
                source.begin()?;
            }
            None => source.begin()?,
        }
        let (mut caught_up_once, mut watch) = (false, Watch::default());
        loop {
            // First whether the relay runs: what it took before it stopped is then in what is read.
            let stopped = ending == Ending::RelayStopped && watch.has_stopped(source)?;
            let (caught_up, idle) = self.step(source, stopped).await?;
            if stopped && watch.is_back(source)? {
                continue;
            }
            if caught_up {
                if !std::mem::replace(&mut caught_up_once, true) && ending != Ending::CaughtUp {
                    note("caught up");
                }
                if ending == Ending::CaughtUp || stopped {
                    return self.place.save();
                }
            }
            let pause = if caught_up && idle {
                POLL
            } else {
                Duration::ZERO
            };
            let told = tokio::select! {
                biased; // told to stop: what has its receipts is noted
                _signal = signals.stop(|| ()) => true,
                () = sleep(pause) => false,
            };
            if told {
                return self.place.save();
            }
        }
    }

    /// Copies some, all the rest if the store won't change any more. Whether everything is copied, and
    /// whether there was nothing.
    async fn step(
        &mut self,
        source: &mut StoreSource,
        to_the_end: bool,
    ) -> anyhow::Result<(bool, bool)> {
        loop {
            let step = source.next().await?;
            let (caught_up, idle) = (step.caught_up, step.events.is_empty());
            self.publish(step).await?;
            if caught_up || !to_the_end {
                return Ok((caught_up, idle));
            }
        }
    }

    async fn publish(&mut self, step: Step) -> anyhow::Result<()> {
        let now = Timestamp::now();
        let count = step.events.len();
        let events: Vec<_> = step
            .events
            .into_iter()
            .filter(|event| !event.is_expired(now))
            .collect();
        self.counts.expired += (count - events.len()) as u64;
        let ids: Vec<_> = events.iter().map(|event| *event.id()).collect();
        let published = self.publisher.publish_all(events).await?;
        for (id, outcome) in ids.iter().zip(published) {
            match outcome {
                Ok(Outcome::Duplicate) => self.counts.known += 1,
                Ok(_merged) => self.counts.copied += 1,
                Err(why) => {
                    self.counts.refused += 1;
                    self.progress.note(&format!("{}: {why}", id.to_hex()));
                }
            }
        }
        self.progress.set(self.counts.copied + self.counts.known);
        self.place.reached(step.cursor)
    }
}

/// Where the next copy goes on.
#[derive(Debug)]
struct PlaceFile {
    path: std::path::PathBuf,
    /// Another cluster has nothing of what this one has.
    cluster: String,
    /// Nor has the same one after it was emptied.
    commits: String,
    reached: Option<Cursor>,
    saved: Option<Cursor>,
    saved_at: Option<Instant>,
}

impl PlaceFile {
    fn new(path: &Path, cluster: &str, commits: &str) -> Self {
        Self {
            path: path.to_owned(),
            cluster: cluster.to_owned(),
            commits: commits.to_owned(),
            reached: None,
            saved: None,
            saved_at: None,
        }
    }

    fn read(&mut self) -> anyhow::Result<Option<Cursor>> {
        let shown = self.path.display();
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("can't read {shown}"))?,
        };
        let wrong = || format!("{shown} is no place to go on from: remove it to copy all anew");
        let value: serde_json::Value = serde_json::from_str(&text).with_context(wrong)?;
        if value["cluster"] != *self.cluster {
            bail!(
                "{shown} is the place of a copy into the cluster {}: name another file with --cursor",
                value["cluster"]
            );
        }
        if value["commits"] != *self.commits {
            note(
                "the cluster was made anew since the last copy, or another program kept the place: all \
                 is copied anew",
            );
            return Ok(None);
        }
        let cursor: Cursor = serde_json::from_value(value["cursor"].clone()).with_context(wrong)?;
        self.saved = Some(cursor.clone());
        Ok(Some(cursor))
    }

    /// Everything before this place has its receipt.
    fn reached(&mut self, cursor: Cursor) -> anyhow::Result<()> {
        self.reached = Some(cursor);
        if self.saved_at.is_none_or(|at| at.elapsed() >= SAVE_EVERY) {
            self.save()?;
        }
        Ok(())
    }

    fn save(&mut self) -> anyhow::Result<()> {
        self.saved_at = Some(Instant::now());
        if self.reached.is_none() || self.reached == self.saved {
            return Ok(());
        }
        let text =
            json!({"cluster": self.cluster, "commits": self.commits, "cursor": self.reached});
        let text = text.to_string();
        super::output::replace_file(&self.path, text.as_bytes())?;
        self.saved.clone_from(&self.reached);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_only_for_the_cluster_that_has_what_was_copied() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("copy.cursor");
        let place = |cluster, commits| PlaceFile::new(&path, cluster, commits);
        let cursor = Cursor::Store("1".to_owned());
        place("one", "commits-1").reached(cursor.clone()).unwrap();
        assert_eq!(place("one", "commits-1").read().unwrap(), Some(cursor));
        assert_eq!(place("one", "commits-2").read().unwrap(), None);
        let error = place("other", "commits-1").read().unwrap_err();
        assert!(error.to_string().contains("--cursor"), "{error}");
    }

    #[test]
    fn a_place_that_names_no_stream_of_commits_doesnt_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("copy.cursor");
        let text = json!({"cluster": "one", "cursor": Cursor::Store("1".to_owned())});
        fs::write(&path, text.to_string()).unwrap();
        let mut place = PlaceFile::new(&path, "one", "commits-1");
        assert_eq!(place.read().unwrap(), None);
    }
}
