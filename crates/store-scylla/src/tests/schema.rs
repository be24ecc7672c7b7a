//! Migrations on a real server.

use std::time::Duration;

use scylla::client::session::Session;

use super::{
    bed::{fresh_name, options},
    block_on,
};
use crate::{
    ConnectError, Dialect, Mode, Replication, SCHEMA_VERSION, ScyllaOptions, ScyllaStore, check,
    client, migrate,
};

const ONE: Replication = Replication::EachDatacenter(1);

async fn session(options: &ScyllaOptions) -> Session {
    client::connect(options, Duration::from_secs(60))
        .await
        .unwrap()
}

async fn drop_keyspace(options: &ScyllaOptions) {
    let drop = format!("DROP KEYSPACE {}", options.keyspace);
    session(options)
        .await
        .query_unpaged(drop, ())
        .await
        .unwrap();
}

/// Writes what a later program would: a step, and the oldest program that works on it.
async fn set_version(options: &ScyllaOptions, version: u32, oldest: Option<u32>) {
    let record = |part: u32, title: &str| {
        format!(
            "INSERT INTO {}.schema_versions (part, version, title) VALUES ({part}, {version}, \
             '{title}')",
            options.keyspace
        )
    };
    let fits = oldest.map(|oldest| record(1, &oldest.to_string()));
    let session = session(options).await;
    for insert in fits.into_iter().chain([record(0, "later")]) {
        session.query_unpaged(insert, ()).await.unwrap();
    }
}

#[test]
fn a_keyspace_is_made_once_and_found_current_after() {
    block_on(async {
        let options = options(&fresh_name());
        let error = ScyllaStore::connect(options.clone()).await.unwrap_err();
        assert!(error.to_string().contains("heliograph migrate"), "{error}");
        let looked = migrate(&options, &ONE, Mode::Check).await.unwrap();
        assert_eq!((looked.found, looked.is_current()), (0, false));
        assert_eq!(
            check(&options).await.unwrap(),
            looked,
            "a look changes nothing"
        );
        let done = migrate(&options, &ONE, Mode::Apply).await.unwrap();
        assert_eq!(done.steps.len(), SCHEMA_VERSION as usize);
        assert_eq!(done.dialect, Dialect::Cassandra);
        let again = migrate(&options, &ONE, Mode::Apply).await.unwrap();
        assert_eq!((again.found, again.is_current()), (SCHEMA_VERSION, true));
        assert!(again.warnings.is_empty(), "{again:?}");
        ScyllaStore::connect(options.clone()).await.unwrap();
        drop_keyspace(&options).await;
    });
}

#[test]
fn several_migrations_at_once_are_as_good_as_one() {
    block_on(async {
        let options = options(&fresh_name());
        let run = || migrate(&options, &ONE, Mode::Apply);
        let (one, two, three) = tokio::join!(run(), run(), run());
        for report in [one, two, three] {
            report.unwrap();
        }
        assert!(check(&options).await.unwrap().is_current());
        ScyllaStore::connect(options.clone()).await.unwrap();
        drop_keyspace(&options).await;
    });
}

#[test]
fn a_newer_schema_is_used_by_the_program_before_and_left_as_it_is() {
    block_on(async {
        let options = options(&fresh_name());
        migrate(&options, &ONE, Mode::Apply).await.unwrap();
        set_version(&options, SCHEMA_VERSION + 1, Some(SCHEMA_VERSION)).await;
        ScyllaStore::connect(options.clone()).await.unwrap();
        for mode in [Mode::Apply, Mode::Check] {
            let report = migrate(&options, &ONE, mode).await.unwrap();
            assert_eq!(
                (report.found, report.is_current()),
                (SCHEMA_VERSION + 1, true)
            );
        }
        // Contracted one step later.
        set_version(&options, SCHEMA_VERSION + 2, Some(SCHEMA_VERSION + 1)).await;
        let error = ScyllaStore::connect(options.clone()).await.unwrap_err();
        assert!(error.to_string().contains("run a newer program"), "{error}");
        drop_keyspace(&options).await;
    });
}

#[test]
fn a_newer_schema_that_says_nothing_is_refused_by_everything() {
    block_on(async {
        let options = options(&fresh_name());
        migrate(&options, &ONE, Mode::Apply).await.unwrap();
        set_version(&options, SCHEMA_VERSION + 1, None).await;
        let refused = [
            migrate(&options, &ONE, Mode::Apply).await.err(),
            migrate(&options, &ONE, Mode::Check).await.err(),
            check(&options).await.err(),
            ScyllaStore::connect(options.clone()).await.err(),
        ];
        for error in refused {
            let newer = matches!(
                error,
                Some(ConnectError::SchemaNewer { found, known, .. })
                    if (found, known) == (SCHEMA_VERSION + 1, SCHEMA_VERSION)
            );
            assert!(newer, "{error:?}");
        }
        drop_keyspace(&options).await;
    });
}

#[test]
fn other_replication_is_reported_and_left_alone() {
    block_on(async {
        let options = options(&fresh_name());
        migrate(&options, &ONE, Mode::Apply).await.unwrap();
        let report = migrate(&options, &Replication::Simple(3), Mode::Apply)
            .await
            .unwrap();
        assert_eq!(report.warnings.len(), 1);
        assert!(
            migrate(&options, &ONE, Mode::Check)
                .await
                .unwrap()
                .warnings
                .is_empty()
        );
        drop_keyspace(&options).await;
    });
}

#[test]
fn nobody_there_is_an_error_in_time() {
    block_on(async {
        let mut options = options("nobody");
        options.nodes = vec!["127.0.0.1:1".to_owned()];
        options.connect_timeout = Duration::from_secs(1);
        options.start_patience = Duration::from_secs(1);
        let error = ScyllaStore::connect(options).await.unwrap_err();
        assert!(matches!(error, ConnectError::Connect(_)), "{error}");
    });
}
