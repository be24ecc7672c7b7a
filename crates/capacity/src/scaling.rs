//! What one event, one question and one delivery cost with more of each role: as measured by
//! `cargo xtask cluster scaling`, and its tables.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::figure::{Figure, Run, short};

/// From here on a cell isn't flat, and is marked.
pub const FLAT: f64 = 0.15;

/// One run of `cargo xtask cluster scaling`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// How it was measured.
    pub run: Run,
    /// How often each cluster was started and measured.
    pub passes: u32,
    /// Each cluster, in the order of the first pass.
    pub clusters: Vec<Cluster>,
}

/// One cluster with all its passes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Its gateways.
    pub gateways: u32,
    /// Its matchers.
    pub matchers: u32,
    /// Its ingest workers.
    pub ingest: u32,
    /// By the key of a [`COLUMNS`]' column: a value for each pass.
    pub cells: BTreeMap<String, Vec<f64>>,
}

/// A column of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// What it is called in the file.
    pub key: &'static str,
    /// What it is called in a table.
    pub heading: &'static str,
    /// Which table it belongs to.
    pub part: Part,
}

/// What the figures of a table are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// CPU time for each event that is published.
    Event,
    /// CPU time for each question.
    Question,
    /// CPU time for each delivery of a live event.
    Delivery,
    /// Messages, which the figures above follow.
    Messages,
}

const fn column(key: &'static str, heading: &'static str, part: Part) -> Column {
    Column { key, heading, part }
}

/// Everything that a pass measures, in the order of the tables.
pub const COLUMNS: [Column; 19] = [
    column("event_gateway", "gateways µs", Part::Event),
    column("event_ingest", "ingest µs", Part::Event),
    column("event_matcher", "matchers µs", Part::Event),
    column("event_nats", "NATS µs", Part::Event),
    column("event_cql", "CQL µs", Part::Event),
    column("id_gateway", "by id: gateways µs", Part::Question),
    column("id_matcher", "matchers µs", Part::Question),
    column("id_nats", "NATS µs", Part::Question),
    column("feed_gateway", "home feed: gateways µs", Part::Question),
    column("feed_matcher", "matchers µs", Part::Question),
    column("feed_nats", "NATS µs", Part::Question),
    column("delivery_gateway", "gateways µs", Part::Delivery),
    column("delivery_matcher", "matchers µs", Part::Delivery),
    column("delivery_nats", "NATS µs", Part::Delivery),
    column("events_batch", "events a batch", Part::Messages),
    column("events_commit", "events a commit", Part::Messages),
    column("matched_event", "matchings an event", Part::Messages),
    column("links_event", "link deliveries an event", Part::Messages),
    column("newest_question", "questions to NATS a REQ", Part::Messages),
];

/// Clusters that differ in one role alone.
struct Series {
    title: &'static str,
    count: fn(&Cluster) -> u32,
    others: fn(&Cluster) -> [u32; 2],
}

const SERIES: [Series; 3] = [
    Series {
        title: "gateways",
        count: |cluster| cluster.gateways,
        others: |cluster| [cluster.matchers, cluster.ingest],
    },
    Series {
        title: "matchers",
        count: |cluster| cluster.matchers,
        others: |cluster| [cluster.gateways, cluster.ingest],
    },
    Series {
        title: "ingest workers",
        count: |cluster| cluster.ingest,
        others: |cluster| [cluster.gateways, cluster.matchers],
    },
];

impl Cluster {
    /// The median of a column and its spread.
    #[must_use]
    pub fn figure(&self, key: &str) -> Option<Figure> {
        Figure::of(self.cells.get(key)?)
    }

    /// Whether it has as many of each role.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let counts = |of: &Self| [of.gateways, of.matchers, of.ingest];
        counts(self) == counts(other)
    }

    fn name(&self) -> String {
        format!("{}·{}·{}", self.gateways, self.matchers, self.ingest)
    }
}

impl Scaling {
    /// Reads what a run has written.
    ///
    /// # Errors
    ///
    /// It isn't that.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The clusters of each series: those that differ in one role alone, fewest first.
    fn series(&self) -> impl Iterator<Item = (&'static Series, Vec<&Cluster>)> {
        SERIES.iter().filter_map(|series| {
            let longest = self.clusters.iter().map(|like| {
                let others = (series.others)(like);
                let mut members: Vec<&Cluster> = self.clusters.iter().collect();
                members.retain(|cluster| (series.others)(cluster) == others);
                members.sort_by_key(|cluster| (series.count)(cluster));
                members.dedup_by_key(|cluster| (series.count)(cluster));
                members
            });
            let longest = longest.max_by_key(Vec::len)?;
            (longest.len() > 1).then_some((series, longest))
        })
    }

    /// Every table: a line for each cluster, and the ratio to the first line behind each figure.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for (series, clusters) in self.series() {
            let parts = [
                (Part::Event, "each EVENT"),
                (Part::Question, "each REQ"),
                (Part::Delivery, "each live delivery"),
                (Part::Messages, "messages"),
            ];
            for (part, title) in parts {
                let title = format!("more {}: {title}", series.title);
                table(&mut text, &title, part, &clusters);
            }
        }
        text
    }

    /// Cells that aren't flat: series, heading and ratio, the steepest first.
    #[must_use]
    pub fn steep(&self) -> Vec<(String, f64)> {
        let mut steep = Vec::new();
        for (series, clusters) in self.series() {
            for column in COLUMNS
                .iter()
                .filter(|column| column.part != Part::Messages)
            {
                for cluster in &clusters[1..] {
                    let ratio = ratio(clusters[0], cluster, column.key);
                    if let Some(ratio) = ratio.filter(|ratio| is_steep(*ratio)) {
                        let count = (series.count)(cluster);
                        let name = format!("{count} {}, {}", series.title, column.key);
                        steep.push((name, ratio));
                    }
                }
            }
        }
        steep.sort_by(|a, b| b.1.total_cmp(&a.1));
        steep
    }
}

