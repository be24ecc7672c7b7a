//! A refusal is an answer, not an error: OK `false` or CLOSED with a prefix of NIP-01.

use std::{borrow::Cow, fmt};

/// The machine-readable word before the colon (R01-31).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Prefix {
    /// The event is known, or a newer version of it is.
    Duplicate,
    /// Too little proof of work (NIP-13).
    Pow,
    /// This author, kind, event or size of question isn't taken here.
    Blocked,
    /// Too much in too short a time.
    RateLimited,
    /// Malformed, or against the rules for such events.
    Invalid,
    /// Authenticated, but not allowed.
    Restricted,
    /// Nobody listened (ephemeral events).
    Mute,
    /// Our fault: the same message may be sent again.
    Error,
    /// Authenticate first (NIP-42).
    AuthRequired,
    /// The relay doesn't offer this (CLOSED only).
    Unsupported,
}

impl Prefix {
    /// Every prefix, for metrics that want one series each.
    pub const ALL: [Self; 10] = [
        Self::Duplicate,
        Self::Pow,
        Self::Blocked,
        Self::RateLimited,
        Self::Invalid,
        Self::Restricted,
        Self::Mute,
        Self::Error,
        Self::AuthRequired,
        Self::Unsupported,
    ];

    /// The word as clients test for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Pow => "pow",
            Self::Blocked => "blocked",
            Self::RateLimited => "rate-limited",
            Self::Invalid => "invalid",
            Self::Restricted => "restricted",
            Self::Mute => "mute",
            Self::Error => "error",
            Self::AuthRequired => "auth-required",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Why a message isn't taken: `<prefix>: <text>`, one space, no full stop (R01-31).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The word that clients test for.
    pub prefix: Prefix,
    /// The text for people.
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// Builds a refusal with any prefix.
    pub fn new(prefix: Prefix, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            prefix,
            message: message.into(),
        }
    }

    /// `invalid: <message>`
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Prefix::Invalid, message)
    }

    /// `blocked: <message>`
    pub fn blocked(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Prefix::Blocked, message)
    }

    /// `error: <message>`
    pub fn error(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Prefix::Error, message)
    }

    /// `auth-required: <message>`
    pub fn auth_required(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Prefix::AuthRequired, message)
    }

    /// `restricted: <message>`
    pub fn restricted(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Prefix::Restricted, message)
    }

    /// `rate-limited: <message>`
    pub fn rate_limited(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Prefix::RateLimited, message)
    }

    /// `unsupported: <message>`
    pub fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Prefix::Unsupported, message)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.prefix.as_str(), self.message)
    }
}
