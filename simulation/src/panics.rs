//! Counts panics of the thread of a run: tasks of the HTTP/2 library have nobody else to tell.

use std::{cell::Cell, panic, sync::Once};

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// From now on panics are counted, besides being printed.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
}

/// Panics of this thread so far.
pub(crate) fn count() -> u64 {
    PANICS.get()
}
