//! What the keys of a cluster allow: names, servers, secrets, replication.

use std::{fmt, path::PathBuf};

use crate::{
    check::{Check, host_and_port, list, shortened, text_of},
    value::{Shape, Value},
};

/// Characters of a secret at most; tokens of identity providers reach some thousands.
const SECRET_CHARS_MAX: usize = 16_384;

/// A password, token or key: never shown, by no format.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the server that asks for it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How many replicas a data centre holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatacenterReplicas {
    /// Its name, as the database knows it.
    pub datacenter: String,
    /// At least one.
    pub replicas: u32,
}

/// A password or token; errors don't repeat it.
pub(crate) fn optional_secret() -> Check<Option<Secret>> {
    Check::new(Shape::Text, "text", |value| match value {
        Value::Text(text) if text.chars().any(char::is_control) => {
            Err("holds a control character".to_owned())
        }
        Value::Text(text) if text.chars().count() > SECRET_CHARS_MAX => {
            Err("is too long".to_owned())
        }
        Value::Text(text) => Ok(Secret(text.clone())),
        _ => Err("is not text".to_owned()),
    })
    .or_off(Value::Text(String::new()), "none")
    .secret()
}

/// Text of some of the characters `a-z`, `A-Z`, `0-9`, `_` and `-`, as `allowed` says and `ok`
/// decides.
fn word(
    allowed: &'static str,
    chars_max: usize,
    ok: impl Fn(&str) -> bool + 'static,
) -> Check<String> {
    let described = format!("1 to {chars_max} of the characters {allowed}");
    Check::new(Shape::Text, described, move |value| {
        let text = text_of(value)?;
        match text.len() {
            0 => Err("is empty".to_owned()),
            length if length > chars_max => Err(format!("is too long with {length} characters")),
            _ if ok(text) => Ok(text.to_owned()),
            _ => Err(format!("{} has other characters", shortened(value))),
        }
    })
}

/// What NATS subjects, streams and buckets of a cluster begin with.
pub(crate) fn cluster_name() -> Check<String> {
    word("a-z, 0-9, _ and -", 32, |text| {
        text.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
    })
}

/// The name of a process: one token of a NATS subject.
pub(crate) fn optional_node() -> Check<Option<String>> {
    word("a-z, A-Z, 0-9, _ and -", 64, |text| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    })
    .or_off(
        Value::Text(String::new()),
        "the host's name and a random suffix",
    )
}

/// A CQL name that needs no quotes.
pub(crate) fn keyspace() -> Check<String> {
    word("a-z, 0-9 and _, a letter first", 48, |text| {
        text.starts_with(|first: char| first.is_ascii_lowercase())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    })
}

pub(crate) fn optional_path() -> Check<Option<PathBuf>> {
    Check::new(Shape::Text, "a path", |value| match text_of(value)? {
        "" => Err("is empty".to_owned()),
        text if text.contains('\0') => Err("holds a NUL".to_owned()),
        text => Ok(PathBuf::from(text)),
    })
    .or_off(Value::Text(String::new()), "none")
}

/// URLs of NATS servers, without user and path: how to log in has keys of its own.
pub(crate) fn nats_servers() -> Check<Vec<String>> {
    const ALLOWED: &str = "URLs as in \"nats://127.0.0.1:4222\" or \"tls://…\", at least one";
    list(Shape::Texts, ALLOWED, 64, |value| {
        let text = text_of(value)?;
        let wrong = |problem| format!("{} {problem}", shortened(value));
        let authority = ["nats://", "tls://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .ok_or_else(|| wrong("has another scheme"))?;
        if authority.contains('@') {
            // The text may hold a password.
            return Err("a server names a user, which has keys of its own".to_owned());
        }
        host_and_port(authority).map_err(wrong)?;
        Ok(text.to_owned())
    })
    .at_least_one()
}

/// `host:port`, with the port.
pub(crate) fn nodes() -> Check<Vec<String>> {
    const ALLOWED: &str = "hosts with their port as in \"127.0.0.1:9042\", at least one";
    list(Shape::Texts, ALLOWED, 64, |value| {
        let text = text_of(value)?;
        with_port(text)
            .map(|()| text.to_owned())
            .map_err(|problem| format!("{} {problem}", shortened(value)))
    })
    .at_least_one()
}

fn with_port(text: &str) -> Result<(), &'static str> {
    host_and_port(text)?;
    let host_ends = text.rfind(']').unwrap_or(0);
    if text[host_ends..].contains(':') {
        Ok(())
    } else {
        Err("has no port")
    }
}

/// Where others reach a process: `host:port`, with or without `http://` or `https://`.
pub(crate) fn optional_endpoint() -> Check<Option<String>> {
    const ALLOWED: &str = "a host with its port, or a URL that begins with http:// or https://";
    Check::new(Shape::Text, ALLOWED, |value| {
        let text = text_of(value)?;
        let schemes = ["http://", "https://"];
        let url = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
        let checked = match url {
            Some(authority) => host_and_port(authority),
            None => with_port(text),
        };
        checked
            .map(|()| text.to_owned())
            .map_err(|problem| format!("{} {problem}", shortened(value)))
    })
    .or_off(Value::Text(String::new()), "the address of matcher.listen")
}

/// `dc1:3`.
pub(crate) fn replication() -> Check<Vec<DatacenterReplicas>> {
    const ALLOWED: &str = "data centres with their replicas as in \"dc1:3\"";
    list(Shape::Texts, ALLOWED, 32, |value| {
        let text = text_of(value)?;
        let plain = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        };
        text.split_once(':')
            .filter(|(name, _)| plain(name))
            .and_then(|(name, replicas)| {
                let replicas = replicas.parse().ok().filter(|n| (1..=16).contains(n))?;
                Some(DatacenterReplicas {
                    datacenter: name.to_owned(),
                    replicas,
                })
            })
            .ok_or_else(|| format!("{} is not a data centre with 1 to 16", shortened(value)))
    })
}
