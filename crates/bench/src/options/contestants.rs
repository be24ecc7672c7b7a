//! Who takes part: what the command line names, this relay where it names none, peers that are built
//! for the run, and a cluster.

use std::{collections::BTreeMap, str::FromStr};

use heliograph_sandbox::cluster::LIMITS;

use super::Options;
use crate::relay::Certificate;

/// The place in a command for a file into which the relay writes where it is, once it is ready: the
/// line that `cargo xtask cluster up` prints. Without it a relay listens on 127.0.0.1:{port}.
pub(crate) const READY: &str = "{ready}";

/// The name of this relay where no other is given.
const OWN: &str = "heliograph";

/// The name of a cluster of it.
const CLUSTER: &str = "cluster";

/// What the peers that we build do before they answer OK.
const PEER_DURABILITY: &str = "fsync";

/// A relay that takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RelayOptions {
    pub(crate) name: String,
    pub(crate) command: String,
    pub(crate) import: Option<String>,
    /// How it is started with TLS, if it can be.
    pub(crate) tls: Option<String>,
    /// What it shows, where it is started with TLS.
    pub(crate) certificate: Option<Certificate>,
    pub(crate) durability: String,
}

impl RelayOptions {
    /// Whether it says itself where it is: then it is a cluster, which begins without events whenever it
    /// is started.
    pub(crate) fn is_cluster(&self) -> bool {
        self.command.contains(READY)
    }

    /// The same relay with TLS, if it can be started so.
    pub(crate) fn with_tls(&self, certificate: &Certificate) -> Option<Self> {
        let command = self.tls.as_ref()?;
        let command = command
            .replace("{certificate}", &certificate.file.display().to_string())
            .replace("{key}", &certificate.key.display().to_string());
        Some(Self {
            command,
            certificate: Some(certificate.clone()),
            ..self.clone()
        })
    }
}

/// How many of each part a cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterSize {
    gateways: u32,
    matchers: u32,
    ingest: u32,
    nats: u32,
}

impl FromStr for ClusterSize {
    type Err = &'static str;

    /// `2x2x1`, or `2x2x1x3` with three NATS servers instead of one.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            "expected GATEWAYSxMATCHERSxINGEST, each at least 1, and xNATS (1 or 3) if wanted";
        let counts: Result<Vec<u32>, _> = text.split('x').map(str::parse).collect();
        let (gateways, matchers, ingest, nats) = match counts.as_deref() {
            Ok([gateways, matchers, ingest]) => (*gateways, *matchers, *ingest, 1),
            Ok([gateways, matchers, ingest, nats]) => (*gateways, *matchers, *ingest, *nats),
            _ => return Err(wrong),
        };
        if gateways * matchers * ingest == 0 || ![1, 3].contains(&nats) {
            return Err(wrong);
        }
        Ok(Self {
            gateways,
            matchers,
            ingest,
            nats,
        })
    }
}

impl Options {
    /// The relays, each with what else is said of it.
    ///
    /// # Errors
    ///
    /// Two of one name; something is said of a relay that isn't there; none at all.
    pub(crate) fn relays(&self) -> Result<Vec<RelayOptions>, String> {
        let mut relays = self.relays.clone();
        let mut imports = unique(&self.imports)?;
        let mut tls = unique(&self.tls)?;
        let mut durabilities = unique(&self.durabilities)?;
        if relays.is_empty() {
            let binary = self.binary()?;
            relays.push((OWN.to_owned(), own_command(&binary)));
            imports
                .entry(OWN.to_owned())
                .or_insert_with(|| own_import(&binary));
            tls.entry(OWN.to_owned())
                .or_insert_with(|| own_tls(&binary));
            durabilities
                .entry(OWN.to_owned())
                .or_insert_with(|| "fsync".to_owned());
        }
        let programs = unique(&self.peer_programs)?;
        for name in &self.peers {
            let program = programs.get(name).ok_or_else(|| {
                format!("--peer {name} is built by `cargo xtask bench`: start this by it")
            })?;
            relays.push((name.clone(), format!("exec '{program}' {{port}} {{dir}}")));
            durabilities
                .entry(name.clone())
                .or_insert_with(|| PEER_DURABILITY.to_owned());
        }
        if let Some(size) = self.cluster {
            relays.push((CLUSTER.to_owned(), self.cluster_command(size)?));
            durabilities
                .entry(CLUSTER.to_owned())
                .or_insert_with(|| cluster_durability(size));
        }
        unique(&relays)?;
        let relays: Vec<RelayOptions> = relays
            .into_iter()
            .map(|(name, command)| RelayOptions {
                import: imports.remove(&name),
                tls: tls.remove(&name),
                certificate: None,
                durability: durabilities
                    .remove(&name)
                    .unwrap_or_else(|| "unknown".to_owned()),
                name,
                command,
            })
            .collect();
        let said = imports.keys().chain(tls.keys()).chain(durabilities.keys());
        match said.into_iter().next() {
            Some(name) => Err(format!("no --relay is named {name}")),
            None => Ok(relays),
        }
    }

    fn binary(&self) -> Result<String, String> {
        let binary = self.binary.as_deref().ok_or("no --relay")?;
        Ok(binary.display().to_string())
    }

    fn cluster_command(&self, size: ClusterSize) -> Result<String, String> {
        let xtask = self
            .xtask
            .as_deref()
            .ok_or("--cluster is started by `cargo xtask bench`: start this by it")?;
        // What NATS keeps lies with the data of the others.
        Ok(format!(
            "TMPDIR={{dir}} exec '{}' cluster up --binary '{}' --gateways {} --matchers {} --ingest {} \
             --nats {} {} > {READY}",
            xtask.display(),
            self.binary()?,
            size.gateways,
            size.matchers,
            size.ingest,
            size.nats,
            off()
        ))
    }
}

