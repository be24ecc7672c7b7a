//! Certificates on both ends. The files in `tls/` are for this test alone: an authority whose key was
//! thrown away, and one certificate for `matcher.test` that serves both as server and as client.

use heliograph_link::{ClientOptions, ClientTls, Identity, ServerOptions, ServerTls};

use crate::bed::{Log, gateway, gateway_with, start, until};

const AUTHORITY: &[u8] = include_bytes!("tls/authority.pem");

fn identity() -> Identity {
    Identity {
        certificates: include_bytes!("tls/peer.pem").to_vec(),
        key: include_bytes!("tls/peer.key.pem").to_vec(),
    }
}

fn options(identity: Option<Identity>) -> ClientOptions {
    ClientOptions {
        tls: Some(ClientTls {
            authority: AUTHORITY.to_vec(),
            identity,
            name: Some("matcher.test".to_owned()),
        }),
        ..ClientOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_prove_who_they_are() {
    let log = Log::default();
    let tls = ServerTls {
        identity: identity(),
        client_authority: Some(AUTHORITY.to_vec()),
    };
    let tls = ServerOptions {
        tls: Some(tls),
        ..ServerOptions::default()
    };
    let served = start("m", &log, tls).await;
    let plain = gateway("plain", Some(&served.target));
    let nobody = gateway_with("nobody", Some(&served.target), options(None));
    let known = gateway_with("known", Some(&served.target), options(Some(identity())));
    known.live(1, "{}").await;
    // Both have had their chance.
    until(|| served.sessions.count() == 1).await;
    assert!(!plain.client.is_connected() && !nobody.client.is_connected());
}
