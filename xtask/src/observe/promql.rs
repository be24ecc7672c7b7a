//! What a `PromQL` expression names: metrics, labels, lengths of time. No parser: promtool is the one
//! that says whether an expression is right.

/// What an expression names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// Metrics, with the labels that their selectors ask for.
    pub(super) selectors: Vec<(String, Vec<String>)>,
    /// Labels that results are grouped or joined by.
    pub(super) grouping: Vec<String>,
    /// Ranges and offsets, as they are written.
    pub(super) durations: Vec<String>,
}

const AGGREGATIONS: [&str; 12] = [
    "sum",
    "min",
    "max",
    "avg",
    "group",
    "stddev",
    "stdvar",
    "count",
    "count_values",
    "bottomk",
    "topk",
    "quantile",
];

const GROUPING: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];

const OPERATORS: [&str; 7] = ["and", "or", "unless", "bool", "atan2", "inf", "nan"];

/// Reads an expression.
pub(super) fn named(expression: &str) -> Named {
    let mut named = Named::default();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '#' => &rest[rest.find('\n').unwrap_or(rest.len())..],
            '"' | '\'' | '`' => after_text(rest, first),
            '{' => {
                let (labels, after) = labels(&rest[1..], '}');
                if let Some((_, asked)) = named.selectors.last_mut() {
                    *asked = labels;
                }
                after
            }
            '[' => {
                let (range, after) = rest[1..].split_once(']').unwrap_or((&rest[1..], ""));
                let parts = range.split(':').map(str::trim);
                let parts = parts.filter(|part| !part.is_empty());
                named.durations.extend(parts.map(str::to_owned));
                after
            }
            '0'..='9' => &rest[word_length(rest)..],
            'a'..='z' | 'A'..='Z' | '_' | ':' => word(rest, &mut named),
            _ => &rest[first.len_utf8()..],
        };
    }
    named
}

/// Takes a word and returns what is behind it.
fn word<'a>(text: &'a str, named: &mut Named) -> &'a str {
    let (word, after) = text.split_at(word_length(text));
    let next = after.trim_start();
    if GROUPING.contains(&word) {
        let Some(list) = next.strip_prefix('(') else {
            return after;
        };
        let (labels, after) = labels(list, ')');
        named.grouping.extend(labels);
        return after;
    }
    if word == "offset" {
        let length = word_length(next.trim_start_matches('-'));
        named.durations.push(next[..length].to_owned());
        return &next[length..];
    }
    let function = next.starts_with('(') || AGGREGATIONS.contains(&word);
    if !function && !OPERATORS.contains(&word.to_lowercase().as_str()) {
        named.selectors.push((word.to_owned(), Vec::new()));
    }
    after
}

fn word_length(text: &str) -> usize {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    text.find(|c| !part(c)).unwrap_or(text.len())
}

fn after_text(text: &str, quote: char) -> &str {
    let mut escaped = false;
    let end = text[1..].find(|c| {
        let end = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        end
    });
    end.map_or("", |end| &text[end + 2..])
}

/// The names up to `end`, without the values that they are compared with.
fn labels(text: &str, end: char) -> (Vec<String>, &str) {
    let mut labels = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == end {
            return (labels, &rest[1..]);
        }
        rest = match first {
            '"' | '\'' | '`' => after_text(rest, first),
            'a'..='z' | 'A'..='Z' | '_' => {
                let (label, after) = rest.split_at(word_length(rest));
                labels.push(label.to_owned());
                after
            }
            _ => &rest[first.len_utf8()..],
        };
    }
    (labels, "")
}

/// Whether a length of time is one number and one unit, so that a tool can scale it.
pub(super) fn is_plain_duration(text: &str) -> bool {
    let units = ["ms", "s", "m", "h", "d"];
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    digits > 0 && units.contains(&&text[digits..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expression: &str, selectors: &[(&str, &[&str])], grouping: &[&str]) {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let expected: Vec<(String, Vec<String>)> = selectors
            .iter()
            .map(|&(name, labels)| (name.to_owned(), owned(labels)))
            .collect();
        let found = named(expression);
        assert_eq!(found.selectors, expected, "{expression}");
        assert_eq!(found.grouping, owned(grouping), "{expression}");
    }

    #[test]
    fn metrics_are_told_from_functions_labels_and_texts() {
        check("up == 0", &[("up", &[])], &[]);
        check(
            r#"sum by (a, b) (rate(x_total{c="d}e", f=~"g"}[5m])) / on (a) group_left () y"#,
            &[("x_total", &["c", "f"]), ("y", &[])],
            &["a", "b", "a"],
        );
        check(
            r#"label_replace(topk(3, x), "to", "$1", "from", "(.*)") or vector(0) # z"#,
            &[("x", &[])],
            &[],
        );
        check("a:b:c > bool 14.4 * 1e9 unless NaN", &[("a:b:c", &[])], &[]);
        check(r#"count({"a\"b"})"#, &[], &[]);
    }

    #[test]
    fn an_aggregation_may_be_followed_by_its_grouping() {
        check("sum(x) by (a)", &[("x", &[])], &["a"]);
        check("count without (a) (x)", &[("x", &[])], &["a"]);
    }

    #[test]
    fn lengths_of_time_are_found() {
        let found = named("rate(x[5m]) + max_over_time(y[1h:30s]) + z offset 2h");
        assert_eq!(found.durations, ["5m", "1h", "30s", "2h"]);
    }

    #[test]
    fn a_plain_length_of_time_has_one_unit() {
        for (text, plain) in [
            ("5m", true),
            ("100ms", true),
            ("1h30m", false),
            ("$i", false),
            ("m", false),
        ] {
            assert_eq!(is_plain_duration(text), plain, "{text}");
        }
    }
}
