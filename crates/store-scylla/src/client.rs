//! The session: profiles, bounds, retries, counters. Every statement of the store goes through here.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use heliograph_store::StoreError;
use rustls::ClientConfig;
use scylla::{
    client::{
        execution_profile::{ExecutionProfile, ExecutionProfileHandle},
        session::Session,
        session_builder::SessionBuilder,
    },
    errors::{DbError, ExecutionError, RequestAttemptError},
    policies::{
        load_balancing::DefaultPolicy, speculative_execution::SimpleSpeculativeExecutionPolicy,
    },
    response::query_result::QueryResult,
    serialize::{batch::BatchValues, row::SerializeRow},
    statement::{
        Consistency as DriverConsistency,
        batch::{Batch, BatchType},
        prepared::PreparedStatement,
    },
};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

use crate::{
    ConnectError, Consistency, Metrics, ScyllaOptions,
    statement::{Op, Statements},
    tls,
};

/// The first pause before a statement is tried again; each further one is twice as long.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// How often a statement that reads is tried again, beyond what the driver does.
const READ_RETRIES: u32 = 1;

/// Time in which all nodes have to agree on the schema.
const SCHEMA_AGREEMENT: Duration = Duration::from_secs(60);

/// A connected session with its statements.
#[derive(Debug)]
pub(crate) struct Client {
    session: Session,
    statements: Statements,
    metrics: Metrics,
    reads: Semaphore,
    writes: Semaphore,
    write_retries: u32,
    batches: ExecutionProfileHandle,
    #[cfg(test)]
    pub(crate) stop: crate::tests::Stop,
}

/// Connects without looking at a schema.
pub(crate) async fn connect(
    options: &ScyllaOptions,
    timeout: Duration,
) -> Result<Session, ConnectError> {
    if options.nodes.is_empty() {
        return Err(ConnectError::Option("no contact points".to_owned()));
    }
    check_keyspace(&options.keyspace)?;
    let profile = base_profile(options).request_timeout(Some(timeout)).build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&options.nodes)
        .connection_timeout(options.connect_timeout)
        .schema_agreement_timeout(SCHEMA_AGREEMENT)
        // Where the replicas of a key are, and nothing about columns.
        .keyspaces_to_fetch([&options.keyspace])
        .fetch_full_schema_metadata(false)
        .default_execution_profile_handle(profile.into_handle_with_label("default".to_owned()));
    if let Some(login) = &options.login {
        builder = builder.user(&login.user, &login.password);
    }
    if let Some(options) = &options.tls {
        let config: Arc<ClientConfig> = tls::client_config(options)?;
        builder = builder.tls_context(Some(config));
    }
    // Connecting alone has no bound over all contact points.
    let patience = options.connect_timeout.saturating_mul(4);
    match tokio::time::timeout(patience, builder.build()).await {
        Ok(Ok(session)) => Ok(session),
        Ok(Err(error)) => Err(ConnectError::Connect(error.to_string())),
        Err(_elapsed) => Err(ConnectError::Connect(format!(
            "no session after {} s",
            patience.as_secs()
        ))),
    }
}

/// A keyspace name that needs no quotes.
pub(crate) fn check_keyspace(name: &str) -> Result<(), ConnectError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_lowercase());
    if begins && name.len() <= 48 && name.bytes().all(plain) {
        return Ok(());
    }
    Err(ConnectError::Option(format!(
        "keyspace {name:?}: a lower-case letter, then up to 47 lower-case letters, digits or _"
    )))
}

fn base_profile(
    options: &ScyllaOptions,
) -> scylla::client::execution_profile::ExecutionProfileBuilder {
    let consistency = match options.consistency {
        Consistency::LocalQuorum => DriverConsistency::LocalQuorum,
        Consistency::Quorum => DriverConsistency::Quorum,
        Consistency::One => DriverConsistency::One,
    };
    let mut balancing = DefaultPolicy::builder().token_aware(true);
    if let Some(datacenter) = &options.datacenter {
        balancing = balancing.prefer_datacenter(datacenter.clone());
    }
    ExecutionProfile::builder()
        .consistency(consistency)
        .load_balancing_policy(balancing.build())
}

