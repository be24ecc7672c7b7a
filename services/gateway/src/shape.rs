//! What a question asks by: for the list of the dearest ones.
//!
//! Made for each REQ and COUNT, and read by somebody for hardly any: so it is a few codes in place, without
//! memory of its own, and becomes text only for who looks.

use std::fmt;

use heliograph_protocol::Filter;

/// Codes of a shape at most; the rest is left out.
const CODES_MAX: usize = 62;

/// What a question asks by, without what it asks for: the members of each filter with the number of
/// their values, `authors:300+,kinds:2,limit`. Numbers above nine are cut to their first digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    /// Unused ones are 0.
    codes: [u8; CODES_MAX],
    len: u8,
    /// Whether there was more.
    cut: bool,
}

/// What isn't a member. A member is two codes: a name, and a number or [`NONE`].
const COUNT: u8 = 0x80;
const NEXT_FILTER: u8 = 0x81;
const EMPTY: u8 = 0x82;

/// Names of members; those of tags are their letters.
const NAMES: [&str; 6] = ["authors", "ids", "kinds", "limit", "since", "until"];

/// In place of a number, for a member without values.
const NONE: u8 = u8::MAX;

impl Shape {
    pub(crate) fn of_req(filters: &[Filter]) -> Self {
        let mut shape = Self {
            codes: [0; CODES_MAX],
            len: 0,
            cut: false,
        };
        shape.add_filters(filters);
        shape
    }

    pub(crate) fn of_count(filters: &[Filter]) -> Self {
        let mut shape = Self::of_req(&[]);
        shape.push(&[COUNT]);
        shape.add_filters(filters);
        shape
    }

    fn add_filters(&mut self, filters: &[Filter]) {
        for (number, filter) in filters.iter().enumerate() {
            if number > 0 {
                self.push(&[NEXT_FILTER]);
            }
            if self.cut {
                return;
            }
            self.add_filter(filter);
        }
    }

    fn add_filter(&mut self, filter: &Filter) {
        let start = self.len;
        let Filter {
            ids,
            authors,
            kinds,
            tags,
            since,
            until,
            limit,
        } = filter;
        for condition in tags {
            self.push(&[condition.letter, rounded(condition.values.len())]);
        }
        let number = |values: Option<usize>| values.map(rounded);
        let given = |is_given: bool| is_given.then_some(NONE);
        let members = [
            number(authors.as_ref().map(Vec::len)),
            number(ids.as_ref().map(Vec::len)),
            number(kinds.as_ref().map(Vec::len)),
            given(limit.is_some()),
            given(since.is_some()),
            given(until.is_some()),
        ];
        for (name, member) in (0..).zip(members) {
            if let Some(number) = member {
                self.push(&[name, number]);
            }
        }
        if self.len == start {
            self.push(&[EMPTY]);
        }
    }

    fn push(&mut self, codes: &[u8]) {
        let start = usize::from(self.len);
        match self.codes.get_mut(start..start + codes.len()) {
            Some(room) if !self.cut => {
                room.copy_from_slice(codes);
                self.len += u8::try_from(codes.len()).unwrap_or_default();
            }
            _ => self.cut = true,
        }
    }
}

/// A number as its first digit, with the number of further digits above it.
fn rounded(number: usize) -> u8 {
    let (mut first, mut zeros) = (number, 0);
    while first > 9 {
        first /= 10;
        zeros += 1;
    }
    zeros << 4 | u8::try_from(first).unwrap_or_default()
}

/// `authors:300+,kinds:2,limit | #p:1`, for a COUNT with `COUNT ` before it.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut codes = self.codes[..usize::from(self.len)].iter().copied();
        let mut between = "";
        while let Some(code) = codes.next() {
            match code {
                COUNT => f.write_str("COUNT ")?,
                NEXT_FILTER => {
                    f.write_str(" | ")?;
                    between = "";
                }
                EMPTY => f.write_str("{}")?,
                name => {
                    f.write_str(between)?;
                    between = ",";
                    write_name(name, f)?;
                    write_number(codes.next().unwrap_or(NONE), f)?;
                }
            }
        }
        f.write_str(if self.cut { "…" } else { "" })
    }
}

fn write_name(name: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match NAMES.get(usize::from(name)) {
        Some(name) => f.write_str(name),
        None => write!(f, "#{}", char::from(name)),
    }
}

fn write_number(number: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if number == NONE {
        return Ok(());
    }
    let (digit, zeros) = (number & 0xf, usize::from(number >> 4));
    write!(f, ":{digit}{:0<zeros$}", "")?;
    f.write_str(if zeros > 0 { "+" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(filters: &[&str], shape: &str) {
        let filters: Vec<Filter> = filters
            .iter()
            .map(|filter| Filter::parse(filter).unwrap())
            .collect();
        assert_eq!(Shape::of_req(&filters).to_string(), shape);
    }

    #[test]
    fn a_shape_names_members_and_how_many_values_they_have() {
        check(&["{}"], "{}");
        check(&[r#"{"limit":5,"kinds":[1,7]}"#], "kinds:2,limit");
        check(
            &[r##"{"#t":["x"],"#d":["a","b"],"since":1,"until":2}"##],
            "#d:2,#t:1,since,until",
        );
        check(&[r#"{"kinds":[1]}"#, r#"{"ids":[]}"#], "kinds:1 | ids:0");
        let kinds: Vec<String> = (0..312).map(|kind| kind.to_string()).collect();
        check(
            &[&format!(r#"{{"kinds":[{}]}}"#, kinds.join(","))],
            "kinds:300+",
        );
    }

    #[test]
    fn a_shape_is_cut() {
        let filters = vec![Filter::parse(r#"{"kinds":[1],"limit":1}"#).unwrap(); 1_000];
        let shape = Shape::of_count(&filters).to_string();
        assert!(
            shape.starts_with("COUNT kinds:1,limit | kinds:1,limit | "),
            "{shape}"
        );
        assert!(shape.ends_with('…') && shape.len() < 300, "{shape}");
    }

    #[test]
    fn shapes_are_equal_that_read_alike_and_no_others() {
        let shape = |filter: &str| Shape::of_req(&[Filter::parse(filter).unwrap()]);
        assert_eq!(
            shape(r#"{"kinds":[1,7],"limit":5}"#),
            shape(r#"{"limit":500,"kinds":[30023,0]}"#)
        );
        let different = [
            shape(r#"{"kinds":[1]}"#),
            shape(r#"{"kinds":[1,2]}"#),
            shape(r#"{"ids":[]}"#),
            shape(r##"{"#k":["1"]}"##),
            shape("{}"),
            Shape::of_req(&[]),
            Shape::of_count(&[]),
            Shape::of_req(&[Filter::default(), Filter::default()]),
        ];
        for (at, one) in different.iter().enumerate() {
            let others = &different[at + 1..];
            assert!(!others.contains(one), "{one}");
        }
    }

    #[test]
    fn numbers_keep_their_first_digit() {
        let text = |number| {
            let mut shape = Shape::of_req(&[]);
            shape.push(&[b'p', rounded(number)]);
            shape.to_string()
        };
        let numbers = [0, 9, 10, 99, 100, 65_536, 1_000_000];
        assert_eq!(
            numbers.map(text),
            [
                "#p:0",
                "#p:9",
                "#p:10+",
                "#p:90+",
                "#p:100+",
                "#p:60000+",
                "#p:1000000+"
            ]
        );
    }
}
