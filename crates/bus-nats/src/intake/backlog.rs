//! Events that were fetched and not offered to the worker yet, and the isolation of messages that
//! fail.
//!
//! One event that can't be stored must not take others with it for ever. A message that failed
//! twice is offered apart from others and in parts, from the fourth delivery on event by event.

use std::{collections::VecDeque, sync::Arc};

use super::{NatsItem, work::Work};

/// From this delivery on a message is offered apart from others, in [`PARTS`] parts.
const APART_FROM: u32 = 3;

/// From this delivery on a message is offered event by event.
const SINGLE_FROM: u32 = 4;

/// Parts of a message on its third delivery.
const PARTS: usize = 8;

/// After so many failed events without one that was stored, the rest of an isolated message isn't
/// tried in this delivery: it is the store that fails, and each try may take its full time-out.
const FAILURES_MAX: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Backlog {
    parts: VecDeque<Part>,
}

#[derive(Debug)]
struct Part {
    items: VecDeque<NatsItem>,
    /// Not to be stored in one batch with others.
    apart: bool,
}

impl Backlog {
    /// Files the events of a message.
    pub(super) fn add(&mut self, work: &Arc<Work>) {
        let mut items = work.items();
        let count = items.len();
        if count == 0 {
            return;
        }
        let part = part_size(work.delivered(), count);
        let apart = work.delivered() >= APART_FROM;
        if apart {
            // Another order each time, so that the limit of failures doesn't stop at the same ones.
            items.rotate_left(work.delivered() as usize * FAILURES_MAX % count);
        }
        let mut items = items.into_iter();
        loop {
            let items: VecDeque<NatsItem> = items.by_ref().take(part).collect();
            if items.is_empty() {
                return;
            }
            self.parts.push_back(Part { items, apart });
        }
    }

    /// Up to `count_max` events, at least one; `None` if there are none.
    pub(super) fn take(&mut self, count_max: usize) -> Option<Vec<NatsItem>> {
        debug_assert!(count_max > 0, "a batch of none never ends");
        self.drop_hopeless();
        let mut batch = Vec::new();
        while let Some(part) = self.parts.front_mut() {
            if part.apart && !batch.is_empty() {
                break;
            }
            let room = count_max - batch.len();
            batch.extend(part.items.drain(..room.min(part.items.len())));
            let apart = part.apart;
            if part.items.is_empty() {
                self.parts.pop_front();
            }
            if apart || batch.len() == count_max {
                break;
            }
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// Drops what would fail like the parts before it; dropped events are delivered again.
    fn drop_hopeless(&mut self) {
        let hopeless = |part: &Part| {
            let first = part.items.front();
            part.apart && first.is_some_and(|item| item.work.fails(FAILURES_MAX))
        };
        while self.parts.front().is_some_and(hopeless) {
            self.parts.pop_front();
        }
    }
}

fn part_size(delivered: u32, count: usize) -> usize {
    match delivered {
        SINGLE_FROM.. => 1,
        APART_FROM => count.div_ceil(PARTS),
        _ => count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_fails_comes_in_smaller_parts() {
        let sizes = [1, 2, 3, 4, 20].map(|delivered| part_size(delivered, 100));
        assert_eq!(sizes, [100, 100, 13, 1, 1]);
        assert_eq!(part_size(3, 1), 1);
    }
}
