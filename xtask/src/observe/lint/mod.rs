//! What must hold between boards, rules, tests, runbooks and the program's metrics. Each check is a
//! function from what was read to its findings.

mod alerts;
mod boards;
mod metrics;
mod runbooks;
mod scrape;
mod tests_of_rules;

pub(super) use runbooks::{blocks, inline, queries};

use super::input::Input;

/// Something to put right: `path: what`.
pub(super) type Finding = String;

/// Runs every check.
pub(super) fn check(input: &Input) -> Vec<Finding> {
    let mut findings = boards::check(input);
    findings.extend(alerts::check(input));
    findings.extend(tests_of_rules::check(input));
    findings.extend(runbooks::check(input));
    findings.extend(metrics::check(input));
    findings.extend(scrape::check(input));
    findings
}

/// Whether a text says something: more than a few letters, not a name of its own.
fn says_something(text: &str) -> bool {
    text.trim().len() >= 10 && text.trim().contains(' ')
}
