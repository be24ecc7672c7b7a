//! The one time that all archives bear: `SOURCE_DATE_EPOCH`, or that of the last commit.

use anyhow::{Context, Result};

use crate::shell;

/// The variable that says it (reproducible-builds.org).
pub(super) const VARIABLE: &str = "SOURCE_DATE_EPOCH";

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Seconds since 1970.
///
/// # Errors
///
/// The variable isn't a number, or there is neither it nor a commit.
pub(super) fn epoch() -> Result<u64> {
    let text = match shell::variable(VARIABLE) {
        Some(text) => text,
        None => shell::read(shell::command("git").args(["log", "-1", "--format=%ct"]))
            .with_context(|| format!("no commit to take the time from: set {VARIABLE}"))?,
    };
    let text = text.trim();
    text.parse()
        .with_context(|| format!("{VARIABLE}: `{text}` is not a number of seconds"))
}

/// `2026-11-23T11:20:00Z` (RFC 3339).
pub(super) fn rfc3339(epoch: u64) -> String {
    let (year, month, day) = date(epoch / 86_400);
    let (hour, minute, second) = time(epoch);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `Mon, 23 Nov 2026 11:20:00 +0000` (RFC 5322).
pub(super) fn rfc5322(epoch: u64) -> String {
    let days = epoch / 86_400;
    let (year, month, day) = date(days);
    let (hour, minute, second) = time(epoch);
    let weekday = DAYS[usize::try_from(days % 7).unwrap_or_default()];
    let month = MONTHS[usize::try_from(month - 1).unwrap_or_default()];
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} +0000")
}

fn time(epoch: u64) -> (u64, u64, u64) {
    let second = epoch % 86_400;
    (second / 3_600, second / 60 % 60, second % 60)
}

/// Year, month and day of a day since 1970, in years that begin in March, so that the leap day is the
/// last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(epoch: u64, wire: &str, mail: &str) {
        assert_eq!(
            (rfc3339(epoch).as_str(), rfc5322(epoch).as_str()),
            (wire, mail)
        );
    }

    #[test]
    fn times_are_written_as_the_formats_want() {
        check(0, "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 +0000");
        check(
            951_782_399,
            "2000-02-28T23:59:59Z",
            "Mon, 28 Feb 2000 23:59:59 +0000",
        );
        check(
            951_782_400,
            "2000-02-29T00:00:00Z",
            "Tue, 29 Feb 2000 00:00:00 +0000",
        );
        check(
            1_795_432_872,
            "2026-11-23T11:21:12Z",
            "Mon, 23 Nov 2026 11:21:12 +0000",
        );
    }
}