fn is_steep(ratio: f64) -> bool {
    (ratio - 1.0).abs() > FLAT + 1e-9
}

fn ratio(first: &Cluster, cluster: &Cluster, key: &str) -> Option<f64> {
    let (first, figure) = (first.figure(key)?, cluster.figure(key)?);
    (first.median > 0.0).then(|| figure.median / first.median)
}

fn table(text: &mut String, title: &str, part: Part, clusters: &[&Cluster]) {
    let columns: Vec<&Column> = COLUMNS.iter().filter(|c| c.part == part).collect();
    let headings: Vec<&str> = columns.iter().map(|column| column.heading).collect();
    let heads = format!("| {title} | {} |", headings.join(" | "));
    let rules = format!("| --- |{}", " --- |".repeat(columns.len()));
    text.extend([heads, "\n".to_owned(), rules, "\n".to_owned()]);
    for cluster in clusters {
        let cells = columns
            .iter()
            .map(|column| cell(clusters[0], cluster, column));
        let cells: Vec<String> = cells.collect();
        text.push_str(&format!("| {} | {} |\n", cluster.name(), cells.join(" | ")));
    }
    text.push('\n');
}

fn cell(first: &Cluster, cluster: &Cluster, column: &Column) -> String {
    let Some(figure) = cluster.figure(column.key) else {
        return "–".to_owned();
    };
    if column.part == Part::Messages {
        return short(figure.median);
    }
    if std::ptr::eq(first, cluster) {
        return figure.text();
    }
    match ratio(first, cluster, column.key) {
        Some(ratio) if is_steep(ratio) => format!("{} **× {ratio:.2}**", figure.text()),
        Some(ratio) => format!("{} × {ratio:.2}", figure.text()),
        None => figure.text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(gateways: u32, matchers: u32, ingest: u32, micros: f64) -> Cluster {
        let cells = COLUMNS
            .iter()
            .map(|column| (column.key.to_owned(), vec![micros; 3]));
        Cluster {
            gateways,
            matchers,
            ingest,
            cells: cells.collect(),
        }
    }

    fn scaling(clusters: Vec<Cluster>) -> Scaling {
        let run = Run {
            command: "c".to_owned(),
            commit: "d".to_owned(),
            date: "e".to_owned(),
            machine: "f".to_owned(),
        };
        Scaling {
            run,
            passes: 3,
            clusters,
        }
    }

    #[test]
    fn a_series_holds_what_differs_in_one_role_alone() {
        let all = [
            (1, 1, 1),
            (2, 1, 1),
            (4, 1, 1),
            (4, 2, 1),
            (4, 4, 1),
            (4, 1, 2),
        ];
        let all = all.map(|(gateways, matchers, ingest)| cluster(gateways, matchers, ingest, 1.0));
        let scaling = scaling(all.to_vec());
        let names: Vec<Vec<String>> = scaling
            .series()
            .map(|(_, clusters)| clusters.iter().map(|cluster| cluster.name()).collect())
            .collect();
        assert_eq!(names[0], ["1·1·1", "2·1·1", "4·1·1"]);
        assert_eq!(names[1], ["4·1·1", "4·2·1", "4·4·1"]);
        assert_eq!(names[2], ["4·1·1", "4·1·2"]);
        assert_eq!(scaling.steep(), []);
    }

    #[test]
    fn what_is_not_flat_is_marked() {
        let scaling = scaling(vec![cluster(1, 1, 1, 100.0), cluster(2, 1, 1, 116.0)]);
        let text = scaling.markdown();
        assert!(text.contains("| 2·1·1 | 116 **× 1.16** |"), "{text}");
        assert!(!text.contains("more matchers"), "{text}");
        let events = COLUMNS.iter().filter(|c| c.part != Part::Messages).count();
        assert_eq!(scaling.steep().len(), events);
        assert_eq!(scaling.steep()[0].0, "2 gateways, event_gateway");
    }

    #[test]
    fn fifteen_per_cent_are_flat_in_either_direction() {
        for (micros, steep) in [(115.0, false), (116.0, true), (85.0, false), (84.0, true)] {
            let clusters = vec![cluster(1, 1, 1, 100.0), cluster(2, 1, 1, micros)];
            assert_eq!(!scaling(clusters).steep().is_empty(), steep, "{micros}");
        }
    }

    #[test]
    fn what_is_missing_is_a_dash_and_every_line_has_all_columns() {
        let mut second = cluster(2, 1, 1, 1.0);
        second.cells.remove("event_cql");
        let text = scaling(vec![cluster(1, 1, 1, 1.0), second]).markdown();
        let lines: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 4);
        let columns = |line: &&str| line.matches('|').count();
        assert!(lines.iter().all(|line| columns(line) == 7), "{lines:?}");
        assert!(lines[3].ends_with("| – |"), "{}", lines[3]);
    }
}
