//! What a client offers and what is agreed on (RFC 7692 §5.1, §7.1).

use std::borrow::Cow;

use hyper::{
    HeaderMap,
    header::{HeaderValue, SEC_WEBSOCKET_EXTENSIONS},
};

const NAME: &str = "permessage-deflate";

/// Windows that an offer may name: 2 to the power of this, in bytes (RFC 7692 §7.1.2).
const WINDOW_BITS: std::ops::RangeInclusive<u8> = 8..=15;

/// What was agreed on with one client. Messages of the client never refer to earlier ones, and are inflated
/// whatever window it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreement {
    /// Our messages refer no further back than 2 to the power of this, in bytes.
    pub(super) window_bits: u8,
    /// Whether our messages may refer to earlier ones.
    pub(super) takeover: bool,
    /// Whether the offer named our window: then the answer does (RFC 7692 §7.1.2.1).
    names_window: bool,
}

impl Agreement {
    /// With the first of the client's offers that can be agreed to; one that isn't as RFC 7692 has it is
    /// declined (§7.1). `takeover` says whether our messages may refer to earlier ones, as far as the client
    /// lets them.
    pub(crate) fn with(headers: &HeaderMap, takeover: bool) -> Option<Self> {
        headers
            .get_all(SEC_WEBSOCKET_EXTENSIONS)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .find_map(|offer| Self::to(offer, takeover))
    }

    fn to(offer: &str, takeover: bool) -> Option<Self> {
        let mut parts = offer.split(';').map(str::trim);
        if parts.next() != Some(NAME) {
            return None;
        }
        let mut agreement = Self {
            window_bits: *WINDOW_BITS.end(),
            takeover,
            names_window: false,
        };
        let mut seen = Vec::new();
        for parameter in parts {
            let (name, value) = match parameter.split_once('=') {
                Some((name, value)) => (name.trim_end(), Some(unquoted(value.trim_start())?)),
                None => (parameter, None),
            };
            if seen.contains(&name) {
                return None;
            }
            seen.push(name);
            match (name, value) {
                ("server_no_context_takeover", None) => agreement.takeover = false,
                ("client_no_context_takeover" | "client_max_window_bits", None) => {}
                ("client_max_window_bits", Some(bits)) => {
                    window_bits(&bits)?;
                }
                ("server_max_window_bits", Some(bits)) => {
                    agreement.window_bits = window_bits(&bits)?;
                    agreement.names_window = true;
                }
                _ => return None,
            }
        }
        Some(agreement)
    }

    /// The answer to the offer.
    pub(crate) fn header(self) -> HeaderValue {
        let mut text = NAME.to_owned();
        if !self.takeover {
            text += "; server_no_context_takeover";
        }
        text += "; client_no_context_takeover";
        if self.names_window {
            text += &format!("; server_max_window_bits={}", self.window_bits);
        }
        HeaderValue::try_from(text).expect("plain words are a header's value")
    }
}

/// A decimal number without leading zeros.
fn window_bits(text: &str) -> Option<u8> {
    WINDOW_BITS
        .into_iter()
        .find(|bits| text == bits.to_string())
}

/// A parameter's value, which may be in quotation marks (RFC 6455 §9.1).
fn unquoted(value: &str) -> Option<Cow<'_, str>> {
    match value.strip_prefix('"') {
        Some(rest) => Some(Cow::Owned(rest.strip_suffix('"')?.replace('\\', ""))),
        None => Some(Cow::Borrowed(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn answer(offers: &[&str], takeover: bool) -> Option<String> {
        let mut headers = HeaderMap::new();
        for offer in offers {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, offer.parse().unwrap());
        }
        let agreement = Agreement::with(&headers, takeover)?;
        Some(agreement.header().to_str().unwrap().to_owned())
    }

    #[track_caller]
    fn check(offer: &str, expected: Option<&str>) {
        assert_eq!(answer(&[offer], false).as_deref(), expected, "{offer}");
    }

    #[test]
    fn an_offer_is_answered_if_every_parameter_is_as_it_should_be() {
        check("permessage-deflate", Some(PLAIN));
        check("permessage-deflate; client_max_window_bits", Some(PLAIN));
        check("permessage-deflate;client_max_window_bits=10", Some(PLAIN));
        check(
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            Some(PLAIN),
        );
        for bits in WINDOW_BITS {
            let named = format!("{PLAIN}; server_max_window_bits={bits}");
            for value in [format!("{bits}"), format!("\"{bits}\"")] {
                let offer = format!("permessage-deflate; server_max_window_bits={value}");
                check(&offer, Some(&named));
            }
        }
    }

    #[test]
    fn an_offer_that_rfc_7692_does_not_have_is_declined() {
        for parameters in [
            "what",
            "what=1",
            "",
            "server_no_context_takeover=1",
            "client_no_context_takeover=",
            "server_max_window_bits",
            "server_max_window_bits=",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=010",
            "server_max_window_bits=+10",
            "server_max_window_bits=\"10",
            "server_max_window_bits=10\"",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits=\"\"",
            "client_max_window_bits; client_max_window_bits=10",
            "server_max_window_bits=10; server_max_window_bits=10",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover; client_no_context_takeover",
        ] {
            check(&format!("permessage-deflate; {parameters}"), None);
        }
        check("x-webkit-deflate-frame", None);
        check("permessage-deflated", None);
    }

    #[test]
    fn the_first_offer_that_can_be_agreed_to_counts() {
        let wrong = "permessage-deflate; server_max_window_bits=99";
        let named = format!("{PLAIN}; server_max_window_bits=12");
        let right = "permessage-deflate; server_max_window_bits=12";
        for offers in [
            &[&*format!(
                "{wrong}, x-other; a=b, {right}, permessage-deflate"
            )][..],
            &[wrong, right, "permessage-deflate"],
        ] {
            assert_eq!(answer(offers, false), Some(named.clone()), "{offers:?}");
        }
    }

    #[test]
    fn earlier_messages_are_referred_to_only_where_the_client_lets_them() {
        let with_window = "permessage-deflate; client_no_context_takeover";
        let offer = "permessage-deflate; client_max_window_bits";
        assert_eq!(answer(&[offer], true).as_deref(), Some(with_window));
        let offer = "permessage-deflate; server_no_context_takeover";
        assert_eq!(answer(&[offer], true).as_deref(), Some(PLAIN));
    }
}
