//! The filters of open subscriptions, kept for the matcher that comes next. Lists that are equal are kept
//! once: a home feed names hundreds of authors, and its connections come by the thousand.

use bytes::Bytes;
use hashbrown::HashSet;
use heliograph_proto::v1;

/// Bytes from which on a list is shared: two keys.
const LIST_BYTES_MIN: usize = 64;

/// Lists before those that nobody has any more are looked for.
const SWEEP_MIN: usize = 1_024;

/// Lists of ids and authors in use, each once.
#[derive(Debug)]
pub(crate) struct Lists {
    known: HashSet<Bytes>,
    /// How many there may be before the next sweep.
    sweep_at: usize,
}

impl Default for Lists {
    fn default() -> Self {
        Self {
            known: HashSet::new(),
            sweep_at: SWEEP_MIN,
        }
    }
}

impl Lists {
    /// Makes their lists those of others that have the same.
    pub(crate) fn share(&mut self, mut filters: v1::Filters) -> v1::Filters {
        for filter in &mut filters.filters {
            for values in [&mut filter.ids, &mut filter.authors].into_iter().flatten() {
                values.joined = self.shared(std::mem::take(&mut values.joined));
            }
        }
        filters
    }

    fn shared(&mut self, list: Bytes) -> Bytes {
        if list.len() < LIST_BYTES_MIN {
            return list;
        }
        if let Some(known) = self.known.get(&list) {
            return known.clone();
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|list| !list.is_unique());
            self.sweep_at = (2 * self.known.len()).max(SWEEP_MIN);
        }
        self.known.insert(list.clone());
        list
    }
}

#[cfg(test)]
mod tests {
    use heliograph_protocol::{Filter, PublicKey, Timestamp};

    use super::*;

    fn feed(first: u16, since: u64) -> v1::Filters {
        let author = |nth: u16| {
            let mut bytes = [0; 32];
            bytes[..2].copy_from_slice(&nth.to_be_bytes());
            PublicKey::new(bytes)
        };
        let filter = Filter {
            authors: Some((first..first + 500).map(author).collect()),
            since: Some(Timestamp::from_secs(since)),
            ..Filter::default()
        };
        v1::Filters::from(&[filter][..])
    }

    fn authors(filters: &v1::Filters) -> &Bytes {
        let values = filters.filters[0].authors.as_ref();
        &values.expect("there are some").joined
    }

    #[test]
    fn equal_lists_of_authors_lie_in_one_place_whatever_else_is_asked() {
        let mut lists = Lists::default();
        let one = lists.share(feed(0, 1));
        let same = lists.share(feed(0, 2));
        let other = lists.share(feed(1, 1));
        assert_eq!(authors(&one).as_ptr(), authors(&same).as_ptr());
        assert_ne!(authors(&one).as_ptr(), authors(&other).as_ptr());
        let since = [&one, &same].map(|filters| filters.filters[0].since);
        assert_eq!(since, [Some(1), Some(2)]);
        assert_eq!(lists.known.len(), 2);
    }

    #[test]
    fn lists_that_nobody_has_any_more_go() {
        let mut lists = Lists::default();
        let kept = lists.share(feed(0, 1));
        for first in 1..5_000 {
            lists.share(feed(first, 1));
        }
        assert!(lists.known.len() <= SWEEP_MIN, "{}", lists.known.len());
        assert!(lists.known.contains(authors(&kept)));
    }
}
