//! What a key allows: each check turns a value as written into its checked type.

use std::{fmt, net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use heliograph_protocol::{IpNetwork, Kind, PublicKey};

use crate::value::{Shape, Value};

pub(crate) const KIB: u64 = 1_024;
pub(crate) const MIB: u64 = 1_024 * KIB;
pub(crate) const GIB: u64 = 1_024 * MIB;

/// How one key is read.
pub(crate) struct Check<T> {
    pub(crate) shape: Shape,
    /// What is allowed, in words.
    pub(crate) allowed: String,
    /// Whether the value is shown to nobody.
    pub(crate) secret: bool,
    #[expect(
        clippy::type_complexity,
        reason = "a boxed closure, used in this file alone"
    )]
    read: Box<dyn Fn(&Value) -> Result<T, String>>,
}

impl<T: 'static> Check<T> {
    pub(crate) fn new(
        shape: Shape,
        allowed: impl Into<String>,
        read: impl Fn(&Value) -> Result<T, String> + 'static,
    ) -> Self {
        Self {
            shape,
            allowed: allowed.into(),
            secret: false,
            read: Box::new(read),
        }
    }

    /// # Errors
    ///
    /// What is wrong, without what is allowed.
    pub(crate) fn read(&self, value: &Value) -> Result<T, String> {
        (self.read)(value)
    }

    fn map<U: 'static>(self, convert: impl Fn(T) -> U + 'static) -> Check<U> {
        let Self {
            shape,
            allowed,
            read,
            ..
        } = self;
        Check::new(shape, allowed, move |value| read(value).map(&convert))
    }

    /// The same, with a value that is shown to nobody. Comes last: other changes forget it.
    pub(crate) fn secret(self) -> Self {
        Self {
            secret: true,
            ..self
        }
    }

    /// The same, with the empty text or 0 for "none".
    pub(crate) fn or_off(self, off: Value, name: &str) -> Check<Option<T>> {
        let Self {
            shape,
            allowed,
            read,
            ..
        } = self;
        Check::new(
            shape,
            format!("{off} ({name}) or {allowed}"),
            move |value| {
                if *value == off {
                    Ok(None)
                } else {
                    read(value).map(Some)
                }
            },
        )
    }
}

fn wrong_type(value: &Value) -> String {
    match value {
        Value::Other(name) => format!("is {name}"),
        Value::Fraction(_) => "is a fraction".to_owned(),
        value => format!("is {}", shortened(value)),
    }
}

/// The value for a message: long ones are cut.
pub(crate) fn shortened(value: impl fmt::Display) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

pub(crate) fn text_of(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(wrong_type(other)),
    }
}

/// `1,234,567`.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

pub(crate) fn flag() -> Check<bool> {
    Check::new(Shape::Boolean, "true or false", |value| match value {
        Value::Boolean(value) => Ok(*value),
        other => Err(wrong_type(other)),
    })
}

pub(crate) fn integer<T: TryFrom<u64> + 'static>(range: RangeInclusive<u64>) -> Check<T> {
    let allowed = format!("{} to {}", grouped(*range.start()), grouped(*range.end()));
    Check::new(Shape::Integer, allowed, move |value| {
        let Value::Integer(number) = value else {
            return Err(wrong_type(value));
        };
        u64::try_from(*number)
            .ok()
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("{number} is out of range"))
    })
}

/// A number with 0 for "no limit", "off" or what `name` says.
pub(crate) fn integer_or<T: TryFrom<u64> + 'static>(
    name: &str,
    range: RangeInclusive<u64>,
) -> Check<Option<T>> {
    integer(range).or_off(Value::Integer(0), name)
}

pub(crate) fn seconds(range: RangeInclusive<u64>) -> Check<Duration> {
    integer(range).map(Duration::from_secs)
}

pub(crate) fn seconds_or(name: &str, range: RangeInclusive<u64>) -> Check<Option<Duration>> {
    seconds(range).or_off(Value::Integer(0), name)
}

pub(crate) fn millis(range: RangeInclusive<u64>) -> Check<Duration> {
    integer(range).map(Duration::from_millis)
}

