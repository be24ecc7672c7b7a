//! Where imported events go: a store, or a cluster.

use std::sync::Arc;

use anyhow::Context as _;
use heliograph_protocol::{Event, EventId, Outcome};
use heliograph_store::EventStore as _;
use heliograph_store_embedded::{EmbeddedStore, VacantSeat};
use tokio::task::spawn_blocking;

use crate::tools::{
    publish::{Published, Publisher},
    store::Place,
};

/// Takes events.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Store(EmbeddedStore),
    Cluster(Publisher),
}

impl Target {
    pub(super) async fn open(into_cluster: bool, place: &Place) -> anyhow::Result<Self> {
        if into_cluster {
            let publisher = Box::pin(Publisher::connect(&place.config)).await?;
            return Ok(Self::Cluster(publisher));
        }
        Ok(Self::Store(place.write()?))
    }

    /// Whether it is known to have this event. A cluster isn't asked: it says so when it is published.
    pub(super) fn contains(&self, id: &EventId) -> bool {
        match self {
            Self::Store(store) => store.contains_blocking(id).unwrap_or(false),
            Self::Cluster(_) => false,
        }
    }

    pub(super) async fn write(self, events: Vec<Arc<Event>>) -> anyhow::Result<Vec<Published>> {
        match self {
            Self::Store(store) => {
                let outcomes: Vec<Outcome> = store.write(events).await.context("can't store")?;
                Ok(outcomes.into_iter().map(Ok).collect())
            }
            Self::Cluster(publisher) => publisher.publish_all(events).await,
        }
    }

    /// Takes the seats of versions that are no longer to be had, so that older ones don't come back later
    /// either. A cluster has no such seats.
    pub(super) async fn take_seats(&self, seats: Vec<VacantSeat>) -> anyhow::Result<()> {
        let Self::Store(store) = self else {
            return Ok(());
        };
        let store = store.clone();
        let taken = spawn_blocking(move || store.take_seats(&seats)).await;
        taken.context("taking seats panicked")?.context(
            "everything is imported, but old versions of what was deleted may come back",
        )?;
        Ok(())
    }

    pub(super) async fn close(self) {
        match self {
            Self::Store(store) => store.close(),
            Self::Cluster(publisher) => publisher.close().await,
        }
    }
}
