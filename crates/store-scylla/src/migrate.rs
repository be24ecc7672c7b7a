//! Bringing a keyspace's schema up to date, and looking at its version. Only additions; no way back, but a program
//! that is one version older goes on and starts again (`Migration::oldest_program`).

use std::{collections::BTreeMap, time::Duration};

use scylla::{
    client::session::Session, errors::ExecutionError, response::query_result::QueryResult,
    serialize::row::SerializeRow, statement::unprepared::Statement,
};
use tokio::time::{Instant, sleep};

use crate::{
    ConnectError, Consistency, Replication, ScyllaOptions, client, replication,
    schema::{MIGRATIONS, Migration, SCHEMA_VERSION},
};

/// Time for one statement that changes the schema.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// Seconds after which the lock of a migration that died ends.
const LOCK_SECS: i32 = 120;

/// Time to wait for another migration.
const LOCK_PATIENCE: Duration = Duration::from_secs(150);

/// Pause between two looks at the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(250);

/// How often a change of the schema is tried: two at once may get in each other's way.
const TRIES: u32 = 5;

/// Parts of the table `schema_versions`: the steps that were done with their titles, and for each the version of
/// the oldest program that works on it.
const STEPS: i32 = 0;
const OLDEST: i32 = 1;

/// What [`migrate`] may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only say what it would do.
    Check,
    /// Do it.
    Apply,
}

/// The two sorts of database that speak CQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// ScyllaDB: changes of the schema go through a log of its own.
    Scylla,
    /// Apache Cassandra: two programs that change the schema at once must take turns.
    Cassandra,
}

/// What a migration found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationReport {
    /// The database.
    pub dialect: Dialect,
    /// The version found; 0 if there was no keyspace or no schema. May be newer than the program, if that works
    /// on it.
    pub found: u32,
    /// The version that this program knows.
    pub known: u32,
    /// The steps that were missing, with their titles; with [`Mode::Apply`] they are done now.
    pub steps: Vec<(u32, &'static str)>,
    /// What an operator should look at: for example, other replication than configured.
    pub warnings: Vec<String>,
}

impl MigrationReport {
    /// Whether nothing was missing.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.steps.is_empty()
    }
}

/// Makes the keyspace if it isn't there, and does the steps that its schema lacks. May be run twice,
/// also at once, and again after it was cut off.
///
/// Replication is applied only to a keyspace that is made now; a difference is a warning.
///
/// # Errors
///
/// [`ConnectError`]; [`ConnectError::SchemaNewer`] if a newer program has been here, on whose schema this one
/// doesn't work.
pub async fn migrate(
    options: &ScyllaOptions,
    replication: &Replication,
    mode: Mode,
) -> Result<MigrationReport, ConnectError> {
    let replication_cql = replication.cql()?;
    let session = client::connect(options, STATEMENT_TIMEOUT).await?;
    let keyspace = options.keyspace.as_str();
    let mut report = look(&session, options, Some(replication)).await?;
    if mode == Mode::Check || report.is_current() {
        return Ok(report);
    }
    let create =
        format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replication_cql}");
    change(&session, &create).await?;
    change(
        &session,
        &format!(
            "CREATE TABLE IF NOT EXISTS {keyspace}.schema_versions (part int, version int, \
             title text, PRIMARY KEY (part, version))"
        ),
    )
    .await?;
    let lock = Lock::take(&session, options, report.dialect).await?;
    // Another one may have done some of it while this one waited.
    let done = apply(&session, options).await;
    lock.release(&session, options).await?;
    done?;
    report.warnings = look(&session, options, Some(replication)).await?.warnings;
    Ok(report)
}

/// The state of a schema, without changing anything. Its `steps` are those that are missing.
///
/// # Errors
///
/// [`ConnectError`] if the database can't be asked; [`ConnectError::SchemaNewer`] as [`migrate`].
pub async fn check(options: &ScyllaOptions) -> Result<MigrationReport, ConnectError> {
    let session = client::connect(options, STATEMENT_TIMEOUT).await?;
    look(&session, options, None).await
}

/// Refuses a schema that this program doesn't fit.
pub(crate) async fn require_current(
    session: &Session,
    options: &ScyllaOptions,
) -> Result<(), ConnectError> {
    let recorded = recorded(session, &options.keyspace).await?;
    let found = recorded.version;
    match found {
        0 => Err(ConnectError::NoSchema {
            keyspace: options.keyspace.clone(),
        }),
        SCHEMA_VERSION => Ok(()),
        older if older < SCHEMA_VERSION => Err(ConnectError::SchemaOlder {
            keyspace: options.keyspace.clone(),
            found,
            known: SCHEMA_VERSION,
        }),
        _ => {
            recorded.require_fit(options)?;
            tracing::info!(
                found,
                known = SCHEMA_VERSION,
                "the schema is of a newer program, and this one works on it"
            );
            Ok(())
        }
    }
}

