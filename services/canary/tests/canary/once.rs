//! A few probes and a sentence.

use std::time::Duration;

use heliograph_canary::{CanaryError, Timing};
use heliograph_lifecycle::Tasks;

use crate::{
    bed::{self, PATIENT, STRICT},
    fake::{Fake, Memory},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_works_is_good() {
    let (memory, tasks) = (Memory::new(), Tasks::new());
    let one = Fake::start(&memory, &tasks).await;
    let two = Fake::start(&memory, &tasks).await;
    let report = bed::once(&[&one.url, &one.url, &two.url], PATIENT).await;
    assert!(report.is_good(), "{report}");
    let said = report.to_string();
    let start = format!(
        "3 probes through {} came to 2 of 2 readers within ",
        one.url
    );
    assert!(said.starts_with(&start), "{said}");
    assert_eq!(memory.events().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_said() {
    let (memory, tasks) = (Memory::new(), Tasks::new());
    let relay = Fake::start(&memory, &tasks).await;
    let quick = Timing {
        deadline: Duration::from_secs(1),
        ..STRICT
    };
    let say = async |urls: &[&str]| {
        let report = bed::once(urls, quick).await;
        assert!(!report.is_good(), "{report}");
        report.to_string()
    };
    let url = relay.url.as_str();
    let said = say(&["ws://127.0.0.1:1", url]).await;
    assert!(
        said.starts_with("3 of 3 probes weren't accepted by ws://127.0.0.1:1: TCP: "),
        "{said}"
    );

    let said = say(&[url, url, "ws://127.0.0.1:1"]).await;
    let expected = "3 of 3 didn't come to ws://127.0.0.1:1 within 1 s (TCP: ";
    assert!(said.starts_with(expected), "{said}");
    assert!(said.ends_with("3 reads by id weren't answered"), "{said}");

    relay.now(|manners| manners.refuses = Some("blocked: go away"));
    let said = say(&[url, url]).await;
    assert_eq!(
        said,
        format!("3 of 3 probes weren't accepted by {url}: blocked: go away")
    );

    relay.now(|manners| (manners.refuses, manners.remembers) = (None, false));
    let said = say(&[url, url]).await;
    assert_eq!(said, "3 acknowledged probes are lost");
}

#[test]
fn a_canary_needs_a_relay_and_a_reader() {
    let refused = |urls: &[&str]| bed::new(urls, None).map(|_| ()).unwrap_err();
    assert!(matches!(refused(&["ws://a"]), CanaryError::NoRead));
    let wrong = refused(&["ws://a", "http://b"]);
    assert_eq!(
        wrong.to_string(),
        "canary.read: http://b is not a URL of a relay"
    );
}
