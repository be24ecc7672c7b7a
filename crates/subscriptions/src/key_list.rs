//! A sorted list of key numbers in a fraction of the room.
//!
//! A home feed lists hundreds of authors at 32 bytes each. As numbers, and these as differences in
//! blocks of 32, one takes about two bytes; a block's first number is kept whole, so that a look-up
//! decodes one block and a purge can stop between two.

/// Numbers in a block. More would save little and make a look-up decode more.
pub(crate) const BLOCK_LEN: usize = 32;

/// Distinct numbers, ascending.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyList {
    len: u32,
    starts: Box<[Start]>,
    deltas: Box<[u8]>,
}

/// Where a block begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Start {
    first: u32,
    at: u32,
}

impl KeyList {
    /// Packs `numbers`, which have to be ascending and distinct.
    pub(crate) fn pack(numbers: &[u32]) -> Self {
        debug_assert!(numbers.is_sorted_by(|a, b| a < b), "packed numbers ascend");
        let short = |length: usize| u32::try_from(length).expect("fewer numbers than there are");
        let mut starts = Vec::with_capacity(numbers.len().div_ceil(BLOCK_LEN));
        let mut deltas = Vec::with_capacity(2 * numbers.len());
        for block in numbers.chunks(BLOCK_LEN) {
            starts.push(Start {
                first: block[0],
                at: short(deltas.len()),
            });
            for pair in block.windows(2) {
                write_varint(pair[1] - pair[0], &mut deltas);
            }
        }
        Self {
            len: short(numbers.len()),
            starts: starts.into(),
            deltas: deltas.into(),
        }
    }

    /// How many numbers it holds.
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// How many blocks it consists of.
    pub(crate) fn blocks(&self) -> usize {
        self.starts.len()
    }

    /// The numbers of one block, ascending; none past the last block.
    pub(crate) fn block(&self, index: usize) -> impl Iterator<Item = u32> + '_ {
        let count = self.len().saturating_sub(index * BLOCK_LEN).min(BLOCK_LEN);
        let start = self
            .starts
            .get(index)
            .copied()
            .unwrap_or(Start { first: 0, at: 0 });
        let (mut number, mut at) = (start.first, start.at as usize);
        (0..count).map(move |place| {
            if place > 0 {
                number += read_varint(&self.deltas, &mut at);
            }
            number
        })
    }

    /// All numbers, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.blocks()).flat_map(|index| self.block(index))
    }

    /// Whether `number` is among them.
    pub(crate) fn contains(&self, number: u32) -> bool {
        let after = self.starts.partition_point(|start| start.first <= number);
        after > 0 && self.block(after - 1).any(|held| held == number)
    }

    /// Bytes it holds outside of itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.starts) + self.deltas.len()
    }
}

fn write_varint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

fn read_varint(bytes: &[u8], at: &mut usize) -> u32 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_set, prelude::any, prop_assert, prop_assert_eq, proptest};

    use super::KeyList;

    #[test]
    fn five_hundred_authors_take_two_bytes_each() {
        let numbers: Vec<u32> = (0..500).map(|author| author * 600).collect();
        assert!(KeyList::pack(&numbers).heap_bytes() <= 500 * 9 / 4);
    }

    #[test]
    fn the_ends_of_the_range_are_kept() {
        let list = KeyList::pack(&[0, u32::MAX]);
        assert_eq!(list.iter().collect::<Vec<_>>(), [0, u32::MAX]);
        assert!(!KeyList::pack(&[]).contains(0));
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(small in btree_set(0..300_u32, 0..200), wide in btree_set(any::<u32>(), 0..70)) {
            let numbers: Vec<u32> = small.union(&wide).copied().collect();
            let list = KeyList::pack(&numbers);
            prop_assert!(list.iter().eq(numbers.iter().copied()));
            prop_assert_eq!(list.len(), numbers.len());
            for number in numbers.iter().flat_map(|&n| [n, n.wrapping_add(1), n.wrapping_sub(1)]) {
                prop_assert_eq!(list.contains(number), numbers.binary_search(&number).is_ok());
            }
            prop_assert!(list.block(list.blocks()).next().is_none());
        }
    }
}
