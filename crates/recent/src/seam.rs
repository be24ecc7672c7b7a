//! What the archive may still know of a filter once everything above the floor was read.

use std::sync::Arc;

use heliograph_protocol::{Address, Filter, Kind, KindClass, PublicKey, Timestamp};

use crate::state::{NOTHING, State};

/// Look-ups that are worth making to spare the archive, at most.
const LOOK_UPS_MAX: usize = 8_192;

/// What can lie below the floor.
#[derive(Debug)]
pub(crate) enum Below {
    /// No match.
    Nothing,
    /// Matches of this filter.
    Some(Arc<Filter>),
}

/// The filter for the archive, as narrow as the index can prove it to be.
///
/// Asked under the same lock as the last look above the floor: what is found now was returned, or
/// has come since the scan began.
pub(crate) fn below(state: &State, filter: &Filter) -> Below {
    let floor = state.floor;
    if floor == Timestamp::default()
        || filter.matches_nothing()
        || filter.since.is_some_and(|since| state.covers(since))
    {
        return Below::Nothing;
    }
    let mut filter = filter.clone();
    if floor != NOTHING {
        let top = floor.minus(1);
        filter.until = Some(filter.until.map_or(top, |until| until.min(top)));
    }
    if let Some(ids) = &mut filter.ids {
        ids.retain(|id| {
            let entry = state.index.find(id).map(|slot| state.index.get(slot));
            !entry.is_some_and(|entry| state.covers(entry.created_at))
        });
    }
    drop_found_authors(state, &mut filter);
    if filter.matches_nothing() {
        Below::Nothing
    } else {
        Below::Some(Arc::new(filter))
    }
}

/// Leaves out the authors of whom every replaceable kind asked for was found: there is one each.
///
/// Addressable kinds don't qualify: a filter on `#d` also matches second `d` tags, which are no
/// part of the address.
fn drop_found_authors(state: &State, filter: &mut Filter) {
    let (Some(authors), Some(kinds)) = (&mut filter.authors, &filter.kinds) else {
        return;
    };
    let replaceable = kinds
        .iter()
        .all(|kind| kind.class() == KindClass::Replaceable);
    if replaceable && authors.len().saturating_mul(kinds.len()) <= LOOK_UPS_MAX {
        authors.retain(|author| !kinds.iter().all(|kind| is_found(state, author, *kind)));
    }
}

fn is_found(state: &State, author: &PublicKey, kind: Kind) -> bool {
    let address = Address {
        kind,
        pubkey: *author,
        d: String::new(),
    };
    let slot = state.index.find_address(state.index.address_key(&address));
    slot.is_some_and(|slot| state.covers(state.index.get(slot).created_at))
}
