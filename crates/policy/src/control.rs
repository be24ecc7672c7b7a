//! What operators decide while the relay runs: bans, allow lists, admitted keys, the relay's name.
//!
//! [`ControlRules`] is one checked state of these decisions, [`LiveControl`] the place where the
//! state in force stands: whoever reads the control records puts a new one there, and everyone who
//! holds a clone of the place decides by it from then on. What always holds: a ban wins over every
//! list of allowed things, and a set that is empty costs one comparison.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use arc_swap::{ArcSwap, Guard};
use heliograph_protocol::{Event, EventId, IpNetwork, Kind, PublicKey, Refusal, Timestamp};

use crate::{Reader, WriteRules};

/// Why something is banned, for the person who meets the ban; `None` is the text of the relay.
pub type Reason = Option<Arc<str>>;

/// One state of the decisions. By default there are none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ControlRules {
    /// Whether the decisions have never been read. Then nothing is taken, with `error:`, since
    /// nobody knows who is banned (docs/architecture.md).
    pub unread: bool,
    /// Keys that may not write, neither as author nor as the key that authenticated, and whose
    /// events are shown to nobody.
    pub pubkeys_banned: HashMap<PublicKey, Reason>,
    /// Events that are neither taken nor shown.
    pub events_banned: HashMap<EventId, Reason>,
    /// Keys that may write. If there are any, only these, those of
    /// [`WriteRules::pubkeys_allowed`] and the admitted ones may.
    pub pubkeys_allowed: HashSet<PublicKey>,
    /// Keys that may write too, until a time or for good. They don't close a relay that is open.
    pub pubkeys_admitted: HashMap<PublicKey, Option<Timestamp>>,
    /// Kinds that are taken. If there are any, only these and those of
    /// [`WriteRules::kinds_allowed`] are.
    pub kinds_allowed: BTreeSet<Kind>,
    /// Kinds that are never taken.
    pub kinds_blocked: BTreeSet<Kind>,
    /// Networks whose connections are refused.
    pub networks_banned: NetworkSet,
    /// What the information document says instead of the configuration.
    pub relay: RelayTexts,
}

/// What the information document says instead of the configuration; `None` leaves it as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RelayTexts {
    /// Fewer than 30 characters (NIP-11).
    pub name: Option<String>,
    /// Plain text.
    pub description: Option<String>,
    /// URL of a small square picture.
    pub icon: Option<String>,
}

/// Networks, looked up by address: one look at a hash set for each length of prefix that occurs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkSet {
    networks: HashMap<IpNetwork, Reason>,
    prefixes_v4: BTreeSet<u8>,
    prefixes_v6: BTreeSet<u8>,
}

impl ControlRules {
    /// The state before anything was read: refuses every write.
    #[must_use]
    pub fn unread() -> Self {
        Self {
            unread: true,
            ..Self::default()
        }
    }

    /// Whether `event` is to be shown to nobody: it or its author is banned. Of a gift wrap that is
    /// the throw-away key that signed it; who it is for doesn't matter.
    #[must_use]
    pub fn hides(&self, event: &Event) -> bool {
        self.pubkeys_banned.contains_key(event.pubkey())
            || self.events_banned.contains_key(event.id())
    }

    /// Whether writing is limited to some kinds or keys, for `restricted_writes` of the information
    /// document.
    #[must_use]
    pub fn restrict_writes(&self) -> bool {
        !self.kinds_allowed.is_empty() || !self.pubkeys_allowed.is_empty()
    }

    /// Refuses what is banned, whatever any list allows.
    ///
    /// # Errors
    ///
    /// `blocked:` with the reason of the ban.
    pub fn check_bans(&self, event: &Event, reader: &Reader) -> Result<(), Refusal> {
        if let Some(reason) = self.events_banned.get(event.id()) {
            return Err(banned(reason, "this event is banned here"));
        }
        if self.pubkeys_banned.is_empty() {
            return Ok(());
        }
        let mut keys = std::iter::once(event.pubkey()).chain(&reader.keys);
        match keys.find_map(|key| self.pubkeys_banned.get(key)) {
            Some(reason) => Err(banned(reason, "this key is banned here")),
            None => Ok(()),
        }
    }

