//! May this event in? Everything that can be said without storage and without the signature, the
//! cheapest first (R01-16).

use heliograph_protocol::{
    Event, Expiration, Kind, KindClass, Prefix, Refusal, Tag, Timestamp, difficulty,
};
use serde_json::Value;

use crate::{
    ControlRules, EventLimits, Reader, RelayUrls, WriteRules, limits::GIFT_WRAP_BACKDATING_SECS,
    relay_url::vanish_in_force,
};

/// The list of a user's relays (NIP-65).
const RELAY_LIST: Kind = Kind::new(10_002);

/// Decides whether an event that came over a connection of `reader` may be verified and stored.
/// Its id has been recomputed; its signature hasn't been looked at.
///
/// # Errors
///
/// The refusal for its OK: `invalid:` for what the protocol or the limits forbid, `pow:`,
/// `auth-required:` (send a challenge with it), `restricted:` or `blocked:`; `error:` as long as the
/// decisions of operators have never been read.
pub fn admit_event(
    event: &Event,
    limits: &EventLimits,
    urls: &RelayUrls,
    reader: &Reader,
    now: Timestamp,
) -> Result<(), Refusal> {
    let control = limits.write.control.load();
    if control.unread {
        return Err(Refusal::error("the rules of this relay aren't known yet"));
    }
    let tags = check_bounds(event, limits, now).map_err(|(_, refusal)| refusal)?;
    check_kind(event.kind(), &tags)?;
    check_expiration(&tags, now)?;
    check_pow(event, &tags, limits)?;
    check_protection(event, &tags, reader)?;
    check_repost(event)?;
    if vanish_in_force(event, urls) {
        return Ok(());
    }
    control.check_bans(event, reader)?;
    check_write_rules(event, &limits.write, &control, reader, now)
}

/// A bound of [`EventLimits`] that an event can exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventLimit {
    /// Bytes of the wire form.
    Bytes,
    /// The number of tags.
    Tags,
    /// Characters of the content.
    Content,
    /// `created_at` ahead of now.
    Future,
    /// `created_at` behind now.
    Past,
    /// The age of an ephemeral event.
    EphemeralAge,
    /// Proof of work.
    ProofOfWork,
}

/// Which bound made [`admit_event`] refuse an event with `invalid:` or `pow:`, for who counts; `None` if
/// it was no bound.
#[must_use]
pub fn exceeded_limit(event: &Event, limits: &EventLimits, now: Timestamp) -> Option<EventLimit> {
    let tags = match check_bounds(event, limits, now) {
        Ok(tags) => tags,
        Err((limit, _)) => return Some(limit),
    };
    // These come before, and have no bound.
    check_kind(event.kind(), &tags).ok()?;
    check_expiration(&tags, now).ok()?;
    let too_little = check_pow(event, &tags, limits).is_err();
    too_little.then_some(EventLimit::ProofOfWork)
}

/// What the checks below ask of the tags, read in one pass: long contact lists are common, and
/// reading one twice costs as much as its signature.
#[derive(Debug)]
struct TagFacts {
    count: usize,
    /// How many of them have a name of one letter.
    indexed: usize,
    protected: bool,
    /// What the first `expiration` tag says.
    expiration: Option<Expiration>,
    /// The target that the first `nonce` tag commits to, if it does (NIP-13).
    nonce: Option<Option<u32>>,
    names_a_relay: bool,
}

impl TagFacts {
    fn read(event: &Event) -> Self {
        let mut facts = Self {
            count: 0,
            indexed: 0,
            protected: false,
            expiration: None,
            nonce: None,
            names_a_relay: false,
        };
        for tag in event.tags() {
            facts.count += 1;
            facts.indexed += usize::from(tag.letter().is_some());
            if tag.is_named("expiration") {
                facts
                    .expiration
                    .get_or_insert_with(|| Expiration::of_tag(tag));
            } else if tag.is_named("nonce") {
                facts.nonce.get_or_insert_with(|| committed_target(tag));
            } else if tag.is_named("-") {
                facts.protected = true;
            } else if tag.is_named("relay") {
                facts.names_a_relay |= tag.value().is_some();
            }
        }
        facts
    }
}

