//! Compression that refers to earlier messages of the same connection, as far as the memory that was set
//! aside for it goes.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use flate2::Compress;

use super::{
    super::{Frame, RSV1, TEXT},
    LEVEL, WINDOW_BITS_MIN, deflate,
};
use crate::metrics::WindowMetrics;

/// What a deflater takes however small its window is: heads of chains, symbols, what isn't written yet.
const FIXED_BYTES: usize = 248 * 1024;

/// Bytes of a thread's work space that are kept between messages.
const SCRATCH_BYTES_MAX: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What a window of 2 to the power of `bits` bytes counts: two windows of text and a link for each byte of one.
pub(super) const fn bytes(bits: u8) -> usize {
    FIXED_BYTES + (4 << bits)
}

/// The windows of all connections together.
#[derive(Debug)]
pub(super) struct Windows {
    bytes_max: usize,
    used: AtomicUsize,
    metrics: WindowMetrics,
}

impl Windows {
    pub(super) fn new(bytes_max: usize, metrics: &WindowMetrics) -> Self {
        Self {
            bytes_max,
            used: AtomicUsize::new(0),
            metrics: metrics.clone(),
        }
    }

    pub(super) fn are_wanted(&self) -> bool {
        self.bytes_max > 0
    }

    /// A window, if there is memory for one more.
    pub(super) fn open(self: &Arc<Self>, bits: u8) -> Option<Box<Window>> {
        if bits < WINDOW_BITS_MIN {
            return None;
        }
        let bytes = bytes(bits);
        let more = |used: usize| {
            used.checked_add(bytes)
                .filter(|used| *used <= self.bytes_max)
        };
        let reserved = self
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        if reserved.is_err() {
            self.metrics.refused.inc();
            return None;
        }
        self.metrics.bytes.inc_by(gauged(bytes));
        let _lease = Lease {
            windows: Arc::clone(self),
            bytes,
        };
        Some(Box::new(Window {
            deflater: Compress::new_with_window_bits(LEVEL, false, bits),
            used: false,
            _lease,
        }))
    }
}

/// What was sent over one connection lately.
#[derive(Debug)]
pub(super) struct Window {
    deflater: Compress,
    used: bool,
    _lease: Lease,
}

impl Window {
    /// Appends a message as a compressed frame, whatever that gains: from now on the client's window has it.
    pub(super) fn message(&mut self, parts: &[&[u8]], out: &mut Vec<u8>) {
        self.used = true;
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            deflate(&mut self.deflater, parts, scratch);
            Frame::whole(TEXT | RSV1, scratch, out);
            if scratch.capacity() > SCRATCH_BYTES_MAX {
                *scratch = Vec::new();
            }
        });
    }

    /// Whether a message went through it since this was last asked.
    pub(super) fn was_used(&mut self) -> bool {
        std::mem::take(&mut self.used)
    }
}

/// Memory that is given back when it is dropped.
#[derive(Debug)]
struct Lease {
    windows: Arc<Windows>,
    bytes: usize,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.windows.used.fetch_sub(self.bytes, Ordering::AcqRel);
        self.windows.metrics.bytes.dec_by(gauged(self.bytes));
    }
}

fn gauged(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
