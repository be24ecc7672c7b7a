//! What every process shows of itself and sends to a collector, whatever its role.

use std::path::PathBuf;

use anyhow::Context;
use heliograph_config::{Config, Loaded};
use heliograph_gateway::Tls;
use heliograph_protocol::Timestamp;
use heliograph_telemetry::{
    BuildInfo, ConfigState, Health, ProcessFacts, Registry, ShownCertificate, identify_logs,
    register_process_metrics, trace,
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
    config: ConfigState,
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
        tls: Option<&Tls>,
    ) -> anyhow::Result<(Self, Registry)> {
        let config = loaded.config();
        identify_logs(role.as_str(), instance);
        let config_state = ConfigState::default();
        config_state.set(loaded.hash());
        let registry = registry(health, &config_state, certificates(config, role, tls));
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
            config: config_state,
            traces,
        };
        Ok((telemetry, registry))
    }

    /// Another configuration is in force.
    pub(crate) fn reload(&self, loaded: &Loaded) {
        self.config.set(loaded.hash());
        trace::set_sampling(sampling(loaded.config()));
    }

    /// Another configuration was refused; the old one stays in force.
    pub(crate) fn reload_failed(&self) {
        self.config.reload_failed();
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
    config: &ConfigState,
    certificates: Vec<ShownCertificate>,
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
        config: config.clone(),
        tasks_panicked: heliograph_lifecycle::tasks_panicked,
        certificates,
    };
    register_process_metrics(&mut registry, facts);
    registry
}

/// The certificates that a role shows to others. The client of NATS reads its file at each connection, and what
/// clients see says itself when it ends; the others are read where they are used, once at the start, and a new one needs a restart.
fn certificates(config: &Config, role: ProcessRole, tls: Option<&Tls>) -> Vec<ShownCertificate> {
    let nats = config.nats.certificate.as_deref();
    let nats = nats.map(|file| ShownCertificate::read_each_time("nats", file));
    let once = |purpose, file: &Option<PathBuf>| {
        let file = file.as_deref()?;
        Some(ShownCertificate::read_once(purpose, file))
    };
    let matcher = || once("matcher", &config.matcher.certificate);
    let scylla = || once("scylla", &config.scylla.certificate);
    let clients = tls.map(|tls| ShownCertificate::told("clients", tls.ends()));
    let shown = match role {
        ProcessRole::Standalone => vec![clients],
        ProcessRole::Canary => vec![],
        ProcessRole::Gateway => vec![clients, matcher(), nats],
        ProcessRole::Ingest => vec![nats, scylla()],
        ProcessRole::Matcher => vec![matcher(), nats, scylla()],
    };
    shown.into_iter().flatten().collect()
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
