//! What a simple relay would make of the events of a history: who is acknowledged, who removes whom.

use std::collections::HashMap;

use heliograph_protocol::{Address, Event, EventId, Expiration, Kind, PublicKey, Timestamp};

/// Later than every entry: never.
pub(super) const NEVER: usize = usize::MAX;

/// The URL that a request to vanish may name for every relay (NIP-62).
const ALL_RELAYS: &str = "ALL_RELAYS";

/// What is known of the storing of an event from all its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Refused for what it is: nobody may ever see it.
    Refused,
    /// Refused as replaced, deleted or vanished. Announced before perhaps, by a worker that died before
    /// it answered: whoever took its batch found the event removed.
    Outdone,
    /// `error:` or no answer: stored or not.
    Unsure,
    /// OK true.
    Acknowledged,
}

impl Standing {
    /// What an OK says, by the prefix of its text.
    pub(super) fn of(accepted: bool, text: &str) -> Self {
        match text.split_once(':').map(|(prefix, _)| prefix) {
            _ if accepted => Self::Acknowledged,
            Some("error") => Self::Unsure,
            Some("blocked" | "duplicate") => Self::Outdone,
            _ => Self::Refused,
        }
    }
}

/// One event of the history. Moments are numbers of entries, [`NEVER`] if there is none.
#[derive(Debug)]
pub(super) struct Fact<'a> {
    pub(super) event: &'a Event,
    /// When it was sent first.
    pub(super) sent: usize,
    /// When it got its first OK true.
    pub(super) acked: usize,
    pub(super) standing: Standing,
    /// How often it was sent.
    pub(super) times: usize,
    pub(super) by_version: Removal,
    pub(super) by_deletion: Removal,
    pub(super) by_vanishing: Removal,
    /// The deletion requests and requests to vanish that name it.
    pub(super) requests: Vec<usize>,
    pub(super) expires: Option<Timestamp>,
}

/// When something that removes an event was first sent, and first acknowledged: from the first
/// moment on it may be gone, from the second on it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Removal {
    pub(super) sent: usize,
    pub(super) acked: usize,
}

impl Removal {
    const NONE: Self = Self {
        sent: NEVER,
        acked: NEVER,
    };

    fn or(self, other: Self) -> Self {
        Self {
            sent: self.sent.min(other.sent),
            acked: self.acked.min(other.acked),
        }
    }
}

impl Fact<'_> {
    pub(super) fn is_acked(&self) -> bool {
        self.acked != NEVER
    }

    /// Whatever removes it first.
    pub(super) fn removal(&self) -> Removal {
        self.by_version.or(self.by_deletion).or(self.by_vanishing)
    }

    pub(super) fn is_ephemeral(&self) -> bool {
        self.event.kind().is_ephemeral()
    }

    /// Whether clients that didn't authenticate may not see it (NIP-42, NIP-59, NIP-62), so that
    /// nothing is said about who gets it.
    pub(super) fn is_private(&self) -> bool {
        let kinds = [
            Kind::DIRECT_MESSAGE,
            Kind::VANISH,
            Kind::GIFT_WRAP,
            Kind::EPHEMERAL_GIFT_WRAP,
            Kind::CLIENT_AUTH,
        ];
        kinds.contains(&self.event.kind())
    }

    /// Whether it is stored for everybody to see once it is acknowledged.
    pub(super) fn is_public(&self) -> bool {
        !self.is_ephemeral() && !self.is_private()
    }

    fn removal_by_it(&self) -> Removal {
        match self.standing {
            Standing::Refused => Removal::NONE,
            _ => Removal {
                sent: self.sent,
                acked: self.acked,
            },
        }
    }
}

/// The events of a history, in the order in which they were first sent.
#[derive(Debug, Default)]
pub(super) struct Model<'a> {
    pub(super) facts: Vec<Fact<'a>>,
    pub(super) by_id: HashMap<EventId, usize>,
    pub(super) by_author: HashMap<PublicKey, Vec<usize>>,
    /// All versions of each address, the best first.
    pub(super) addresses: HashMap<Address, Vec<usize>>,
}