fn committed_target(nonce: Tag<'_>) -> Option<u32> {
    let target = nonce.get(2)?;
    let digits = target.bytes().all(|byte| byte.is_ascii_digit());
    target.parse().ok().filter(|_| digits)
}

/// Everything that has a bound; the tags are read on the way.
fn check_bounds(
    event: &Event,
    limits: &EventLimits,
    now: Timestamp,
) -> Result<TagFacts, (EventLimit, Refusal)> {
    let max = limits.event_bytes_max(event.kind());
    if event.json().len() > max {
        let text = format!("event larger than {max} bytes");
        return Err((EventLimit::Bytes, Refusal::invalid(text)));
    }
    check_time(event, limits, now).map_err(|(limit, text)| (limit, Refusal::invalid(text)))?;
    let tags = TagFacts::read(event);
    let max = limits.event_tags_max;
    if tags.count > max {
        let text = format!("more than {max} tags");
        return Err((EventLimit::Tags, Refusal::invalid(text)));
    }
    let max = limits.indexed_tags_max.filter(|_| piles_up(event.kind()));
    if let Some(max) = max.filter(|max| tags.indexed > *max) {
        let text = format!("more than {max} tags of one letter");
        return Err((EventLimit::Tags, Refusal::invalid(text)));
    }
    if let Some(max) = limits.content_chars_max {
        let content = event.content();
        // A character has at least one byte, so most contents needn't be counted.
        if content.len() > max && content.chars().count() > max {
            let text = format!("content longer than {max} characters");
            return Err((EventLimit::Content, Refusal::invalid(text)));
        }
    }
    Ok(tags)
}

/// Whether an author can have any number of events of this kind with as many tags as they like: lists
/// replace each other, and what a request to delete names is gone after it.
fn piles_up(kind: Kind) -> bool {
    !kind.has_address() && kind != Kind::DELETION
}

/// R01-35, R01-47.
fn check_time(
    event: &Event,
    limits: &EventLimits,
    now: Timestamp,
) -> Result<(), (EventLimit, &'static str)> {
    let created_at = event.created_at();
    if limits
        .created_at_upper_limit_secs
        .is_some_and(|secs| created_at > now.plus(secs))
    {
        return Err((EventLimit::Future, "created_at is too far in the future"));
    }
    let wrap = matches!(event.kind(), Kind::GIFT_WRAP | Kind::EPHEMERAL_GIFT_WRAP);
    let lower = limits
        .created_at_lower_limit_secs
        .filter(|secs| !wrap || *secs >= GIFT_WRAP_BACKDATING_SECS);
    if lower.is_some_and(|secs| created_at < now.minus(secs)) {
        return Err((EventLimit::Past, "created_at is too long ago"));
    }
    if event.kind().class() != KindClass::Ephemeral {
        return Ok(());
    }
    let age = limits.ephemeral_age_max_secs.map(|secs| {
        if wrap {
            secs.max(GIFT_WRAP_BACKDATING_SECS)
        } else {
            secs
        }
    });
    if age.is_some_and(|secs| created_at < now.minus(secs)) {
        return Err((EventLimit::EphemeralAge, "ephemeral event is too old"));
    }
    Ok(())
}

/// What single kinds must look like.
fn check_kind(kind: Kind, tags: &TagFacts) -> Result<(), Refusal> {
    match kind {
        Kind::CLIENT_AUTH => Err(Refusal::invalid("authentication is sent as AUTH")), // R42-8
        Kind::SEAL if tags.count > 0 => Err(Refusal::invalid("a seal has no tags")),  // R59-5
        Kind::VANISH if !tags.names_a_relay => {
            Err(Refusal::invalid("a request to vanish needs a relay tag")) // R62-1
        }
        _ => Ok(()),
    }
}

