//! Values addressed by small numbers, in segments, so that growing never moves what is there.
//!
//! A vector that doubles would copy hundreds of megabytes under the index's lock.

const SEGMENT: usize = 4096;

/// A slab of values; a slot that was vacated is given out again.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    segments: Vec<Vec<T>>,
    free: Vec<u32>,
}

impl<T: Default> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self {
            segments: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Puts a value in and returns its slot.
    ///
    /// # Panics
    ///
    /// At 2^31 values; the index's options keep it far below.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            *self.get_mut(slot) = value;
            return slot;
        }
        if self
            .segments
            .last()
            .is_none_or(|segment| segment.len() == SEGMENT)
        {
            self.segments.push(Vec::with_capacity(SEGMENT));
        }
        let before = (self.segments.len() - 1) * SEGMENT;
        let segment = self
            .segments
            .last_mut()
            .expect("one was pushed if there was none");
        let slot = u32::try_from(before + segment.len()).expect("the options bound the slots");
        segment.push(value);
        slot
    }

    /// Takes a value out and frees its slot.
    pub(crate) fn remove(&mut self, slot: u32) -> T {
        self.free.push(slot);
        std::mem::take(self.get_mut(slot))
    }

    pub(crate) fn get(&self, slot: u32) -> &T {
        &self.segments[slot as usize / SEGMENT][slot as usize % SEGMENT]
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut T {
        &mut self.segments[slot as usize / SEGMENT][slot as usize % SEGMENT]
    }

    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.segments.len() * SEGMENT * size_of::<T>() + self.free.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vacated_slot_is_given_out_again() {
        let mut slab = Slab::new();
        let slots: Vec<u32> = (0..5000_u32).map(|value| slab.insert(value)).collect();
        assert!(slots.iter().all(|slot| slab.get(*slot) == slot));
        assert_eq!(slab.remove(4500), 4500);
        assert_eq!(slab.insert(7), 4500);
        assert_eq!(*slab.get(4500), 7);
    }
}