pub(crate) fn millis_or(name: &str, range: RangeInclusive<u64>) -> Check<Option<Duration>> {
    millis(range).or_off(Value::Integer(0), name)
}

/// Text without control characters, of so many characters.
pub(crate) fn text(chars: RangeInclusive<usize>) -> Check<String> {
    let allowed = match (*chars.start(), *chars.end()) {
        (0, most) => format!("text of at most {most} characters"),
        (least, most) => format!("text of {least} to {most} characters"),
    };
    Check::new(Shape::Text, allowed, move |value| {
        let text = text_of(value)?;
        let length = text.chars().count();
        if text.chars().any(char::is_control) {
            Err("holds a control character".to_owned())
        } else if length > *chars.end() {
            Err(format!("is too long with {length} characters"))
        } else if length < *chars.start() {
            Err("is empty".to_owned())
        } else {
            Ok(text.to_owned())
        }
    })
}

pub(crate) fn optional_text(chars_max: usize) -> Check<Option<String>> {
    text(1..=chars_max).or_off(Value::Text(String::new()), "none")
}

/// An address to listen on; port 0 lets the system choose.
pub(crate) fn socket() -> Check<SocketAddr> {
    let allowed = "address and port as in \"127.0.0.1:7777\" or \"[::]:7777\"";
    Check::new(Shape::Text, allowed, |value| {
        let text = text_of(value)?;
        text.parse()
            .map_err(|_syntax| format!("{} is not an address", shortened(value)))
    })
}

pub(crate) fn optional_socket() -> Check<Option<SocketAddr>> {
    socket().or_off(Value::Text(String::new()), "off")
}

pub(crate) fn directory() -> Check<PathBuf> {
    Check::new(Shape::Text, "a path", |value| match text_of(value)? {
        "" => Err("is empty".to_owned()),
        text if text.contains('\0') => Err("holds a NUL".to_owned()),
        text => Ok(PathBuf::from(text)),
    })
}

/// One of a few words.
pub(crate) fn one_of<T: Copy + 'static>(words: &'static [(&'static str, T)]) -> Check<T> {
    let names: Vec<_> = words
        .iter()
        .map(|(word, _)| format!("\"{word}\""))
        .collect();
    Check::new(Shape::Text, names.join(" or "), move |value| {
        let text = text_of(value)?;
        let found = words.iter().find(|(word, _)| *word == text);
        found
            .map(|(_, meaning)| *meaning)
            .ok_or_else(|| wrong_type(value))
    })
}

/// The URL of an image, a page or a contact.
pub(crate) fn optional_url(schemes: &'static [&'static str]) -> Check<Option<String>> {
    let allowed = format!("a URL that begins with {}", schemes.join(" or "));
    Check::new(Shape::Text, allowed, |value| {
        let text = text_of(value)?;
        url(text, schemes).map_err(|problem| format!("{} {problem}", shortened(value)))?;
        Ok(text.to_owned())
    })
    .or_off(Value::Text(String::new()), "none")
}

fn url(text: &str, schemes: &[&str]) -> Result<(), &'static str> {
    let Some(rest) = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)) else {
        return Err("has another scheme");
    };
    if text.len() > 2_048 {
        return Err("is too long");
    }
    if rest.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("is not a URL");
    }
    if !text.contains("://") {
        return Ok(());
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("names a user");
    }
    host_and_port(authority)
}

pub(crate) fn host_and_port(authority: &str) -> Result<(), &'static str> {
    let (host, port) = match authority.rfind(']') {
        Some(end) => authority.split_at(end + 1),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let named = |host: &str| {
        !host.is_empty()
            && host
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'))
    };
    let numbered = |host: &str| {
        let inner = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
    };
    if !named(host) && !numbered(host) {
        return Err("has no valid host");
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(()),
        Some(port) if port.parse::<u16>().is_ok_and(|port| port > 0) => Ok(()),
        _ => Err("has no valid port"),
    }
}

