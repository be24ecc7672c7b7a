//! What a relay of several processes says of itself once it is ready: the line that
//! `cargo xtask cluster up` prints.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Something that a cluster stands on: its CPU time and memory are shown apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) pids: Vec<u32>,
}

#[derive(Debug, Deserialize)]
struct Description {
    gateways: Vec<Part>,
    #[serde(default)]
    nats: Vec<Part>,
    #[serde(default)]
    cql: Vec<Part>,
}

#[derive(Debug, Deserialize)]
struct Part {
    url: Option<String>,
    pid: Option<u32>,
}

/// Where clients connect, and the servers that run on this machine.
///
/// # Errors
///
/// It isn't that line, or no gateway has an address.
pub(super) fn parse(text: &str) -> Result<(Vec<SocketAddr>, Vec<Server>)> {
    let described: Description =
        serde_json::from_str(text).with_context(|| format!("what is ready: {text}"))?;
    let address = |part: &Part| {
        let url = part.url.as_deref().context("a gateway without a URL")?;
        let address = url.strip_prefix("ws://").context("not ws://")?;
        let address = address.trim_end_matches('/').parse();
        address.with_context(|| format!("{url} is not ws://IP:PORT"))
    };
    let gateways = described.gateways.iter().map(address);
    let gateways = gateways.collect::<Result<Vec<SocketAddr>>>()?;
    ensure!(!gateways.is_empty(), "there is no gateway");
    let servers = [("NATS", &described.nats), ("CQL", &described.cql)];
    let servers = servers.map(|(name, parts)| Server {
        name,
        pids: parts.iter().filter_map(|part| part.pid).collect(),
    });
    let servers = servers.into_iter().filter(|server| !server.pids.is_empty());
    Ok((gateways, servers.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_and_servers_are_read_from_one_line() {
        let line = r#"{"gateways":[{"url":"ws://127.5.0.1:80","admin":"x","pid":3},
            {"url":"ws://127.5.0.2:80/","pid":4}],"matchers":[],
            "nats":[{"url":"nats://x","pid":7},{"pid":8}],"cql":[{"url":"x","pid":null}]}"#;
        let (addresses, servers) = parse(line).unwrap();
        let expected = ["127.5.0.1:80", "127.5.0.2:80"].map(|text| text.parse().unwrap());
        assert_eq!(addresses, expected);
        let nats = Server {
            name: "NATS",
            pids: vec![7, 8],
        };
        assert_eq!(servers, [nats]);
    }

    #[test]
    fn what_has_no_gateway_with_an_address_is_refused() {
        for text in [
            "",
            r#"{"gateways":[]}"#,
            r#"{"gateways":[{"url":"wss://relay.example"}]}"#,
            r#"{"gateways":[{"pid":1}]}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
