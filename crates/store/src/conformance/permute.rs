//! Every order of a scenario, with repetitions and in batches of any size, to one end state (CL-1).
//!
//! A scenario says by hand what is left of it. Each run of it is one order, cut into write calls in
//! one way, by authors of its own, so that runs don't touch and share a store: the nth calls of all
//! runs are one write. Afterwards the store is asked by every path, everything is sent once more, and
//! nothing of that may be stored again.

use std::{collections::HashSet, ops::Deref, sync::Arc};

use heliograph_protocol::{Event, Filter, Outcome, Timestamp};

use super::{
    fixture::{Backend, Bed, NOW, assert_same, collect, list, sort},
    random::{Rng, join_all, surviving},
};
use crate::EventStore;

/// An expiration that no clock has reached: in 2096.
pub(super) const FAR: u64 = 4_000_000_000;

/// Events in one store at most, so that a store that looks at all of them for some rule isn't slow.
const STORE_EVENTS_MAX: usize = 4_000;

/// Runs whose events are looked for one by one.
const LOOKED_UP_RUNS: usize = 24;

/// What a scenario's events come to, whatever their order.
#[derive(Debug, Clone, Default)]
pub struct Scenario {
    /// Are there in the end.
    stays: Vec<Arc<Event>>,
    /// Are there until they expire in the far future.
    expires: Vec<Arc<Event>>,
    /// Are gone.
    goes: Vec<Arc<Event>>,
}

/// The events of which the first so many stay.
impl From<(Vec<Arc<Event>>, usize)> for Scenario {
    fn from((mut stays, count): (Vec<Arc<Event>>, usize)) -> Self {
        let goes = stays.split_off(count);
        let expires = Vec::new();
        Self {
            stays,
            expires,
            goes,
        }
    }
}

impl Scenario {
    pub(super) fn new<const S: usize, const E: usize, const G: usize>(
        stays: [&Arc<Event>; S],
        expires: [&Arc<Event>; E],
        goes: [&Arc<Event>; G],
    ) -> Self {
        let own = |events: &[&Arc<Event>]| events.iter().map(|event| Arc::clone(event)).collect();
        Self {
            stays: own(&stays),
            expires: own(&expires),
            goes: own(&goes),
        }
    }

    fn events(&self) -> Vec<Arc<Event>> {
        [&*self.stays, &*self.expires, &*self.goes].concat()
    }

    fn visible(&self, now: Timestamp) -> Vec<Arc<Event>> {
        let mut visible = self.stays.clone();
        if now.as_secs() < FAR {
            visible.extend_from_slice(&self.expires);
        }
        visible
    }

    /// The hand that wrote the scenario and the definition of the rules agree.
    fn check(&self) {
        for now in [NOW, Timestamp::from_secs(FAR)] {
            let mut by_hand = self.visible(now);
            sort(&mut by_hand);
            let mut defined = surviving(&self.events());
            defined.retain(|event| !event.is_expired(now));
            assert_same(
                &by_hand,
                &defined,
                &format!("the scenario itself, at {now}"),
            );
        }
    }
}

/// How the events of one order are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Each in a call of its own.
    Single,
    /// All in one call.
    Whole,
    /// Each once more, at some later place; each in a call of its own.
    Twice,
    /// The same, cut into calls at random.
    TwiceCut,
    /// The same in one call.
    TwiceWhole,
    /// Each in a call of its own, all calls under way at once.
    AtOnce,
}

const WAYS: [Way; 6] = [
    Way::Single,
    Way::Whole,
    Way::Twice,
    Way::TwiceCut,
    Way::TwiceWhole,
    Way::AtOnce,
];

/// One order of a scenario in one way.
struct Run {
    way: Way,
    scenario: Scenario,
    events: Vec<Arc<Event>>,
    /// Indices into `events`, in the calls in which they are written.
    calls: Vec<Vec<usize>>,
}

impl Run {
    fn call(&self, number: usize) -> impl Iterator<Item = Arc<Event>> {
        let call = self.calls.get(number).into_iter().flatten();
        call.map(|index| Arc::clone(&self.events[*index]))
    }

    fn describe(&self) -> String {
        let sent = self.calls.concat();
        let sent: Vec<_> = sent.iter().map(|n| Arc::clone(&self.events[*n])).collect();
        format!(
            "{:?}, in the calls {:?}:\n{}",
            self.way,
            self.calls,
            list(&sent)
        )
    }
}

/// Writes a scenario in every order and way: `scenario` builds it for an author, who may also use the
/// nine numbers that follow.
pub(super) async fn in_every_order<B: Backend, S: Into<Scenario>>(
    backend: &B,
    scenario: impl Fn(u32) -> S,
) {
    let first: Scenario = scenario(0).into();
    first.check();
    let count = first.events().len();
    let seed = count as u64;
    let mut rng = Rng::new(seed);
    let effort = backend.effort();
    let orders = orders(count, effort.orders, &mut rng);
    let mut runs = Vec::new();
    let mut author = 10;
    for (number, order) in orders.iter().enumerate() {
        for way in ways(number, effort.ways) {
            let scenario: Scenario = scenario(author).into();
            author += 10;
            runs.push(Run {
                way,
                events: scenario.events(),
                calls: calls(way, order, &mut rng),
                scenario,
            });
        }
    }
    for runs in runs.chunks((STORE_EVENTS_MAX / count).max(1)) {
        let bed = Bed::open(backend).await;
        write(&bed, runs).await;
        look(&bed, runs).await;
        send_again(&bed, runs).await;
    }
}

