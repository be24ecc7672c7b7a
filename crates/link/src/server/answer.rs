//! The stored answer to one REQ: read from the matcher only as fast as the gateway takes it.

use std::{collections::VecDeque, sync::Arc};

use futures_util::{Stream, stream};
use heliograph_bus::Pages;
use heliograph_proto::v1::{self, matcher_message::Message, page::End};
use prometheus_client::metrics::counter::Counter;
use tonic::Status;

use super::session::Session;
use crate::{PART_BYTES, status};

/// One running answer.
pub(crate) struct Answer {
    pub(crate) pages: Box<dyn Pages>,
    pub(crate) session: Arc<Session>,
    pub(crate) request: u64,
    pub(crate) sent: Counter,
}

/// The answer as messages.
pub(crate) fn stream(answer: Answer) -> impl Stream<Item = Result<v1::Page, Status>> + Send {
    stream::unfold(Some((answer, VecDeque::new())), |state| async move {
        let (mut answer, mut parts) = state?;
        if parts.is_empty() {
            match answer.read().await {
                Ok(more) => parts = more.into(),
                Err(status) => return Some((Err(status), None)),
            }
        }
        let part = parts.pop_front()?;
        let last = part.end.is_some();
        if matches!(part.end, Some(End::Eose(_))) {
            // Behind every live event that was decided before the end: the gateway doesn't give the
            // last page out before it has come to this mark.
            answer.mark();
        }
        answer.sent.inc();
        let rest = (!last).then_some((answer, parts));
        Some((Ok(part), rest))
    })
}

impl Answer {
    async fn read(&mut self) -> Result<Vec<v1::Page>, Status> {
        // The end of the session first: nobody can use the answer after it.
        tokio::select! {
            biased;
            () = self.session.over() => Err(status::over()),
            page = self.pages.next() => match page {
                Ok(page) => Ok(v1::Page::split(&page, PART_BYTES)),
                Err(error) => Err(status::of_error(&error).unwrap_or_else(status::over)),
            },
        }
    }

    fn mark(&self) {
        let request = self.request;
        // If that cuts the session off, the gateway learns it from there.
        self.session.send(Message::Mark(v1::Mark { request }), 0);
    }
}
