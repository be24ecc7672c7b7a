//! Values as written, and where they were read.

use std::{fmt, path::Path, sync::Arc};

/// A value as written, before it is checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    Fraction(f64),
    List(Vec<Value>),
    /// Something no key takes; the text names its type.
    Other(&'static str),
}

/// What kind of value a key takes. Environment and flags carry text only, so they are read by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Text,
    Integer,
    Boolean,
    Fraction,
    Texts,
    Integers,
}

/// Where the value in force was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// No layer sets the key.
    Default,
    /// The configuration file, with the line, counted from 1.
    File {
        /// The file as it was named.
        path: Arc<Path>,
        /// The line of the value.
        line: usize,
    },
    /// The environment variable of this name.
    Environment(String),
    /// A flag on the command line.
    Flag,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// One readable line each.
    Text,
    /// One JSON object a line.
    Json,
}

/// What an `OK true` promises about the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// It survives a power cut: the log is synced before the answer.
    Fsync,
    /// It survives the end of the process, not of the machine.
    None,
}

/// What an `OK true` of a cluster promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The database took the write, at its quorum.
    Stored,
    /// The bus took the event, at its quorum; it is stored soon after.
    Quorum,
}

/// Where a stream of the bus lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamStorage {
    /// On disk.
    File,
    /// In memory.
    Memory,
}

/// How many replicas of a row answer before a read or write of the database counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// Most of the local data centre.
    LocalQuorum,
    /// Most of all.
    Quorum,
    /// One: for development, nothing that is promised holds.
    One,
}

impl Value {
    /// Reads the text of a variable or flag as the shape that its key takes. What doesn't fit stays
    /// text, so that the check can name it.
    pub(crate) fn from_text(text: &str, shape: Shape) -> Self {
        let trimmed = text.trim();
        match shape {
            Shape::Text => Self::Text(text.to_owned()),
            Shape::Integer => integer(trimmed),
            Shape::Boolean => match trimmed {
                "true" => Self::Boolean(true),
                "false" => Self::Boolean(false),
                _ => Self::Text(text.to_owned()),
            },
            Shape::Fraction => fraction(trimmed),
            Shape::Texts | Shape::Integers => list(trimmed, shape),
        }
    }

    pub(crate) fn from_toml(value: &toml::de::DeValue<'_>) -> Self {
        use toml::de::DeValue;
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
                .map_or(Self::Other("an integer beyond 64 bits"), Self::Integer),
            DeValue::Boolean(value) => Self::Boolean(*value),
            DeValue::Array(items) => Self::List(
                items
                    .iter()
                    .map(|item| Self::from_toml(item.get_ref()))
                    .collect(),
            ),
            DeValue::Float(digits) => fraction(digits.as_str()),
            DeValue::Datetime(_) => Self::Other("a date"),
            DeValue::Table(_) => Self::Other("a table"),
        }
    }
}

fn integer(text: &str) -> Value {
    text.replace('_', "")
        .parse()
        .map_or_else(|_| Value::Text(text.to_owned()), Value::Integer)
}

/// Reads `0.01`; TOML writes it so too.
fn fraction(text: &str) -> Value {
    match text.replace('_', "").parse::<f64>() {
        Ok(number) if number.is_finite() => Value::Fraction(number),
        _ => Value::Text(text.to_owned()),
    }
}

/// Reads `a,b,c` or, if it stands in brackets, a TOML array. `[::1]:9042` doesn't.
fn list(text: &str, shape: Shape) -> Value {
    if text.starts_with('[') && text.ends_with(']') {
        return match toml::de::DeValue::parse(text) {
            Ok(value) => Value::from_toml(value.get_ref()),
            Err(_malformed) => Value::Text(text.to_owned()),
        };
    }
    let item = |item: &str| match shape {
        Shape::Integers => integer(item.trim()),
        _ => Value::Text(item.trim().to_owned()),
    };
    match text {
        "" => Value::List(Vec::new()),
        _ => Value::List(text.split(',').map(item).collect()),
    }
}

/// Writes the value as TOML.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{}", toml::Value::String(text.clone())),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Boolean(value) => write!(f, "{value}"),
            // With a point or an exponent, else it were an integer.
            Self::Fraction(value) => write!(f, "{value:?}"),
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag => f.write_str("command line"),
        }
    }
}
