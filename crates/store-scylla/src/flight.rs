//! Equal look-ups in flight become one.
//!
//! A look-up joins only a read that hasn't begun yet: one that began before the look-up was asked for
//! might miss what was written in between. So there are at most two of each at a time, one that
//! reads and one that waits for its turn and takes everybody along who comes meanwhile.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::OnceCell;

/// Reads in flight, by key.
#[derive(Debug)]
pub(crate) struct Flights<K, V> {
    by_key: Mutex<HashMap<K, Arc<Flight<V>>>>,
}

#[derive(Debug)]
struct Flight<V> {
    /// Whoever holds it reads.
    turn: tokio::sync::Mutex<()>,
    /// The read that hasn't begun.
    waiting: Mutex<Arc<OnceCell<V>>>,
}

/// A look-up's hold on its flight; the last one removes it.
struct Seat<'a, K: Eq + Hash, V> {
    flights: &'a Flights<K, V>,
    key: K,
    flight: Option<Arc<Flight<V>>>,
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self {
            by_key: Mutex::new(HashMap::new()),
        }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Flights<K, V> {
    /// The value of `key`, read by this call or by another one that began to read after this call.
    /// The flag says whether it was another one.
    pub(crate) async fn get<E, F: Future<Output = Result<V, E>>>(
        &self,
        key: K,
        read: impl FnOnce() -> F,
    ) -> Result<(V, bool), E> {
        let seat = self.board(key);
        let flight = seat.flight.as_ref().expect("held until the end");
        let cell = Arc::clone(&flight.waiting.lock());
        let mut own = false;
        let value = cell
            .get_or_try_init(|| async {
                let _turn = flight.turn.lock().await;
                *flight.waiting.lock() = Arc::new(OnceCell::new());
                own = true;
                read().await
            })
            .await?;
        Ok((value.clone(), !own))
    }

    fn board(&self, key: K) -> Seat<'_, K, V> {
        let mut by_key = self.by_key.lock();
        let flight = by_key.entry(key.clone()).or_insert_with(|| {
            Arc::new(Flight {
                turn: tokio::sync::Mutex::new(()),
                waiting: Mutex::new(Arc::new(OnceCell::new())),
            })
        });
        Seat {
            flights: self,
            key,
            flight: Some(Arc::clone(flight)),
        }
    }
}

impl<K: Eq + Hash, V> Drop for Seat<'_, K, V> {
    fn drop(&mut self) {
        let mut by_key = self.flights.by_key.lock();
        self.flight = None;
        if by_key
            .get(&self.key)
            .is_some_and(|flight| Arc::strong_count(flight) == 1)
        {
            by_key.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::tests::block_on;

    #[test]
    fn those_who_come_while_one_reads_share_the_next_read() {
        block_on(async {
            let flights = Flights::<u8, u32>::default();
            let (reads, gate) = (AtomicU32::new(0), Semaphore::new(0));
            let read = || async {
                let number = reads.fetch_add(1, Ordering::Relaxed);
                gate.acquire().await.map(drop).map_err(|_closed| ())?;
                gate.add_permits(1);
                Ok::<u32, ()>(number)
            };
            let look_ups = (0..10).map(|_| flights.get(1, read));
            let open = async {
                tokio::task::yield_now().await;
                gate.add_permits(1);
            };
            let (values, ()) = tokio::join!(join_all(look_ups), open);
            let values: Vec<_> = values.into_iter().map(Result::unwrap).collect();
            let own = values.iter().filter(|(_value, shared)| !shared).count();
            assert_eq!(own, 2, "one that reads, one for all who wait: {values:?}");
            assert!(flights.by_key.lock().is_empty());
        });
    }

    #[test]
    fn a_failed_read_is_tried_by_the_next_in_line() {
        block_on(async {
            let flights = Flights::<u8, u32>::default();
            let fail = flights.get(1, || async { Err::<u32, _>("no") });
            let work = flights.get(1, || async { Ok::<u32, &str>(7) });
            let (failed, worked) = tokio::join!(fail, work);
            assert_eq!(failed, Err("no"));
            assert_eq!(worked.map(|(value, _shared)| value), Ok(7));
            assert!(flights.by_key.lock().is_empty());
        });
    }
}
