//! `export`, `query` and `count`: reading, also beside a running relay.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use flate2::{Compression, write::GzEncoder};
use heliograph_protocol::Filter;

use super::{
    events::{Walk, write_line},
    output::note,
    progress::Progress,
    store::Place,
};
use crate::cli::Export;

const TEMPLATE: &str = "{spinner} {human_pos} events written, {per_sec}, {elapsed}";

/// zstd's own default: a third of the size at some 100 MB a second.
const ZSTD_LEVEL: i32 = 3;

pub(crate) async fn run(
    arguments: Export,
    place: &Place,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let Export {
        mut filter,
        since,
        until,
        output,
    } = arguments;
    filter.since = since.max(filter.since);
    filter.until = match (until, filter.until) {
        (Some(flag), Some(own)) => Some(flag.min(own)),
        (flag, own) => flag.or(own),
    };
    let reader = place.read()?;
    let walk = Walk::new(|request| reader.scan(request), filter);
    match output {
        None => write_events(walk, out).await.map(drop),
        Some(path) => write_file(walk, &path, place).await,
    }
}

pub(crate) async fn query(
    filter: Filter,
    place: &Place,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let reader = place.read()?;
    write_events(Walk::new(|request| reader.scan(request), filter), out)
        .await
        .map(drop)
}

pub(crate) async fn count(
    mut filter: Filter,
    place: &Place,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    filter.limit = None;
    let reader = place.read()?;
    let walk = Walk::new(|request| reader.scan(request), filter);
    let progress = Progress::new(None, "{spinner} {human_pos} events counted, {elapsed}");
    let count = walk.for_each(&progress, |_event| Ok(())).await?;
    drop(progress);
    Ok(writeln!(out, "{count}")?)
}

/// Writes one event a line and returns how many.
async fn write_events(walk: Walk, out: &mut impl Write) -> anyhow::Result<u64> {
    let progress = Progress::new(None, TEMPLATE);
    walk.for_each(&progress, |event| write_line(event, out))
        .await
}

/// Writes the file beside its place and moves it there once it is complete and on disk.
async fn write_file(walk: Walk, path: &Path, place: &Place) -> anyhow::Result<()> {
    place.refuse_inside(path)?;
    let partial = Partial::new(path);
    let file = File::create(&partial.path)
        .with_context(|| format!("can't write {}", partial.path.display()))?;
    let mut writer = Compressor::new(BufWriter::new(file), path)?;
    let count = write_events(walk, &mut writer).await?;
    let failed = || format!("can't write {}", path.display());
    let file = writer.finish().with_context(failed)?;
    file.sync_all().with_context(failed)?;
    partial.complete(path).with_context(failed)?;
    note(&format!("{count} events written to {}", path.display()));
    Ok(())
}

/// A file that isn't complete yet; removed unless it is completed.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn new(path: &Path) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        Self {
            path: PathBuf::from(name),
        }
    }

    fn complete(self, path: &Path) -> std::io::Result<()> {
        fs::rename(&self.path, path)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After completion it is gone, which is just as well.
        drop(fs::remove_file(&self.path));
    }
}

/// Compresses by the ending of the file's name.
enum Compressor {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl Compressor {
    fn new(file: BufWriter<File>, path: &Path) -> anyhow::Result<Self> {
        Ok(match path.extension().and_then(|ending| ending.to_str()) {
            Some("gz") => Self::Gzip(GzEncoder::new(file, Compression::default())),
            Some("zst") => {
                let mut encoder = zstd::Encoder::new(file, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
            _ => Self::Plain(file),
        })
    }

    fn finish(self) -> std::io::Result<File> {
        let file = match self {
            Self::Plain(file) => file,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        file.into_inner()
            .map_err(std::io::IntoInnerError::into_error)
    }
}

impl Write for Compressor {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}