async fn write<S: EventStore, H: Deref<Target = S>>(bed: &Bed<H>, runs: &[Run]) {
    let (at_once, others): (Vec<&Run>, Vec<&Run>) =
        runs.iter().partition(|run| run.way == Way::AtOnce);
    let step = |runs: &[&Run], number: usize| -> Vec<Arc<Event>> {
        runs.iter().flat_map(|run| run.call(number)).collect()
    };
    let longest = runs.iter().map(|run| run.calls.len()).max().unwrap_or(0);
    for number in 0..longest {
        bed.write(&step(&others, number)).await;
    }
    let steps = (0..longest).map(|number| step(&at_once, number));
    let writes = steps.filter(|step| !step.is_empty());
    join_all(writes.map(|step| async move { drop(bed.write(&step).await) })).await;
}

/// Asks by every path: everything, and in a sample of runs by id, author, kind and tag.
async fn look<S: EventStore, H: Deref<Target = S>>(bed: &Bed<H>, runs: &[Run]) {
    everything(bed, runs, NOW).await;
    everything(bed, runs, Timestamp::from_secs(FAR)).await;
    let sample: Vec<&Run> = runs
        .iter()
        .step_by(runs.len().div_ceil(LOOKED_UP_RUNS))
        .collect();
    let events: Vec<Arc<Event>> = sample.iter().flat_map(|run| run.events.clone()).collect();
    for filter in filters(&events) {
        for now in [NOW, Timestamp::from_secs(FAR)] {
            let visible = runs.iter().flat_map(|run| run.scenario.visible(now));
            let mut expected: Vec<_> = visible.filter(|event| filter.matches(event)).collect();
            sort(&mut expected);
            let answer = collect(bed.store(), &filter, now).await;
            assert_same(&answer, &expected, &format!("{filter:?} at {now}"));
        }
    }
    for run in sample {
        let visible: HashSet<_> = run.scenario.visible(NOW).iter().map(|e| *e.id()).collect();
        for event in &run.events {
            let contains = bed.store().contains(event.id()).await;
            let contains = contains.expect("the store under test reads");
            let due = visible.contains(event.id());
            // A backend may not know by the id alone that an event has expired.
            let may = due || event.is_expired(NOW);
            assert!(
                contains == due || contains == may,
                "contains {}: {contains} after {}",
                event.as_str(),
                run.describe()
            );
        }
    }
}

/// Filters for these events that take each of a backend's paths.
fn filters(events: &[Arc<Event>]) -> Vec<Filter> {
    fn distinct<T: Ord>(values: impl Iterator<Item = T>) -> Option<Vec<T>> {
        let mut values: Vec<T> = values.collect();
        values.sort_unstable();
        values.dedup();
        Some(values)
    }
    let ids = distinct(events.iter().map(|event| *event.id()));
    let authors = distinct(events.iter().map(|event| *event.pubkey()));
    let kinds = distinct(events.iter().map(|event| event.kind()));
    let mut filters = vec![
        Filter {
            ids,
            ..Filter::default()
        },
        Filter {
            authors: authors.clone(),
            ..Filter::default()
        },
        Filter {
            kinds: kinds.clone(),
            ..Filter::default()
        },
        Filter {
            authors,
            kinds,
            ..Filter::default()
        },
    ];
    for letter in [b'd', b'p'] {
        let tags = events.iter().flat_map(|event| event.indexed_tags());
        let values = tags.filter(|(name, _)| *name == letter);
        let values = distinct(values.map(|(_, value)| value.into()));
        if let Some(values) = values.filter(|values| !values.is_empty()) {
            filters.push(Filter {
                tags: vec![heliograph_protocol::TagCondition { letter, values }],
                ..Filter::default()
            });
        }
    }
    filters
}

/// Exactly what is due is there.
async fn everything<S: EventStore, H: Deref<Target = S>>(
    bed: &Bed<H>,
    runs: &[Run],
    now: Timestamp,
) {
    let answer = collect(bed.store(), &Filter::default(), now).await;
    let visible: HashSet<_> = answer.iter().map(|event| *event.id()).collect();
    let mut due = 0;
    for run in runs {
        let expected: HashSet<_> = run.scenario.visible(now).iter().map(|e| *e.id()).collect();
        due += expected.len();
        for event in &run.events {
            let (seen, due) = (visible.contains(event.id()), expected.contains(event.id()));
            assert!(
                seen == due,
                "at {now} {} is {}visible after {}",
                event.as_str(),
                if seen { "" } else { "not " },
                run.describe()
            );
        }
    }
    assert_eq!(answer.len(), due, "nothing else is there");
}

