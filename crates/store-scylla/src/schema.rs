//! The schema, as numbered steps that only add. Nothing that Cassandra 5 or ScyllaDB lacks.
//!
//! A step is never changed after a release; a new one is put at the end. Steps are `IF NOT EXISTS`
//! throughout, so that one that was cut off half-way can be repeated.

use crate::key::Path;

/// One step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Migration {
    pub version: u32,
    pub title: &'static str,
    /// The version of the oldest program that works on a schema with this step: programs of both
    /// versions run side by side while a cluster is upgraded, and the older one may come back. A step that
    /// only adds leaves it as it was; one that takes something away raises it, one release after no
    /// program uses that any more.
    pub oldest_program: u32,
    pub statements: fn() -> Vec<String>,
}

/// All steps, in order, numbered from 1.
pub(crate) const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    title: "events, seats, guards, indexes",
    oldest_program: 1,
    statements: first,
}];

/// The version that this program knows.
pub const SCHEMA_VERSION: u32 = 1;

/// Every table with data.
#[cfg(test)]
pub(crate) const TABLES: [&str; 11] = [
    "events",
    "seats",
    "guards",
    "by_author",
    "by_author_kind",
    "by_kind",
    "by_time",
    "by_tag",
    "buckets",
    "marks",
    "removals",
];

/// Read by key, seldom or never overwritten: bloom filters do the work.
const WRITTEN_ONCE: &str = "compaction = {'class': 'SizeTieredCompactionStrategy'} \
    AND compression = {'class': 'LZ4Compressor'}";

/// Read as slices: few files per partition.
const SLICED: &str = "compaction = {'class': 'LeveledCompactionStrategy'} \
    AND compression = {'class': 'LZ4Compressor'}";

fn first() -> Vec<String> {
    let mut statements = vec![
        // `address`, `expires` and `created_at` stand beside the text, so that the text isn't read
        // to decide. `levels`: where in the ladder of each of its keys the event is listed.
        // `stored_at`: the writer's clock, in seconds. `done`: a request has removed its targets.
        "CREATE TABLE IF NOT EXISTS events (id blob PRIMARY KEY, json blob, created_at bigint, \
         address blob, expires bigint, levels blob, stored_at bigint, done boolean) \
         WITH compaction = {'class': 'SizeTieredCompactionStrategy'} \
         AND compression = {'class': 'ZstdCompressor', 'chunk_length_in_kb': 16}"
            .to_owned(),
        format!(
            "CREATE TABLE IF NOT EXISTS seats (address blob PRIMARY KEY, seat blob) \
             WITH {SLICED}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS guards (owner blob, what blob, until bigint, \
             PRIMARY KEY ((owner, what))) WITH {WRITTEN_ONCE}"
        ),
    ];
    statements.extend(Path::ALL.map(|path| {
        let table = path.table();
        format!(
            "CREATE TABLE IF NOT EXISTS {table} (key blob, bucket bigint, place blob, kind int, \
             author blob, expires bigint, PRIMARY KEY ((key, bucket), place)) WITH {SLICED}"
        )
    }));
    statements.extend([
        format!(
            "CREATE TABLE IF NOT EXISTS buckets (path int, key blob, until bigint, bucket bigint, \
             PRIMARY KEY ((path, key), until, bucket)) \
             WITH CLUSTERING ORDER BY (until DESC, bucket DESC) AND {SLICED}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS marks (path int, key blob, bucket bigint, id blob, \
             PRIMARY KEY ((path, key, bucket), id)) WITH {WRITTEN_ONCE}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS removals (part int, author blob, until bigint, \
             PRIMARY KEY (part, author)) WITH {WRITTEN_ONCE}"
        ),
    ]);
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbered_from_one_without_a_gap() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version as usize, index + 1);
            assert!(!migration.title.is_empty());
        }
        assert_eq!(MIGRATIONS.len(), SCHEMA_VERSION as usize);
    }

    #[test]
    fn a_step_leaves_the_program_before_it_running() {
        for step in MIGRATIONS {
            assert!(step.oldest_program <= step.version.saturating_sub(1).max(1));
        }
        assert!(MIGRATIONS.is_sorted_by_key(|step| step.oldest_program));
    }

    #[test]
    fn every_step_may_be_repeated() {
        for statement in MIGRATIONS.iter().flat_map(|step| (step.statements)()) {
            assert!(statement.contains("IF NOT EXISTS"), "{statement}");
        }
    }

    #[test]
    fn nothing_is_used_that_one_of_the_databases_lacks() {
        let lacking = [
            "MATERIALIZED",
            "INDEX",
            "SASI",
            "CREATE TYPE",
            "sstable_compression",
            "UnifiedCompaction",
            "IncrementalCompaction",
            "tablets",
            "cdc",
        ];
        for statement in MIGRATIONS.iter().flat_map(|step| (step.statements)()) {
            for word in lacking {
                assert!(!statement.contains(word), "{word} in {statement}");
            }
        }
    }

    #[test]
    fn the_list_of_tables_is_whole() {
        let statements: Vec<String> = MIGRATIONS
            .iter()
            .flat_map(|step| (step.statements)())
            .collect();
        let created = statements
            .iter()
            .filter(|statement| statement.starts_with("CREATE TABLE"));
        assert_eq!(created.count(), TABLES.len());
        for table in TABLES {
            let head = format!("CREATE TABLE IF NOT EXISTS {table} ");
            assert!(
                statements
                    .iter()
                    .any(|statement| statement.starts_with(&head))
            );
        }
    }
}
