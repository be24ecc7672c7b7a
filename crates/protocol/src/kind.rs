//! Kinds and what they mean for storage (NIP-01).

use std::fmt;

/// An event's kind, `0..=65535` (R01-10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(u16);

/// How a relay keeps events of a kind (NIP-01).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KindClass {
    /// Every event is kept (R01-45).
    Regular,
    /// One event per author and kind is kept (R01-40).
    Replaceable,
    /// Delivered, never stored (R01-46).
    Ephemeral,
    /// One event per author, kind and `d` value is kept (R01-43).
    Addressable,
}

impl Kind {
    /// User metadata (NIP-01).
    pub const METADATA: Self = Self(0);
    /// Encrypted direct message, old form (NIP-04).
    pub const DIRECT_MESSAGE: Self = Self(4);
    /// Deletion request (NIP-09).
    pub const DELETION: Self = Self(5);
    /// Repost of a note (NIP-18).
    pub const REPOST: Self = Self(6);
    /// Seal around a private message (NIP-59).
    pub const SEAL: Self = Self(13);
    /// Repost of any kind (NIP-18).
    pub const GENERIC_REPOST: Self = Self(16);
    /// Request to vanish (NIP-62).
    pub const VANISH: Self = Self(62);
    /// Gift wrap around a seal (NIP-59).
    pub const GIFT_WRAP: Self = Self(1059);
    /// Gift wrap that isn't stored (NIP-59).
    pub const EPHEMERAL_GIFT_WRAP: Self = Self(21059);
    /// Client authentication (NIP-42).
    pub const CLIENT_AUTH: Self = Self(22242);

    /// Wraps a kind number.
    #[must_use]
    pub const fn new(kind: u16) -> Self {
        Self(kind)
    }

    /// The kind number.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        self.0
    }

    /// The storage class of this kind; kinds in no range of NIP-01 are regular (R01-45).
    #[must_use]
    pub const fn class(self) -> KindClass {
        match self.0 {
            0 | 3 | 10_000..=19_999 => KindClass::Replaceable,
            20_000..=29_999 => KindClass::Ephemeral,
            30_000..=39_999 => KindClass::Addressable,
            _ => KindClass::Regular,
        }
    }

    /// Whether only one version per address is kept.
    #[must_use]
    pub const fn has_address(self) -> bool {
        matches!(
            self.class(),
            KindClass::Replaceable | KindClass::Addressable
        )
    }

    /// Whether events of this kind are delivered and never stored.
    #[must_use]
    pub const fn is_ephemeral(self) -> bool {
        matches!(self.class(), KindClass::Ephemeral)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
