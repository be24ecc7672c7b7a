//! Every statement of the store, prepared once: token-aware and idempotent.

use scylla::{
    client::{execution_profile::ExecutionProfileHandle, session::Session},
    statement::prepared::PreparedStatement,
};

use crate::{ConnectError, key::Path};

/// A sort of statement, as metrics and errors name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    EventGet,
    EventHead,
    EventWhole,
    SeatGet,
    GuardGet,
    IndexPage,
    BucketPage,
    MarkCount,
    RemovalList,
    Ping,
    EventPut,
    EventDone,
    SeatPut,
    GuardPut,
    IndexPut,
    BucketPut,
    MarkPut,
    RemovalPut,
    EventDelete,
    SeatDelete,
    IndexDelete,
    RemovalDelete,
}

impl Op {
    pub(crate) const ALL: [Self; 22] = [
        Self::EventGet,
        Self::EventHead,
        Self::EventWhole,
        Self::SeatGet,
        Self::GuardGet,
        Self::IndexPage,
        Self::BucketPage,
        Self::MarkCount,
        Self::RemovalList,
        Self::Ping,
        Self::EventPut,
        Self::EventDone,
        Self::SeatPut,
        Self::GuardPut,
        Self::IndexPut,
        Self::BucketPut,
        Self::MarkPut,
        Self::RemovalPut,
        Self::EventDelete,
        Self::SeatDelete,
        Self::IndexDelete,
        Self::RemovalDelete,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::EventGet => "event_get",
            Self::EventHead => "event_head",
            Self::EventWhole => "event_whole",
            Self::SeatGet => "seat_get",
            Self::GuardGet => "guard_get",
            Self::IndexPage => "index_page",
            Self::BucketPage => "bucket_page",
            Self::MarkCount => "mark_count",
            Self::RemovalList => "removal_list",
            Self::Ping => "ping",
            Self::EventPut => "event_put",
            Self::EventDone => "event_done",
            Self::SeatPut => "seat_put",
            Self::GuardPut => "guard_put",
            Self::IndexPut => "index_put",
            Self::BucketPut => "bucket_put",
            Self::MarkPut => "mark_put",
            Self::RemovalPut => "removal_put",
            Self::EventDelete => "event_delete",
            Self::SeatDelete => "seat_delete",
            Self::IndexDelete => "index_delete",
            Self::RemovalDelete => "removal_delete",
        }
    }

    /// Whether it changes something.
    pub(crate) const fn writes(self) -> bool {
        self as usize >= Self::EventPut as usize
    }

    /// The text, but of the sorts that have one per path.
    const fn text(self) -> &'static str {
        match self {
            Self::EventGet => "SELECT json, levels, stored_at, done FROM events WHERE id = ?",
            Self::EventHead => "SELECT created_at, expires, address, done FROM events WHERE id = ?",
            // Every column: what a read doesn't name it doesn't bring to a quorum of replicas either.
            Self::EventWhole => {
                "SELECT created_at, expires, address, done, json, levels, stored_at \
                 FROM events WHERE id = ?"
            }
            Self::SeatGet => "SELECT seat FROM seats WHERE address = ?",
            Self::GuardGet => "SELECT until FROM guards WHERE owner = ? AND what = ?",
            Self::BucketPage => {
                "SELECT until, bucket FROM buckets WHERE path = ? AND key = ? \
                 AND (until, bucket) < (?, ?) LIMIT ?"
            }
            Self::MarkCount => {
                "SELECT id FROM marks WHERE path = ? AND key = ? AND bucket = ? LIMIT ?"
            }
            Self::RemovalList => "SELECT author, until FROM removals WHERE part = ? LIMIT 1000",
            // Of a part that stays empty, so that it costs the same always.
            Self::Ping => "SELECT author FROM removals WHERE part = ? LIMIT 1",
            Self::EventPut => {
                "INSERT INTO events (id, json, created_at, address, expires, levels, stored_at) \
                 VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?"
            }
            Self::EventDone => {
                "UPDATE events USING TIMESTAMP ? AND TTL ? SET done = true WHERE id = ?"
            }
            Self::SeatPut => "INSERT INTO seats (address, seat) VALUES (?, ?) USING TIMESTAMP ?",
            Self::GuardPut => {
                "INSERT INTO guards (owner, what, until) VALUES (?, ?, ?) USING TIMESTAMP ?"
            }
            Self::BucketPut => "INSERT INTO buckets (path, key, until, bucket) VALUES (?, ?, ?, ?)",
            Self::MarkPut => "INSERT INTO marks (path, key, bucket, id) VALUES (?, ?, ?, ?)",
            Self::RemovalPut => {
                "INSERT INTO removals (part, author, until) VALUES (?, ?, ?) USING TIMESTAMP ?"
            }
            Self::EventDelete => "DELETE FROM events USING TIMESTAMP ? WHERE id = ?",
            Self::SeatDelete => "DELETE FROM seats USING TIMESTAMP ? WHERE address = ?",
            Self::RemovalDelete => {
                "DELETE FROM removals USING TIMESTAMP ? WHERE part = ? AND author = ?"
            }
            Self::IndexPage | Self::IndexPut | Self::IndexDelete => "",
        }
    }

    fn path_text(self, path: Path) -> String {
        let table = path.table();
        match self {
            Self::IndexPage => format!(
                "SELECT place, kind, author, expires FROM {table} \
                 WHERE key = ? AND bucket = ? AND place >= ? AND place <= ? LIMIT ?"
            ),
            Self::IndexPut => format!(
                "INSERT INTO {table} (key, bucket, place, kind, author, expires) \
                 VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?"
            ),
            Self::IndexDelete => format!(
                "DELETE FROM {table} USING TIMESTAMP ? WHERE key = ? AND bucket = ? AND place = ?"
            ),
            _ => self.text().to_owned(),
        }
    }

    /// The text with its table named in full. With `USE` the meaning of a statement would hang on
    /// its connection; Cassandra warns of that.
    fn text_in(self, keyspace: &str, path: Path) -> String {
        let text = self.path_text(path);
        let table = ["FROM ", "INTO ", "UPDATE "]
            .iter()
            .find_map(|word| text.find(word).map(|at| at + word.len()))
            .expect("every statement names a table");
        let (before, after) = text.split_at(table);
        format!("{before}{keyspace}.{after}")
    }

    const fn per_path(self) -> bool {
        matches!(self, Self::IndexPage | Self::IndexPut | Self::IndexDelete)
    }
}

