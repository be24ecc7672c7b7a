//! The index itself: filing, forgetting and matching.

use std::collections::VecDeque;

use hashbrown::HashMap;
use heliograph_protocol::{Event, Filter};
use roaring::RoaringBitmap;
use smallvec::SmallVec;

use crate::{
    Matches, Slot, Stats,
    classes::{Class, Classes, Remaining},
    filters::{Bounds, Definition, FilterId, Filters},
    found::Found,
    key::{KeyRef, Space, keys_of},
    keys::{Group, KeyId, Keys},
    lists::{ListId, Lists},
};

/// From this share of all events on, a list isn't worth filing under: testing the filter on every
/// event of its kinds costs no more.
const SHARE_MAX: f64 = 1.0;

/// All live subscriptions, for one owner: a matcher, or a shard of one.
///
/// # Guarantees
///
/// - **Exact.** A slot is found if and only if one of its filters matches the event by
///   [`Filter::matches`], `limit` playing no part (R01-54), and once however many do (R01-52).
/// - **At once.** What [`insert`](Self::insert) and [`remove`](Self::remove) did holds for the next
///   event; a slot number may be used again straight away.
/// - **Bounded steps.** `remove` costs one look-up a filter; the rest is left to
///   [`purge`](Self::purge), which the caller runs between events.
///
/// A filter's place is chosen when it is inserted, by what was seen until then, and stays.
#[derive(Debug, Default)]
pub struct Index {
    keys: Keys,
    lists: Lists,
    classes: Classes,
    filters: Filters,
    subscriptions: HashMap<Slot, SmallVec<[FilterId; 2]>>,
    purges: VecDeque<Purge>,
    found: Found,
    /// The keys of the event at hand that some filter names: sorted, each once.
    present: Vec<(Space, KeyId)>,
    /// The keys of the list at hand.
    numbers: Vec<KeyId>,
    candidates: usize,
}

/// Something nobody uses any more, and how many of its blocks of keys are done.
#[derive(Debug, Clone, Copy)]
enum Purge {
    /// To be taken out of the groups it is filed in.
    Filter(FilterId, usize),
    /// Whose keys are to be released.
    List(ListId, usize),
}

impl Index {
    /// An index without subscriptions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the subscription `slot`, in place of one that may be open under that number. Costs up
    /// to about 1 µs a value of the list that it is filed under.
    ///
    /// Filters that can match nothing take no room (R01-27). Numbers should be dense: one bit is
    /// kept for each up to the highest.
    pub fn insert(&mut self, slot: Slot, filters: &[Filter]) {
        self.remove(slot);
        self.found.reserve(slot.0);
        let mut held = SmallVec::new();
        for filter in filters.iter().filter(|filter| !filter.matches_nothing()) {
            let id = self.file(filter);
            if self.filters.subscribe(id, slot.0) {
                held.push(id);
            }
        }
        self.subscriptions.insert(slot, held);
    }

    /// Closes the subscription `slot`; `false` if none is open. It is in no answer from now on;
    /// the room is given back by [`purge`](Self::purge).
    pub fn remove(&mut self, slot: Slot) -> bool {
        let Some(held) = self.subscriptions.remove(&slot) else {
            return false;
        };
        for id in held {
            if self.filters.unsubscribe(id, slot.0) {
                self.purges.push_back(Purge::Filter(id, 0));
            }
        }
        true
    }

    /// Gives back the room of filters that nobody wants any more, oldest first, up to about
    /// `budget` values (each well under 1 µs). Returns whether some are left.
    ///
    /// Until then they cost memory, and time on events that they would have matched.
    pub fn purge(&mut self, budget: usize) -> bool {
        let mut done = 0;
        while done < budget {
            let Some(purge) = self.purges.pop_front() else {
                break;
            };
            let (values, rest) = match purge {
                Purge::Filter(id, block) => self.purge_filter(id, block),
                Purge::List(id, block) => self.purge_list(id, block),
            };
            if let Some(rest) = rest {
                self.purges.push_front(rest);
            }
            done += values.max(1);
        }
        !self.purges.is_empty()
    }

    /// Finds who wants `event`; replaces what `out` held. In no particular order.
    pub fn matches(&mut self, event: &Event, out: &mut Matches) {
        self.gather(event);
        out.slots.clear();
        self.found.take_list(&mut out.slots);
    }

