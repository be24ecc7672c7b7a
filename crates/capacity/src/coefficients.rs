//! What was measured, as `cargo xtask capacity coefficients` has written it, each figure with its spread
//! and the run that it comes from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::figure::{Figure, Run};

/// The file that is compiled in.
const CHECKED_IN: &str = include_str!("../coefficients.json");

/// The kinds of questions that are measured, and their share of all that clients ask, in hundredths: an
/// assumption ([`crate::assumptions`]).
pub const QUESTIONS: [(&str, &str, u32); 5] = [
    ("by_id", "by id", 25),
    ("author_kind", "author and kind, limit 20", 25),
    ("feed", "home feed of 500 authors, limit 200", 20),
    ("reactions", "reactions to a note (`#e`)", 15),
    ("inbox", "notifications (`#p`), limit 50", 15),
];

/// Everything that the formulas take from measurements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coefficients {
    /// A cluster, role by role.
    pub cluster: Measured<Cluster>,
    /// One process.
    pub single: Measured<Single>,
}

/// Figures of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured<T> {
    /// How and where.
    pub run: Run,
    /// What.
    pub figures: T,
}

/// CPU time is in microseconds on one core of the machine of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Gateway, an EVENT from its frame to its OK: the signature is most of it.
    pub event_gateway_micros: Figure,
    /// Ingest, an EVENT.
    pub event_ingest_micros: Figure,
    /// One matcher, an EVENT that nobody is subscribed to.
    pub event_matcher_micros: Figure,
    /// All NATS servers together, an EVENT.
    pub event_nats_micros: Figure,
    /// CQL statements that ingest sends for an EVENT.
    pub event_statements: Figure,
    /// A matcher, each subscription that a live event goes to.
    pub delivery_matcher_micros: Figure,
    /// By the key of [`QUESTIONS`].
    pub questions: BTreeMap<String, Question>,
    /// Memory of a gateway that nobody uses.
    pub gateway_base_bytes: Figure,
    /// The same of an ingest worker.
    pub ingest_base_bytes: Figure,
    /// The same of a matcher with an empty recent tier.
    pub matcher_base_bytes: Figure,
    /// A gateway, each connection with one home feed open.
    pub connection_gateway_bytes: Figure,
    /// A matcher, each home feed that is open.
    pub subscription_matcher_bytes: Figure,
    /// The recent tier's index, each event.
    pub index_event_bytes: Figure,
    /// The database, each event with its index rows, on one replica, compressed.
    pub database_event_bytes: Figure,
}

/// What a REQ costs that memory answers, and one that needs the database.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// From the recent tier.
    pub gateway_micros: Figure,
    /// From the recent tier.
    pub matcher_micros: Figure,
    /// From the recent tier; all servers together.
    pub nats_micros: Figure,
    /// From the archive.
    pub archive_gateway_micros: Figure,
    /// From the archive.
    pub archive_matcher_micros: Figure,
    /// CQL statements, from the archive.
    pub archive_statements: Figure,
}

/// One process on its embedded store.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Single {
    /// An EVENT, synced before its OK, 50 connections with 20 in flight.
    pub event_micros: Figure,
    /// A live event to one of 1,000 connections that are idle otherwise: each is woken and written to
    /// for itself.
    pub delivery_micros: Figure,
    /// Opening a connection and closing it.
    pub connection_micros: Figure,
    /// Memory of an idle connection.
    pub connection_bytes: Figure,
    /// Memory with the corpus loaded, caches as they come.
    pub resident_bytes: Figure,
    /// Disk, each event with its index rows.
    pub disk_event_bytes: Figure,
    /// The wire form of an event, in the mean of the corpus.
    pub event_bytes: Figure,
    /// By the key of [`QUESTIONS`].
    pub questions: BTreeMap<String, SingleQuestion>,
}

/// What a REQ costs one process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SingleQuestion {
    /// CPU time.
    pub micros: Figure,
    /// Bytes of the question on the wire.
    pub asked_bytes: Figure,
    /// Bytes of the answer on the wire, without compression.
    pub answer_bytes: Figure,
}