/// Says at the start what nobody would notice until two writers have missed each other.
pub(crate) async fn warn_of_datacenters(
    session: &Session,
    options: &ScyllaOptions,
) -> Result<(), ConnectError> {
    if options.consistency != Consistency::LocalQuorum {
        return Ok(());
    }
    let found = current_replication(session, &options.keyspace).await?;
    let datacenters = found.as_ref().map_or(0, replication::datacenters);
    if datacenters > 1 {
        tracing::warn!(
            keyspace = options.keyspace,
            datacenters,
            "rows are kept in several datacenters and a quorum of one is asked: run ingest workers \
             in one datacenter only, or set scylla.consistency to quorum"
        );
    }
    Ok(())
}

/// What a keyspace says of its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Recorded {
    /// The newest step, 0 if none or no keyspace.
    version: u32,
    /// The version of the oldest program that works on it.
    oldest_program: u32,
}

impl Recorded {
    /// # Errors
    ///
    /// [`ConnectError::SchemaNewer`] if this program is older than any that works on it.
    fn require_fit(self, options: &ScyllaOptions) -> Result<(), ConnectError> {
        if self.oldest_program <= SCHEMA_VERSION {
            return Ok(());
        }
        Err(ConnectError::SchemaNewer {
            keyspace: options.keyspace.clone(),
            found: self.version,
            known: SCHEMA_VERSION,
        })
    }
}

async fn look(
    session: &Session,
    options: &ScyllaOptions,
    replication: Option<&Replication>,
) -> Result<MigrationReport, ConnectError> {
    let recorded = recorded(session, &options.keyspace).await?;
    recorded.require_fit(options)?;
    let found = recorded.version;
    let missing = MIGRATIONS.iter().filter(|step| step.version > found);
    let mut report = MigrationReport {
        dialect: dialect(session),
        found,
        known: SCHEMA_VERSION,
        steps: missing.map(|step| (step.version, step.title)).collect(),
        warnings: Vec::new(),
    };
    if let Some(wanted) = replication
        && let Some(is) = current_replication(session, &options.keyspace).await?
        && !wanted.matches(&is)
    {
        report.warnings.push(format!(
            "keyspace {} is replicated as {is:?}, not as configured ({wanted:?}): alter it by hand \
             and repair",
            options.keyspace
        ));
    }
    Ok(report)
}

/// ScyllaDB's nodes tell the driver about their shards.
fn dialect(session: &Session) -> Dialect {
    let state = session.get_cluster_state();
    let scylla = state
        .get_nodes_info()
        .iter()
        .any(|node| node.sharder().is_some());
    if scylla {
        Dialect::Scylla
    } else {
        Dialect::Cassandra
    }
}

async fn apply(session: &Session, options: &ScyllaOptions) -> Result<(), ConnectError> {
    let recorded = recorded(session, &options.keyspace).await?;
    recorded.require_fit(options)?;
    session
        .use_keyspace(&options.keyspace, false)
        .await
        .map_err(|error| ConnectError::Connect(error.to_string()))?;
    for step in MIGRATIONS
        .iter()
        .filter(|step| step.version > recorded.version)
    {
        apply_step(session, options, step).await?;
        tracing::info!(version = step.version, title = step.title, "migrated");
    }
    Ok(())
}

async fn apply_step(
    session: &Session,
    options: &ScyllaOptions,
    step: &Migration,
) -> Result<(), ConnectError> {
    for statement in (step.statements)() {
        change(session, &statement).await?;
    }
    let agreed = session.await_schema_agreement().await;
    agreed.map_err(|error| ConnectError::Statement {
        doing: format!("schema agreement after step {}", step.version),
        reason: error.to_string(),
    })?;
    let record = |part: i32, title: &str| {
        format!(
            "INSERT INTO {}.schema_versions (part, version, title) VALUES ({part}, {}, '{title}')",
            options.keyspace, step.version
        )
    };
    // First, so that no program sees the step and not whether it fits.
    let oldest = step.oldest_program.to_string();
    run(session, &record(OLDEST, &oldest), ()).await?;
    run(session, &record(STEPS, step.title), ()).await?;
    Ok(())
}

/// A change of the schema: tried again if another one came between.
async fn change(session: &Session, text: &str) -> Result<(), ConnectError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match query(session, text, ()).await {
            Ok(_result) => return Ok(()),
            Err(error) if tries < TRIES => {
                tracing::debug!(%error, "changing the schema again");
                sleep(LOCK_PAUSE).await;
            }
            Err(error) => {
                let doing = text.split(" (").next().unwrap_or(text).to_owned();
                return Err(ConnectError::statement(doing)(error));
            }
        }
    }
}