fn check_expiration(tags: &TagFacts, now: Timestamp) -> Result<(), Refusal> {
    match tags.expiration {
        Some(Expiration::At(end)) if end <= now => Err(Refusal::invalid("event has expired")),
        Some(Expiration::Malformed) => Err(Refusal::invalid("expiration is not a time")),
        _ => Ok(()),
    }
}

/// R13-1, R13-2.
fn check_pow(event: &Event, tags: &TagFacts, limits: &EventLimits) -> Result<(), Refusal> {
    let min = limits.pow_bits_min;
    if min == 0 {
        return Ok(());
    }
    let pow = |message: String| Err(Refusal::new(Prefix::Pow, message));
    let bits = difficulty(event.id());
    match tags.nonce.flatten() {
        _ if bits < min => pow(format!("difficulty {bits} is less than {min}")),
        Some(target) if target < min => {
            pow(format!("committed target {target} is less than {min}"))
        }
        None if limits.pow_commitment_required => {
            pow("the nonce tag has to commit to a target".to_owned())
        }
        _ => Ok(()),
    }
}

/// R70-1, R70-2.
fn check_protection(event: &Event, tags: &TagFacts, reader: &Reader) -> Result<(), Refusal> {
    if !tags.protected || reader.is(event.pubkey()) {
        Ok(())
    } else if reader.is_anonymous() {
        Err(Refusal::auth_required(
            "a protected event is taken from its author only",
        ))
    } else {
        Err(Refusal::restricted(
            "a protected event is taken from its author only",
        ))
    }
}

/// R70-3, R70-4.
fn check_repost(event: &Event) -> Result<(), Refusal> {
    let repost = matches!(event.kind(), Kind::REPOST | Kind::GENERIC_REPOST);
    if repost && embeds_protected(&event.content()) {
        return Err(Refusal::blocked(
            "a protected event can't be reposted with its text",
        ));
    }
    Ok(())
}

/// Whether `content` is a JSON object with a protecting tag. It needn't be a valid event: what its
/// other members are is the business of whoever reads the repost.
fn embeds_protected(content: &str) -> bool {
    // Most reposts carry no such tag: this looks for a necessary part of one, escapes aside.
    if !content.contains(['-', '\\']) {
        return false;
    }
    let Ok(Value::Object(embedded)) = serde_json::from_str(content) else {
        return false;
    };
    let Some(Value::Array(tags)) = embedded.get("tags") else {
        return false;
    };
    tags.iter()
        .any(|tag| tag.get(0).is_some_and(|name| name == "-"))
}

/// Lists of kinds and keys, and whether someone must have authenticated (R01-36, R42-6, R59-6).
fn check_write_rules(
    event: &Event,
    rules: &WriteRules,
    control: &ControlRules,
    reader: &Reader,
    now: Timestamp,
) -> Result<(), Refusal> {
    let (kind, author) = (event.kind(), event.pubkey());
    if !control.takes_kind(kind, rules) {
        return Err(Refusal::blocked(format!("kind {kind} isn't taken here")));
    }
    let blocked = &rules.pubkeys_blocked;
    if !blocked.is_empty()
        && (blocked.contains(author) || reader.keys.iter().any(|key| blocked.contains(key)))
    {
        return Err(Refusal::blocked("this key may not write here"));
    }
    if reader.is_anonymous() {
        let wrap = matches!(kind, Kind::GIFT_WRAP | Kind::EPHEMERAL_GIFT_WRAP);
        if rules.auth_required || (wrap && rules.gift_wraps_require_auth) {
            return Err(Refusal::auth_required("authenticate to write here"));
        }
    }
    if control.is_open(rules) || (rules.relay_lists_open && kind == RELAY_LIST) {
        return Ok(());
    }
    let mut keys = std::iter::once(author).chain(&reader.keys);
    if keys.any(|key| control.allows(key, rules, now)) {
        Ok(())
    } else if reader.is_anonymous() {
        Err(Refusal::auth_required("only members may write here"))
    } else {
        Err(Refusal::restricted("only members may write here"))
    }
}
