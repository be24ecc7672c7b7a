//! Pages of metrics, and what the reference says of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use heliograph_testkit::process::workspace;

/// A metric, as a page or the reference has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Family {
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: String,
    /// The names of its labels, without `le`.
    pub labels: BTreeSet<String>,
}

/// Metrics by name, as a query would name them: with `_total` for a counter, without `_bucket`.
pub type Families = BTreeMap<String, Family>;

/// The metrics on a page in the text of `/metrics`.
#[must_use]
pub fn families(page: &str) -> Families {
    let mut families = Families::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
            let ending = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            let family = families.entry(format!("{name}{ending}")).or_default();
            kind.clone_into(&mut family.kind);
        } else if let Some((name, labels)) = sample(line) {
            let ends = ["_bucket", "_sum", "_count"];
            let base = ends.iter().find_map(|end| name.strip_suffix(end));
            let name = [Some(name), base].into_iter().flatten();
            for name in name {
                if let Some(family) = families.get_mut(name) {
                    family.labels.extend(labels.iter().cloned());
                    break;
                }
            }
        }
    }
    families
}

/// How many series a page has.
#[must_use]
pub fn series(page: &str) -> usize {
    page.lines().filter(|line| sample(line).is_some()).count()
}

/// The name and the names of labels of a sample, such as `a_total{b="c"} 1 # {trace_id="d"} 2`.
fn sample(line: &str) -> Option<(&str, Vec<String>)> {
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let mut labels = Vec::new();
    let mut rest = rest.strip_prefix('{').unwrap_or_default();
    while let Some((label, value)) = rest.split_once("=\"") {
        if label != "le" {
            labels.push(label.to_owned());
        }
        let end = closing(value)?;
        rest = &value[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    Some((name, labels))
}

/// Where a quoted value ends.
fn closing(value: &str) -> Option<usize> {
    let mut escaped = false;
    value.char_indices().find_map(|(at, sign)| {
        let ends = sign == '"' && !escaped;
        escaped = sign == '\\' && !escaped;
        ends.then_some(at)
    })
}

/// What `docs/reference/metrics.md` lists.
///
/// # Panics
///
/// If it isn't there, or has no metrics.
#[must_use]
pub fn reference() -> Families {
    let path = workspace().join("docs/reference/metrics.md");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{error}"));
    let found = listed(&text);
    assert!(!found.is_empty(), "no metrics in {}", path.display());
    found
}

/// Rows of tables whose first column is the name of a metric, by the heads of their columns.
fn listed(text: &str) -> Families {
    let mut families = Families::new();
    let mut heads: Vec<String> = Vec::new();
    for line in text.lines() {
        let Some(row) = line.strip_prefix('|') else {
            heads.clear();
            continue;
        };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if heads.is_empty() {
            heads = cells.iter().map(|cell| cell.to_lowercase()).collect();
            continue;
        }
        let cell = |head: &str| {
            let at = heads.iter().position(|own| own == head)?;
            cells.get(at).copied()
        };
        let name = cells[0].trim_matches('`');
        if !name.starts_with("heliograph_") {
            continue;
        }
        let labels = cell("labels").unwrap_or_default().split(',');
        let labels = labels.map(|label| label.trim().trim_matches('`'));
        let family = Family {
            kind: cell("type").unwrap_or_default().to_owned(),
            labels: labels
                .filter(|label| !label.is_empty())
                .map(str::to_owned)
                .collect(),
        };
        families.insert(name.to_owned(), family);
    }
    families
}

/// What doesn't fit together: what a process shows and the reference hasn't, or has otherwise; what the reference
/// has and no process shows. `pages` are by the name of the process.
#[must_use]
pub fn differences(reference: &Families, pages: &BTreeMap<String, Families>) -> Vec<String> {
    let mut found = Vec::new();
    for (process, families) in pages {
        for (name, family) in families {
            match reference.get(name) {
                None => found.push(format!("{process}: {name} isn't in the reference")),
                Some(known) if known.kind != family.kind => found.push(format!(
                    "{process}: {name} is a {}, in the reference a {}",
                    family.kind, known.kind
                )),
                Some(known) if !family.labels.is_subset(&known.labels) => found.push(format!(
                    "{process}: {name} has the labels {:?}, in the reference {:?}",
                    family.labels, known.labels
                )),
                Some(_) => {}
            }
        }
    }
    for name in reference.keys() {
        if !pages.values().any(|families| families.contains_key(name)) {
            found.push(format!(
                "{name} is in the reference and shown by no process"
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP a_seconds Time.\n# TYPE a_seconds histogram\n\
        a_seconds_sum{op=\"x\"} 1.5\na_seconds_bucket{le=\"1.0\",op=\"x\"} 1 # {trace_id=\"7\"} 0.5\n\
        # TYPE b counter\nb_total{what=\"a \\\"b\\\", c\",why=\"d\"} 3\n# TYPE c info\nc_info{v=\"1\"} 1\n\
        # TYPE d gauge\nd 4\n# EOF\n";

    fn family(kind: &str, labels: &[&str]) -> Family {
        Family {
            kind: kind.to_owned(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        }
    }

    #[test]
    fn a_page_is_read_with_its_types_and_labels() {
        let found = families(PAGE);
        assert_eq!(found["a_seconds"], family("histogram", &["op"]));
        assert_eq!(found["b_total"], family("counter", &["what", "why"]));
        assert_eq!(found["c_info"], family("info", &["v"]));
        assert_eq!(found["d"], family("gauge", &[]));
        assert_eq!(series(PAGE), 5);
    }

    #[test]
    fn the_reference_is_read_by_its_heads() {
        let text = "| metric | type | labels | help |\n| --- | --- | --- | --- |\n\
            | `heliograph_a_total` | counter | `b`, `c` | Text. |\n\n| other | type |\n| `x` | y |\n";
        let found = listed(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found["heliograph_a_total"], family("counter", &["b", "c"]));
    }

    #[test]
    fn differences_are_found_in_both_directions() {
        let reference: Families = [
            ("a".to_owned(), family("gauge", &["x"])),
            ("b".to_owned(), family("gauge", &[])),
            ("c".to_owned(), family("counter", &[])),
        ]
        .into();
        let page: Families = [
            ("a".to_owned(), family("gauge", &["y"])),
            ("c".to_owned(), family("gauge", &[])),
            ("d".to_owned(), family("gauge", &[])),
        ]
        .into();
        let found = differences(&reference, &[("p".to_owned(), page)].into());
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!(
            differences(&reference, &[("p".to_owned(), reference.clone())].into()),
            Vec::<String>::new()
        );
    }
}
