//! What every part of the bus works with.

use std::sync::Arc;

use async_nats::{
    Client,
    jetstream::{Context, ContextBuilder, stream},
};
use heliograph_lifecycle::Tasks;
use tokio::time::Instant;

use crate::{
    Metrics, NatsError, NatsOptions,
    acked::Acked,
    connection::{self, Link, REQUEST_TIMEOUT},
    latch::Latch,
    names::Names,
    streams,
};

/// The connection and what is fixed about it; shared by all parts.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) client: Client,
    pub(crate) context: Context,
    pub(crate) acked: Acked,
    pub(crate) link: Link,
    pub(crate) names: Names,
    pub(crate) options: Arc<NatsOptions>,
    /// Another one in every process that ever ran: makes ids unique.
    pub(crate) incarnation: String,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tasks: Tasks,
    closed: Latch,
}

impl Core {
    /// Connects; the streams are made afterwards.
    pub(crate) async fn connect(
        options: NatsOptions,
        metrics: Arc<Metrics>,
        tasks: Tasks,
    ) -> Result<Self, NatsError> {
        let names = options.names()?;
        let link = Link::new();
        let client = connection::connect(&options, &link, &metrics).await?;
        let context = ContextBuilder::new()
            .timeout(REQUEST_TIMEOUT)
            .build(client.clone());
        let acked = Acked::new(
            client.clone(),
            link.clone(),
            Arc::clone(&metrics),
            options.ack_timeout,
        );
        Ok(Self {
            incarnation: incarnation(&client),
            client,
            context,
            acked,
            link,
            names,
            options: Arc::new(options),
            metrics,
            tasks,
            closed: Latch::default(),
        })
    }
}

impl Core {
    /// Makes the streams, and again after every lost connection: a server that keeps them in memory
    /// may have forgotten them.
    ///
    /// # Errors
    ///
    /// They can't be made at first. Later that is a warning, and tried at the next occasion.
    pub(crate) async fn ensure_streams(
        self: &Arc<Self>,
        deadline: Instant,
    ) -> Result<(), NatsError> {
        streams::ensure(&self.context, &self.names, &self.options, deadline).await?;
        let core = Arc::clone(self);
        let mut connects = self.link.connects();
        self.tasks.spawn("bus streams", async move {
            loop {
                // Closing first: there is nothing to be made any more.
                tokio::select! {
                    biased;
                    () = core.closed() => return,
                    () = core.link.reconnected(connects) => {}
                }
                connects = core.link.connects();
                let deadline = Instant::now() + core.options.connect_deadline;
                let ensuring = streams::ensure(&core.context, &core.names, &core.options, deadline);
                tokio::select! {
                    biased;
                    () = core.closed() => return,
                    ensured = ensuring => if let Err(error) = ensured {
                        tracing::warn!(%error, "streams may be missing");
                    }
                }
            }
        });
        Ok(())
    }

    /// Ends the tasks that nothing else ends.
    pub(crate) fn close(&self) {
        self.closed.set();
    }

    /// Waits until it is closed. Safe to cancel.
    pub(crate) async fn closed(&self) {
        self.closed.wait().await;
    }

    /// What the leader of a stream knows of it.
    pub(crate) async fn stream_info(&self, name: String) -> Result<stream::Info, String> {
        let stream = self
            .context
            .get_stream_no_info(name)
            .await
            .map_err(|error| error.to_string())?;
        stream.get_info().await.map_err(|error| error.to_string())
    }
}

/// The unique part of an inbox: a random prefix and a counter.
fn incarnation(client: &Client) -> String {
    let inbox = client.new_inbox();
    inbox
        .rsplit('.')
        .next()
        .expect("a split has at least one part")
        .to_owned()
}
