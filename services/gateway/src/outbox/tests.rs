//! Bounds, and what the last frame is.

use super::*;

#[test]
fn past_the_bound_nothing_is_queued_and_the_client_counts_as_slow() {
    let outbox = Outbox::new(50, None, &Budget::new(1 << 20));
    outbox.text(vec![b'a'; 100]);
    assert!(!outbox.is_overflowed());
    outbox.text(vec![b'b'; 100]);
    assert!(outbox.is_overflowed());
    let mut out = Vec::new();
    assert_eq!(outbox.take(&mut out, 1_000, || 0).count, 1);
    assert_eq!(out.len(), 102);
}

#[test]
fn nothing_follows_a_close_frame() {
    let outbox = Outbox::new(1_000, None, &Budget::new(1 << 20));
    outbox.text(b"one".to_vec());
    outbox.close(1001, "bye");
    outbox.text(b"two".to_vec());
    let mut out = Vec::new();
    assert_eq!(outbox.take(&mut out, 1_000, || 0).count, 2);
    assert!(out.ends_with(b"bye"));
}

#[test]
fn cutting_drops_what_waits() {
    let outbox = Outbox::new(25, None, &Budget::new(1 << 20));
    outbox.text(vec![0; 30]);
    outbox.text(vec![0; 3_000]);
    outbox.cut(1008, "too slow");
    let mut out = Vec::new();
    assert_eq!(outbox.take(&mut out, 1_000, || 0).count, 1);
    assert_eq!(out[0], 0x88);
}
