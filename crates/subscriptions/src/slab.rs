//! Values under small numbers that are given out again once freed.

/// A vector whose vacant places are reused, last freed first.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    items: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// Keeps `value` and returns its number.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        if let Some(id) = self.free.pop() {
            self.items[id as usize] = Some(value);
            return id;
        }
        let id = u32::try_from(self.items.len()).expect("memory ends before 2^32 items");
        self.items.push(Some(value));
        id
    }

    /// Frees `id`, which has to be in use.
    pub(crate) fn remove(&mut self, id: u32) -> T {
        let value = self.items[id as usize]
            .take()
            .expect("a number is freed once");
        self.free.push(id);
        value
    }

    /// The value under `id`, which has to be in use.
    pub(crate) fn get(&self, id: u32) -> &T {
        self.items[id as usize]
            .as_ref()
            .expect("a number is held only while in use")
    }

    /// The value under `id`, which has to be in use.
    pub(crate) fn get_mut(&mut self, id: u32) -> &mut T {
        self.items[id as usize]
            .as_mut()
            .expect("a number is held only while in use")
    }

    /// How many numbers are in use.
    pub(crate) fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Slab;

    #[test]
    fn a_freed_number_is_given_out_again() {
        let mut slab = Slab::default();
        let (first, second) = (slab.insert('a'), slab.insert('b'));
        assert_eq!(slab.remove(first), 'a');
        assert_eq!(slab.insert('c'), first);
        assert_eq!(
            (*slab.get(first), *slab.get(second), slab.len()),
            ('c', 'b', 2)
        );
    }
}
