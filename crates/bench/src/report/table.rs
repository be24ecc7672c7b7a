//! The report as Markdown: a row for each cell and relay, with ratios to the first relay.

use std::{collections::BTreeMap, fmt::Write};

use super::{CellReport, RelayReport, Report};
use crate::{
    cells::Figures,
    statistics::{Middle, middle, ratio},
};

/// A client that used so much of a core may have been what was measured.
const CLIENT_BOUND: f64 = 0.8;

/// The report as Markdown.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut out = String::from("# Bench\n\n");
    head(report, &mut out);
    relays(report, &mut out);
    cells(report, &mut out);
    extras(report, &mut out);
    remarks(report, &mut out);
    out
}

fn head(report: &Report, out: &mut String) {
    let corpus = &report.corpus;
    let passes: Vec<String> = report.passes.iter().map(|order| order.join(", ")).collect();
    let pinned = if report.pinned {
        "; client and relays on cores of their own"
    } else {
        ""
    };
    line(out, format_args!("- Machine: {}{pinned}", report.machine));
    line(out, format_args!("- Built: {}", report.commit));
    line(out, format_args!("- Command: `{}`", report.command));
    line(
        out,
        format_args!(
            "- Corpus: seed {}, {} authors, {} events loaded ({} bytes), {} published, sha256 `{}`",
            corpus.seed,
            corpus.authors,
            corpus.loaded,
            corpus.loaded_bytes,
            corpus.published,
            corpus.fingerprint
        ),
    );
    line(
        out,
        format_args!("- Order of passes: {}\n", passes.join("; then ")),
    );
    out.push_str(
        "Figures are medians over passes, ± half the distance between the least and the greatest. CPU \
         is the relay's, user and system, with all its processes, until it was at rest again. Times count \
         from when an operation was due.\n\n",
    );
}

fn relays(report: &Report, out: &mut String) {
    out.push_str("| relay | before OK | valid | command |\n| --- | --- | --- | --- |\n");
    for relay in &report.relays {
        let valid = if relay.is_valid() {
            "yes"
        } else {
            "**INVALID**"
        };
        let command = escape(&relay.command);
        line(
            out,
            format_args!(
                "| {} | {} | {valid} | `{command}` |",
                relay.name, relay.durability
            ),
        );
    }
    out.push('\n');
}

fn cells(report: &Report, out: &mut String) {
    out.push_str(
        "| cell | relay | rate/s | × | p50 ms | p99 ms | CPU µs each | × | client µs | sent B | got B | \
         RSS MiB | disk MiB |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for name in report.cell_names() {
        for relay in &report.relays {
            if let Some(cell) = relay.cell(name) {
                line(out, format_args!("{}", row(report, relay, cell)));
            }
        }
    }
    out.push('\n');
    if report.findings.iter().any(|finding| finding.between_relays) {
        out.push_str(
            "≠ The counts differ from another relay's, or from its own at another time (see the remarks): \
             the work was not the same, and there are no ratios.\n\n",
        );
    }
}

fn row(report: &Report, relay: &RelayReport, cell: &CellReport) -> String {
    let differs = report.differs(&relay.name, &cell.name);
    let different = if differs { " ≠" } else { "" };
    let title = format!("| {}{different} | {} |", cell.name, relay.name);
    if cell.passes.is_empty() {
        return format!("{title} failed |{}", " |".repeat(10));
    }
    let comparable = |relay: &RelayReport| {
        let valid = relay.cell(&cell.name).is_some_and(CellReport::is_valid);
        valid && !report.differs(&relay.name, &cell.name)
    };
    let first = report.relays.first().filter(|first| comparable(first));
    let first = first.and_then(|first| first.cell(&cell.name));
    let of = |figure: fn(&Figures) -> f64| number(median(cell, figure));
    let times = |figure: fn(&Figures) -> f64| {
        let other = first.filter(|_| comparable(relay));
        let times = other.and_then(|first| ratio(median(cell, figure), median(first, figure)));
        times.map_or_else(|| "–".to_owned(), |times| format!("{times:.2}"))
    };
    let spread = |figure: fn(&Figures) -> f64| {
        let middle = summary(cell, figure);
        let percent = middle.spread * 100.0;
        format!("{} ± {percent:.0} %", number(middle.median))
    };
    let mark = if cell.is_valid() { "" } else { "INVALID " };
    let columns = [
        format!("{mark}{}", spread(rate)),
        times(rate),
        of(|figures| figures.latency.p50_ms),
        of(|figures| figures.latency.p99_ms),
        spread(cpu_each),
        times(cpu_each),
        of(|figures| each(figures, figures.client_cpu_secs * 1e6)),
        of(|figures| each(figures, figures.bytes_sent as f64)),
        of(|figures| each(figures, figures.bytes_received as f64)),
        of(|figures| figures.memory.resident as f64 / f64::from(1 << 20)),
        of(|figures| figures.disk as f64 / f64::from(1 << 20)),
    ];
    format!("{title} {} |", columns.join(" | "))
}

