//! Is this REQ or COUNT small enough to be worked on (R01-59, R01-68)?

use heliograph_protocol::{Filter, Refusal};

use crate::FilterLimits;

/// Checks the number of filters, and in each the number of values, of tags, and of combinations of
/// them.
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
    filters
        .iter()
        .try_for_each(|filter| admit_filter(filter, limits))
}

fn admit_filter(filter: &Filter, limits: &FilterLimits) -> Result<(), Refusal> {
    let too_many = |max: u64, what: &str| {
        let text = format!("more than {max} {what} in a filter");
        Err(Refusal::blocked(text))
    };
    if filter.value_count() > limits.values_max {
        return too_many(limits.values_max as u64, "values");
    }
    if filter.tags.len() > limits.tags_max {
        return too_many(limits.tags_max as u64, "tags");
    }
    match limits.combinations_max {
        Some(max) if combinations(filter) > max => {
            too_many(max, "combinations of authors, kinds and tag values")
        }
        _ => Ok(()),
    }
}

/// How many combinations of its values a filter leaves open, its ids not counted: events are looked
/// up by them whatever else it lists.
fn combinations(filter: &Filter) -> u64 {
    if filter.ids.is_some() {
        return 0;
    }
    let lists = [
        filter.authors.as_ref().map(Vec::len),
        filter.kinds.as_ref().map(Vec::len),
    ];
    let tags = filter.tags.iter().map(|condition| condition.values.len());
    let lengths = lists.into_iter().flatten().chain(tags);
    lengths.fold(1, |product, length| product.saturating_mul(length as u64))
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

    #[track_caller]
    fn check_combinations(text: &str, expected: u64) {
        assert_eq!(combinations(&filter(text)), expected);
        let admitted = |max| {
            let limits = FilterLimits {
                combinations_max: Some(max),
                ..FilterLimits::default()
            };
            admit_filters(&[filter(text)], &limits).is_ok()
        };
        assert!(admitted(expected), "{text} at the limit");
        assert!(expected == 0 || !admitted(expected - 1), "{text} past it");
    }

    #[test]
    fn lists_multiply() {
        check_combinations("{}", 1);
        check_combinations(r##"{"kinds":[1,2,2],"#t":["a","b","c"]}"##, 6);
        check_combinations(r##"{"#t":["a","b"],"#r":["c","d"],"#d":["e"]}"##, 4);
        check_combinations(r##"{"kinds":[],"#t":["a","b"]}"##, 0);
        let ids = format!(r#"{{"ids":["{}"],"kinds":[1,2]}}"#, "0".repeat(64));
        check_combinations(&ids, 0);
    }

    #[test]
    fn names_of_tags_are_counted() {
        let limits = FilterLimits::default();
        let three = filter(r##"{"#t":["a"],"#r":["b"],"#d":["c"]}"##);
        assert!(admit_filters(&[three], &limits).is_ok());
        let four = filter(r##"{"#t":["a"],"#r":["b"],"#d":["c"],"#T":["d"]}"##);
        let refusal = admit_filters(&[four], &limits).unwrap_err();
        assert_eq!(refusal.to_string(), "blocked: more than 3 tags in a filter");
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
