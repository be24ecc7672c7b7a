//! Is this REQ or COUNT small enough to be worked on (R01-59, R01-68)?

use heliograph_protocol::{Filter, Refusal};

use crate::FilterLimits;

/// Checks the number of filters and of the values in each.
///
/// # Errors
///
/// `blocked:`, to be sent in CLOSED.
pub fn admit_filters(filters: &[Filter], limits: &FilterLimits) -> Result<(), Refusal> {
    if filters.len() > limits.filters_max {
        return Err(Refusal::blocked(format!(
            "more than {} filters",
            limits.filters_max
        )));
    }
    if filters
        .iter()
        .any(|filter| filter.value_count() > limits.values_max)
    {
        return Err(Refusal::blocked(format!(
            "more than {} values in a filter",
            limits.values_max
        )));
    }
    Ok(())
}

/// Checks that one more subscription may be opened beside `open` others. A REQ that replaces a
/// subscription of the same id isn't one more.
///
/// # Errors
///
/// `blocked:`, to be sent in CLOSED.
pub fn admit_subscription(open: usize, limits: &FilterLimits) -> Result<(), Refusal> {
    if open < limits.subscriptions_max {
        return Ok(());
    }
    Err(Refusal::blocked(format!(
        "more than {} subscriptions",
        limits.subscriptions_max
    )))
}

#[cfg(test)]
mod tests {
    use heliograph_protocol::Prefix;

    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::parse(text).expect("a filter")
    }

    #[track_caller]
    fn check(filters: &[Filter], admitted: bool) {
        let limits = FilterLimits {
            filters_max: 2,
            values_max: 3,
            ..FilterLimits::default()
        };
        let answer = admit_filters(filters, &limits);
        assert_eq!(
            answer.map_err(|refusal| refusal.prefix),
            if admitted {
                Ok(())
            } else {
                Err(Prefix::Blocked)
            }
        );
    }

    #[test]
    fn too_many_filters_are_blocked() {
        check(&[Filter::default(), Filter::default()], true);
        check(
            &[Filter::default(), Filter::default(), Filter::default()],
            false,
        );
    }

    #[test]
    fn values_are_counted_over_all_members_of_one_filter() {
        check(&[filter(r##"{"kinds":[1,2],"#t":["a"]}"##)], true);
        check(&[filter(r##"{"kinds":[1,2],"#t":["a","b"]}"##)], false);
        check(
            &[
                filter(r#"{"kinds":[1,2]}"#),
                filter(r##"{"#t":["a","b"]}"##),
            ],
            true,
        );
    }

    #[test]
    fn the_last_allowed_subscription_is_taken_and_one_more_is_not() {
        let limits = FilterLimits {
            subscriptions_max: 2,
            ..FilterLimits::default()
        };
        assert!(admit_subscription(1, &limits).is_ok());
        assert_eq!(
            admit_subscription(2, &limits).unwrap_err().prefix,
            Prefix::Blocked
        );
    }

    #[test]
    fn a_limit_is_clamped_and_an_absent_one_is_the_default() {
        let limits = FilterLimits {
            limit_max: 500,
            limit_default: 100,
            ..FilterLimits::default()
        };
        for (text, limit) in [
            ("{}", 100),
            (r#"{"limit":0}"#, 0),
            (r#"{"limit":499}"#, 499),
            (r#"{"limit":501}"#, 500),
            (r#"{"limit":9007199254740991}"#, 500),
        ] {
            assert_eq!(limits.limit(&filter(text)), limit, "{text}");
        }
    }
}
