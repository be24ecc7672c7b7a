//! The stored part of a REQ as it comes from the matcher.

use std::sync::Arc;

use heliograph_bus::{AnswerEnd, AnswerPage, BoxFuture, BusError, Pages, Slot};
use heliograph_proto::v1;
use tokio::{
    sync::oneshot,
    time::{Duration, timeout},
};
use tonic::{Status, Streaming};

use super::{Shared, active::Active};

/// One answer under way.
pub(crate) struct Answer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) active: Arc<Active>,
    pub(crate) slot: Slot,
    pub(crate) request: u64,
    pub(crate) pages: Streaming<v1::Page>,
    /// Taken with the last page.
    pub(crate) mark: Option<oneshot::Receiver<()>>,
}

impl Pages for Answer {
    fn next(&mut self) -> BoxFuture<'_, Result<AnswerPage, BusError>> {
        Box::pin(self.next_page())
    }
}

impl Answer {
    async fn next_page(&mut self) -> Result<AnswerPage, BusError> {
        let Some(mark) = self.mark.take() else {
            return Err(BusError::Closed);
        };
        let active = Arc::clone(&self.active);
        // The end of the session first: another matcher will give the whole answer.
        let page = tokio::select! {
            biased;
            () = active.over() => return Err(self.shared.interrupted()),
            page = self.pages.message() => page,
        };
        let page = match page {
            Ok(Some(page)) => page,
            Ok(None) => return Err(self.broken("the answer ended too early").await),
            Err(status) => return Err(self.failed(&status).await),
        };
        let page = match AnswerPage::try_from(page) {
            Ok(page) => page,
            Err(error) => return Err(self.broken(&error.to_string()).await),
        };
        match page.end {
            None => {
                self.mark = Some(mark);
                return Ok(page);
            }
            Some(AnswerEnd::Closed(_)) => {
                self.shared
                    .table
                    .lock()
                    .refused(self.slot, self.request, &active);
            }
            Some(AnswerEnd::Eose(_)) => self.finish(mark, &active).await?,
        }
        Ok(page)
    }

    /// Waits until every live event that was decided before the end has been delivered.
    async fn finish(
        &mut self,
        mark: oneshot::Receiver<()>,
        active: &Arc<Active>,
    ) -> Result<(), BusError> {
        let wait = self.shared.options.mark_wait;
        // Reading on to the end of the call spares a reset of its stream.
        let rest = async {
            drop(self.pages.message().await);
            mark.await.is_ok()
        };
        // The end of the session first: then the mark can't come any more.
        let marked = tokio::select! {
            biased;
            () = active.over() => Ok(false),
            marked = timeout(wait, rest) => marked,
        };
        match marked {
            Ok(true) => {}
            // Closed meanwhile, or the session is over.
            Ok(false) => return Err(self.shared.interrupted()),
            Err(_elapsed) => return Err(self.broken("live events don't come").await),
        }
        let live = self
            .shared
            .table
            .lock()
            .go_live(self.slot, self.request, active);
        if live {
            Ok(())
        } else {
            Err(self.shared.interrupted())
        }
    }

    async fn failed(&self, status: &Status) -> BusError {
        self.shared
            .failed(self.slot, self.request, &self.active, status)
            .await
    }

    async fn broken(&self, what: &str) -> BusError {
        tracing::warn!(
            what,
            "the matcher's answer makes no sense, session given up"
        );
        self.shared.broken(&self.active).await
    }
}

/// Never longer than this for a session to notice that it is broken; a delivery under way takes
/// less.
pub(crate) const BREAK_WAIT: Duration = Duration::from_secs(5);