async fn query(
    session: &Session,
    text: &str,
    values: impl SerializeRow,
) -> Result<QueryResult, ExecutionError> {
    let mut statement = Statement::new(text);
    statement.set_is_idempotent(true);
    session.query_unpaged(statement, values).await
}

async fn run(
    session: &Session,
    text: &str,
    values: impl SerializeRow,
) -> Result<QueryResult, ConnectError> {
    let result = query(session, text, values).await;
    result.map_err(ConnectError::statement(
        text.split('(').next().unwrap_or(text),
    ))
}

/// What is recorded of the schema. A newer step of which nobody says what it fits, fits only its own program.
async fn recorded(session: &Session, keyspace: &str) -> Result<Recorded, ConnectError> {
    let tables = run(
        session,
        "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?",
        (keyspace, "schema_versions"),
    )
    .await?;
    let mut recorded = Recorded {
        version: 0,
        oldest_program: 0,
    };
    if rows::<(String,)>(tables)?.is_empty() {
        return Ok(recorded);
    }
    let of = |part: i32| {
        format!("SELECT version, title FROM {keyspace}.schema_versions WHERE part = {part}")
    };
    // The steps first: what they fit is written before them.
    let steps = rows::<(i32, String)>(run(session, &of(STEPS), ()).await?)?;
    let fits = rows::<(i32, String)>(run(session, &of(OLDEST), ()).await?)?;
    for (step, _title) in steps {
        let version = u32::try_from(step).unwrap_or(u32::MAX);
        recorded.version = recorded.version.max(version);
        if version > SCHEMA_VERSION {
            let fits = fits.iter().find(|(of, _)| *of == step);
            let oldest = fits.and_then(|(_, oldest)| oldest.parse().ok());
            recorded.oldest_program = recorded.oldest_program.max(oldest.unwrap_or(version));
        }
    }
    Ok(recorded)
}

async fn current_replication(
    session: &Session,
    keyspace: &str,
) -> Result<Option<BTreeMap<String, String>>, ConnectError> {
    let result = run(
        session,
        "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?",
        (keyspace,),
    )
    .await?;
    let mut rows = rows::<(BTreeMap<String, String>,)>(result)?;
    Ok(rows.pop().map(|(replication,)| replication))
}

fn rows<R>(result: QueryResult) -> Result<Vec<R>, ConnectError>
where
    R: for<'f, 'm> scylla::deserialize::row::DeserializeRow<'f, 'm>,
{
    let fail = |reason: String| ConnectError::Statement {
        doing: "can't read an answer of the database".to_owned(),
        reason,
    };
    let rows = result.into_rows_result();
    let rows = rows.map_err(|error| fail(error.to_string()))?;
    let typed = rows.rows::<R>().map_err(|error| fail(error.to_string()))?;
    let rows: Result<Vec<R>, _> = typed.collect();
    rows.map_err(|error| fail(error.to_string()))
}

/// Turns between migrations on Cassandra, where two that make the same table at once, on two
/// coordinators, would make two. ScyllaDB orders changes of the schema itself.
#[derive(Debug)]
struct Lock {
    holder: Option<String>,
}

impl Lock {
    async fn take(
        session: &Session,
        options: &ScyllaOptions,
        dialect: Dialect,
    ) -> Result<Self, ConnectError> {
        if dialect == Dialect::Scylla {
            return Ok(Self { holder: None });
        }
        let keyspace = &options.keyspace;
        let table = format!(
            "CREATE TABLE IF NOT EXISTS {keyspace}.schema_lock (name text PRIMARY KEY, holder text)"
        );
        change(session, &table).await?;
        let holder = session.session_id().to_string();
        let insert = format!(
            "INSERT INTO {keyspace}.schema_lock (name, holder) VALUES ('migrate', ?) \
             IF NOT EXISTS USING TTL {LOCK_SECS}"
        );
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            query(session, &insert, (&holder,))
                .await
                .map_err(ConnectError::statement("can't take the lock"))?;
            // Reading back tells who has it, also after an answer that got lost.
            let text = format!("SELECT holder FROM {keyspace}.schema_lock WHERE name = 'migrate'");
            let holders = rows::<(String,)>(run(session, &text, ()).await?)?;
            if holders.iter().any(|(other,)| *other == holder) {
                return Ok(Self {
                    holder: Some(holder),
                });
            }
            if Instant::now() > deadline {
                return Err(ConnectError::Locked);
            }
            sleep(LOCK_PAUSE).await;
        }
    }

    async fn release(self, session: &Session, options: &ScyllaOptions) -> Result<(), ConnectError> {
        let Some(holder) = self.holder else {
            return Ok(());
        };
        let text = format!(
            "DELETE FROM {}.schema_lock WHERE name = 'migrate' IF holder = ?",
            options.keyspace
        );
        query(session, &text, (holder,))
            .await
            .map_err(ConnectError::statement("can't release the lock"))?;
        Ok(())
    }
}