/// What comes once more, long after, changes nothing and is nowhere taken for new.
async fn send_again<S: EventStore, H: Deref<Target = S>>(bed: &Bed<H>, runs: &[Run]) {
    let all: Vec<Arc<Event>> = runs.iter().flat_map(|run| run.events.clone()).collect();
    let outcomes = bed.write(&all).await;
    let mut outcomes = outcomes.into_iter();
    for run in runs {
        let visible: HashSet<_> = run.scenario.visible(NOW).iter().map(|e| *e.id()).collect();
        for (event, outcome) in run.events.iter().zip(outcomes.by_ref()) {
            // What is over leaves no trace that a backend would have to keep.
            let duplicate = outcome == Outcome::Duplicate;
            let right = match outcome {
                Outcome::Stored | Outcome::Duplicate if event.is_expired(NOW) => true,
                Outcome::Stored => false,
                _ => duplicate == visible.contains(event.id()),
            };
            assert!(
                right,
                "{outcome:?} for {} that came again, after {}",
                event.as_str(),
                run.describe()
            );
        }
    }
    everything(bed, runs, NOW).await;
    everything(bed, runs, Timestamp::from_secs(FAR)).await;
}

/// So many of the ways, in turn: with all orders all ways are taken.
fn ways(number: usize, count: usize) -> impl Iterator<Item = Way> {
    let count = count.clamp(1, WAYS.len());
    (0..count).map(move |n| WAYS[(number + n * WAYS.len() / count) % WAYS.len()])
}

/// The calls in which an order is written.
fn calls(way: Way, order: &[usize], rng: &mut Rng) -> Vec<Vec<usize>> {
    let single = |order: &[usize]| order.iter().map(|index| vec![*index]).collect();
    match way {
        Way::Single | Way::AtOnce => single(order),
        Way::Whole => vec![order.to_vec()],
        Way::Twice => single(&repeated(order, rng)),
        Way::TwiceWhole => vec![repeated(order, rng)],
        Way::TwiceCut => {
            let mut calls: Vec<Vec<usize>> = Vec::new();
            for index in repeated(order, rng) {
                match calls.last_mut() {
                    Some(call) if !rng.one_in(3) => call.push(index),
                    _ => calls.push(vec![index]),
                }
            }
            calls
        }
    }
}

/// Each element once more, somewhere behind its first place.
fn repeated(order: &[usize], rng: &mut Rng) -> Vec<usize> {
    let mut twice = order.to_vec();
    for index in order {
        let first = twice.iter().position(|other| other == index);
        let first = first.expect("it is there");
        let at = first + 1 + rng.index(twice.len() - first);
        twice.insert(at, *index);
    }
    twice
}

/// All orders of `0..count`, or a sample if there are more than `max` and more than four elements.
fn orders(count: usize, max: usize, rng: &mut Rng) -> Vec<Vec<usize>> {
    let all: usize = (1..=count).product();
    if count <= 4 || all <= max {
        return permutations(count);
    }
    let forth: Vec<usize> = (0..count).collect();
    let back = forth.iter().rev().copied().collect();
    let mut orders = vec![forth.clone(), back];
    while orders.len() < max {
        let mut order = forth.clone();
        rng.shuffle(&mut order);
        orders.push(order);
    }
    orders
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for next in 0..count {
        orders = orders
            .iter()
            .flat_map(|order: &Vec<usize>| {
                (0..=order.len()).map(move |at| {
                    let mut longer = order.clone();
                    longer.insert(at, next);
                    longer
                })
            })
            .collect();
    }
    orders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_events_come_in_every_order_and_many_in_some() {
        let mut rng = Rng::new(1);
        for (count, max, expected) in [(3, 1, 6), (4, 1, 24), (5, 120, 120), (6, 50, 50)] {
            let orders = orders(count, max, &mut rng);
            assert_eq!(orders.len(), expected);
            for order in &orders {
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..count).collect::<Vec<_>>());
            }
            if expected >= 24 && expected != max {
                let distinct: HashSet<_> = orders.iter().collect();
                assert_eq!(distinct.len(), expected);
            }
        }
    }

    #[test]
    fn every_way_has_its_turn() {
        for count in 1..=WAYS.len() {
            for way in WAYS {
                let taken = (0..24).flat_map(|number| ways(number, count));
                assert_eq!(taken.filter(|taken| *taken == way).count(), 4 * count);
            }
        }
    }

    #[test]
    fn every_way_writes_every_event_and_repetitions_come_later() {
        let mut rng = Rng::new(2);
        let order = [2, 0, 1, 3];
        for _ in 0..100 {
            for way in WAYS {
                let calls = calls(way, &order, &mut rng);
                let sent = calls.concat();
                let times = |index| sent.iter().filter(|other| **other == index).count();
                let twice = matches!(way, Way::Twice | Way::TwiceCut | Way::TwiceWhole);
                assert!((0..4).all(|index| times(index) == if twice { 2 } else { 1 }));
                let mut firsts = sent.clone();
                let mut seen = HashSet::new();
                firsts.retain(|index| seen.insert(*index));
                assert_eq!(firsts, order, "{way:?}: the first of each in this order");
                assert!(calls.iter().all(|call| !call.is_empty()));
            }
        }
    }
}
