//! What a signature check costs: with the key parsed each time, and in numbers, as a batch would be.
//!
//! `cargo bench -p heliograph-verify`

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use heliograph_protocol::Event;
use heliograph_testkit::keys::Key;
use heliograph_verify::{KEYS_MAX, KeyCache, verify_many, verify_one};
use secp256k1::{XOnlyPublicKey, schnorr};

/// Events of a batch.
const MANY: usize = 64;

fn events() -> Vec<Event> {
    let keys: Vec<Key> = (0..8).map(Key::nth).collect();
    (0..MANY)
        .map(|nth| keys[nth % keys.len()].note(1_700_000_000 + nth as u64, "a note"))
        .collect()
}

fn bench(criterion: &mut Criterion) {
    let events = events();
    let mut turn = events.iter().cycle();
    let mut group = criterion.benchmark_group("signature");
    group.bench_function("one, its key parsed", |bencher| {
        bencher.iter(|| verify_one(turn.next().expect("they cycle")).expect("a good signature"));
    });
    let event = &events[0];
    let key = XOnlyPublicKey::from_byte_array(*event.pubkey().as_bytes()).expect("a key");
    let signature = schnorr::Signature::from_byte_array(*event.sig().as_bytes());
    group.bench_function("one, its key at hand", |bencher| {
        bencher.iter(|| {
            schnorr::verify(
                black_box(&signature),
                event.id().as_bytes(),
                black_box(&key),
            )
            .expect("a good signature");
        });
    });
    group.throughput(Throughput::Elements(MANY as u64));
    group.bench_function(format!("{MANY} at once"), |bencher| {
        let keys = KeyCache::new(KEYS_MAX);
        bencher.iter(|| verify_many(black_box(&events), &keys));
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
