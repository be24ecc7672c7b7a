//! Is this event a good answer to our challenge (NIP-42)? The signature is checked before.

use heliograph_protocol::{Event, Kind, PublicKey, Refusal, Timestamp};

use crate::RelayUrls;

/// Seconds between an AUTH event and now at most, either way (R42-3).
pub const AUTH_SKEW_SECS_MAX: u64 = 600;

/// Checks kind, time, challenge and relay of an AUTH event whose signature is good, and returns
/// the key that it authenticates (R42-3).
///
/// # Errors
///
/// `invalid:`, naming the first condition that fails (R42-7).
pub fn check_auth(
    event: &Event,
    challenge: &str,
    urls: &RelayUrls,
    now: Timestamp,
) -> Result<PublicKey, Refusal> {
    if event.kind() != Kind::CLIENT_AUTH {
        return Err(Refusal::invalid("authentication is kind 22242"));
    }
    if event.created_at().as_secs().abs_diff(now.as_secs()) > AUTH_SKEW_SECS_MAX {
        return Err(Refusal::invalid(
            "created_at is more than 10 minutes from now",
        ));
    }
    // An empty challenge is never in force.
    if challenge.is_empty() || !event.values("challenge").any(|value| value == challenge) {
        return Err(Refusal::invalid("not an answer to the last challenge"));
    }
    if !event.values("relay").any(|url| urls.names_us(&url)) {
        return Err(Refusal::invalid("the relay tag names another relay"));
    }
    Ok(*event.pubkey())
}
