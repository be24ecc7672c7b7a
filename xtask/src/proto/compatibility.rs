//! What may not change in a wire form that is in use: a process of another version reads it.

use super::listing::{Block, Listing};

/// What `now` breaks of what `before` gave out. Whatever is only in `now` is fine.
pub(super) fn check(before: &Listing, now: &Listing) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, block) in &before.blocks {
        match now.blocks.get(name) {
            Some(now) => check_block(name, block, now, &mut findings),
            None => findings.push(format!(
                "{name} is gone: leave it, with its fields reserved"
            )),
        }
    }
    for (name, signature) in &before.calls {
        match now.calls.get(name) {
            Some(now) if now == signature => {}
            Some(now) => findings.push(format!("rpc {name} was {signature}, is {now}")),
            None => findings.push(format!("rpc {name} is gone")),
        }
    }
    findings
}

fn check_block(name: &str, before: &Block, now: &Block, findings: &mut Vec<String>) {
    for (number, member) in &before.members {
        match now.members.get(number) {
            Some(now) if now == member => {}
            Some(now) => findings.push(format!("{name}: {number} was `{member}`, is `{now}`")),
            None => {
                let word = member.split(' ').next().unwrap_or_default();
                let reserved =
                    now.reserved_numbers.contains(number) && now.reserved_names.contains(word);
                if !reserved {
                    findings.push(format!(
                        "{name}: {number} `{member}` is gone: reserve {number} and \"{word}\""
                    ));
                }
            }
        }
    }
    for number in before.reserved_numbers.difference(&now.reserved_numbers) {
        findings.push(format!("{name}: {number} is no longer reserved"));
    }
    for word in before.reserved_names.difference(&now.reserved_names) {
        findings.push(format!("{name}: \"{word}\" is no longer reserved"));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const BEFORE: &str = r#"
        message A {
            reserved 7; reserved "old";
            uint64 first = 1;
            oneof choice { bytes second = 2; B other = 3; }
            repeated string names = 4;
        }
        message B { optional uint32 n = 1; }
        enum E { E_NONE = 0; E_ONE = 1; }
        service S { rpc Ask(A) returns (stream B); }
    "#;

    fn listing(body: &str) -> Listing {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("t.proto");
        fs::write(&file, format!("syntax = \"proto3\"; package t; {body}")).unwrap();
        let read = protox::compile([file], [directory.path()]);
        Listing::of(&read.unwrap_or_else(|error| panic!("{error}")))
    }

    /// Changes `BEFORE` in one place and compares.
    #[track_caller]
    fn check_change(from: &str, to: &str, expected: &[&str]) {
        assert!(BEFORE.contains(from), "{from}");
        let now = listing(&BEFORE.replacen(from, to, 1));
        assert_eq!(check(&listing(BEFORE), &now), expected);
    }

    #[test]
    fn a_listing_reads_back_as_it_was_written() {
        let listing = listing(BEFORE);
        let text = listing.to_string();
        assert!(text.contains("\nmessage t.A\n  1 first uint64\n  2 second bytes in choice\n"));
        assert!(text.contains("\n  4 names repeated string\n  reserved 7\n  reserved name old\n"));
        assert!(text.contains("\n  1 n optional uint32\n"));
        assert!(text.contains("\nrpc t.S.Ask (t.A) returns (stream t.B)\n"));
        assert_eq!(text.parse::<Listing>().unwrap(), listing);
    }

    #[test]
    fn what_is_not_a_listing_is_refused() {
        for text in ["  1 a uint64", "message A\n  x a", "nonsense", "rpc a"] {
            assert!(text.parse::<Listing>().is_err(), "{text}");
        }
    }

    #[test]
    fn additions_are_fine() {
        check_change(
            "repeated string names = 4;",
            "repeated string names = 4; bool more = 5;",
            &[],
        );
        check_change("E_ONE = 1;", "E_ONE = 1; E_TWO = 2;", &[]);
        check_change("message B", "message C {} message B", &[]);
        check_change("(stream B);", "(stream B); rpc Tell(B) returns (A);", &[]);
    }

    #[test]
    fn a_field_goes_only_by_being_reserved() {
        check_change(
            "uint64 first = 1;",
            "",
            &["message t.A: 1 `first uint64` is gone: reserve 1 and \"first\""],
        );
        check_change(
            "uint64 first = 1;",
            "reserved 1;",
            &["message t.A: 1 `first uint64` is gone: reserve 1 and \"first\""],
        );
        check_change("uint64 first = 1;", "reserved 1; reserved \"first\";", &[]);
        check_change(
            "E_ONE = 1;",
            "",
            &["enum t.E: 1 `E_ONE` is gone: reserve 1 and \"E_ONE\""],
        );
        check_change("E_ONE = 1;", "reserved 1; reserved \"E_ONE\";", &[]);
    }

    #[test]
    fn a_field_keeps_number_name_type_and_label() {
        let changes = [
            (
                "uint64 first = 1",
                "uint32 first = 1",
                "1 was `first uint64`, is `first uint32`",
            ),
            (
                "uint64 first = 1",
                "uint64 one = 1",
                "1 was `first uint64`, is `one uint64`",
            ),
            (
                "uint64 first = 1",
                "optional uint64 first = 1",
                "1 was `first uint64`, is `first optional uint64`",
            ),
            (
                "repeated string names = 4",
                "string names = 4",
                "4 was `names repeated string`, is `names string`",
            ),
            (
                "oneof choice { bytes second = 2; B other = 3; }",
                "bytes second = 2; oneof choice { B other = 3; }",
                "2 was `second bytes in choice`, is `second bytes`",
            ),
            (
                "uint64 first = 1",
                "uint64 first = 5",
                "1 `first uint64` is gone: reserve 1 and \"first\"",
            ),
        ];
        for (from, to, finding) in changes {
            check_change(from, to, &[&format!("message t.A: {finding}")]);
        }
    }

    #[test]
    fn what_is_reserved_stays_so() {
        check_change("reserved 7;", "", &["message t.A: 7 is no longer reserved"]);
        check_change(
            "reserved \"old\";",
            "",
            &["message t.A: \"old\" is no longer reserved"],
        );
    }

    #[test]
    fn messages_and_calls_stay() {
        check_change(
            "enum E { E_NONE = 0; E_ONE = 1; }",
            "",
            &["enum t.E is gone: leave it, with its fields reserved"],
        );
        check_change(
            "service S { rpc Ask(A) returns (stream B); }",
            "",
            &["rpc t.S.Ask is gone"],
        );
        check_change(
            "(stream B)",
            "(B)",
            &["rpc t.S.Ask was (t.A) returns (stream t.B), is (t.A) returns (t.B)"],
        );
    }
}
