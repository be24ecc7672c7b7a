//! What reading an event costs: parse and id of a note, of a contact list, the id alone, and reading
//! back the wire form; and what a filter costs. Counted in bytes of the text; no signature is involved.
//!
//! `cargo bench -p heliograph-protocol`

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use heliograph_protocol::{ClientMessage, Event, Filter};
use heliograph_testkit::keys::Key;
use sha2::{Digest, Sha256};

/// A note of 874 bytes: the median of what relays see.
fn note() -> Event {
    let root = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
    let friend = Key::nth(1).hex();
    let tags: &[&[&str]] = &[
        &["e", root, "wss://relay.example.com", "root"],
        &["p", &friend],
    ];
    let event = |content: &str| Key::nth(0).sign(1_700_000_000, 1, tags, content);
    let room = 874 - event("").json().len();
    let content: String = "a line of an ordinary note\\n"
        .chars()
        .cycle()
        .take(room)
        .collect();
    event(&content.replace('\\', " "))
}

fn contact_list() -> Event {
    let keys: Vec<String> = (0..1000).map(|n: u32| format!("{n:064x}")).collect();
    let tags: Vec<[&str; 2]> = keys.iter().map(|key| ["p", key.as_str()]).collect();
    let tags: Vec<&[&str]> = tags.iter().map(<[_; 2]>::as_slice).collect();
    Key::nth(0).sign(1_700_000_000, 3, &tags, "")
}

fn bench_events(criterion: &mut Criterion) {
    let escaped = note().as_str().replacen("a line", "\\u0061 line", 1);
    let mut group = criterion.benchmark_group("event");
    for (name, text) in [
        ("note", note().as_str().to_owned()),
        ("note with another escape", escaped),
        ("contact list", contact_list().as_str().to_owned()),
    ] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("parse and id: {name}"), |bencher| {
            bencher.iter(|| Event::parse(black_box(&text)).expect("a valid event"));
        });
    }
    for (name, event) in [("note", note()), ("contact list", contact_list())] {
        group.throughput(Throughput::Bytes(event.json().len() as u64));
        group.bench_function(format!("from wire: {name}"), |bencher| {
            bencher.iter(|| Event::from_wire(black_box(event.json()).clone()).expect("wire form"));
        });
        group.bench_function(format!("walk tags: {name}"), |bencher| {
            bencher.iter(|| black_box(&event).indexed_tags().count());
        });
    }
    group.finish();
}

fn bench_filters(criterion: &mut Criterion) {
    let authors: Vec<String> = (0..500).map(|n: u32| format!("\"{n:064x}\"")).collect();
    let req = format!(
        r#"["REQ","home",{{"kinds":[1,6],"authors":[{}]}}]"#,
        authors.join(",")
    );
    let filter = Filter::parse(&req[14..req.len() - 1]).expect("a filter");
    let event = note();
    let mut group = criterion.benchmark_group("filter");
    group.throughput(Throughput::Bytes(req.len() as u64));
    group.bench_function("parse REQ of 500 authors", |bencher| {
        bencher.iter(|| ClientMessage::parse(black_box(&req)).expect("a REQ"));
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("match against 500 authors", |bencher| {
        bencher.iter(|| black_box(&filter).matches(black_box(&event)));
    });
    // Answers and mentions of one author, some by one of 500, and what a first look decides.
    let friend = Key::nth(1).hex();
    for (name, text) in [
        ("one kind, no", r#"{"kinds":[7]}"#.to_owned()),
        (
            "#p, yes",
            format!(r##"{{"#p":["{friend}"],"kinds":[1,6,7]}}"##),
        ),
        (
            "#p among 500, no",
            format!(r##"{{"#p":[{}]}}"##, authors.join(",")),
        ),
        ("time alone, yes", r#"{"since":1600000000}"#.to_owned()),
    ] {
        let filter = Filter::parse(&text).expect("a filter");
        group.bench_function(format!("match {name}"), |bencher| {
            bencher.iter(|| black_box(&filter).matches(black_box(&event)));
        });
    }
    group.finish();
}

/// The id alone: SHA-256 over as many bytes as its canonical text has.
fn bench_id(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("id");
    for (name, event) in [("note", note()), ("contact list", contact_list())] {
        let text = event.as_str().as_bytes();
        // Without the signature, whose place the brackets of the canonical text don't fill.
        let text = &text[..text.len() - 128];
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| Sha256::digest(black_box(text)));
        });
    }
    group.finish();
}

criterion_group!(benches, bench_events, bench_filters, bench_id);
criterion_main!(benches);
