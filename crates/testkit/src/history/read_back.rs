//! Asks every gateway for everything that was ever sent.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use heliograph_protocol::EventId;
use serde_json::json;

use super::{End, History, Recorded, What};

/// Ids in one REQ: less than any limit on values or answers.
const IDS_MAX: usize = 200;

/// Between two tries of what failed.
const RETRY: Duration = Duration::from_millis(200);

/// Asks each gateway, over fresh connections, for every id that was published so far, and notes it
/// all in the history, where [`super::check`] judges it. What is answered with CLOSED `error:` or
/// by a broken connection is asked again, until `patience` is over for all gateways together.
///
/// `gateways` are numbered as the history does: the first is 0.
pub fn read_back(history: &History, gateways: &[SocketAddr], patience: Duration) {
    let published: BTreeSet<EventId> = history
        .entries()
        .iter()
        .filter_map(|entry| match &entry.what {
            What::Publish { event } => Some(*event.id()),
            _ => None,
        })
        .collect();
    let published: Vec<String> = published.iter().map(EventId::to_hex).collect();
    let deadline = Instant::now() + patience;
    for (gateway, address) in gateways.iter().enumerate() {
        let mut client = Recorded::new(history, gateway, *address);
        for ids in published.chunks(IDS_MAX) {
            while Instant::now() < deadline && !answered(&mut client, ids, deadline) {
                thread::park_timeout(RETRY);
            }
        }
        client.disconnect("everything is read back");
    }
}

/// Whether these were asked for and the answer is final.
fn answered(client: &mut Recorded, ids: &[String], deadline: Instant) -> bool {
    if !client.is_connected() {
        if client.reconnect().is_err() {
            return false;
        }
        client.begin_read_back();
    }
    let left = deadline.saturating_duration_since(Instant::now());
    match client.query(&[json!({"ids": ids})], left) {
        Some(stored) => match stored.end {
            End::Eose(_) => true,
            End::Closed(text) => !text.starts_with("error: "),
        },
        None => false,
    }
}
