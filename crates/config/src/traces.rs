//! What the keys of traces allow: a collector, headers, a share.

use crate::{
    Secret,
    check::{Check, host_and_port, shortened, text_of},
    value::{Shape, Value},
};

/// Headers of a request at most.
const HEADERS_MAX: usize = 16;

/// A header that goes with each request to a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name, in lower case.
    pub name: String,
    /// What it says: often a token.
    pub value: Secret,
}

/// Where a collector takes OTLP over gRPC: scheme, host and port, no path.
pub(crate) fn optional_collector() -> Check<Option<String>> {
    const ALLOWED: &str = "a URL as in \"http://127.0.0.1:4317\" or \"https://…\", without a path";
    Check::new(Shape::Text, ALLOWED, |value| {
        let text = text_of(value)?;
        let wrong = |problem| format!("{} {problem}", shortened(value));
        let authority = ["http://", "https://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .ok_or_else(|| wrong("has another scheme"))?;
        if authority.contains('@') {
            // The text may hold a password.
            return Err("names a user, which traces.headers are for".to_owned());
        }
        host_and_port(authority).map_err(wrong)?;
        let host_ends = authority.rfind(']').unwrap_or(0);
        if !authority[host_ends..].contains(':') {
            return Err(wrong("has no port"));
        }
        Ok(text.to_owned())
    })
    .or_off(Value::Text(String::new()), "off")
}

/// `name=value,name=value`; errors don't repeat it.
pub(crate) fn headers() -> Check<Vec<Header>> {
    const ALLOWED: &str = "headers as in \"authorization=Bearer abc,x-team=relay\"";
    Check::new(Shape::Text, ALLOWED, |value| {
        let Value::Text(text) = value else {
            return Err("is not text".to_owned());
        };
        let parts = text.split(',').filter(|_| !text.is_empty());
        let headers: Vec<Header> = parts
            .map(|part| header(part).ok_or("holds something else"))
            .collect::<Result<_, _>>()?;
        if headers.len() > HEADERS_MAX {
            return Err(format!("has more than {HEADERS_MAX} of them"));
        }
        Ok(headers)
    })
    .secret()
}

fn header(text: &str) -> Option<Header> {
    let (name, value) = text.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let in_name = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.')
    };
    // What ends so is binary in gRPC, and `grpc-` is the protocol's own.
    let reserved = name.ends_with("-bin") || name.starts_with("grpc-");
    let named = !name.is_empty() && name.bytes().all(in_name) && !reserved;
    let said = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    (named && said).then(|| Header {
        name: name.to_owned(),
        value: Secret::new(value.to_owned()),
    })
}

/// A share from 0 to 1.
pub(crate) fn ratio() -> Check<f64> {
    Check::new(Shape::Fraction, "0 to 1, as in 0.01", |value| {
        let number = match value {
            Value::Fraction(number) => *number,
            Value::Integer(0) => 0.0,
            Value::Integer(1) => 1.0,
            other => return Err(format!("is {}", shortened(other))),
        };
        if (0.0..=1.0).contains(&number) {
            Ok(number)
        } else {
            Err(format!("{number} is out of range"))
        }
    })
}
