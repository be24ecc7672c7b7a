//! The information document (NIP-11), from the same values that are enforced.

use serde_json::{Map, Value, json};

use crate::Options;

/// Builds the document; absent values are left out (R11-3).
pub(crate) fn document(options: &Options) -> String {
    let info = options.info();
    let mut document = Map::new();
    for (name, value) in [
        ("name", &info.name),
        ("description", &info.description),
        ("banner", &info.banner),
        ("icon", &info.icon),
        ("pubkey", &info.pubkey),
        ("contact", &info.contact),
        ("terms_of_service", &info.terms_of_service),
        ("privacy_policy", &info.privacy_policy),
    ] {
        if !value.is_empty() {
            document.insert(name.to_owned(), Value::from(value.as_str()));
        }
    }
    document.insert("supported_nips".to_owned(), supported_nips(options).into());
    document.insert("software".to_owned(), env!("CARGO_PKG_REPOSITORY").into());
    document.insert("version".to_owned(), env!("CARGO_PKG_VERSION").into());
    document.insert("limitation".to_owned(), limitation(options));
    Value::Object(document).to_string()
}

/// The NIPs that are switched on (R11-7).
fn supported_nips(options: &Options) -> Vec<u16> {
    let mut nips = vec![1, 9, 11, 13, 17, 40, 42, 59, 62, 70];
    if options.count {
        nips.push(45);
    }
    if options.eose_hints {
        nips.push(67);
    }
    nips.sort_unstable();
    nips
}

/// What is enforced, by the names of NIP-11 (R11-4). A limit that is off is left out.
#[must_use]
pub fn limitation(options: &Options) -> Value {
    let (events, filters) = (&options.events, &options.filters);
    let mut limitation = json!({
        "max_message_length": options.limits.message_bytes_max,
        "max_subscriptions": filters.subscriptions_max,
        "max_filters": filters.filters_max,
        "max_filter_values": filters.values_max,
        "max_filter_tags": filters.tags_max,
        "max_limit": filters.limit_max,
        "default_limit": filters.limit_default.min(filters.limit_max),
        "max_subid_length": heliograph_protocol::SUBSCRIPTION_ID_CHARS_MAX,
        "max_event_tags": events.event_tags_max,
        "min_pow_difficulty": events.pow_bits_min,
        "auth_required": options.auth_to_read || events.write.auth_required,
        "payment_required": false,
        "restricted_writes": events.write.are_restricted(),
    });
    for (name, value) in [
        (
            "max_content_length",
            events.content_chars_max.map(|chars| chars as u64),
        ),
        ("max_filter_combinations", filters.combinations_max),
        (
            "max_indexed_tags",
            events.indexed_tags_max.map(|tags| tags as u64),
        ),
        ("created_at_lower_limit", events.created_at_lower_limit_secs),
        ("created_at_upper_limit", events.created_at_upper_limit_secs),
    ] {
        if let Some(value) = value {
            limitation[name] = value.into();
        }
    }
    limitation
}