/// What single cells have measured beside.
fn extras(report: &Report, out: &mut String) {
    out.push_str("| cell | relay | figure | value |\n| --- | --- | --- | --- |\n");
    for name in report.cell_names() {
        for relay in &report.relays {
            let Some(cell) = relay.cell(name) else {
                continue;
            };
            let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
            for (name, value) in cell.passes.iter().flat_map(|figures| &figures.extra) {
                values.entry(name).or_default().push(*value);
            }
            for (figure, values) in values {
                let value = number(middle(values).unwrap_or_default().median);
                line(
                    out,
                    format_args!("| {name} | {} | {figure} | {value} |", relay.name),
                );
            }
        }
    }
    out.push('\n');
}

/// Everything that takes away from the figures.
fn remarks(report: &Report, out: &mut String) {
    out.push_str("## Remarks\n\n");
    let from = out.len();
    for finding in &report.findings {
        line(
            out,
            format_args!("- {}, {}: {}", finding.relay, finding.cell, finding.what),
        );
    }
    for relay in &report.relays {
        for cell in &relay.cells {
            for remark in remarks_on(cell) {
                line(
                    out,
                    format_args!("- {}, {}: {remark}", relay.name, cell.name),
                );
            }
        }
    }
    if out.len() == from {
        out.push_str("None: nothing was refused, and all counts are right.\n");
    }
}

fn remarks_on(cell: &CellReport) -> Vec<String> {
    let mut remarks: Vec<String> = cell
        .failures
        .iter()
        .map(|why| format!("failed: {why}"))
        .collect();
    let mut told = |text: String| {
        if !remarks.contains(&text) {
            remarks.push(text);
        }
    };
    for figures in &cell.passes {
        for fault in &figures.faults {
            told(format!("INVALID, {fault}"));
        }
        figures.remarks.iter().cloned().for_each(&mut told);
    }
    let sum = |count: fn(&Figures) -> u64| cell.passes.iter().map(count).sum::<u64>();
    let counts = [
        (
            sum(|figures| figures.refusals.limited),
            "INVALID, # answers of a limiter",
        ),
        (
            sum(|figures| figures.refusals.refused),
            "INVALID, # events refused",
        ),
        (
            sum(|figures| figures.refusals.superseded),
            "# events refused as superseded",
        ),
    ];
    let mut examples: Vec<&str> = Vec::new();
    for example in cell
        .passes
        .iter()
        .flat_map(|figures| &figures.refusals.examples)
    {
        if !examples.contains(&example.as_str()) {
            examples.push(example);
        }
    }
    let told: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| what.replace('#', &count.to_string()))
        .collect();
    if !told.is_empty() {
        remarks.push(format!("{}: {}", told.join("; "), examples.join("; ")));
    }
    let busy = cell.passes.iter().any(|figures| {
        figures.wall_secs > 0.0 && figures.client_cpu_secs / figures.wall_secs > CLIENT_BOUND
    });
    if busy {
        remarks.push("the client used most of a core: the rate may be its own".to_owned());
    }
    remarks
}

fn rate(figures: &Figures) -> f64 {
    if figures.wall_secs > 0.0 {
        figures.operations as f64 / figures.wall_secs
    } else {
        0.0
    }
}

fn cpu_each(figures: &Figures) -> f64 {
    each(figures, figures.server_cpu_secs * 1e6)
}

fn each(figures: &Figures, total: f64) -> f64 {
    total / figures.operations.max(1) as f64
}

fn summary(cell: &CellReport, figure: fn(&Figures) -> f64) -> Middle {
    middle(cell.passes.iter().map(figure)).unwrap_or_default()
}

fn median(cell: &CellReport, figure: fn(&Figures) -> f64) -> f64 {
    summary(cell, figure).median
}

