//! `cargo xtask load`: runs the k6 suite with everything that it needs: k6, a relay, a new corpus.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use heliograph_loadtest::{BREACH, Corpus, Run, Single, config, module, now};
use heliograph_sandbox::{
    cluster::{Cluster, ClusterOptions, Role},
    http, k6,
};

use crate::{cluster, shell};

/// The script that can sign, hence authenticate.
const SCRIPT: &str = "main-signing.js";

/// What to run, and against what.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// smoke, load, stress, spike, soak or breakpoint.
    #[arg(long, value_name = "NAME", default_value = "smoke")]
    profile: String,
    /// A relay that runs already; several are taken for gateways of one. Else a relay is started.
    #[arg(long = "url", value_name = "URL")]
    urls: Vec<String>,
    /// Starts a cluster with so many gateways instead of one process: NATS, Cassandra, two matchers,
    /// two ingest workers.
    #[arg(long, value_name = "COUNT", conflicts_with = "urls")]
    gateways: Option<usize>,
    /// Runs these scenarios alone.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    scenarios: Vec<String>,
    /// An option of the script, see loadtest/main.js; may be repeated.
    #[arg(short = 'e', long = "option", value_name = "NAME=VALUE", value_parser = cluster::setting)]
    options: Vec<(String, String)>,
    /// Events of the corpus; enough for the profile if absent.
    #[arg(long, value_name = "COUNT")]
    events: Option<u64>,
    /// Another seed gives another corpus.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the corpus and the result go.
    #[arg(long, value_name = "DIR", default_value = "target/load")]
    out: PathBuf,
    /// Runs the relay without optimisation, as tests do.
    #[arg(long)]
    debug: bool,
    /// Arguments of k6, behind `--`.
    #[arg(last = true, value_name = "ARGUMENTS")]
    k6: Vec<String>,
}

/// A relay for the time of the run.
enum Relay {
    Process(Single),
    Cluster(Box<Cluster>),
    Others(Vec<String>),
}

/// Runs it; its output is that of k6.
///
/// # Errors
///
/// Something doesn't build or start, or a threshold isn't kept to.
pub(crate) fn run(load: &Load) -> Result<()> {
    let binary = cluster::build(!load.debug)?;
    let programs = k6::install(&module())?;
    let out = shell::root().join(&load.out);
    std::fs::create_dir_all(&out).with_context(|| format!("can't create {}", out.display()))?;
    let file = out.join("corpus.jsonl");
    let corpus = Corpus {
        seed: load.seed,
        events: load.events.unwrap_or_else(|| events(&load.profile)),
        end: now(),
    };
    eprintln!("writing {} events to {}", corpus.events, file.display());
    corpus.write(&binary, &file)?;
    let relay = load.start(&binary)?;
    let run = load.describe(&programs.signing, &file, &relay)?;
    let status = shell::command(&run.program)
        .args(run.arguments(&out))
        .envs(run.variables())
        .status()
        .context("can't start k6")?;
    if status.code() == Some(BREACH) {
        bail!(
            "a threshold was not kept to: {}",
            out.join("summary.md").display()
        );
    }
    ensure!(status.success(), "k6: {status}");
    Ok(())
}

impl Load {
    fn start(&self, binary: &Path) -> Result<Relay> {
        if !self.urls.is_empty() {
            return Ok(Relay::Others(self.urls.clone()));
        }
        let Some(gateways) = self.gateways else {
            return Ok(Relay::Process(Single::start(binary, &[])?));
        };
        eprintln!("starting servers and roles");
        let cluster = Cluster::start(&ClusterOptions {
            gateways,
            config: Some(config()),
            ..ClusterOptions::new(binary.to_owned())
        })?;
        Ok(Relay::Cluster(Box::new(cluster)))
    }

    fn describe(&self, program: &Path, corpus: &Path, relay: &Relay) -> Result<Run> {
        let mut run = Run::new(program, SCRIPT, &relay.urls(), corpus)
            .option("PROFILE", &self.profile)
            .option("SEED", &self.seed.to_string())
            .option("COMMIT", &cluster::commit()?)
            .option("MACHINE", &machine());
        if !self.scenarios.is_empty() {
            run = run.option("SCENARIOS", &self.scenarios.join(","));
        }
        if let Some(admin) = relay.admin() {
            run = run.option("METRICS_URL", &format!("http://{admin}/metrics"));
            if let Some(hash) = config_hash(admin) {
                run = run.option("CONFIG_HASH", &hash);
            }
        }
        for (name, value) in &self.options {
            run = run.option(name, value);
        }
        run.arguments.clone_from(&self.k6);
        Ok(run)
    }
}

impl Relay {
    fn urls(&self) -> Vec<String> {
        match self {
            Self::Process(single) => vec![single.url()],
            Self::Cluster(cluster) => {
                let gateways = 0..cluster.members(Role::Gateway).len();
                gateways.map(|number| cluster.gateway_url(number)).collect()
            }
            Self::Others(urls) => urls.clone(),
        }
    }

    /// Where it tells operators about itself: of a cluster the first gateway.
    fn admin(&self) -> Option<std::net::SocketAddr> {
        match self {
            Self::Process(single) => Some(single.admin()),
            Self::Cluster(cluster) => Some(cluster.member(Role::Gateway, 0).admin),
            Self::Others(_) => None,
        }
    }
}

/// Events enough for a profile; the script says so if they aren't, and how many it needs.
fn events(profile: &str) -> u64 {
    match profile {
        "load" => 200_000,
        "stress" | "spike" => 400_000,
        "soak" | "breakpoint" => 1_000_000,
        _ => 5_000,
    }
}

/// The hash of the configuration in force, as its metrics say.
fn config_hash(admin: std::net::SocketAddr) -> Option<String> {
    let page = http::get(admin, "/metrics").ok()?.body;
    let (_, rest) = page.split_once("heliograph_config_hash{hash=\"")?;
    rest.split('"').next().map(str::to_owned)
}

/// Model of the CPU and number of cores.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown CPU", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{model}, {cores} cores")
}
