//! The certificate that clients see, and how what is new in its files comes into use.

use std::time::Duration;

use anyhow::Context as _;
use heliograph_config::Config;
use heliograph_gateway::{CertificateFiles, Tls};
use heliograph_lifecycle::{Shutdown, Tasks};

use crate::process::until_stopping;

/// How often the files are read. Who renews certificates does so weeks before they end.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// TLS for clients, if it is configured.
///
/// # Errors
///
/// The files can't be used.
pub(crate) fn tls(config: &Config) -> anyhow::Result<Option<Tls>> {
    let edge = &config.gateway;
    let (Some(certificate), Some(key)) = (edge.certificate.clone(), edge.key.clone()) else {
        return Ok(None);
    };
    let tls = Tls::read(CertificateFiles { certificate, key });
    tls.map(Some).context("gateway.certificate")
}

/// What URLs of this relay begin with.
pub(crate) fn scheme(config: &Config) -> &'static str {
    match config.gateway.certificate {
        Some(_) => "wss",
        None => "ws",
    }
}

/// Takes what is new in the files every so often, until the process stops accepting.
pub(crate) fn follow(tls: Option<&Tls>, shutdown: &Shutdown, tasks: &Tasks) {
    let Some(tls) = tls.cloned() else {
        return;
    };
    let look = async move {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            refresh(&tls);
        }
    };
    tasks.spawn("certificate", until_stopping(shutdown.clone(), look));
}

/// Takes what is new in the files now.
pub(crate) fn refresh(tls: &Tls) {
    match tls.refresh() {
        Ok(true) => tracing::info!("clients see a new certificate"),
        Ok(false) => {}
        Err(error) => {
            tracing::error!(%error, "a new certificate can't be used, the old one stays in force");
        }
    }
}
