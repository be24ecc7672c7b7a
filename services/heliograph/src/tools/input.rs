//! The file that is imported: plain, gzip or zstd, told apart by its first bytes.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Context as _;
use flate2::bufread::MultiGzDecoder;

const BUFFER_BYTES: usize = 256 * 1_024;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// An opened input.
pub(crate) struct Input {
    /// The text.
    pub(crate) reader: Box<dyn BufRead + Send>,
    /// Bytes of the file read so far, before decompression.
    pub(crate) read_bytes: Arc<AtomicU64>,
    /// Bytes of the file, if it has an end that is known.
    pub(crate) total_bytes: Option<u64>,
}

impl Input {
    /// Opens a file, or the standard input for `-`.
    ///
    /// # Errors
    ///
    /// It can't be opened or read.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let open = || -> io::Result<Self> {
            if path.as_os_str() == "-" {
                return Self::new(io::stdin(), None);
            }
            let file = File::open(path)?;
            let meta = file.metadata()?;
            if meta.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            Self::new(file, meta.is_file().then_some(meta.len()))
        };
        open().with_context(|| format!("can't read {}", path.display()))
    }

    pub(crate) fn new(
        mut source: impl Read + Send + 'static,
        total_bytes: Option<u64>,
    ) -> io::Result<Self> {
        let mut head = Vec::new();
        source.by_ref().take(4).read_to_end(&mut head)?;
        let read_bytes = Arc::new(AtomicU64::new(0));
        let (gzip, zstd) = (head.starts_with(GZIP), head.starts_with(ZSTD));
        let whole = Cursor::new(head).chain(source);
        let counted = Counted {
            inner: whole,
            bytes: Arc::clone(&read_bytes),
        };
        let buffered = BufReader::with_capacity(BUFFER_BYTES, counted);
        let reader: Box<dyn BufRead + Send> = if gzip {
            Box::new(BufReader::with_capacity(
                BUFFER_BYTES,
                MultiGzDecoder::new(buffered),
            ))
        } else if zstd {
            let decoder = zstd::Decoder::with_buffer(buffered)?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        } else {
            Box::new(buffered)
        };
        Ok(Self {
            reader,
            read_bytes,
            total_bytes,
        })
    }
}

/// Counts what passes.
struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}
