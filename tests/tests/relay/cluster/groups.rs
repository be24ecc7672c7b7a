//! Which scenarios can share a store: those that can't see, replace, delete or hide anything of
//! each other. A cluster with a keyspace of its own for each scenario would take minutes.

use heliograph_protocol::{Address, Event, Filter, Kind};
use serde_json::Value;

use crate::support::{array, event};

/// What a scenario sends and asks.
struct Scenario<'a> {
    row: &'a Value,
    events: Vec<Event>,
    filters: Vec<Filter>,
}

impl<'a> Scenario<'a> {
    fn new(row: &'a Value) -> Self {
        let steps = array(&row["steps"]);
        let sent = steps.iter().filter(|step| step["send"].is_object());
        let asked = steps.iter().filter(|step| step["req"].is_array());
        let filter = |filter: &Value| {
            Filter::parse(&filter.to_string()).unwrap_or_else(|why| panic!("{why}: {filter}"))
        };
        Self {
            row,
            events: sent.map(|step| event(&step["send"])).collect(),
            filters: asked
                .flat_map(|step| array(&step["req"]))
                .map(filter)
                .collect(),
        }
    }

    /// Whether this one could notice that the other was there before.
    fn is_touched_by(&self, other: &Self) -> bool {
        let sees = |event: &Event| self.filters.iter().any(|filter| filter.matches(event));
        let changes = |theirs: &Event| self.events.iter().any(|mine| changes(theirs, mine));
        other
            .events
            .iter()
            .any(|theirs| sees(theirs) || changes(theirs))
    }
}

/// Whether storing `first` could make a difference to `second`.
fn changes(first: &Event, second: &Event) -> bool {
    let same_address = second.address().is_some() && first.address() == second.address();
    let deletes = first.kind() == Kind::DELETION && {
        let id = second.id().to_hex();
        let address = second.address();
        let mut addresses = first.values("a").filter_map(|text| Address::parse(&text));
        first.values("e").any(|named| *named == *id)
            || addresses.any(|named| Some(named) == address)
    };
    let vanishes = first.kind() == Kind::VANISH
        && (first.pubkey() == second.pubkey() || second.kind() == Kind::GIFT_WRAP);
    first.id() == second.id() || same_address || deletes || vanishes
}

/// Puts each of these rows of `scenarios.jsonl` into the first group that it fits in.
pub(super) fn groups<'a>(rows: impl IntoIterator<Item = &'a Value>) -> Vec<Vec<&'a Value>> {
    let mut groups: Vec<Vec<Scenario<'a>>> = Vec::new();
    for scenario in rows.into_iter().map(Scenario::new) {
        let fits = |group: &&mut Vec<Scenario<'_>>| {
            let touches = |other: &Scenario<'_>| {
                scenario.is_touched_by(other) || other.is_touched_by(&scenario)
            };
            !group.iter().any(touches)
        };
        match groups.iter_mut().find(fits) {
            Some(group) => group.push(scenario),
            None => groups.push(vec![scenario]),
        }
    }
    let rows = |group: Vec<Scenario<'a>>| group.iter().map(|scenario| scenario.row).collect();
    groups.into_iter().map(rows).collect()
}
