//! A set of numbers that is small when it holds few and quick when it holds many.

use roaring::RoaringBitmap;

/// Numbers held without an allocation.
const FEW_MAX: u8 = 3;
const FEW_LEN: usize = FEW_MAX as usize;
/// Numbers held as a sorted list; more go into a bitmap. At 256 a list is 1 KiB, so that an
/// insertion moves little, and a bitmap's own overhead is spread over enough of them.
const LIST_MAX: usize = 256;
/// A bitmap that shrinks below this becomes a list again; half of [`LIST_MAX`], so that one
/// number coming and going doesn't convert each time.
const LARGE_MIN: usize = LIST_MAX / 2;

/// A set of `u32`.
#[derive(Debug)]
pub(crate) enum Postings {
    /// Sorted; only the first `len` count.
    Few { len: u8, ids: [u32; FEW_LEN] },
    /// Sorted.
    List(Vec<u32>),
    /// More than [`LARGE_MIN`].
    Large(Box<Large>),
}

/// A bitmap that knows its size.
#[derive(Debug)]
pub(crate) struct Large {
    len: usize,
    bitmap: RoaringBitmap,
}

impl Default for Postings {
    fn default() -> Self {
        Self::Few {
            len: 0,
            ids: [0; FEW_LEN],
        }
    }
}

impl Postings {
    /// Adds `id`; returns whether it is new.
    pub(crate) fn insert(&mut self, id: u32) -> bool {
        match self {
            Self::Few { len, ids } => {
                let used = usize::from(*len);
                let Err(at) = ids[..used].binary_search(&id) else {
                    return false;
                };
                if used == FEW_LEN {
                    let mut list = Vec::with_capacity(2 * FEW_LEN);
                    list.extend_from_slice(ids);
                    list.insert(at, id);
                    *self = Self::List(list);
                } else {
                    ids.copy_within(at..used, at + 1);
                    ids[at] = id;
                    *len += 1;
                }
                true
            }
            Self::List(list) => {
                let Err(at) = list.binary_search(&id) else {
                    return false;
                };
                if list.len() == list.capacity() {
                    // Half as much again: doubling would leave a third of all memory unused.
                    list.reserve_exact(list.len() / 2);
                }
                list.insert(at, id);
                if list.len() > LIST_MAX {
                    let bitmap: RoaringBitmap = list.iter().copied().collect();
                    *self = Self::Large(Box::new(Large {
                        len: list.len(),
                        bitmap,
                    }));
                }
                true
            }
            Self::Large(large) => {
                let new = large.bitmap.insert(id);
                large.len += usize::from(new);
                new
            }
        }
    }

    /// Takes `id` out; returns whether it was there.
    pub(crate) fn remove(&mut self, id: u32) -> bool {
        match self {
            Self::Few { len, ids } => {
                let used = usize::from(*len);
                let Ok(at) = ids[..used].binary_search(&id) else {
                    return false;
                };
                ids.copy_within(at + 1..used, at);
                *len -= 1;
                true
            }
            Self::List(list) => {
                let Ok(at) = list.binary_search(&id) else {
                    return false;
                };
                list.remove(at);
                if let Ok(ids) = <[u32; FEW_LEN]>::try_from(list.as_slice()) {
                    *self = Self::Few { len: FEW_MAX, ids };
                } else if list.len() < list.capacity() / 2 {
                    list.shrink_to(list.len() + list.len() / 4);
                }
                true
            }
            Self::Large(large) => {
                let held = large.bitmap.remove(id);
                large.len -= usize::from(held);
                if large.len < LARGE_MIN {
                    *self = Self::List(large.bitmap.iter().collect());
                }
                held
            }
        }
    }

    /// Whether `id` is in the set.
    #[cfg(test)]
    fn contains(&self, id: u32) -> bool {
        match self {
            Self::Few { len, ids } => ids[..usize::from(*len)].contains(&id),
            Self::List(list) => list.binary_search(&id).is_ok(),
            Self::Large(large) => large.bitmap.contains(id),
        }
    }

    /// How many numbers it holds.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few { len, .. } => usize::from(*len),
            Self::List(list) => list.len(),
            Self::Large(large) => large.len,
        }
    }

    /// Calls `each` with every number, ascending.
    #[inline]
    pub(crate) fn for_each(&self, each: impl FnMut(u32)) {
        match self {
            Self::Few { len, ids } => ids[..usize::from(*len)].iter().copied().for_each(each),
            Self::List(list) => list.iter().copied().for_each(each),
            Self::Large(large) => large.bitmap.iter().for_each(each),
        }
    }

    /// Bytes it holds outside of itself; for a bitmap an estimate of 3 a number: two, and the
    /// slack of growing arrays.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Few { .. } => 0,
            Self::List(list) => list.capacity() * size_of::<u32>(),
            Self::Large(large) => size_of::<Large>() + 3 * large.len,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::vec, prelude::any, prop_assert_eq, proptest};

    use super::{LARGE_MIN, LIST_MAX, Postings};

    fn numbers(postings: &Postings) -> Vec<u32> {
        let mut out = Vec::new();
        postings.for_each(|id| out.push(id));
        out
    }

    #[test]
    fn it_becomes_a_bitmap_and_a_list_again() {
        let ids: Vec<u32> = (0..).step_by(7).take(LIST_MAX + 1).collect();
        let (kept, gone) = ids.split_at(LARGE_MIN - 1);
        let mut postings = Postings::default();
        assert!(ids.iter().all(|id| postings.insert(*id)));
        assert!(matches!(postings, Postings::Large(_)));
        assert!(gone.iter().all(|id| postings.remove(*id)));
        assert!(matches!(postings, Postings::List(_)));
        assert_eq!(numbers(&postings), kept);
    }

    #[test]
    fn it_is_three_words() {
        assert_eq!(size_of::<Postings>(), 24);
    }

    proptest! {
        #[test]
        fn it_is_a_set(steps in vec((any::<bool>(), 0..600_u32), 0..1500)) {
            let (mut postings, mut model) = (Postings::default(), BTreeSet::new());
            for (insert, id) in steps {
                if insert || id % 3 == 0 {
                    prop_assert_eq!(postings.insert(id), model.insert(id));
                } else {
                    prop_assert_eq!(postings.remove(id), model.remove(&id));
                }
                prop_assert_eq!(postings.contains(id), model.contains(&id));
                prop_assert_eq!(postings.len(), model.len());
            }
            prop_assert_eq!(numbers(&postings), model.into_iter().collect::<Vec<_>>());
        }
    }
}
