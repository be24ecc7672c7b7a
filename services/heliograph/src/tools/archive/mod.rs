//! `archive`: a backup that each run adds to, of a store or of a cluster.
//!
//! ```text
//! source ─events, where to go on─▶ segment that is open ─sealed─▶ directory, manifest
//! ```
//! An event is in the archive once its segment is sealed; the place to go on from is written with it. A
//! run that was cut short is gone on with, and what it had in an open segment comes again.

mod backup;
mod contents;
mod directory;
mod manifest;

use std::{io::Write, time::Duration};

use anyhow::{Context as _, anyhow};
use heliograph_lifecycle::Signals;
use heliograph_protocol::Timestamp;
use tokio::time::{Instant, sleep};

use self::{
    backup::seat_line,
    directory::{Directory, Open},
    manifest::Origin,
};
pub(super) use self::{
    backup::{Backup, SeatMap},
    contents::MANIFEST,
    manifest::{Cursor, Scanned},
};
use super::{
    output::{note, table},
    progress::Progress,
    source::{Beside, Gap, Next, Source, Step},
    store::Place,
};
use crate::cli::Archive;

/// How often somebody who follows looks whether there is something new.
const POLL: Duration = Duration::from_millis(250);

/// How often somebody who follows writes what goes beside the segments, and notes in the manifest that
/// nothing was missed, if nothing else is written.
const BESIDE_EVERY: Duration = Duration::from_mins(10);

const TEMPLATE: &str = "{spinner} {human_pos} events archived, {per_sec}, {elapsed}";

/// Archives what is new.
///
/// # Errors
///
/// The source can't be read or the directory can't be written to; what is sealed counts.
pub(super) async fn run(
    arguments: Archive,
    place: &Place,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if arguments.check {
        return check(&arguments, out);
    }
    let origin = if arguments.cluster {
        Origin::Cluster
    } else {
        place.refuse_inside(&arguments.to)?;
        Origin::Store
    };
    let relay_urls: Vec<String> = place
        .urls(arguments.cluster)?
        .iter()
        .map(str::to_owned)
        .collect();
    let mut source = Source::open(arguments.cluster, place).await?;
    let directory = Directory::open(&arguments.to, origin)?;
    let mut run = Run {
        arguments,
        relay_urls,
        directory,
        open: None,
        cursor: None,
        beside: None,
        counts: Counts::default(),
        progress: Progress::new(None, TEMPLATE),
    };
    let done = run.archive(&mut source).await;
    source.close().await;
    drop(run.progress);
    table(
        out,
        &[
            ("events", run.counts.events),
            ("segments", run.counts.segments),
            ("bytes", run.counts.bytes),
        ],
    )?;
    done
}

/// Reads an archive and says what is in it.
fn check(arguments: &Archive, out: &mut impl Write) -> anyhow::Result<()> {
    let backup = Backup::read(&arguments.to, Timestamp::now())?;
    let segments = &backup.contents.segments;
    table(
        out,
        &[
            (
                "events",
                segments.iter().map(|segment| segment.events).sum(),
            ),
            ("segments", segments.len() as u64),
            ("bytes", segments.iter().map(|segment| segment.bytes).sum()),
            (
                "bytes of events",
                segments.iter().map(|segment| segment.text_bytes).sum(),
            ),
            ("complete up to", backup.contents.caught_up.unwrap_or(0)),
        ],
    )?;
    anyhow::ensure!(
        backup.damage.is_empty(),
        "the archive in {} isn't good: {}",
        arguments.to.display(),
        backup.damage.join("; ")
    );
    Ok(())
}

/// What a run added.
#[derive(Debug, Default)]
struct Counts {
    events: u64,
    segments: u64,
    bytes: u64,
}

struct Run {
    arguments: Archive,
    relay_urls: Vec<String>,
    directory: Directory,
    /// The segment that is written, and since when.
    open: Option<(Open, Instant)>,
    /// Where to go on once what is open is sealed.
    cursor: Option<Cursor>,
    /// When it was last noted that nothing was missed.
    beside: Option<Instant>,
    counts: Counts,
    progress: Progress,
}

impl Run {
    async fn archive(&mut self, source: &mut Source) -> anyhow::Result<()> {
        let mut signals = match self.arguments.follow {
            true => Some(Signals::listen().context("can't listen for signals")?),
            false => None,
        };
        self.begin(source).await?;
        let urls = std::mem::take(&mut self.relay_urls);
        self.directory.note_relay(urls)?;
        let mut stopping = false;
        loop {
            let asked = Timestamp::now();
            let step = match source.next().await? {
                Next::Step(step) => step,
                Next::Gap(gap) => {
                    self.seal()?;
                    self.gap(gap, source).await?;
                    continue;
                }
            };
            let (caught_up, idle) = (step.caught_up, step.events.is_empty());
            self.take(step)?;
            if stopping && (caught_up || !self.is_complete()) {
                self.seal()?;
                return match caught_up {
                    true => self.note_caught_up(source, asked).await,
                    false => Ok(()),
                };
            }
            if caught_up {
                self.caught_up(source, asked).await?;
            }
            let Some(signals) = &mut signals else {
                if caught_up {
                    return Ok(());
                }
                continue;
            };
            let pause = if caught_up && idle {
                POLL
            } else {
                Duration::ZERO
            };
            tokio::select! {
                // Told to stop: once more what there is, unless that is a pass over everything.
                biased;
                _signal = signals.stop(|| ()), if !stopping => stopping = true,
                () = sleep(pause) => {}
            }
        }
    }