/// The prepared statements of one session: by sort, then by path where there is one of each.
#[derive(Debug)]
pub(crate) struct Statements(Vec<Vec<PreparedStatement>>);

impl Statements {
    /// Prepares all, reading ones for the one profile, writing ones and those that only writers
    /// need for the other.
    pub(crate) async fn prepare(
        session: &Session,
        keyspace: &str,
        queries: &ExecutionProfileHandle,
        writes: &ExecutionProfileHandle,
    ) -> Result<Self, ConnectError> {
        let mut statements = Vec::with_capacity(Op::ALL.len());
        for op in Op::ALL {
            let paths = if op.per_path() {
                &Path::ALL[..]
            } else {
                &Path::ALL[..1]
            };
            let profile = if op.writes() { writes } else { queries };
            let mut prepared = Vec::with_capacity(paths.len());
            for path in paths {
                let statement = session.prepare(op.text_in(keyspace, *path)).await;
                let mut statement = statement.map_err(|error| ConnectError::Statement {
                    doing: format!("can't prepare {}", op.as_str()),
                    reason: error.to_string(),
                })?;
                statement.set_is_idempotent(true);
                statement.set_execution_profile_handle(Some(profile.clone()));
                prepared.push(statement);
            }
            statements.push(prepared);
        }
        Ok(Self(statements))
    }

    pub(crate) fn get(&self, op: Op) -> &PreparedStatement {
        debug_assert!(!op.per_path(), "{op:?} has a statement per path");
        &self.0[op as usize][0]
    }

    pub(crate) fn on(&self, op: Op, path: Path) -> &PreparedStatement {
        debug_assert!(op.per_path(), "{op:?} has one statement");
        &self.0[op as usize][path.index()]
    }
}

#[cfg(test)]
impl Statements {
    /// All of them, with their sorts.
    pub(crate) fn each(&self) -> impl Iterator<Item = (Op, &PreparedStatement)> {
        let sorts = Op::ALL.into_iter().zip(&self.0);
        sorts.flat_map(|(op, statements)| statements.iter().map(move |one| (op, one)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_are_numbered_as_listed() {
        for (index, op) in Op::ALL.iter().enumerate() {
            assert_eq!(*op as usize, index);
            let begins = op.path_text(Path::Tag);
            assert_eq!(op.writes(), !begins.starts_with("SELECT"), "{op:?}");
        }
    }

    #[test]
    fn every_table_is_named_with_its_keyspace() {
        for op in Op::ALL {
            let (text, named) = (op.path_text(Path::Tag), op.text_in("k", Path::Tag));
            assert_eq!(named.replacen("k.", "", 1), text, "{op:?}");
            let table = ["FROM k.", "INTO k.", "UPDATE k."];
            assert!(table.iter().any(|table| named.contains(table)), "{named}");
        }
    }
}
