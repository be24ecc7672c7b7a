//! The receivers of a delivery, packed: distances where few are wanted, bits where many are.

use bytes::Bytes;
use heliograph_bus::Slot;

use crate::{FormError, v1};

/// Slots in one set at most: what a few kilobytes of bits may grow to is bounded.
pub const SLOTS_MAX: usize = 1 << 20;

impl v1::SlotSet {
    /// Packs slots that are sorted and without repetition; `None` if there are none.
    #[must_use]
    pub fn pack(slots: &[Slot]) -> Option<Self> {
        let (first, last) = (slots.first()?.0, slots.last()?.0);
        debug_assert!(slots.is_sorted_by(|a, b| a < b), "sorted, each once");
        let mut deltas = Vec::with_capacity(slots.len());
        for pair in slots.windows(2) {
            put_varint(
                pair[1].0.wrapping_sub(pair[0].0).wrapping_sub(1),
                &mut deltas,
            );
        }
        let bits = (last.wrapping_sub(first) / 8) as usize + 1;
        let mut set = Self {
            first,
            ..Self::default()
        };
        if deltas.len() <= bits {
            set.deltas = deltas.into();
        } else {
            let mut packed = vec![0_u8; bits];
            for slot in slots {
                let at = slot.0.wrapping_sub(first);
                packed[(at / 8) as usize] |= 1 << (at % 8);
            }
            set.bits = packed.into();
        }
        Some(set)
    }

    /// The slots, ascending, each once, at least one.
    ///
    /// # Errors
    ///
    /// A cut number, a slot above `u32::MAX`, or more than [`SLOTS_MAX`] slots.
    pub fn unpack(&self) -> Result<Vec<Slot>, FormError> {
        if self.bits.is_empty() {
            self.read_deltas()
        } else {
            self.read_bits()
        }
    }

    fn read_deltas(&self) -> Result<Vec<Slot>, FormError> {
        let mut slots = Vec::with_capacity(1 + self.deltas.len().min(SLOTS_MAX));
        let mut slot = self.first;
        slots.push(Slot(slot));
        let mut at = 0;
        while at < self.deltas.len() {
            let delta = take_varint(&self.deltas, &mut at)?;
            slot = delta
                .checked_add(1)
                .and_then(|step| slot.checked_add(step))
                .ok_or_else(|| FormError::range("slot distance", delta))?;
            slots.push(Slot(slot));
            if slots.len() > SLOTS_MAX {
                return Err(too_many(&self.deltas));
            }
        }
        Ok(slots)
    }

    fn read_bits(&self) -> Result<Vec<Slot>, FormError> {
        if self.bits.len() > SLOTS_MAX / 8 || self.bits[0] & 1 == 0 {
            return Err(too_many(&self.bits));
        }
        let mut slots = Vec::new();
        for (base, byte) in (0_u32..).step_by(8).zip(&self.bits) {
            let mut byte = *byte;
            while byte != 0 {
                let at = base + byte.trailing_zeros();
                let slot = self.first.checked_add(at);
                slots.push(Slot(slot.ok_or_else(|| FormError::range("slot", at))?));
                byte &= byte - 1;
            }
        }
        Ok(slots)
    }
}

fn too_many(bytes: &Bytes) -> FormError {
    FormError::Length {
        field: "slots",
        bytes: bytes.len(),
    }
}

fn put_varint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

fn take_varint(bytes: &[u8], at: &mut usize) -> Result<u32, FormError> {
    let mut value = 0_u64;
    for shift in (0..35).step_by(7) {
        let byte = *bytes.get(*at).ok_or(FormError::Missing("slot distance"))?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return u32::try_from(value).map_err(|_range| FormError::range("slot distance", value));
        }
    }
    Err(FormError::range("slot distance", value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(slots: impl IntoIterator<Item = u32>, bytes_max: usize) {
        let slots: Vec<Slot> = slots.into_iter().map(Slot).collect();
        let set = v1::SlotSet::pack(&slots).unwrap();
        assert_eq!(set.unpack().unwrap(), slots);
        let bytes = set.deltas.len() + set.bits.len();
        assert!(bytes <= bytes_max, "{bytes}");
    }

    #[test]
    fn sets_come_back_as_they_were_in_few_bytes() {
        check([0], 0);
        check([u32::MAX], 0);
        check([0, u32::MAX], 5);
        check([7, 8, 9, 1_000], 5);
        check(0..65_536, 8_192);
        check((0..65_536).step_by(3), 8_192);
        check((0..65_536).step_by(100), 656);
        check((0..8).map(|n| n * 65_536), 21);
    }

    #[test]
    fn no_slots_are_no_set() {
        assert_eq!(v1::SlotSet::pack(&[]), None);
    }

    #[test]
    fn sets_that_say_nothing_or_too_much_are_refused() {
        let set = |first, deltas: &[u8], bits: &[u8]| v1::SlotSet {
            first,
            deltas: Bytes::copy_from_slice(deltas),
            bits: Bytes::copy_from_slice(bits),
        };
        let refused = [
            set(0, &[0x80], &[]),
            set(0, &[0xff, 0xff, 0xff, 0xff, 0xff, 0x01], &[]),
            set(0, &[0xff, 0xff, 0xff, 0xff, 0x1f], &[]),
            set(u32::MAX, &[0], &[]),
            set(u32::MAX, &[], &[3]),
            set(0, &[], &[2]),
            set(0, &[], &vec![1; SLOTS_MAX / 8 + 1]),
            set(0, &vec![0; SLOTS_MAX + 1], &[]),
        ];
        for set in refused {
            assert!(set.unpack().is_err(), "first {}", set.first);
        }
    }
}