    /// As [`matches`](Self::matches), as a bitmap: cheaper to pass on where thousands match, and
    /// each of its containers is the delivery list of one block of 65,536 slots.
    pub fn matches_bitmap(&mut self, event: &Event, out: &mut RoaringBitmap) {
        self.gather(event);
        *out = self.found.take_bitmap();
    }

    /// Filters that were looked at for the last event.
    #[must_use]
    pub fn candidates(&self) -> usize {
        self.candidates
    }

    /// Distinct filters, those that wait for a purge included.
    #[must_use]
    pub fn filter_count(&self) -> usize {
        self.filters.len()
    }

    /// How much there is.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let each = size_of::<(Slot, SmallVec<[FilterId; 2]>)>() + 2;
        let parts = [
            self.subscriptions.len() * each,
            self.keys.bytes(),
            self.lists.bytes(),
            self.classes.bytes(),
            self.filters.bytes(),
        ];
        Stats {
            subscriptions: self.subscriptions.len(),
            filters: self.filters.len(),
            lists: self.lists.len(),
            groups: self.keys.group_count(),
            postings: self.keys.posting_count(),
            purges: self.purges.len(),
            bytes: parts.iter().sum(),
        }
    }

    /// The number of `filter`, filed if it isn't yet.
    fn file(&mut self, filter: &Filter) -> FilterId {
        let lists = self.intern_lists(filter);
        let kinds = filter.kinds.as_deref();
        let (filed, by_value) = match self.rarest(&lists) {
            Some(list) => {
                self.lists.hold(list);
                (list, true)
            }
            None => (self.intern_kinds(filter), false),
        };
        let bounds = Bounds::of(filter);
        let remaining = if lists.iter().any(|list| *list != filed) {
            Remaining::Conditions
        } else if bounds.are_open() {
            Remaining::Nothing
        } else {
            Remaining::Bounds
        };
        let kinds = kinds.filter(|_| by_value).map(|kinds| {
            let mut kinds = kinds.to_vec();
            kinds.sort_unstable();
            kinds.dedup();
            kinds.into_boxed_slice()
        });
        let class = self.classes.intern(Class { kinds, remaining });
        let definition = Definition {
            class,
            filed,
            lists,
        };
        if let Some(id) = self.filters.find(&definition, bounds) {
            self.release(&definition);
            return id;
        }
        let id = self.filters.insert(definition, bounds);
        for key in self.lists.get(filed).keys.iter() {
            self.keys.post(key, class, id);
        }
        id
    }

    /// The lists of values that `filter` names, kinds apart, each held once.
    fn intern_lists(&mut self, filter: &Filter) -> SmallVec<[ListId; 2]> {
        let mut lists = SmallVec::new();
        if let Some(ids) = &filter.ids {
            lists.push(self.intern_list(Space::ID, ids.iter().map(KeyRef::id)));
        }
        if let Some(authors) = &filter.authors {
            lists.push(self.intern_list(Space::AUTHOR, authors.iter().map(KeyRef::author)));
        }
        for condition in &filter.tags {
            let letter = condition.letter;
            let values = condition
                .values
                .iter()
                .map(|value| KeyRef::tag(letter, value));
            lists.push(self.intern_list(Space::tag(letter), values));
        }
        lists
    }

    /// The list to file a filter under that names no other, or none that is rare enough.
    fn intern_kinds(&mut self, filter: &Filter) -> ListId {
        match &filter.kinds {
            Some(kinds) => {
                self.intern_list(Space::KIND, kinds.iter().map(|kind| KeyRef::Kind(*kind)))
            }
            None => self.intern_list(Space::EVERYTHING, std::iter::once(KeyRef::Everything)),
        }
    }

    fn intern_list<'a>(
        &mut self,
        space: Space,
        values: impl Iterator<Item = KeyRef<'a>>,
    ) -> ListId {
        self.numbers.clear();
        for value in values {
            let key = self.keys.intern(value);
            self.numbers.push(key);
        }
        self.lists.intern(space, &mut self.numbers, &mut self.keys)
    }

    /// The list whose keys are expected to see the fewest events.
    ///
    /// Kinds play no part: a group tests them once whatever it is filed under, so they lessen the
    /// candidates of every list alike, and are filed under only where there is no list.
    fn rarest(&self, lists: &[ListId]) -> Option<ListId> {
        let shares = lists
            .iter()
            .map(|list| (self.lists.share(*list, &self.keys), *list));
        let rarest = shares.min_by(|(a, _), (b, _)| a.total_cmp(b))?;
        (rarest.0 < SHARE_MAX).then_some(rarest.1)
    }

    /// Gives up what a filter held.
    fn release(&mut self, definition: &Definition) {
        self.classes.release(definition.class);
        for list in definition.lists.iter().copied().chain([definition.filed]) {
            if self.lists.release(list) {
                self.purges.push_back(Purge::List(list, 0));
            }
        }
    }

    fn purge_filter(&mut self, id: FilterId, block: usize) -> (usize, Option<Purge>) {
        if block == 0 && !self.filters.begin_purge(id) {
            return (0, None);
        }
        let Definition { class, filed, .. } = *self.filters.definition(id);
        let list = &self.lists.get(filed).keys;
        let mut values = 0;
        for key in list.block(block) {
            self.keys.unpost(key, class, id);
            values += 1;
        }
        if block + 1 < list.blocks() {
            return (values, Some(Purge::Filter(id, block + 1)));
        }
        let definition = self.filters.free(id);
        self.release(&definition);
        (values, None)
    }

    fn purge_list(&mut self, id: ListId, block: usize) -> (usize, Option<Purge>) {
        let list = &self.lists.get(id).keys;
        let mut values = 0;
        for key in list.block(block) {
            self.keys.release(key);
            values += 1;
        }
        if block + 1 < list.blocks() {
            return (values, Some(Purge::List(id, block + 1)));
        }
        self.lists.free(id);
        (values, None)
    }

    /// Fills `found` with the slots that want `event`.
    fn gather(&mut self, event: &Event) {
        self.look_up(event);
        self.candidates = 0;
        let scan = Scan {
            lists: &self.lists,
            filters: &self.filters,
            present: &self.present,
            event,
        };
        for (_, key) in &self.present {
            for group in self.keys.groups(*key) {
                let class = self.classes.get(group.class);
                if class.admits(event.kind()) {
                    self.candidates += group.filters.len();
                    scan.group(group, class.remaining, &mut self.found);
                }
            }
        }
    }

    /// Fills `present`, and counts what was seen.
    fn look_up(&mut self, event: &Event) {
        let Self { keys, present, .. } = self;
        present.clear();
        keys_of(
            event,
            |space| keys.is_asked(space),
            |key| present.extend(keys.find(key).map(|id| (key.space(), id))),
        );
        present.sort_unstable();
        present.dedup();
        keys.see_event();
        present.iter().for_each(|(_, key)| keys.see(*key));
    }
}

