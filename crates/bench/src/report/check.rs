//! Whether all relays have done the same: counts of answers against each other and against what is right.

use serde::{Deserialize, Serialize};

use super::RelayReport;

/// Differences of one cell that are spelt out.
const TOLD_MAX: usize = 3;

/// A count that isn't what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Whose.
    pub relay: String,
    /// Where.
    pub cell: String,
    /// How it differs.
    pub what: String,
    /// Whether relays differ in one of these counts from each other, or all from what is right alike. A
    /// relay that doesn't always answer the same differs from itself.
    pub between_relays: bool,
}

/// Compares each pass of each relay with the right counts, or else with the first relay's first pass.
pub(super) fn cross_check(relays: &[RelayReport]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for relay in relays {
        for cell in &relay.cells {
            let first = relays
                .iter()
                .find_map(|relay| relay.cell(&cell.name)?.passes.first());
            let alike = alike(relays, &cell.name);
            for figures in &cell.passes {
                let (expected, by) = match first {
                    _ if !figures.expected.is_empty() => (&figures.expected, "by NIP-01"),
                    Some(first) => (&first.counts, "in the first relay's answers"),
                    None => continue,
                };
                if let Some(what) = difference(&figures.counts, expected, by) {
                    let finding = Finding {
                        relay: relay.name.clone(),
                        cell: cell.name.clone(),
                        what,
                        between_relays: is_apart(&figures.counts, expected, &alike),
                    };
                    if !findings.contains(&finding) {
                        findings.push(finding);
                    }
                }
            }
        }
    }
    findings
}

/// The counts of a cell that are the same in all passes of all relays; `None` where they aren't.
fn alike(relays: &[RelayReport], cell: &str) -> Vec<Option<u64>> {
    let cells = relays.iter().filter_map(|relay| relay.cell(cell));
    let mut passes = cells.flat_map(|cell| &cell.passes);
    let first = passes.next().map_or(&[][..], |figures| &figures.counts);
    let mut alike: Vec<Option<u64>> = first
        .iter()
        .map(|count| (*count != u64::MAX).then_some(*count))
        .collect();
    for figures in passes {
        for (nth, known) in alike.iter_mut().enumerate() {
            *known = known.filter(|known| figures.counts.get(nth) == Some(known));
        }
    }
    alike
}

/// Whether one of the differences isn't everybody's.
fn is_apart(counts: &[u64], expected: &[u64], alike: &[Option<u64>]) -> bool {
    let mut pairs = counts.iter().zip(expected).zip(alike);
    counts.len() != alike.len()
        || pairs.any(|((count, expected), alike)| count != expected && alike.is_none())
}

fn difference(counts: &[u64], expected: &[u64], by: &str) -> Option<String> {
    if counts.len() != expected.len() {
        return Some(format!("{} answers, {} {by}", counts.len(), expected.len()));
    }
    let pairs = counts.iter().zip(expected).enumerate();
    let different: Vec<_> = pairs
        .filter(|(_, (count, expected))| count != expected)
        .collect();
    let told = different
        .iter()
        .take(TOLD_MAX)
        .map(|(nth, (count, expected))| match **count {
            u64::MAX => format!("{nth}: not always the same, {expected}"),
            count => format!("{nth}: {count}, {expected}"),
        });
    let told = told.collect::<Vec<_>>().join("; ");
    let count = different.len();
    (count > 0).then(|| {
        format!(
            "{count} of {} counts differ from those {by} ({told})",
            counts.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{super::samples::*, *};

    #[test]
    fn relays_that_agree_give_no_finding() {
        let relays = ["a", "b"].map(|name| relay(name, vec![cell(vec![figures(1.0, 1.0)])]));
        assert_eq!(cross_check(&relays), []);
    }

    #[test]
    fn another_count_than_the_first_relays_is_found() {
        let mut other = figures(1.0, 1.0);
        other.counts = vec![3, 4];
        let relays = [
            relay("a", vec![cell(vec![figures(1.0, 1.0)])]),
            relay("b", vec![cell(vec![other])]),
        ];
        let found = cross_check(&relays);
        assert_eq!((found.len(), found[0].relay.as_str()), (1, "b"));
        assert!(
            found[0].what.contains("1 of 2") && found[0].what.contains("1: 4, 5"),
            "{found:?}"
        );
    }

    #[test]
    fn the_right_count_wins_over_the_first_relays() {
        let mut wrong = figures(1.0, 1.0);
        wrong.expected = vec![3, 6];
        let mut right = wrong.clone();
        right.counts = vec![3, 6];
        let relays = [
            relay("a", vec![cell(vec![wrong])]),
            relay("b", vec![cell(vec![right])]),
        ];
        let found = cross_check(&relays);
        assert_eq!((found.len(), found[0].relay.as_str()), (1, "a"));
    }

    #[test]
    fn what_all_relays_answer_alike_is_told_from_what_they_do_not() {
        let figures = |counts: [u64; 2]| {
            let mut figures = figures(1.0, 1.0);
            figures.expected = vec![3, 6];
            figures.counts = counts.to_vec();
            vec![cell(vec![figures])]
        };
        let apart = |counts: [[u64; 2]; 2]| -> Vec<(String, bool)> {
            let [a, b] = counts.map(figures);
            cross_check(&[relay("a", a), relay("b", b)])
                .into_iter()
                .map(|finding| (finding.relay, finding.between_relays))
                .collect()
        };
        let found = |name: &str, apart| (name.to_owned(), apart);
        assert_eq!(apart([[3, 6], [3, 6]]), []);
        assert_eq!(
            apart([[3, 5], [3, 5]]),
            [found("a", false), found("b", false)]
        );
        assert_eq!(apart([[3, 6], [3, 5]]), [found("b", true)]);
        // Both are wrong in the second, and only one in the first.
        assert_eq!(
            apart([[3, 5], [2, 5]]),
            [found("a", false), found("b", true)]
        );
        assert_eq!(
            apart([[3, u64::MAX], [3, u64::MAX]]),
            [found("a", true), found("b", true)]
        );
    }

    #[test]
    fn a_later_pass_is_checked_too_and_told_once() {
        let mut other = figures(1.0, 1.0);
        other.counts = vec![u64::MAX, 5];
        let passes = vec![figures(1.0, 1.0), other.clone(), other];
        let found = cross_check(&[relay("a", vec![cell(passes)])]);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("not always the same"), "{found:?}");
    }
}
