//! Client messages: one JSON array per text message (NIP-01).

use std::borrow::Cow;

use crate::{
    Event, EventId, Filter, Refusal, SubscriptionId,
    event::EventError,
    json::{JsonError, JsonStr, Scanner},
};

/// Bytes of an unusable subscription id that are echoed in CLOSED at most; a longer one gets a
/// NOTICE (R01-24).
const ECHOED_ID_BYTES_MAX: usize = 1024;

/// A message from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientMessage {
    /// `["EVENT",<event>]`
    Event(Event),
    /// `["REQ",<id>,<filter>,…]`
    Req {
        /// The subscription.
        id: SubscriptionId,
        /// At least one filter.
        filters: Vec<Filter>,
    },
    /// `["COUNT",<id>,<filter>,…]` (NIP-45)
    Count {
        /// The query, apart from subscriptions (R45-3).
        id: SubscriptionId,
        /// At least one filter.
        filters: Vec<Filter>,
    },
    /// `["CLOSE",<id>]`
    Close(SubscriptionId),
    /// `["AUTH",<event>]` (NIP-42)
    Auth(Event),
}

/// A message that can't be taken, as the answer it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageError {
    /// `["NOTICE",…]`: nothing in the message can be answered by name (R01-22).
    Notice(Refusal),
    /// `["OK",<id>,false,…]` for an EVENT or AUTH whose id could be read (R01-32).
    Event {
        /// The id as sent: 64 hex characters.
        id: String,
        /// Why.
        refusal: Refusal,
    },
    /// `["CLOSED",<id>,…]` for a REQ. A previous subscription of this id ends too (R01-26).
    Req {
        /// The subscription, perhaps not a valid id.
        id: SubscriptionId,
        /// Why.
        refusal: Refusal,
    },
    /// `["CLOSED",<id>,…]` for a COUNT; subscriptions aren't touched (R45-4).
    Count {
        /// The query, perhaps not a valid id.
        id: SubscriptionId,
        /// Why.
        refusal: Refusal,
    },
}

impl ClientMessage {
    /// Reads one text message.
    ///
    /// # Errors
    ///
    /// The answer to send instead, [`MessageError`].
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        let mut scanner = Scanner::new(text);
        let verb = verb(&mut scanner).map_err(notice)?;
        match &*verb {
            "EVENT" => event(&mut scanner).map(Self::Event),
            "AUTH" => event(&mut scanner).map(Self::Auth),
            "REQ" => match query(&mut scanner)? {
                (id, Ok(filters)) => Ok(Self::Req { id, filters }),
                (id, Err(refusal)) => Err(MessageError::Req { id, refusal }),
            },
            "COUNT" => match query(&mut scanner)? {
                (id, Ok(filters)) => Ok(Self::Count { id, filters }),
                (id, Err(refusal)) => Err(MessageError::Count { id, refusal }),
            },
            "CLOSE" => {
                let id = subscription_id(&mut scanner)?;
                rest(&mut scanner).map_err(notice)?;
                Ok(Self::Close(id))
            }
            other => {
                rest(&mut scanner).map_err(notice)?;
                let shown: String = other.chars().take(32).collect();
                Err(MessageError::Notice(Refusal::invalid(format!(
                    "unknown verb {shown:?}"
                ))))
            }
        }
    }
}

fn notice(error: JsonError) -> MessageError {
    MessageError::Notice(Refusal::invalid(error.to_string()))
}

fn verb<'a>(scanner: &mut Scanner<'a>) -> Result<Cow<'a, str>, JsonError> {
    scanner.open(b'[', "an array")?;
    if scanner.peek()? == b']' {
        return Err(JsonError::Type("a verb"));
    }
    scanner.string("a verb")?.decode()
}

/// Skips what follows the elements that a verb has, up to the end of the text (R01-21).
fn rest(scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
    while scanner.more(b']')? {
        scanner.skip(1)?;
    }
    scanner.end()
}