impl Client {
    /// Prepares everything on a session whose keyspace has the schema.
    pub(crate) async fn new(
        session: Session,
        options: &ScyllaOptions,
    ) -> Result<Self, ConnectError> {
        let speculative = SimpleSpeculativeExecutionPolicy {
            max_retry_count: 1,
            retry_interval: options.speculative_delay,
        };
        let queries = base_profile(options)
            .request_timeout(Some(options.read_timeout))
            .speculative_execution_policy(Some(Arc::new(speculative)))
            .build()
            .into_handle_with_label("query".to_owned());
        let writes = base_profile(options)
            .request_timeout(Some(options.write_timeout))
            .build()
            .into_handle_with_label("ingest".to_owned());
        let statements =
            Statements::prepare(&session, &options.keyspace, &queries, &writes).await?;
        options.metrics.connected(session.get_metrics());
        Ok(Self {
            session,
            statements,
            metrics: options.metrics.clone(),
            reads: Semaphore::new(options.read_concurrency.max(1)),
            writes: Semaphore::new(options.write_concurrency.max(1)),
            write_retries: options.write_retries,
            batches: writes,
            #[cfg(test)]
            stop: crate::tests::Stop::default(),
        })
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn statements(&self) -> &Statements {
        &self.statements
    }

    /// Runs a statement that has no path.
    pub(crate) async fn run(
        &self,
        op: Op,
        values: impl SerializeRow,
    ) -> Result<QueryResult, StoreError> {
        self.execute(op, self.statements.get(op), values).await
    }

    /// Runs a statement of one sort on one table.
    pub(crate) async fn execute(
        &self,
        op: Op,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<QueryResult, StoreError> {
        let send = || self.session.execute_unpaged(statement, &values);
        self.persist(op, send).await
    }

    /// Runs statements of one sort on one partition as one, without a log.
    pub(crate) async fn batch(
        &self,
        op: Op,
        statement: &PreparedStatement,
        values: impl BatchValues + Sync,
        count: usize,
    ) -> Result<(), StoreError> {
        let statements = vec![statement.clone().into(); count];
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        batch.set_is_idempotent(true);
        batch.set_execution_profile_handle(Some(self.batches.clone()));
        self.persist(op, || self.session.batch(&batch, &values))
            .await?;
        Ok(())
    }

    /// Tries until it works, the error is one that stays, or the retries are used up.
    async fn persist<F: Future<Output = Result<QueryResult, ExecutionError>>>(
        &self,
        op: Op,
        send: impl Fn() -> F,
    ) -> Result<QueryResult, StoreError> {
        let (permits, retries) = if op.writes() {
            (&self.writes, self.write_retries)
        } else {
            (&self.reads, READ_RETRIES)
        };
        #[expect(
            clippy::map_err_ignore,
            reason = "a closed semaphore says nothing more"
        )]
        let _permit = permits.acquire().await.map_err(|_| StoreError::Closed)?;
        let mut pause = RETRY_PAUSE;
        let mut tries = 0;
        loop {
            #[cfg(test)]
            self.stop.pass(op).await?;
            self.metrics.statement(op);
            let began = Instant::now();
            let sent = send().await;
            self.metrics.took(op, began.elapsed());
            match sent {
                Ok(result) => return Ok(result),
                Err(error) if tries < retries && passes(&error) => {
                    tries += 1;
                    self.metrics.retry();
                    tracing::debug!(%error, statement = op.as_str(), "trying again");
                    sleep(pause).await;
                    pause *= 2;
                }
                Err(error) => {
                    self.metrics.failure(op);
                    return Err(StoreError::Failed(format!("{}: {error}", op.as_str())));
                }
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn cluster_state(&self) -> Arc<scylla::cluster::ClusterState> {
        self.session.get_cluster_state()
    }

    /// One trivial read within `bound`.
    pub(crate) async fn ping(&self, bound: Duration) -> Result<(), StoreError> {
        match timeout(bound, self.run(Op::Ping, (-1_i32,))).await {
            Ok(result) => result.map(drop),
            Err(_elapsed) => Err(StoreError::Failed(format!(
                "ping: no answer within {} ms",
                bound.as_millis()
            ))),
        }
    }
}

/// Whether the same statement may work in a moment.
fn passes(error: &ExecutionError) -> bool {
    match error {
        ExecutionError::EmptyPlan
        | ExecutionError::ConnectionPoolError(_)
        | ExecutionError::RequestTimeout(_) => true,
        ExecutionError::LastAttemptError(attempt) => match attempt {
            RequestAttemptError::BrokenConnectionError(_)
            | RequestAttemptError::UnableToAllocStreamId => true,
            RequestAttemptError::DbError(error, _message) => matches!(
                error,
                DbError::Unavailable { .. }
                    | DbError::Overloaded
                    | DbError::IsBootstrapping
                    | DbError::ReadTimeout { .. }
                    | DbError::WriteTimeout { .. }
                    | DbError::ReadFailure { .. }
                    | DbError::WriteFailure { .. }
                    | DbError::ServerError
                    | DbError::RateLimitReached { .. }
            ),
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyspaces_that_need_quotes_are_refused() {
        for good in ["a", "heliograph", "h_2", &"x".repeat(48)] {
            assert!(check_keyspace(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "2h",
            "_h",
            "Heliograph",
            "h-2",
            "h;x",
            "h\"",
            &"x".repeat(49),
        ] {
            assert!(check_keyspace(bad).is_err(), "{bad}");
        }
    }
}
