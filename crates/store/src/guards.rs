//! Guards in memory: what may not come back. See [`crate::rules`].

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    hash::Hash,
};

use heliograph_protocol::{Address, Event, EventId, PublicKey, Timestamp};

use crate::rules::{Effect, Guards};

/// A set of guards that only grows. Adding twice, or in another order, gives the same set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuardSet {
    ids: HashSet<(PublicKey, EventId)>,
    addresses: HashMap<Address, Timestamp>,
    owners: HashMap<PublicKey, Timestamp>,
}

impl GuardSet {
    /// Adds the guards of `event`, whose [`effect`](crate::rules::effect) this is.
    pub fn add(&mut self, event: &Event, effect: &Effect) {
        match effect {
            Effect::None => {}
            Effect::Delete(targets) => {
                for id in &targets.ids {
                    self.ids.insert((*event.pubkey(), *id));
                }
                for address in &targets.addresses {
                    raise(&mut self.addresses, address.clone(), event.created_at());
                }
            }
            Effect::Vanish => raise(&mut self.owners, *event.pubkey(), event.created_at()),
        }
    }

    /// How many guards there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len() + self.addresses.len() + self.owners.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Guards for GuardSet {
    type Error = Infallible;

    fn is_deleted(&self, owner: &PublicKey, id: &EventId) -> Result<bool, Infallible> {
        Ok(self.ids.contains(&(*owner, *id)))
    }

    fn deleted_until(&self, address: &Address) -> Result<Option<Timestamp>, Infallible> {
        Ok(self.addresses.get(address).copied())
    }

    fn vanished_until(&self, owner: &PublicKey) -> Result<Option<Timestamp>, Infallible> {
        Ok(self.owners.get(owner).copied())
    }
}

fn raise<K: Eq + Hash>(guards: &mut HashMap<K, Timestamp>, key: K, until: Timestamp) {
    let guard = guards.entry(key).or_insert(until);
    *guard = until.max(*guard);
}
