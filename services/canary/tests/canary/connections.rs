//! Connections: lost, hanging, encrypted, authenticated.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use heliograph_lifecycle::Tasks;
use tokio_rustls::rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::{
    bed::{Bed, PATIENT, STRICT},
    fake::{Fake, Memory},
};

/// Where nobody listens.
const NOBODY: &str = "ws://127.0.0.1:1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_can_not_be_reached_is_missing_probes_alone() {
    let (memory, tasks) = (Memory::new(), Tasks::new());
    let relay = Fake::start(&memory, &tasks).await;
    let bed = Bed::start(&[&relay.url, &relay.url, NOBODY], STRICT);
    bed.until("missing probes", || bed.missing(1) >= 3.0).await;
    bed.until("deliveries", || bed.delivered(0) >= 3.0).await;
    assert_eq!(bed.delivered(1), 0.0);
    assert_eq!(bed.value("connected{via=\"0\"}"), 1.0);
    assert_eq!(bed.value("connected{via=\"1\"}"), 0.0);
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_are_not_blamed_when_nothing_can_be_published() {
    let (memory, tasks) = (Memory::new(), Tasks::new());
    let relay = Fake::start(&memory, &tasks).await;
    let bed = Bed::start(&[NOBODY, &relay.url], STRICT);
    bed.until("errors", || bed.published("error") >= 3.0).await;
    assert_eq!(bed.missing(0), 0.0);
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_while_a_reader_reconnects_is_not_missing() {
    let (memory, tasks) = (Memory::new(), Tasks::new());
    let one = Fake::start(&memory, &tasks).await;
    let two = Fake::start(&memory, &tasks).await;
    // Nothing comes live, so what comes was found when the reader came back.
    two.now(|manners| manners.delivers = false);
    let bed = Bed::start(&[&one.url, &two.url], PATIENT);
    for round in 1..=3 {
        let stored = 5 * round;
        bed.until("probes", || bed.published("accepted") >= f64::from(stored))
            .await;
        let before = bed.delivered(0);
        two.kick();
        bed.until("what was stored", || bed.delivered(0) > before)
            .await;
    }
    assert!(bed.delivered(0) >= 15.0);
    assert_eq!(bed.missing(0), 0.0);
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_answered_is_published_again_over_the_next_connection() {
    let (memory, tasks) = (Memory::new(), Tasks::new());
    let one = Fake::start(&memory, &tasks).await;
    let two = Fake::start(&memory, &tasks).await;
    one.now(|manners| manners.answers = false);
    let bed = Bed::start(&[&one.url, &two.url], PATIENT);
    bed.until("probes", || one.heard.load(Ordering::Acquire) >= 3)
        .await;
    one.now(|manners| manners.answers = true);
    one.kick();
    bed.until("success with the first", || {
        bed.published("accepted") >= 3.0 && bed.delivered(0) >= 3.0
    })
    .await;
    let events = memory.events().clone();
    assert!(events[0].content().ends_with(" 0"), "the first is first");
    assert_eq!(bed.published("error"), 0.0);
    assert_eq!(bed.missing(0), 0.0);
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_hangs_is_given_up() {
    let (memory, tasks) = (Memory::new(), Tasks::new());
    let one = Fake::start(&memory, &tasks).await;
    let two = Fake::start(&memory, &tasks).await;
    let bed = Bed::start(&[&one.url, &two.url], PATIENT);
    bed.more_delivered(0, 2.0).await;
    two.hang();
    bed.until("another connection", || {
        two.connections.load(Ordering::Acquire) >= 2
    })
    .await;
    bed.more_delivered(0, 2.0).await;
    assert_eq!(bed.missing(0), 0.0);
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_wants_to_know_its_clients_is_told() {
    for late in [false, true] {
        let (memory, tasks) = (Memory::new(), Tasks::new());
        let relay = Fake::start(&memory, &tasks).await;
        relay.now(|manners| (manners.auth, manners.challenges_late) = (true, late));
        let publisher = Fake::start(&memory, &tasks).await;
        // A challenge behind the refusal of an EVENT is as for a REQ.
        publisher.now(|manners| manners.auth = true);
        let bed = Bed::start(&[&publisher.url, &relay.url], PATIENT);
        bed.until("deliveries", || bed.delivered(0) >= 3.0).await;
        bed.until("audits", || bed.value("audited_total") >= 1.0)
            .await;
        assert_eq!(bed.published("refused"), 0.0);
        assert_eq!(bed.missing(0), 0.0);
        bed.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_authenticate_is_refused() {
    let (memory, tasks) = (Memory::new(), Tasks::new());
    let open = Fake::start(&memory, &tasks).await;
    let closed = Fake::start(&memory, &tasks).await;
    closed.now(|manners| (manners.auth, manners.accepts_auth) = (true, false));
    let bed = Bed::start(&[&closed.url, &open.url], STRICT);
    bed.until("refusals", || bed.published("refused") >= 3.0)
        .await;
    assert_eq!(bed.missing(0), 0.0);
    bed.stop().await;
    let bed = Bed::start(&[&open.url, &closed.url], STRICT);
    bed.until("missing probes", || bed.missing(0) >= 3.0).await;
    bed.stop().await;
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/canary/tls")
        .join(name)
}

/// The files in `tls/` are for this test alone: an authority whose key was thrown away, and a
/// certificate for 127.0.0.1.
fn server_config() -> ServerConfig {
    let chain = CertificateDer::pem_file_iter(file("relay.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("relay.key.pem")).unwrap();
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_behind_tls_is_reached_if_its_authority_is_trusted() {
    let (memory, tasks) = (Memory::new(), Tasks::new());
    let relay = Fake::encrypted(&memory, server_config(), &tasks).await;
    let urls = [relay.url.as_str(); 2];
    let bed = Bed::trusting(&urls, PATIENT, Some(file("authority.pem")));
    bed.until("deliveries", || bed.delivered(0) >= 3.0).await;
    bed.stop().await;
    // A certificate that signs nothing is no authority for it.
    let stranger = file("relay.pem");
    let bed = Bed::trusting(&urls, STRICT, Some(stranger));
    bed.until("errors", || bed.published("error") >= 2.0).await;
    assert_eq!(bed.published("accepted"), 0.0);
    bed.stop().await;
}
