//! Times as an operator writes them on a command line.

use heliograph_protocol::Timestamp;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The last year that is read; later ones are surely something else.
const YEAR_MAX: u64 = 9_999;

/// Reads a time in the future: `30d`, `12h` or `45m` from now, a day as `2030-01-31` (its start in
/// UTC), or seconds since 1970.
///
/// # Errors
///
/// A text for the operator, also for a time that has passed.
pub fn parse_until(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    let read = from_now(text, now).or_else(|| day(text)).or_else(|| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|_| digits)
            .map(Timestamp::from_secs)
    });
    match read {
        Some(until) if until > now => Ok(until),
        Some(_) => Err(format!("{text} has passed")),
        None => Err("not a time: 30d, 12h, 45m, 2030-01-31 or seconds are expected".to_owned()),
    }
}

fn from_now(text: &str, now: Timestamp) -> Option<Timestamp> {
    let units = [('d', DAY), ('h', HOUR), ('m', MINUTE)];
    let (count, secs) = units
        .iter()
        .find_map(|(sign, secs)| Some((text.strip_suffix(*sign)?, secs)))?;
    let count: u64 = count.parse().ok()?;
    Some(now.plus(count.checked_mul(*secs)?))
}

/// `2030-01-31`, in the Gregorian calendar.
fn day(text: &str) -> Option<Timestamp> {
    let mut parts = text.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let known = (1970..=YEAR_MAX).contains(&year) && (1..=12).contains(&month);
    if parts.next().is_some() || !known || day < 1 || day > days_in(year, month) {
        return None;
    }
    let years: u64 = (1970..year)
        .map(|year| if is_leap(year) { 366 } else { 365 })
        .sum();
    let months: u64 = (1..month).map(|month| days_in(year, month)).sum();
    Some(Timestamp::from_secs((years + months + day - 1) * DAY))
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_767_225_600); // 2026-01-01

    #[track_caller]
    fn check(text: &str, secs: Option<u64>) {
        let read = parse_until(text, NOW).ok().map(Timestamp::as_secs);
        assert_eq!(read, secs, "{text}");
    }

    #[test]
    fn times_are_from_now_or_days_or_seconds() {
        check("30d", Some(1_767_225_600 + 30 * 86_400));
        check("12h", Some(1_767_225_600 + 43_200));
        check("45m", Some(1_767_225_600 + 2_700));
        check("2026-01-02", Some(1_767_312_000));
        check("2028-03-01", Some(1_835_481_600));
        check(" 1767225601 ", Some(1_767_225_601));
    }

    #[test]
    fn what_has_passed_or_is_no_time_is_refused() {
        for text in [
            "",
            "d",
            "0d",
            "-1d",
            "99999999999999999999d",
            "2026-01-01",
            "2027-02-29",
            "2027-13-01",
            "2027-1-1-1",
            "99999-01-01",
            "tomorrow",
            "1767225600",
            "+1867225600",
        ] {
            check(text, None);
        }
        check("18446744073709551615d", None);
    }
}
