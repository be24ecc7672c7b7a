//! The kinds that operators tell apart: a closed set, so that 65,536 kinds are a few dozen time series.

use heliograph_protocol::{Kind, KindClass};

/// What `kind_class` can say, in the order of [`class_of`].
pub(crate) const CLASSES: [&str; 28] = [
    "metadata",
    "note",
    "contacts",
    "dm",
    "deletion",
    "repost",
    "reaction",
    "chat",
    "seal",
    "gift_wrap",
    "vanish",
    "file",
    "report",
    "zap",
    "relay_list",
    "list",
    "long_form",
    "app_data",
    "badge",
    "community",
    "live_activity",
    "calendar",
    "remote_signing",
    "auth",
    "regular",
    "replaceable",
    "ephemeral",
    "addressable",
];

/// What is counted for an EVENT whose kind can't be read.
pub(crate) const UNREADABLE: &str = "unreadable";

/// The class of a kind, as an index into [`CLASSES`].
pub(crate) fn class_of(kind: Kind) -> usize {
    match kind.as_u16() {
        0 => 0,
        1 => 1,
        3 => 2,
        // NIP-04, and the rumours of NIP-17, which nobody should send in the clear.
        4 | 14 | 15 => 3,
        5 => 4,
        6 | 16 => 5,
        7 | 17 => 6,
        9 | 11 | 40..=44 | 1_311 => 7,
        13 => 8,
        1_059 | 21_059 => 9,
        62 => 10,
        20..=22 | 1_063 => 11,
        1_984 | 1_985 => 12,
        9_734 | 9_735 | 9_041 => 13,
        10_002 | 10_050 => 14,
        10_000..=10_102 | 30_000..=30_007 | 30_015 | 30_030 | 39_089 | 39_092 => 15,
        30_023 | 30_024 => 16,
        30_078 => 17,
        8 | 30_008 | 30_009 => 18,
        1_111 | 4_550 | 9_000..=9_030 | 34_550 | 39_000..=39_003 => 19,
        30_311..=30_313 => 20,
        31_922..=31_925 => 21,
        24_133 => 22,
        22_242 => 23,
        _ => match kind.class() {
            KindClass::Regular => 24,
            KindClass::Replaceable => 25,
            KindClass::Ephemeral => 26,
            KindClass::Addressable => 27,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: u16, class: &str) {
        assert_eq!(CLASSES[class_of(Kind::new(kind))], class, "kind {kind}");
    }

    #[test]
    fn kinds_have_the_class_that_their_nip_says() {
        for (kind, class) in [
            (0, "metadata"),
            (1, "note"),
            (3, "contacts"),
            (7, "reaction"),
            (1_059, "gift_wrap"),
            (9_735, "zap"),
            (10_002, "relay_list"),
            (10_003, "list"),
            (30_023, "long_form"),
            (30_078, "app_data"),
            (22_242, "auth"),
        ] {
            check(kind, class);
        }
    }

    #[test]
    fn a_kind_without_a_name_is_what_nip_01_makes_of_its_range() {
        for (kind, class) in [
            (2, "regular"),
            (7_777, "regular"),
            (65_535, "regular"),
            (19_999, "replaceable"),
            (20_001, "ephemeral"),
            (39_999, "addressable"),
        ] {
            check(kind, class);
        }
    }

    #[test]
    fn every_kind_has_a_class_and_every_class_a_kind() {
        let mut seen = [false; CLASSES.len()];
        (0..=u16::MAX).for_each(|kind| seen[class_of(Kind::new(kind))] = true);
        assert_eq!(seen, [true; CLASSES.len()]);
    }
}