pub(crate) fn list<T: 'static>(
    shape: Shape,
    allowed: &str,
    count_max: usize,
    item: impl Fn(&Value) -> Result<T, String> + 'static,
) -> Check<Vec<T>> {
    let allowed = format!("a list of at most {} {allowed}", grouped(count_max as u64));
    Check::new(shape, allowed, move |value| {
        let Value::List(items) = value else {
            return Err(wrong_type(value));
        };
        if items.len() > count_max {
            return Err(format!("has {} entries", grouped(items.len() as u64)));
        }
        items.iter().map(&item).collect()
    })
}

/// URLs that this relay answers to (R42-4): no user, no query.
pub(crate) fn relay_urls() -> Check<Vec<String>> {
    const ALLOWED: &str = "URLs as in \"wss://relay.example.com\"";
    list(Shape::Texts, ALLOWED, 64, relay_url)
}

/// One of them.
pub(crate) fn relay_url(value: &Value) -> Result<String, String> {
    let text = text_of(value)?;
    let wrong = |problem| format!("{} {problem}", shortened(value));
    url(text, &["ws://", "wss://"]).map_err(wrong)?;
    if text.contains(['?', '#']) {
        return Err(wrong("has a query or fragment"));
    }
    Ok(text.to_owned())
}

pub(crate) fn paths() -> Check<Vec<String>> {
    list(
        Shape::Texts,
        "URL paths as in \"/\", at least one",
        64,
        |value| {
            let text = text_of(value)?;
            let plain = text.starts_with('/')
                && text.len() <= 256
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && !b"?#\\\"".contains(&byte));
            if plain {
                Ok(text.to_owned())
            } else {
                Err(format!("{} is not a path", shortened(value)))
            }
        },
    )
    .at_least_one()
}

impl<T: 'static> Check<Vec<T>> {
    pub(crate) fn at_least_one(self) -> Self {
        let Self {
            shape,
            allowed,
            read,
            ..
        } = self;
        Self::new(shape, allowed, move |value| match read(value)? {
            items if items.is_empty() => Err("is empty".to_owned()),
            items => Ok(items),
        })
    }
}

fn public_key(value: &Value) -> Result<PublicKey, String> {
    let text = text_of(value)?;
    PublicKey::from_hex(text.as_bytes())
        .map_err(|_syntax| format!("{} is not a public key", shortened(value)))
}

pub(crate) fn optional_public_key() -> Check<Option<PublicKey>> {
    Check::new(
        Shape::Text,
        "a public key as 64 lowercase hex digits",
        public_key,
    )
    .or_off(Value::Text(String::new()), "none")
}

pub(crate) fn public_keys() -> Check<Vec<PublicKey>> {
    list(
        Shape::Texts,
        "public keys as 64 lowercase hex digits",
        100_000,
        public_key,
    )
}

pub(crate) fn kinds() -> Check<Vec<Kind>> {
    list(Shape::Integers, "kinds from 0 to 65,535", 65_536, |value| {
        let Value::Integer(number) = value else {
            return Err(wrong_type(value));
        };
        u16::try_from(*number)
            .map(Kind::new)
            .map_err(|_range| format!("{number} is not a kind"))
    })
}

pub(crate) fn networks() -> Check<Vec<IpNetwork>> {
    list(
        Shape::Texts,
        "networks as in \"10.0.0.0/8\"",
        1_024,
        |value| {
            text_of(value)?
                .parse()
                .map_err(|problem| format!("{} {problem}", shortened(value)))
        },
    )
}

/// `info`, or levels by target: `info,heliograph_gateway=debug`.
pub(crate) fn log_level() -> Check<String> {
    const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];
    let allowed = format!(
        "{}, or levels by target as in \"info,hyper=warn\"",
        LEVELS.join(", ")
    );
    Check::new(Shape::Text, allowed, |value| {
        let text = text_of(value)?;
        let directive = |part: &str| {
            let (target, level) = part.split_once('=').unwrap_or(("all", part));
            let named = target
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_:".contains(&b));
            !target.is_empty() && named && LEVELS.contains(&level)
        };
        if text.split(',').all(directive) {
            Ok(text.to_owned())
        } else {
            Err(wrong_type(value))
        }
    })
}
