//! What was measured, for machines as JSON and for people as Markdown.

mod check;
mod summary;
mod table;

use serde::{Deserialize, Serialize};

use crate::{cells::Figures, options::Sizes};

pub(crate) use self::summary::summary;
pub use self::{
    check::Finding,
    summary::{Metric, Scenario, Software, Summary, Threshold},
    table::markdown,
};

/// Everything that one run has found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What was built.
    pub commit: String,
    /// How the run was called.
    pub command: String,
    /// Where it ran.
    pub machine: String,
    /// When it began (RFC 3339).
    #[serde(default)]
    pub started: Option<String>,
    /// The events.
    pub corpus: CorpusReport,
    /// How much of each work there was.
    pub sizes: Sizes,
    /// Whether client and relays had cores of their own.
    pub pinned: bool,
    /// Names of the relays, in the order of each pass.
    pub passes: Vec<Vec<String>>,
    /// In the order of the command line; ratios are to the first.
    pub relays: Vec<RelayReport>,
    /// Where results differ from each other or from what is right.
    pub findings: Vec<Finding>,
}

/// What the events were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorpusReport {
    /// Its seed.
    pub seed: u64,
    /// Authors.
    pub authors: u32,
    /// Events that were loaded.
    pub loaded: u64,
    /// Their bytes as JSONL.
    pub loaded_bytes: u64,
    /// Events that were published afterwards.
    pub published: u64,
    /// SHA-256 of all of them as JSONL.
    pub fingerprint: String,
}

/// One relay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelayReport {
    /// Its name on the command line.
    pub name: String,
    /// How it was started.
    pub command: String,
    /// What it has done before it answers OK.
    pub durability: String,
    /// What it says of itself.
    #[serde(default)]
    pub software: Software,
    /// In the order of the work.
    pub cells: Vec<CellReport>,
}

/// One cell of one relay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellReport {
    /// The same for all relays.
    pub name: String,
    /// One for each pass that could be measured.
    pub passes: Vec<Figures>,
    /// Why a pass couldn't.
    pub failures: Vec<String>,
}

impl CellReport {
    /// Whether its figures may be compared: everything was done and answered, and no limiter had a part
    /// in it.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let valid = self.passes.iter().all(Figures::is_valid);
        self.failures.is_empty() && valid && !self.passes.is_empty()
    }
}

impl RelayReport {
    /// Whether nothing was refused in any cell, and none failed.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.cells.iter().all(CellReport::is_valid)
    }

    /// Tells apart commands that start it differently: CRC-32 in hex.
    fn command_hash(&self) -> String {
        format!("{:08x}", crc32fast::hash(self.command.as_bytes()))
    }

    /// A cell by its name.
    #[must_use]
    pub fn cell(&self, name: &str) -> Option<&CellReport> {
        self.cells.iter().find(|cell| cell.name == name)
    }
}

impl Report {
    /// Compares all counts and keeps what differs.
    pub(crate) fn cross_check(&mut self) {
        self.findings = check::cross_check(&self.relays);
    }

    /// Whether anything could be measured.
    pub(crate) fn has_figures(&self) -> bool {
        let mut cells = self.relays.iter().flat_map(|relay| &relay.cells);
        cells.any(|cell| !cell.passes.is_empty())
    }

    /// Whether a relay's counts in a cell differ from another's: it hasn't done the same work.
    fn differs(&self, relay: &str, cell: &str) -> bool {
        let mut findings = self.findings.iter();
        findings
            .any(|finding| finding.between_relays && finding.relay == relay && finding.cell == cell)
    }

    /// Names of cells in the order of the work, of whichever relay has them.
    fn cell_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for cell in self.relays.iter().flat_map(|relay| &relay.cells) {
            if !names.contains(&cell.name.as_str()) {
                names.push(&cell.name);
            }
        }
        names
    }
}

#[cfg(test)]
mod samples {
    //! Reports for the tests of this module.

    use super::*;
    use crate::{cells::Refusals, statistics::Latency};

    /// One pass: 1,000 operations in so many seconds for so much CPU time.
    pub(super) fn figures(wall_secs: f64, server_cpu_secs: f64) -> Figures {
        Figures {
            unit: "event".to_owned(),
            operations: 1_000,
            wall_secs,
            server_cpu_secs,
            client_cpu_secs: 0.01,
            latency: Latency {
                count: 1_000,
                p50_ms: 1.25,
                p90_ms: 10.0,
                p99_ms: 20.0,
                max_ms: 30.0,
            },
            counts: vec![3, 5],
            ..Figures::default()
        }
    }

    pub(super) fn limited(mut figures: Figures) -> Figures {
        figures.refusals = Refusals {
            limited: 2,
            examples: vec!["rate-limited: slow | down".to_owned()],
            ..Refusals::default()
        };
        figures
    }

    pub(super) fn cell(passes: Vec<Figures>) -> CellReport {
        CellReport {
            name: "publish 1×1".to_owned(),
            passes,
            failures: Vec::new(),
        }
    }

    pub(super) fn relay(name: &str, cells: Vec<CellReport>) -> RelayReport {
        RelayReport {
            name: name.to_owned(),
            command: format!("run {name}"),
            durability: "fsync".to_owned(),
            software: Software::default(),
            cells,
        }
    }

    pub(super) fn report(relays: Vec<RelayReport>) -> Report {
        let mut report = Report {
            commit: "c0ffee".to_owned(),
            command: "cargo xtask bench".to_owned(),
            machine: "a machine".to_owned(),
            started: None,
            corpus: CorpusReport {
                seed: 1,
                authors: 2,
                loaded: 3,
                loaded_bytes: 4,
                published: 5,
                fingerprint: "abcd".to_owned(),
            },
            sizes: Sizes::small(),
            pinned: false,
            passes: vec![relays.iter().map(|relay| relay.name.clone()).collect()],
            relays,
            findings: Vec::new(),
        };
        report.cross_check();
        report
    }
}

#[cfg(test)]
mod tests {
    use super::{samples::*, *};

    #[test]
    fn a_cell_in_which_a_limiter_refused_is_invalid_and_so_is_its_relay() {
        let good = cell(vec![figures(1.0, 1.0)]);
        assert!(good.is_valid());
        let bad = cell(vec![figures(1.0, 1.0), limited(figures(1.0, 1.0))]);
        assert!(!bad.is_valid());
        assert!(!relay("a", vec![good, bad]).is_valid());
    }

    #[test]
    fn a_cell_that_failed_or_never_ran_is_invalid() {
        let mut failed = cell(vec![figures(1.0, 1.0)]);
        failed.failures.push("closed".to_owned());
        assert!(!failed.is_valid());
        assert!(!cell(Vec::new()).is_valid());
    }

    #[test]
    fn only_events_refused_as_superseded_leave_it_valid() {
        let mut one = figures(1.0, 1.0);
        one.refusals.superseded = 7;
        assert!(cell(vec![one.clone()]).is_valid());
        one.refusals.refused = 1;
        assert!(!cell(vec![one]).is_valid());
    }

    #[test]
    fn a_fault_makes_it_invalid_and_a_remark_does_not() {
        let mut one = figures(1.0, 1.0);
        one.remarks.push("not at rest".to_owned());
        assert!(cell(vec![one.clone()]).is_valid());
        one.faults.push("nothing was imported".to_owned());
        assert!(!cell(vec![one]).is_valid());
    }

    #[test]
    fn a_report_reads_back_from_its_json() {
        let report = report(vec![relay(
            "a",
            vec![cell(vec![limited(figures(0.1, 0.3))])],
        )]);
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
