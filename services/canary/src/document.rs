//! What a relay says about itself (NIP-11), compared with what it should say.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use heliograph_lifecycle::Tasks;
use http::{
    Request,
    header::{ACCEPT, CONNECTION, HOST},
};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    link::Wiring,
    socket::{CONNECT_TIMEOUT, stream},
    target::Target,
};

/// Time for the whole document, the connection included.
const TIMEOUT: Duration = CONNECT_TIMEOUT.saturating_mul(2);

/// Bytes of a document; ours has 2 KiB.
const BYTES_MAX: usize = 64 << 10;

/// Says in which limits the relays differ from `expected`, and which couldn't be asked.
pub(crate) async fn compare(wiring: &Wiring, expected: &Value, tasks: &Tasks) -> Vec<String> {
    let mut problems = Vec::new();
    for target in &wiring.read {
        let document = timeout(TIMEOUT, fetch(target, wiring.tls.as_ref(), tasks)).await;
        match document.unwrap_or_else(|_elapsed| Err("no answer in time".to_owned())) {
            Ok(document) => problems.extend(differences(target, &document, expected)),
            Err(problem) => {
                problems.push(format!("{target} doesn't tell about itself: {problem}"));
            }
        }
    }
    problems
}

fn differences(target: &Target, document: &Value, expected: &Value) -> Vec<String> {
    let advertised = &document["limitation"];
    let fields = expected.as_object().into_iter().flatten();
    let different = fields.filter(|(name, value)| advertised[name.as_str()] != **value);
    different
        .map(|(name, value)| {
            let is = &advertised[name.as_str()];
            format!("{target} advertises {name} {is}, {value} is configured")
        })
        .collect()
}

async fn fetch(
    target: &Target,
    tls: Option<&Arc<ClientConfig>>,
    tasks: &Tasks,
) -> Result<Value, String> {
    let stream = stream(target, tls)
        .await
        .map_err(|error| error.to_string())?;
    let http = |error: hyper::Error| format!("HTTP: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    // Ends with the answer, since it says that it does.
    tasks.spawn("document", async move { drop(connection.await) });
    let authority = target.uri.authority();
    let host = authority.map_or(target.host.as_str(), |authority| authority.as_str());
    let path = target.uri.path_and_query();
    let request = Request::get(path.map_or("/", |path| path.as_str()))
        .header(HOST, host)
        .header(ACCEPT, "application/nostr+json")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(http)?;
    if !answer.status().is_success() {
        return Err(format!("HTTP {}", answer.status()));
    }
    let body = Limited::new(answer.into_body(), BYTES_MAX).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| format!("not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(limitation: &Value, expected: &[&str]) {
        let target = Target::parse("canary.read", "ws://relay").unwrap();
        let configured = json!({"max_limit": 500, "auth_required": false});
        let document = json!({"name": "x", "limitation": limitation});
        assert_eq!(differences(&target, &document, &configured), expected);
    }

    #[test]
    fn the_same_limits_are_fine_and_so_are_more_of_them() {
        check(
            &json!({"max_limit": 500, "auth_required": false, "other": 1}),
            &[],
        );
    }

    #[test]
    fn another_limit_is_named_with_both_values() {
        check(
            &json!({"max_limit": 300, "auth_required": false}),
            &["ws://relay advertises max_limit 300, 500 is configured"],
        );
    }

    #[test]
    fn a_limit_that_is_not_advertised_is_a_difference() {
        check(
            &json!({"max_limit": 500}),
            &["ws://relay advertises auth_required null, false is configured"],
        );
    }
}
