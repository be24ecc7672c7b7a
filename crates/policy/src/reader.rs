//! Who may see what (NIP-17, NIP-42, NIP-59, NIP-62): one function for stored answers, live
//! delivery, COUNT and sync alike.

use heliograph_protocol::{Event, Filter, Kind, PublicKey, Refusal};

use crate::{LiveControl, RelayUrls, relay_url::vanish_in_force};

/// Whose eyes are behind a connection: the keys that authenticated on it so far (R42-5). Empty by
/// default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reader {
    /// The authenticated keys, in the order they came.
    pub keys: Vec<PublicKey>,
}

/// What decides who may see an event, beside who asks.
#[derive(Debug, Clone)]
pub struct Visibility {
    /// The URLs that name this relay: which requests to vanish are in force here (R62-5).
    pub urls: RelayUrls,
    /// What operators banned.
    pub control: LiveControl,
}

impl Visibility {
    /// Whether everybody may see `event`, so that no reader need be asked for: `true` for most.
    #[must_use]
    pub fn is_public(&self, event: &Event) -> bool {
        let kind = event.kind();
        let public = !restricted(kind) && kind != Kind::VANISH && kind != Kind::CLIENT_AUTH;
        public && !self.control.load().hides(event)
    }
}

/// Of a relay with these URLs where nobody is banned.
impl From<RelayUrls> for Visibility {
    fn from(urls: RelayUrls) -> Self {
        Self {
            urls,
            control: LiveControl::default(),
        }
    }
}

/// Whether events of `kind` are shown only to those they concern (R59-1).
#[must_use]
pub fn restricted(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::DIRECT_MESSAGE | Kind::GIFT_WRAP | Kind::EPHEMERAL_GIFT_WRAP
    )
}

impl Reader {
    /// Whether nobody has authenticated.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether `key` has authenticated.
    #[must_use]
    pub fn is(&self, key: &PublicKey) -> bool {
        self.keys.contains(key)
    }

    /// Whether `event` may be sent to this reader, counted for it or synced with it.
    ///
    /// Gift wraps are for the keys they are `p`-tagged with, direct messages for their author
    /// too (R59-1); a request to vanish in force is for its author (R62-5); authentication is for
    /// nobody (R42-8), and neither is what is banned; everything else is for everybody.
    #[must_use]
    pub fn may_see(&self, event: &Event, visibility: &Visibility) -> bool {
        if visibility.control.load().hides(event) {
            return false;
        }
        let urls = &visibility.urls;
        match event.kind() {
            Kind::GIFT_WRAP | Kind::EPHEMERAL_GIFT_WRAP => self.is_tagged_in(event),
            Kind::DIRECT_MESSAGE => self.is(event.pubkey()) || self.is_tagged_in(event),
            Kind::VANISH => self.is(event.pubkey()) || !vanish_in_force(event, urls),
            Kind::CLIENT_AUTH => false,
            _ => true,
        }
    }

    fn is_tagged_in(&self, event: &Event) -> bool {
        !self.is_anonymous()
            && event
                .values("p")
                .any(|key| PublicKey::from_hex(key.as_bytes()).is_ok_and(|key| self.is(&key)))
    }

    /// Whether every one of `keys` has authenticated.
    fn has_all(&self, mut keys: impl Iterator<Item = PublicKey>) -> bool {
        keys.all(|key| self.is(&key))
    }

    /// Whether `filter` itself limits every restricted kind it asks for to this reader's own
    /// events: `#p` for all of them, or `authors` if it is direct messages alone (R59-1).
    fn owns(&self, filter: &Filter) -> bool {
        let tagged = filter.tag(b'p').is_some_and(|condition| {
            condition
                .values
                .iter()
                .all(|value| PublicKey::from_hex(value.as_bytes()).is_ok_and(|key| self.is(&key)))
        });
        let authored = filter
            .authors
            .as_ref()
            .is_some_and(|authors| self.has_all(authors.iter().copied()));
        let wraps = filter
            .kinds
            .iter()
            .flatten()
            .any(|kind| restricted(*kind) && *kind != Kind::DIRECT_MESSAGE);
        tagged || (authored && !wraps)
    }
}

/// Whether a REQ with these filters may be opened. A filter that can return restricted kinds only
/// needs someone to have authenticated; other filters just don't show such events (R59-2).
///
/// # Errors
///
/// `auth-required:`, to be sent in CLOSED together with a challenge.
pub fn check_filters(filters: &[Filter], reader: &Reader) -> Result<(), Refusal> {
    if reader.is_anonymous() && filters.iter().any(only_restricted) {
        return Err(private());
    }
    Ok(())
}

/// Whether a COUNT of these filters may be answered: one that names a restricted kind has to limit
/// itself to the reader's own keys, since a number can't leave events out silently (R45-4).
///
/// # Errors
///
/// `auth-required:` while nobody has authenticated, else `restricted:`.
pub fn check_count_filters(filters: &[Filter], reader: &Reader) -> Result<(), Refusal> {
    let names_restricted =
        |filter: &&Filter| filter.kinds.iter().flatten().any(|kind| restricted(*kind));
    for filter in filters.iter().filter(names_restricted) {
        if reader.is_anonymous() {
            return Err(private());
        }
        if !reader.owns(filter) {
            return Err(Refusal::restricted(
                "private messages can be counted by their owner only",
            ));
        }
    }
    Ok(())
}

fn only_restricted(filter: &Filter) -> bool {
    let kinds = filter.kinds.as_deref().unwrap_or_default();
    !kinds.is_empty() && kinds.iter().all(|kind| restricted(*kind))
}

fn private() -> Refusal {
    Refusal::auth_required("private messages are shown to those they concern only")
}
