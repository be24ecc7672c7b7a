//! Buckets: how the rows below one key are spread over partitions that all stay small.
//!
//! A key may have three rows or three hundred million, spread over fifty years or sent within a
//! second. Its rows lie in a ladder of buckets: one for all time first; when that is full, one for
//! every 48 days; when such a one is full, one for every 18 hours of it; then 17 minutes, and below
//! that shares of 17 minutes, by id. Which bucket of a level an event belongs to is a pure function
//! of the event, so a row is described by its level alone. Levels are no generations: a row stays
//! where it was written, and a reader merges what overlaps.
//!
//! - **Bounded:** a level is left when its bucket is full, so no partition grows much past the limit,
//!   whatever times the events claim.
//! - **No probing:** every bucket but the first of a key is listed in a directory, the newest first,
//!   so a reader goes from one existing bucket to the next, however sparse they are.
//! - **No coordination:** a writer that doesn't know yet that a bucket is full still writes there,
//!   which is right, and only makes it a little fuller.

use heliograph_protocol::{EventId, Timestamp};

/// Per level: the width in powers of two of seconds, and the number of shares likewise.
const LEVELS: [(u32, u32); 8] = [
    (TIME_BITS, 0),
    (22, 0),
    (16, 0),
    (10, 0),
    (10, 3),
    (10, 6),
    (10, 9),
    (10, 12),
];

/// Times from 2^33 seconds on, in the year 2242, lie in the last slot of each level.
const TIME_BITS: u32 = 33;

/// One partition of a key. Ordered by level first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Bucket(i64);

/// How deep in the ladder a row lies.
pub(crate) type Level = u8;

/// The level that every key begins with.
pub(crate) const FIRST_LEVEL: Level = 0;

/// The level that is never left.
pub(crate) const LAST_LEVEL: Level = 7;

impl Bucket {
    /// The bucket that every key has and no directory lists.
    pub(crate) const FIRST: Self = Self(0);

    /// Where an event of this time and id lies at `level`; levels past the last mean the last.
    pub(crate) fn new(level: Level, at: Timestamp, id: &EventId) -> Self {
        let level = level.min(LAST_LEVEL);
        let (width, shares) = LEVELS[usize::from(level)];
        let slot = at.as_secs().min((1 << TIME_BITS) - 1) >> width;
        // Proof of work makes the first bits of an id alike, not the last ones.
        let [.., high, low] = id.as_bytes();
        let share = u16::from_be_bytes([*high, *low]) & ((1 << shares) - 1);
        let slot = i64::try_from(slot).expect("33 bits at most");
        let slot = if level == FIRST_LEVEL { 0 } else { slot };
        Self(i64::from(level) << 48 | slot << 16 | i64::from(share))
    }

    /// Reads the number that stands in a row.
    pub(crate) fn from_number(number: i64) -> Option<Self> {
        let level = number >> 48;
        (0..=i64::from(LAST_LEVEL))
            .contains(&level)
            .then_some(Self(number))
    }

    pub(crate) const fn number(self) -> i64 {
        self.0
    }

    /// The first second after the bucket, as it stands in the directory; buckets without an end
    /// have the greatest number.
    pub(crate) fn end(self) -> i64 {
        let level = usize::try_from(self.0 >> 48).unwrap_or_default();
        let (width, _shares) = LEVELS[level.min(LEVELS.len() - 1)];
        let slot = (self.0 >> 16) & 0xffff_ffff;
        let end = (slot + 1) << width;
        if end >= 1 << TIME_BITS { i64::MAX } else { end }
    }

    /// The end of the widest listed bucket that holds `at`: no bucket with a later one holds
    /// anything up to `at`.
    pub(crate) fn latest_end(at: Timestamp) -> i64 {
        Self::new(1, at, &EventId::new([0; 32])).end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: EventId = EventId::new([0xa5; 32]);

    fn bucket(level: Level, at: u64) -> Bucket {
        Bucket::new(level, Timestamp::from_secs(at), &ID)
    }

    #[test]
    fn a_bucket_holds_the_times_before_its_end() {
        for at in [
            0,
            1,
            1023,
            1024,
            1_700_000_000,
            (1 << 33) - 1,
            1 << 33,
            1 << 52,
        ] {
            for level in 1..=LAST_LEVEL {
                let end = bucket(level, at).end();
                assert!(end > i64::try_from(at).unwrap(), "{at} at {level}");
                assert!(end <= Bucket::latest_end(Timestamp::from_secs(at)));
                if end < i64::MAX {
                    let after = u64::try_from(end).unwrap();
                    assert_ne!(bucket(level, after), bucket(level, at));
                    assert_eq!(bucket(level, after - 1), bucket(level, at));
                }
            }
        }
    }

    #[test]
    fn deeper_buckets_lie_within_wider_ones() {
        for at in [0, 5_000, 1_700_000_000, 1 << 40] {
            let ends: Vec<_> = (1..=LAST_LEVEL)
                .map(|level| bucket(level, at).end())
                .collect();
            assert!(
                ends.is_sorted_by(|wide, narrow| wide >= narrow),
                "{at}: {ends:?}"
            );
        }
    }

    #[test]
    fn the_last_level_is_the_last_of_the_ladder() {
        assert_eq!(usize::from(LAST_LEVEL), LEVELS.len() - 1);
    }

    #[test]
    fn every_key_has_one_first_bucket() {
        assert_eq!(bucket(0, 0), Bucket::FIRST);
        assert_eq!(bucket(0, 1 << 52), Bucket::FIRST);
    }

    #[test]
    fn buckets_are_told_apart_by_level_slot_and_share() {
        let mut all: Vec<_> = (0..=LAST_LEVEL)
            .map(|level| bucket(level, 1_700_000_000))
            .collect();
        all.push(bucket(3, 1_700_002_000));
        let other = Bucket::new(
            4,
            Timestamp::from_secs(1_700_000_000),
            &EventId::new([0; 32]),
        );
        all.push(other);
        for (n, one) in all.iter().enumerate() {
            assert!(all[n + 1..].iter().all(|bucket| bucket != one));
            assert_eq!(Bucket::from_number(one.number()), Some(*one));
        }
        assert_eq!(Bucket::from_number(-1), None);
        assert_eq!(Bucket::from_number(8 << 48), None);
    }
}