impl<'a> Model<'a> {
    /// The number of an event that is sent at this moment.
    pub(super) fn sent(&mut self, event: &'a Event, entry: usize) -> usize {
        if let Some(&known) = self.by_id.get(event.id()) {
            self.facts[known].times += 1;
            return known;
        }
        let fact = self.facts.len();
        self.by_id.insert(*event.id(), fact);
        self.by_author
            .entry(*event.pubkey())
            .or_default()
            .push(fact);
        if let Some(address) = event.address() {
            self.addresses.entry(address).or_default().push(fact);
        }
        self.facts.push(Fact {
            event,
            sent: entry,
            acked: NEVER,
            standing: Standing::Refused,
            times: 1,
            by_version: Removal::NONE,
            by_deletion: Removal::NONE,
            by_vanishing: Removal::NONE,
            requests: Vec::new(),
            expires: match event.expiration() {
                Expiration::At(end) => Some(end),
                Expiration::Never | Expiration::Malformed => None,
            },
        });
        fact
    }

    /// One of its sendings came to this.
    pub(super) fn answered(&mut self, fact: usize, standing: Standing, entry: usize) {
        let fact = &mut self.facts[fact];
        fact.standing = fact.standing.max(standing);
        if standing == Standing::Acknowledged {
            fact.acked = fact.acked.min(entry);
        }
    }

    /// Finds out who removes whom, once all answers are known.
    pub(super) fn relate(&mut self, relay_url: &str) {
        self.relate_versions();
        for request in 0..self.facts.len() {
            match self.facts[request].event.kind() {
                Kind::DELETION => self.relate_deletion(request),
                Kind::VANISH => self.relate_vanishing(request, relay_url),
                _ => {}
            }
        }
    }

    /// Of the versions of an address the newest wins, of one second the lowest id (NIP-01).
    fn relate_versions(&mut self) {
        let facts = &mut self.facts;
        for versions in self.addresses.values_mut() {
            versions.sort_by_key(|version| facts[*version].event.position());
            let mut better = Removal::NONE;
            for version in versions {
                facts[*version].by_version = better;
                better = better.or(facts[*version].removal_by_it());
            }
        }
    }

    /// Ids of the same author, and versions of its own addresses up to the request's time (NIP-09).
    fn relate_deletion(&mut self, request: usize) {
        let (event, removal) = (
            self.facts[request].event,
            self.facts[request].removal_by_it(),
        );
        let mut targets = Vec::new();
        for id in event.values("e") {
            let id = EventId::from_hex(id.as_bytes()).ok();
            let target = id.and_then(|id| self.by_id.get(&id).copied());
            let owned = |target: &usize| owners(self.facts[*target].event).contains(event.pubkey());
            targets.extend(target.filter(owned));
        }
        for address in event.values("a").filter_map(|text| Address::parse(&text)) {
            if address.pubkey == *event.pubkey() {
                let versions = self.addresses.get(&address).into_iter().flatten().copied();
                let old =
                    |target: &usize| self.facts[*target].event.created_at() <= event.created_at();
                targets.extend(versions.filter(old));
            }
        }
        for target in targets {
            let target = &mut self.facts[target];
            if !matches!(target.event.kind(), Kind::DELETION | Kind::VANISH) {
                target.by_deletion = target.by_deletion.or(removal);
                target.requests.push(request);
            }
        }
    }

    /// Everything of the author up to the request's time, and gift wraps to it (NIP-62).
    fn relate_vanishing(&mut self, request: usize, relay_url: &str) {
        let (event, removal) = (
            self.facts[request].event,
            self.facts[request].removal_by_it(),
        );
        if !is_in_force(event, relay_url) {
            return;
        }
        for target in &mut self.facts {
            let at = target.event.created_at();
            let old = if is_in_force(target.event, relay_url) {
                at < event.created_at()
            } else {
                at <= event.created_at()
            };
            if old && owners(target.event).contains(event.pubkey()) {
                target.by_vanishing = target.by_vanishing.or(removal);
                target.requests.push(request);
            }
        }
    }
}

/// The author, and whom a gift wrap is for (NIP-59).
fn owners(event: &Event) -> Vec<PublicKey> {
    let mut owners = vec![*event.pubkey()];
    if event.kind() == Kind::GIFT_WRAP {
        let recipients = event.values("p");
        owners.extend(recipients.filter_map(|key| PublicKey::from_hex(key.as_bytes()).ok()));
    }
    owners
}

fn is_in_force(event: &Event, relay_url: &str) -> bool {
    let plain = |url: &str| url.trim_end_matches('/').to_ascii_lowercase();
    event.kind() == Kind::VANISH
        && event
            .values("relay")
            .any(|url| url == ALL_RELAYS || plain(&url) == plain(relay_url))
}
