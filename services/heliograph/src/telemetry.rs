//! What every process shows of itself and sends to a collector, whatever its role.

use std::fs;

use anyhow::Context;
use heliograph_config::{Config, Loaded};
use heliograph_protocol::Timestamp;
use heliograph_telemetry::{
    BuildInfo, CertificateEnd, ConfigHash, Health, ProcessFacts, Registry, certificate_not_after,
    identify_logs, register_process_metrics, trace,
};

use crate::settings::{self, cluster::read};

/// Which part of the relay a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProcessRole {
    Standalone,
    Gateway,
    Ingest,
    Matcher,
    Canary,
}

impl ProcessRole {
    fn as_str(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Gateway => "gateway",
            Self::Ingest => "ingest",
            Self::Matcher => "matcher",
            Self::Canary => "canary",
        }
    }
}

/// Ends with the process, after all that it tells of.
#[derive(Debug)]
pub(crate) struct Telemetry {
    config_hash: ConfigHash,
    traces: Option<trace::Guard>,
}

impl Telemetry {
    /// Gives the process a name in logs and traces, and a registry with what every process shows.
    ///
    /// # Errors
    ///
    /// Traces are wanted and can't be exported as configured.
    pub(crate) fn start(
        loaded: &Loaded,
        role: ProcessRole,
        instance: &str,
        health: &Health,
    ) -> anyhow::Result<(Self, Registry)> {
        let config = loaded.config();
        identify_logs(role.as_str(), instance);
        let config_hash = ConfigHash::default();
        config_hash.set(loaded.hash());
        let registry = registry(health, &config_hash, certificates(config, role));
        let traces = match &config.traces.endpoint {
            Some(endpoint) => {
                let options = trace_options(config, endpoint, role, instance)?;
                let guard = trace::start(options).context("traces")?;
                tracing::info!(endpoint, "traces are exported");
                Some(guard)
            }
            None => None,
        };
        let telemetry = Self {
            config_hash,
            traces,
        };
        Ok((telemetry, registry))
    }

    /// Another configuration is in force.
    pub(crate) fn reload(&self, loaded: &Loaded) {
        self.config_hash.set(loaded.hash());
        trace::set_sampling(sampling(loaded.config()));
    }

    /// Sends what spans are left.
    pub(crate) async fn stop(self) {
        if let Some(traces) = self.traces {
            traces.stop().await;
        }
    }
}

/// A registry with what every process shows.
pub(crate) fn registry(
    health: &Health,
    config_hash: &ConfigHash,
    certificates: Vec<CertificateEnd>,
) -> Registry {
    let mut registry = heliograph_telemetry::registry();
    let facts = ProcessFacts {
        build: BuildInfo {
            version: env!("CARGO_PKG_VERSION"),
            revision: option_env!("HELIOGRAPH_REVISION").unwrap_or("unknown"),
        },
        started_secs: Timestamp::now().as_secs(),
        cores: settings::cores(),
        health: health.clone(),
        config_hash: config_hash.clone(),
        certificates,
    };
    register_process_metrics(&mut registry, facts);
    registry
}

/// When the certificates end that a role shows to others. They are read at the start, as where they
/// are used.
fn certificates(config: &Config, role: ProcessRole) -> Vec<CertificateEnd> {
    let (matcher, nats, scylla) = (
        ("matcher", &config.matcher.certificate),
        ("nats", &config.nats.certificate),
        ("scylla", &config.scylla.certificate),
    );
    let shown = match role {
        ProcessRole::Standalone | ProcessRole::Canary => vec![],
        ProcessRole::Gateway => vec![matcher, nats],
        ProcessRole::Ingest => vec![nats, scylla],
        ProcessRole::Matcher => vec![matcher, nats, scylla],
    };
    let end = |(purpose, file): (&'static str, &Option<_>)| {
        let file = file.as_ref()?;
        let end = fs::read(file)
            .map_err(anyhow::Error::from)
            .and_then(|pem| Ok(certificate_not_after(&pem)?));
        match end {
            Ok(not_after_secs) => Some(CertificateEnd {
                purpose,
                not_after_secs,
            }),
            Err(error) => {
                // Whoever needs it refuses it; here only its end isn't known.
                tracing::warn!(%error, purpose, "can't tell when a certificate ends");
                None
            }
        }
    };
    shown.into_iter().filter_map(end).collect()
}

fn trace_options(
    config: &Config,
    endpoint: &str,
    role: ProcessRole,
    instance: &str,
) -> anyhow::Result<trace::Options> {
    let section = &config.traces;
    let authorities = match &section.ca {
        Some(file) => trace::Authorities::Pem(read("traces.ca", file)?),
        None => trace::Authorities::System,
    };
    let cluster = match role {
        ProcessRole::Standalone => String::new(),
        _ => config.cluster.name.clone(),
    };
    let headers = section.headers.iter();
    Ok(trace::Options {
        endpoint: endpoint.to_owned(),
        authorities,
        headers: headers
            .map(|header| (header.name.clone(), header.value.expose().to_owned()))
            .collect(),
        resource: trace::Resource {
            service_name: "heliograph".to_owned(),
            service_version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: instance.to_owned(),
            role: role.as_str().to_owned(),
            cluster,
        },
        sampling: sampling(config),
        ..trace::Options::default()
    })
}

fn sampling(config: &Config) -> trace::Sampling {
    trace::Sampling {
        ratio: config.traces.sample_ratio,
        per_second_max: config.traces.per_second_max,
        ..trace::Sampling::default()
    }
}