/// Moves on to the next element, which has to be there.
fn element(scanner: &mut Scanner<'_>, expected: &'static str) -> Result<(), JsonError> {
    if scanner.more(b']')? {
        Ok(())
    } else {
        scanner.end()?;
        Err(JsonError::Type(expected))
    }
}

fn event(scanner: &mut Scanner<'_>) -> Result<Event, MessageError> {
    element(scanner, "an event object").map_err(notice)?;
    let start = scanner.clone();
    let refused = match Event::scan(scanner, 1) {
        Ok(event) => {
            rest(scanner).map_err(notice)?;
            return Ok(event);
        }
        Err(error) => error,
    };
    // Not an event. If it is JSON with a usable id, the answer is OK with that id (R01-32).
    let mut again = start;
    match sent_id(&mut again).and_then(|id| rest(&mut again).map(|()| id)) {
        Ok(Some(id)) if !refused.is_syntax() => Err(MessageError::Event {
            id,
            refusal: refused.into(),
        }),
        Ok(_) => Err(MessageError::Notice(EventError::into(refused))),
        Err(error) => Err(notice(error)),
    }
}

/// The top-level `id` of a JSON object, if it is a string of 64 hex characters of either case.
fn sent_id(scanner: &mut Scanner<'_>) -> Result<Option<String>, JsonError> {
    let mut found = None;
    if scanner.peek()? != b'{' {
        scanner.skip(1)?;
        return Ok(None);
    }
    scanner.open(b'{', "an object")?;
    if scanner.eat(b'}')? {
        return Ok(None);
    }
    loop {
        let name = scanner.key()?;
        if name.is("id") && scanner.peek()? == b'"' {
            let id = scanner.string("")?.raw();
            if id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                found = Some(id.to_owned());
            }
        } else {
            scanner.skip(2)?;
        }
        if !scanner.more(b'}')? {
            return Ok(found);
        }
    }
}

fn subscription_id(scanner: &mut Scanner<'_>) -> Result<SubscriptionId, MessageError> {
    element(scanner, "a subscription id").map_err(notice)?;
    let id = scanner
        .string("a subscription id")
        .and_then(JsonStr::decode)
        .map_err(notice)?;
    if id.len() > ECHOED_ID_BYTES_MAX {
        return Err(MessageError::Notice(Refusal::invalid(
            "subscription id too long",
        )));
    }
    Ok(SubscriptionId::new(&id))
}

type Query = (SubscriptionId, Result<Vec<Filter>, Refusal>);

fn query(scanner: &mut Scanner<'_>) -> Result<Query, MessageError> {
    let id = subscription_id(scanner)?;
    let start = scanner.clone();
    let refusal = match filters(scanner) {
        Ok(filters) if id.is_valid() => return Ok((id, Ok(filters))),
        Ok(_) => Refusal::invalid("subscription id must have 1 to 64 characters"),
        Err(refusal) => refusal,
    };
    // Refused for its content; if the text isn't JSON at all, nothing in it can be answered.
    let mut again = start;
    rest(&mut again).map_err(notice)?;
    Ok((id, Err(refusal)))
}

fn filters(scanner: &mut Scanner<'_>) -> Result<Vec<Filter>, Refusal> {
    let json = |error: JsonError| Refusal::invalid(error.to_string());
    let mut filters = Vec::new();
    while scanner.more(b']').map_err(json)? {
        filters.push(Filter::scan(scanner, 1)?);
    }
    scanner.end().map_err(json)?;
    if filters.is_empty() {
        return Err(Refusal::invalid("at least one filter is needed"));
    }
    Ok(filters)
}

/// Whether `id`, as a client sent it, is the wire form of an [`EventId`].
impl TryFrom<&str> for EventId {
    type Error = crate::HexError;

    fn try_from(id: &str) -> Result<Self, Self::Error> {
        Self::from_hex(id.as_bytes())
    }
}
