//! What compressing costs and saves (RFC 7692): the gateway's own code, with one body for all receivers and with a
//! window for each connection, beside compressing each message by itself.
//!
//! `cargo run --release -p heliograph-gateway --example compression [EVENTS]` prints a table. Times are those on a
//! CPU, of one thread; memory is what the process grew by.
#![expect(clippy::print_stdout, reason = "a program whose output is a table")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]
#![expect(
    clippy::unwrap_used,
    reason = "it runs on a corpus that it makes itself"
)]

use std::{fs, sync::Arc};

use flate2::{Compress, Compression, FlushCompress};
use heliograph_corpus::{Corpus, Options};
use heliograph_protocol::Event;
use hyper::{HeaderMap, header::SEC_WEBSOCKET_EXTENSIONS};

use self::{
    metrics::WindowMetrics,
    websocket::deflate::{Agreement, Compressor, Deflate},
};

#[expect(
    dead_code,
    unused_imports,
    reason = "only its compression is used here"
)]
#[path = "../src/websocket/mod.rs"]
mod websocket;

/// What the code above counts, without a registry.
mod metrics {
    use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

    #[derive(Debug, Default)]
    pub(crate) struct Frames {
        pub(crate) plain: u64,
        pub(crate) compressed: u64,
        pub(crate) payload: u64,
    }

    #[derive(Debug, Default, Clone)]
    pub(crate) struct WindowMetrics {
        pub(crate) bytes: Gauge,
        pub(crate) refused: Counter,
    }
}

/// Receivers of each event.
const RECEIVERS: [usize; 3] = [1, 20, 200];

/// Connections whose memory is looked at.
const CONNECTIONS: usize = 200;

const HEAD: &[u8] = br#"["EVENT","sub1","#;

/// Sends an event to a receiver by its number: appends a frame.
type Send<'a> = Box<dyn FnMut(usize, &Event, &mut Vec<u8>) + 'a>;

fn main() {
    let count = std::env::args()
        .nth(1)
        .map_or(5_000, |count| count.parse().unwrap());
    let events = events(count);
    println!(
        "{} events, {} bytes each on average, heads and brackets included\n",
        events.len(),
        plain_bytes(&events) / events.len()
    );
    println!(
        "| | size | CPU µs a delivery, {} receivers | {} | {} | memory a connection |",
        RECEIVERS[0], RECEIVERS[1], RECEIVERS[2]
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    row("not compressed", &events, |_| Box::new(plain));
    row("one body for all (compress once)", &events, |receivers| {
        compressors(0, receivers)
    });
    for level in [1, 2, 3, 6] {
        let name = format!("each message by itself, level {level}");
        row(&name, &events, |_| by_itself(level));
    }
    row("a window for each connection", &events, |receivers| {
        compressors(1 << 40, receivers)
    });
}

/// Real kinds, words, tags and signatures, though nobody's.
fn events(count: u64) -> Vec<Event> {
    let corpus = Corpus::new(Options::new(1, count), 2).unwrap();
    let mut lines = Vec::new();
    corpus.write(2, &mut lines).unwrap();
    let lines = lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| Event::parse(std::str::from_utf8(line).unwrap()).unwrap())
        .collect()
}

fn plain_bytes(events: &[Event]) -> usize {
    let bytes = events
        .iter()
        .map(|event| HEAD.len() + event.json().len() + 1);
    bytes.sum()
}

fn plain(_receiver: usize, event: &Event, out: &mut Vec<u8>) {
    let length = HEAD.len() + event.json().len() + 1;
    websocket::Frame::header(websocket::TEXT, length, out);
    out.extend_from_slice(HEAD);
    out.extend_from_slice(event.json());
    out.push(b']');
}

/// As the gateway does it, with so much memory for windows.
fn compressors<'a>(windows_bytes_max: usize, receivers: usize) -> Send<'a> {
    let mut headers = HeaderMap::new();
    headers.insert(
        SEC_WEBSOCKET_EXTENSIONS,
        "permessage-deflate".parse().unwrap(),
    );
    let deflate = Arc::new(Deflate::new(windows_bytes_max, &WindowMetrics::default()));
    let agreement = Agreement::with(&headers, deflate.has_windows()).unwrap();
    let compressors: Vec<Compressor> = (0..receivers)
        .map(|_| deflate.compressor(agreement))
        .collect();
    Box::new(move |receiver, event, out| {
        if !compressors[receiver].event(HEAD, event, out) {
            plain(receiver, event, out);
        }
    })
}

/// As servers do it that reset their window for each message; what gains nothing goes out as it is.
fn by_itself<'a>(level: u32) -> Send<'a> {
    let mut deflater = Compress::new(Compression::new(level), false);
    let mut message = Vec::new();
    Box::new(move |receiver, event, out| {
        let text = [HEAD, event.json(), b"]"].concat();
        message.clear();
        message.reserve(text.len() + 1_024);
        deflater.reset();
        deflater
            .compress_vec(&text, &mut message, FlushCompress::Sync)
            .unwrap();
        // The tail is left out.
        let length = message.len() - 4;
        if length < text.len() {
            websocket::Frame::whole(websocket::TEXT | websocket::RSV1, &message[..length], out);
        } else {
            plain(receiver, event, out);
        }
    })
}

fn row<'a>(name: &str, events: &[Event], send: impl Fn(usize) -> Send<'a>) {
    let mut sizes = Vec::new();
    let times = RECEIVERS.map(|receivers| {
        // The more receivers, the fewer events: the same number of deliveries or so.
        let events = &events[..(events.len() / receivers.min(20)).max(1)];
        let mut send = send(receivers);
        let mut out = Vec::new();
        let (start, mut bytes) = (cpu_nanos(), 0);
        for event in events {
            for receiver in 0..receivers {
                out.clear();
                send(receiver, event, &mut out);
                bytes += out.len();
            }
        }
        let nanos = cpu_nanos() - start;
        let deliveries = events.len() * receivers;
        sizes.push(bytes as f64 / (plain_bytes(events) * receivers) as f64);
        nanos as f64 / 1_000.0 / deliveries as f64
    });
    let [one, some, many] = times.map(|micros| format!("{micros:.2}"));
    let memory = memory(events, &send);
    println!(
        "| {name} | {:.3} | {one} | {some} | {many} | {memory} |",
        sizes[0]
    );
}

/// What each of many connections holds that got some events.
fn memory<'a>(events: &[Event], send: &impl Fn(usize) -> Send<'a>) -> String {
    let before = resident_bytes();
    let mut send = send(CONNECTIONS);
    let mut out = Vec::new();
    for event in events.iter().take(100) {
        for receiver in 0..CONNECTIONS {
            out.clear();
            send(receiver, event, &mut out);
        }
    }
    let grown = resident_bytes().saturating_sub(before) / CONNECTIONS;
    match grown {
        0..2_048 => "–".to_owned(),
        bytes => format!("{} KiB", bytes / 1_024),
    }
}

/// Time of this thread on a CPU, by the scheduler's count.
fn cpu_nanos() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn resident_bytes() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}