    /// Whether this key was admitted and still is at `now`.
    #[must_use]
    pub fn is_admitted(&self, key: &PublicKey, now: Timestamp) -> bool {
        self.pubkeys_admitted
            .get(key)
            .is_some_and(|until| until.is_none_or(|until| now < until))
    }

    /// Whether `kind` is taken, by these rules and those of the configuration together.
    pub(crate) fn takes_kind(&self, kind: Kind, rules: &WriteRules) -> bool {
        if self.kinds_blocked.contains(&kind) || rules.kinds_blocked.contains(&kind) {
            return false;
        }
        let configured = rules.kinds_allowed.as_ref();
        let open = configured.is_none() && self.kinds_allowed.is_empty();
        open || self.kinds_allowed.contains(&kind)
            || configured.is_some_and(|kinds| kinds.contains(&kind))
    }

    /// Whether everyone may write who isn't banned, by both sets of rules.
    pub(crate) fn is_open(&self, rules: &WriteRules) -> bool {
        rules.pubkeys_allowed.is_none() && self.pubkeys_allowed.is_empty()
    }

    /// Whether `key` is on a list of those who may write, by both sets of rules.
    pub(crate) fn allows(&self, key: &PublicKey, rules: &WriteRules, now: Timestamp) -> bool {
        let configured = rules.pubkeys_allowed.as_ref();
        configured.is_some_and(|keys| keys.contains(key))
            || self.pubkeys_allowed.contains(key)
            || self.is_admitted(key, now)
    }
}

fn banned(reason: &Reason, default: &'static str) -> Refusal {
    match reason {
        Some(reason) => Refusal::blocked(String::from(&**reason)),
        None => Refusal::blocked(default),
    }
}

impl NetworkSet {
    /// Adds a network.
    pub fn insert(&mut self, network: IpNetwork, reason: Reason) {
        let prefixes = match network.address() {
            IpAddr::V4(_) => &mut self.prefixes_v4,
            IpAddr::V6(_) => &mut self.prefixes_v6,
        };
        prefixes.insert(network.prefix());
        self.networks.insert(network, reason);
    }

    /// Refuses an address in one of the networks, the narrowest of which gives the reason.
    ///
    /// # Errors
    ///
    /// `blocked:` with the reason of the ban.
    pub fn check(&self, address: IpAddr) -> Result<(), Refusal> {
        if self.networks.is_empty() {
            return Ok(());
        }
        let prefixes = match address.to_canonical() {
            IpAddr::V4(_) => &self.prefixes_v4,
            IpAddr::V6(_) => &self.prefixes_v6,
        };
        let found = prefixes
            .iter()
            .rev()
            .find_map(|prefix| self.networks.get(&IpNetwork::of(address, *prefix)));
        match found {
            Some(reason) => Err(banned(reason, "this address is banned here")),
            None => Ok(()),
        }
    }

    /// How many networks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.networks.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }
}

/// Where the [`ControlRules`] in force stand. Clones are the same place; by default one with no
/// decisions, which is right where nobody makes any.
#[derive(Debug, Clone, Default)]
pub struct LiveControl(Arc<ArcSwap<ControlRules>>);

impl LiveControl {
    /// A place that starts with these rules.
    #[must_use]
    pub fn new(rules: ControlRules) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(rules)))
    }

    /// A place whose decisions have yet to be read.
    #[must_use]
    pub fn unread() -> Self {
        Self::new(ControlRules::unread())
    }

    /// The rules in force at this moment, for a short look: some nanoseconds.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<ControlRules>> {
        self.0.load()
    }

    /// The rules in force at this moment, to be kept.
    #[must_use]
    pub fn load_full(&self) -> Arc<ControlRules> {
        self.0.load_full()
    }

    /// Puts other rules in force, for everyone who holds this place.
    pub fn store(&self, rules: Arc<ControlRules>) {
        self.0.store(rules);
    }
}

/// Two places are equal if the rules that stand there are.
impl PartialEq for LiveControl {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || *self.load_full() == *other.load_full()
    }
}

impl Eq for LiveControl {}