    /// Whether everything was archived once.
    fn is_complete(&self) -> bool {
        let contents = self.directory.contents();
        contents.complete == contents.pass
    }

    /// Goes on where the last run ended, or begins anew.
    async fn begin(&mut self, source: &mut Source) -> anyhow::Result<()> {
        let contents = self.directory.contents();
        if self.arguments.full {
            return self.anew(source, "it was asked for", false).await;
        }
        if contents.pass == 0 {
            return self.anew(source, "it is the first", false).await;
        }
        let cursor = contents.cursor.clone();
        let gone = match contents.place.clone() {
            Some(place) => source.go_on(&place).await?.err(),
            None => None,
        };
        match gone {
            Some(Gap::Elsewhere) => self.gap(Gap::Elsewhere, source).await,
            // A pass that was begun, of which nothing was sealed.
            _ if cursor.is_none() => source.begin().await,
            Some(Gap::Trimmed) => self.gap(Gap::Trimmed, source).await,
            None => {
                self.cursor = cursor;
                Ok(())
            }
        }
    }

    /// Begins anew if that is safe.
    ///
    /// # Errors
    ///
    /// It isn't the source of this archive. What is archived may be all that is left of that: nothing but
    /// an operator's word drops it.
    async fn gap(&mut self, gap: Gap, source: &mut Source) -> anyhow::Result<()> {
        match gap {
            Gap::Elsewhere => Err(self.elsewhere()),
            Gap::Trimmed => {
                note(
                    "the cluster no longer keeps the commits that come next: everything is archived \
                     anew, beside what was archived before; --full drops that",
                );
                let reason = "commits were dropped before they could be read";
                self.anew(source, reason, true).await
            }
        }
    }

    fn elsewhere(&self) -> anyhow::Error {
        let what = match self.arguments.cluster {
            true => "cluster",
            false => "store",
        };
        anyhow!(
            "this isn't the {what} of the archive in {}: the place where the archive goes on isn't in it. \
             It is another one, was made anew, or was brought back from a backup. Nothing was dropped. \
             If it is the right one, archive into another directory (--to), or add --full, which \
             archives everything anew and then drops what was archived before",
            self.arguments.to.display()
        )
    }

    async fn anew(&mut self, source: &mut Source, reason: &str, keeps: bool) -> anyhow::Result<()> {
        self.cursor = None;
        self.beside = None;
        self.directory.begin_pass(reason, keeps)?;
        source.begin().await
    }

    fn take(&mut self, step: Step) -> anyhow::Result<()> {
        if !step.events.is_empty() {
            let (open, _since) = match &mut self.open {
                Some(open) => open,
                none => none.insert((self.directory.begin_segment()?, Instant::now())),
            };
            for event in &step.events {
                open.write(event).context("can't write a segment")?;
            }
            self.counts.events += step.events.len() as u64;
            self.progress.set(self.counts.events);
        }
        self.cursor = Some(step.cursor);
        let full = |(open, since): &(Open, Instant)| {
            open.text_bytes() >= self.arguments.segment_bytes
                || self.arguments.follow
                    && since.elapsed() >= Duration::from_secs(self.arguments.segment_secs)
        };
        if self.open.as_ref().is_some_and(full) {
            self.seal()?;
        }
        Ok(())
    }

    fn seal(&mut self) -> anyhow::Result<()> {
        if let (Some((open, _since)), Some(cursor)) = (self.open.take(), &self.cursor) {
            let segment = self.directory.seal(open, cursor.clone())?;
            self.counts.segments += 1;
            self.counts.bytes += segment.bytes;
        }
        Ok(())
    }

    /// Seals if the run ends here, or if it is time.
    async fn caught_up(&mut self, source: &mut Source, asked: Timestamp) -> anyhow::Result<()> {
        let first = !self.is_complete();
        let due = self.beside.is_none_or(|at| at.elapsed() >= BESIDE_EVERY);
        if self.arguments.follow && !first && (!due || self.open.is_some()) {
            return Ok(());
        }
        self.seal()?;
        self.note_caught_up(source, asked).await?;
        if self.arguments.follow && first {
            note("caught up");
        }
        Ok(())
    }

    async fn note_caught_up(
        &mut self,
        source: &mut Source,
        asked: Timestamp,
    ) -> anyhow::Result<()> {
        let Some(cursor) = self.cursor.clone() else {
            return Ok(());
        };
        match source.beside().await? {
            Beside::Seats(store) => {
                let mut seats = self.directory.begin_seats()?;
                store.seats(|seat| seats.write(&seat_line(&seat))).await?;
                // They might be those of a store that took its place meanwhile.
                if !store.holds(&cursor)? {
                    return Err(self.elsewhere());
                }
                self.directory.keep_seats(seats)?;
            }
            Beside::Control(text) => self.directory.put("control.txt", &text)?,
        }
        self.directory.caught_up(asked, cursor)?;
        self.beside = Some(Instant::now());
        Ok(())
    }
}