/// Three significant digits or so.
fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '`'], " ")
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes everything");
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::{super::samples::*, *};

    fn rows(report: &Report) -> Vec<String> {
        let text = markdown(report);
        let rows = text
            .lines()
            .filter(|line| line.starts_with("| publish 1×1"));
        rows.map(str::to_owned).collect()
    }

    #[test]
    fn a_row_has_medians_spread_and_ratios_to_the_first() {
        let fast = relay("a", vec![cell(vec![figures(1.0, 0.1), figures(3.0, 0.3)])]);
        let slow = relay("b", vec![cell(vec![figures(4.0, 0.8)])]);
        let rows = rows(&report(vec![fast, slow]));
        // Rates of 1,000 and 333 have their middle at 667, half of it apart.
        let first =
            "| publish 1×1 | a | 667 ± 50 % | 1.00 | 1.25 | 20.0 | 200 ± 50 % | 1.00 | 10.0 |";
        assert!(rows[0].starts_with(first), "{}", rows[0]);
        let second =
            "| publish 1×1 | b | 250 ± 0 % | 0.38 | 1.25 | 20.0 | 800 ± 0 % | 4.00 | 10.0 |";
        assert!(rows[1].starts_with(second), "{}", rows[1]);
    }

    #[test]
    fn an_invalid_cell_is_marked_and_has_no_ratio() {
        let good = relay("a", vec![cell(vec![figures(1.0, 0.1)])]);
        let bad = relay("b", vec![cell(vec![limited(figures(0.1, 0.1))])]);
        let report = report(vec![good, bad]);
        let rows = rows(&report);
        assert!(
            rows[1].starts_with("| publish 1×1 | b | INVALID 10000 ± 0 % | – |"),
            "{}",
            rows[1]
        );
        let text = markdown(&report);
        assert!(
            text.contains("| b | fsync | **INVALID** | `run b` |"),
            "{text}"
        );
        assert!(
            text.contains("INVALID, 2 answers of a limiter: rate-limited"),
            "{text}"
        );
    }

    #[test]
    fn nothing_is_compared_with_an_invalid_first_relay() {
        let bad = relay("a", vec![cell(vec![limited(figures(0.1, 0.1))])]);
        let good = relay("b", vec![cell(vec![figures(1.0, 0.1)])]);
        let rows = rows(&report(vec![bad, good]));
        assert!(rows[1].contains("| b | 1000 ± 0 % | – |"), "{}", rows[1]);
    }

    #[test]
    fn a_cell_with_counts_of_its_own_is_marked_and_has_no_ratio() {
        let mut other = figures(1.0, 0.1);
        other.counts = vec![3, 4];
        let with = |passes| vec![cell(passes)];
        let same = relay("a", with(vec![figures(1.0, 0.1)]));
        let report = report(vec![same, relay("b", with(vec![other]))]);
        let rows = rows(&report);
        assert!(
            rows[0].starts_with("| publish 1×1 | a | 1000 ± 0 % | 1.00 |"),
            "{}",
            rows[0]
        );
        assert!(
            rows[1].starts_with("| publish 1×1 ≠ | b | 1000 ± 0 % | – |"),
            "{}",
            rows[1]
        );
        assert!(markdown(&report).contains("\n≠ The counts differ"));
    }

    #[test]
    fn what_all_relays_answer_alike_is_not_marked() {
        let relays = ["a", "b"].map(|name| {
            let mut figures = figures(1.0, 0.1);
            figures.expected = vec![3, 4];
            relay(name, vec![cell(vec![figures])])
        });
        let report = report(relays.to_vec());
        assert!(rows(&report)[1].contains("| b | 1000 ± 0 % | 1.00 |"));
        let text = markdown(&report);
        assert!(!text.contains('≠') && text.contains("differ from those by NIP-01"));
    }

    #[test]
    fn faults_and_remarks_are_told_once() {
        let mut one = figures(1.0, 0.1);
        one.faults.push("nothing came".to_owned());
        one.remarks.push("not at rest".to_owned());
        one.refusals.refused = 2;
        let text = markdown(&report(vec![relay(
            "a",
            vec![cell(vec![one.clone(), one])],
        )]));
        assert_eq!(
            text.matches("a, publish 1×1: INVALID, nothing came")
                .count(),
            1
        );
        assert_eq!(text.matches("a, publish 1×1: not at rest").count(), 1);
        assert!(text.contains("INVALID, 4 events refused"), "{text}");
    }

    #[test]
    fn a_failed_cell_is_a_row_of_the_same_width() {
        let mut failed = cell(Vec::new());
        failed.failures.push("the relay has ended".to_owned());
        let good = relay("a", vec![cell(vec![figures(1.0, 0.1)])]);
        let report = report(vec![good, relay("b", vec![failed])]);
        let rows = rows(&report);
        let width = |row: &str| row.matches('|').count();
        assert_eq!(width(&rows[0]), width(&rows[1]));
        assert!(markdown(&report).contains("b, publish 1×1: failed: the relay has ended"));
    }

    #[test]
    fn a_busy_client_and_wrong_counts_are_remarked() {
        let mut busy = figures(1.0, 0.1);
        busy.client_cpu_secs = 0.9;
        busy.expected = vec![3, 9];
        let text = markdown(&report(vec![relay("a", vec![cell(vec![busy])])]));
        assert!(text.contains("the client used most of a core"), "{text}");
        assert!(
            text.contains("a, publish 1×1: 1 of 2 counts differ"),
            "{text}"
        );
        let clean = markdown(&report(vec![relay(
            "a",
            vec![cell(vec![figures(1.0, 0.1)])],
        )]));
        assert!(clean.contains("None: nothing was refused"), "{clean}");
    }

    #[test]
    fn figures_of_single_cells_have_a_table_of_their_own() {
        let mut one = figures(1.0, 0.1);
        one.extra.insert("µs a row".to_owned(), 2.345);
        let text = markdown(&report(vec![relay("a", vec![cell(vec![one])])]));
        assert!(
            text.contains("| publish 1×1 | a | µs a row | 2.35 |"),
            "{text}"
        );
    }
}