/// What the test of a group needs to know.
struct Scan<'a> {
    lists: &'a Lists,
    filters: &'a Filters,
    present: &'a [(Space, KeyId)],
    event: &'a Event,
}

impl Scan<'_> {
    /// Adds the owners of all filters of a group that match; key and kind are known to fit.
    #[inline]
    fn group(&self, group: &Group, remaining: Remaining, found: &mut Found) {
        let filters = self.filters;
        let crowd = |number| filters.crowd(number);
        match remaining {
            Remaining::Nothing => {
                group
                    .filters
                    .for_each(|id| found.add_owner(filters.owner(id), crowd));
            }
            Remaining::Bounds => group.filters.for_each(|id| {
                if filters.bounds(id).contain(self.event.created_at()) {
                    found.add_owner(filters.owner(id), crowd);
                }
            }),
            Remaining::Conditions => group.filters.for_each(|id| {
                let owner = filters.owner(id);
                if !found.has(owner) && self.conditions_hold(id) {
                    found.add_owner(owner, crowd);
                }
            }),
        }
    }

    /// Tests what the key doesn't say.
    fn conditions_hold(&self, id: FilterId) -> bool {
        let Definition { filed, lists, .. } = self.filters.definition(id);
        let mut others = lists.iter().filter(|list| *list != filed);
        self.filters.bounds(id).contain(self.event.created_at())
            && others.all(|list| self.lists.get(*list).meets(self.present))
    }
}