impl Coefficients {
    /// Those that this program was built with.
    ///
    /// # Panics
    ///
    /// Never: a test reads the file.
    #[must_use]
    pub fn checked_in() -> Self {
        Self::parse(CHECKED_IN).expect("coefficients.json is read by a test")
    }

    /// Reads what was written.
    ///
    /// # Errors
    ///
    /// It isn't that, or a figure is missing.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let read: Self = serde_json::from_str(text)?;
        for (key, _, _) in QUESTIONS {
            let cluster = read.cluster.figures.questions.contains_key(key);
            if !cluster || !read.single.figures.questions.contains_key(key) {
                let missing = format!("no question {key}");
                return Err(serde::de::Error::custom(missing));
            }
        }
        Ok(read)
    }

    /// The mean of a figure of the cluster's questions, by their shares.
    #[must_use]
    pub fn question(&self, figure: fn(&Question) -> &Figure) -> f64 {
        mean(&self.cluster.figures.questions, figure)
    }

    /// The mean of a figure of one process's questions, by their shares.
    #[must_use]
    pub fn single_question(&self, figure: fn(&SingleQuestion) -> &Figure) -> f64 {
        mean(&self.single.figures.questions, figure)
    }

    /// All figures with their names, for the document.
    #[must_use]
    pub fn list(&self) -> Vec<(String, Figure)> {
        let mut list = flat("cluster", serde_json::to_value(&self.cluster.figures));
        list.extend(flat("single", serde_json::to_value(&self.single.figures)));
        list
    }
}

fn mean<Q>(questions: &BTreeMap<String, Q>, figure: fn(&Q) -> &Figure) -> f64 {
    let shares = QUESTIONS.iter().filter_map(|(key, _, share)| {
        let question = questions.get(*key)?;
        Some(figure(question).median * f64::from(*share) / 100.0)
    });
    shares.sum()
}

/// Names and figures of whatever holds figures.
fn flat(name: &str, value: serde_json::Result<serde_json::Value>) -> Vec<(String, Figure)> {
    let Ok(value) = value else {
        return Vec::new();
    };
    if let Ok(figure) = serde_json::from_value(value.clone()) {
        return vec![(name.to_owned(), figure)];
    }
    let members = value.as_object().into_iter().flatten();
    let members =
        members.flat_map(|(key, value)| flat(&format!("{name}.{key}"), Ok(value.clone())));
    members.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_whole_and_every_figure_is_a_number_above_nothing() {
        let coefficients = Coefficients::parse(CHECKED_IN).unwrap();
        let list = coefficients.list();
        assert_eq!(
            list.len(),
            13 + 6 * QUESTIONS.len() + 7 + 3 * QUESTIONS.len()
        );
        for (name, figure) in list {
            let ordered = figure.least <= figure.median && figure.median <= figure.greatest;
            assert!(
                ordered && figure.median > 0.0 && figure.greatest.is_finite(),
                "{name}"
            );
        }
        for run in [&coefficients.cluster.run, &coefficients.single.run] {
            assert!(run.command.starts_with("cargo xtask "), "{run:?}");
            assert!(run.commit.len() > 10 && run.date.len() == 10, "{run:?}");
            assert!(!run.machine.is_empty(), "{run:?}");
        }
    }

    #[test]
    fn a_missing_question_is_an_error() {
        let mut value: serde_json::Value = serde_json::from_str(CHECKED_IN).unwrap();
        let questions = value["cluster"]["figures"]["questions"].as_object_mut();
        questions.unwrap().remove("feed");
        let error = Coefficients::parse(&value.to_string()).unwrap_err();
        assert!(error.to_string().contains("no question feed"), "{error}");
    }

    #[test]
    fn shares_make_a_whole() {
        let shares: u32 = QUESTIONS.iter().map(|(_, _, share)| share).sum();
        assert_eq!(shares, 100);
    }
}