/// Default settings but for rates.
fn own_command(binary: &str) -> String {
    format!(
        "exec '{binary}' --data {{dir}} --listen 127.0.0.1:{{port}} \
         --set admin.listen=127.0.0.1:0 {}",
        off()
    )
}

fn own_tls(binary: &str) -> String {
    let command = own_command(binary);
    format!("{command} --set 'gateway.certificate={{certificate}}' --set 'gateway.key={{key}}'")
}

fn own_import(binary: &str) -> String {
    format!("exec '{binary}' --data {{dir}} import {{file}}")
}

fn off() -> String {
    let off: Vec<String> = LIMITS.iter().map(|key| format!("--set {key}=0")).collect();
    // As many connections as there may be open files.
    format!("{} --set gateway.connections_max=1000000", off.join(" "))
}

/// What the database of `cluster up` has done by then, in its own words.
fn cluster_durability(size: ClusterSize) -> String {
    let synced = match size.nats {
        1 => "one server",
        _ => "3 copies, synced",
    };
    format!("JetStream ({synced}), then one Cassandra node, which syncs its log each second")
}

fn unique(pairs: &[(String, String)]) -> Result<BTreeMap<String, String>, String> {
    let mut map = BTreeMap::new();
    for (name, value) in pairs {
        if map.insert(name.clone(), value.clone()).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn parse(arguments: &[&str]) -> Options {
        Options::parse_from(["bench"].iter().chain(arguments))
    }

    #[test]
    fn what_is_said_of_a_relay_stands_with_it() {
        let options = parse(&[
            "--relay",
            "a=run a --x=1 {port}",
            "--relay",
            "b=run b",
            "--durability",
            "b=none",
            "--import",
            "a=load {file}",
        ]);
        let relays = options.relays().unwrap();
        assert_eq!(relays[0].command, "run a --x=1 {port}");
        assert_eq!(relays[0].import.as_deref(), Some("load {file}"));
        assert_eq!(relays[0].durability, "unknown");
        assert_eq!(relays[1].durability, "none");
    }

    #[test]
    fn names_that_clash_or_are_unknown_are_refused() {
        let refused = [
            &["--relay", "a=x", "--relay", "a=y"][..],
            &["--relay", "a=x", "--durability", "b=fsync"],
            &["--relay", "a=x", "--tls", "b=x"],
            &["--relay", "a=x", "--peer", "b"],
            &["--relay", "a=x", "--cluster", "1x1x1"],
            &[],
        ];
        for arguments in refused {
            assert!(parse(arguments).relays().is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn without_a_relay_this_one_is_measured_with_its_limits_off() {
        let relays = parse(&["--binary", "/x/heliograph"]).relays().unwrap();
        assert_eq!((relays.len(), relays[0].durability.as_str()), (1, "fsync"));
        assert!(relays[0].command.contains("--set gateway.events_per_sec=0"));
        assert!(relays[0].import.is_some() && !relays[0].is_cluster());
    }

    #[test]
    fn with_tls_a_relay_is_started_by_another_command() {
        let certificate = Certificate {
            file: "/x/relay.pem".into(),
            key: "/x/relay.key".into(),
        };
        let options = parse(&[
            "--relay",
            "a=run a",
            "--relay",
            "b=run b",
            "--tls",
            "a=run {key}",
        ]);
        let relays = options.relays().unwrap();
        let with_tls = relays[0].with_tls(&certificate).unwrap();
        assert_eq!(with_tls.command, "run /x/relay.key");
        assert_eq!(with_tls.certificate.as_ref(), Some(&certificate));
        assert_eq!(relays[1].with_tls(&certificate), None);
        let own = parse(&["--binary", "/x/heliograph"]).relays().unwrap();
        let own = own[0].with_tls(&certificate).unwrap();
        assert!(own.command.contains("'gateway.certificate=/x/relay.pem'"));
    }

    #[test]
    fn peers_and_a_cluster_come_behind_this_relay() {
        let relays = parse(&[
            "--binary",
            "/x/heliograph",
            "--xtask",
            "/x/xtask",
            "--peer",
            "other",
            "--peer-program",
            "other=/x/other",
            "--cluster",
            "2x3x4",
        ]);
        let relays = relays.relays().unwrap();
        let names: Vec<&str> = relays.iter().map(|relay| relay.name.as_str()).collect();
        assert_eq!(names, ["heliograph", "other", "cluster"]);
        assert_eq!(relays[1].command, "exec '/x/other' {port} {dir}");
        let cluster = &relays[2];
        assert!(cluster.is_cluster() && cluster.durability.contains("JetStream"));
        for part in [
            "'/x/xtask' cluster up",
            "--gateways 2 --matchers 3 --ingest 4 --nats 1",
            "--set gateway.reqs_per_sec=0",
        ] {
            assert!(cluster.command.contains(part), "{}", cluster.command);
        }
    }

    #[test]
    fn the_size_of_a_cluster_is_three_counts_or_four() {
        let size = |text: &str| text.parse::<ClusterSize>();
        assert_eq!(size("2x2x1"), size("2x2x1x1"));
        assert_eq!(size("2x3x4x3").map(|size| size.nats), Ok(3));
        for text in ["", "2", "2x2", "0x1x1", "1x1x1x2", "1x1x1x1x1", "axbxc"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
