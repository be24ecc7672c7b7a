//! A writer's view of the buckets: where to put a row, and what to note so that readers find it and
//! other writers learn how full it is. See [`crate::bucket`].
//!
//! Nobody counts rows. Of every so many rows one, drawn by chance, leaves a *mark*: a row of its own
//! that names the event, so that a repetition leaves no second one. Whoever leaves a mark looks how
//! many there are. Chance can't be foreseen, so nobody can fill a bucket with rows that leave no
//! marks; and the marks are in the database, so a restart forgets nothing.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use heliograph_protocol::Event;
use heliograph_store::StoreError;

use crate::{
    BucketOptions,
    bucket::{Bucket, FIRST_LEVEL, LAST_LEVEL, Level},
    client::Client,
    core::rows,
    key::IndexKey,
    lately::Lately,
    statement::Op,
};

/// Buckets that a writer remembers to be full or listed; one takes about 100 bytes. A forgotten one
/// is found out again: for a full one that takes a hundred rows, for a listed one a statement.
const REMEMBERED: usize = 100_000;

/// What this process knows about buckets.
#[derive(Debug)]
pub(crate) struct Ladder {
    options: BucketOptions,
    full: Lately<(Arc<IndexKey>, Bucket)>,
    listed: Lately<(Arc<IndexKey>, Bucket)>,
    asked: Lately<(Arc<IndexKey>, Bucket)>,
    chance: RandomState,
    draws: AtomicU64,
}

impl Ladder {
    pub(crate) fn new(options: BucketOptions) -> Self {
        Self {
            options,
            full: Lately::new(REMEMBERED),
            listed: Lately::new(REMEMBERED),
            asked: Lately::new(REMEMBERED),
            chance: RandomState::new(),
            draws: AtomicU64::new(0),
        }
    }

    /// The level for a new row of `event` below `key`; its bucket is listed when this returns.
    pub(crate) async fn choose(
        &self,
        client: &Client,
        key: &Arc<IndexKey>,
        event: &Event,
    ) -> Result<Level, StoreError> {
        let bucket = |level| Bucket::new(level, event.created_at(), event.id());
        let mut level = FIRST_LEVEL;
        while level < LAST_LEVEL && self.full.contains(&(Arc::clone(key), bucket(level))) {
            level += 1;
        }
        let drawn = self.draw();
        while level < LAST_LEVEL {
            let this = (Arc::clone(key), bucket(level));
            let unknown = key.path.is_busy() && self.asked.insert(this.clone());
            if !drawn && !unknown {
                break;
            }
            if !self
                .is_full(client, key, this.1, drawn.then_some(event))
                .await?
            {
                break;
            }
            if self.full.insert(this) {
                client.metrics().full_bucket();
                tracing::debug!(path = ?key.path, level, "a bucket is full");
            }
            level += 1;
        }
        if level > FIRST_LEVEL {
            self.list(client, key, bucket(level)).await?;
        }
        Ok(level)
    }

    /// True once in so many rows.
    fn draw(&self) -> bool {
        let mut hasher = self.chance.build_hasher();
        hasher.write_u64(self.draws.fetch_add(1, Ordering::Relaxed));
        hasher
            .finish()
            .is_multiple_of(u64::from(self.options.mark_every.max(1)))
    }

    /// Counts the marks of a bucket, after leaving one for `event`, if any.
    async fn is_full(
        &self,
        client: &Client,
        key: &IndexKey,
        bucket: Bucket,
        event: Option<&Event>,
    ) -> Result<bool, StoreError> {
        let (path, bytes, number) = (key.path.number(), key.bytes.as_ref(), bucket.number());
        let full = self.options.marks();
        let limit = i32::try_from(full).unwrap_or(i32::MAX);
        let counted = client
            .run(Op::MarkCount, (path, bytes, number, limit))
            .await?;
        if rows::<(Bytes,)>(counted)?.len() >= full {
            return Ok(true);
        }
        if let Some(event) = event {
            let id = event.id().as_bytes().as_slice();
            client.run(Op::MarkPut, (path, bytes, number, id)).await?;
        }
        Ok(false)
    }

    /// Makes sure that readers find the bucket, before anything is in it.
    async fn list(
        &self,
        client: &Client,
        key: &Arc<IndexKey>,
        bucket: Bucket,
    ) -> Result<(), StoreError> {
        let this = (Arc::clone(key), bucket);
        if self.listed.contains(&this) {
            return Ok(());
        }
        let values = (
            key.path.number(),
            key.bytes.as_ref(),
            bucket.end(),
            bucket.number(),
        );
        client.run(Op::BucketPut, values).await?;
        self.listed.insert(this);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_many_rows_is_drawn() {
        let ladder = Ladder::new(BucketOptions {
            rows: 1_000,
            mark_every: 100,
        });
        let drawn = (0..100_000).filter(|_| ladder.draw()).count();
        assert!((800..1_200).contains(&drawn), "{drawn} of 100,000");
        let all = Ladder::new(BucketOptions {
            rows: 8,
            mark_every: 1,
        });
        assert!((0..100).all(|_| all.draw()));
    }

    #[test]
    fn a_bucket_is_full_at_its_rows() {
        assert_eq!(BucketOptions::default().marks(), 192);
        let tiny = BucketOptions {
            rows: 0,
            mark_every: 0,
        };
        assert_eq!(tiny.marks(), 1);
    }
}
