//! `heliograph capacity`: how many machines a load needs. The formulas are those of the capacity crate.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use heliograph_capacity::{Build, Coefficients, Load, Mode, Prices, Refused, document, plan};

/// As clap's own.
const EXIT_USAGE: u8 = 2;

/// Says how many machines a load needs, of what size, why, and what they cost (docs/capacity.md).
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Options {
    /// Connections that are open at once.
    #[arg(long, value_name = "COUNT", required_unless_present = "document")]
    connections: Option<f64>,
    /// New events a second, in the busiest hour.
    #[arg(long, value_name = "RATE", required_unless_present = "document")]
    events: Option<f64>,
    /// Open subscriptions that want an event, in the mean.
    #[arg(long, value_name = "COUNT", required_unless_present = "document")]
    fanout: Option<f64>,
    /// Events that are stored already, or will be imported.
    #[arg(long, value_name = "COUNT", required_unless_present = "document")]
    stored: Option<f64>,
    /// Days for which new events are kept.
    #[arg(long, value_name = "DAYS", required_unless_present = "document")]
    retention: Option<f64>,
    /// REQs and COUNTs a second; without it one a minute for each connection.
    #[arg(long, value_name = "RATE")]
    reqs: Option<f64>,
    /// Open subscriptions of a connection.
    #[arg(long, value_name = "COUNT", default_value_t = Load::default().subscriptions)]
    subscriptions: f64,
    /// Bytes of an event; without it as in the corpus.
    #[arg(long, value_name = "BYTES")]
    event_bytes: Option<f64>,
    /// The share of REQs that need the database, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = Load::default().archive_share)]
    archive_share: f64,
    /// Bytes sent for each byte of messages: 1 where no client compresses.
    #[arg(long, value_name = "RATIO", default_value_t = Load::default().compression)]
    compression: f64,
    /// How long a connection stays.
    #[arg(long, value_name = "MINUTES", default_value_t = Load::default().connection_minutes)]
    connection_minutes: f64,
    /// Newest events that are indexed in memory, by each matcher or the one process.
    #[arg(long, value_name = "COUNT", default_value_t = Load::default().recent_events)]
    recent_events: f64,
    #[command(flatten)]
    machines: Machines,
    #[command(flatten)]
    costs: Costs,
    /// What to plan for.
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    mode: Choice,
    /// How to say it.
    #[arg(long, value_enum, default_value_t = Format::Markdown)]
    format: Format,
    /// Prints docs/capacity.md, for `cargo xtask reference`.
    #[arg(long, hide = true, exclusive = true)]
    document: bool,
}

/// What machines there are.
#[derive(Debug, Args)]
struct Machines {
    /// Connections of one gateway, or of one process, at most.
    #[arg(long, value_name = "COUNT", default_value_t = Build::default().gateway_connections)]
    gateway_connections: f64,
    /// Cores of a gateway.
    #[arg(long, value_name = "CORES", default_value_t = Build::default().gateway_cores)]
    gateway_cores: f64,
    /// Cores of an ingest worker.
    #[arg(long, value_name = "CORES", default_value_t = Build::default().ingest_cores)]
    ingest_cores: f64,
    /// Cores of a matcher.
    #[arg(long, value_name = "CORES", default_value_t = Build::default().matcher_cores)]
    matcher_cores: f64,
    /// Cores of the machine of one process.
    #[arg(long, value_name = "CORES", default_value_t = Build::default().single_cores)]
    single_cores: f64,
    /// Cores of a node of the database.
    #[arg(long, value_name = "CORES", default_value_t = Build::default().database_cores)]
    database_cores: f64,
    /// Disk of a node of the database, or of one process at most.
    #[arg(long, value_name = "GB", default_value_t = Build::default().database_disk_gb)]
    database_disk_gb: f64,
    /// Members of each role that may be away in the busiest hour, a whole number; of the database and
    /// of NATS one at most.
    #[arg(long, value_name = "COUNT", default_value_t = Build::default().spare)]
    spare: f64,
    /// The share of a core or of a link that may be in use.
    #[arg(long, value_name = "SHARE", default_value_t = Build::default().utilisation)]
    utilisation: f64,
    /// What a machine can send.
    #[arg(long, value_name = "GBIT", default_value_t = Build::default().network_gbit)]
    network_gbit: f64,
}

/// Prices, in whatever currency: the defaults are of the order of what clouds list in dollars.
#[derive(Debug, Args)]
struct Costs {
    /// A core for an hour.
    #[arg(long, value_name = "PRICE", default_value_t = Prices::default().core_hour)]
    price_core_hour: f64,
    /// A GiB of memory for an hour.
    #[arg(long, value_name = "PRICE", default_value_t = Prices::default().gib_hour)]
    price_gib_hour: f64,
    /// A GB sent to clients.
    #[arg(long, value_name = "PRICE", default_value_t = Prices::default().egress_gb)]
    price_egress_gb: f64,
    /// A GB of disk for a month.
    #[arg(long, value_name = "PRICE", default_value_t = Prices::default().disk_gb_month)]
    price_disk_gb_month: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// One process if it suffices, else a cluster.
    Auto,
    /// One process, or why not.
    Single,
    /// A cluster, however small.
    Cluster,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Tables.
    Markdown,
    /// One object, for programs.
    Json,
}

/// Prints the plan, or why there is none.
pub(crate) fn run(options: &Options) -> ExitCode {
    match text(options) {
        Ok(text) => match io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_closed) => ExitCode::FAILURE,
        },
        Err(refused) => {
            let usage = !matches!(refused, Refused::TooMuch(_));
            crate::fail(
                &format!("error: {refused}"),
                if usage { EXIT_USAGE } else { 1 },
            )
        }
    }
}

fn text(options: &Options) -> Result<String, Refused> {
    if options.document {
        return document();
    }
    let mode = match options.mode {
        Choice::Auto => Mode::Auto,
        Choice::Single => Mode::Single,
        Choice::Cluster => Mode::Cluster,
    };
    let coefficients = Coefficients::checked_in();
    let (load, build, prices) = (
        options.load(),
        options.machines.build(),
        options.costs.prices(),
    );
    let plan = plan(mode, &load, &build, &prices, &coefficients)?;
    match options.format {
        Format::Markdown => Ok(plan.markdown()),
        Format::Json => match serde_json::to_string_pretty(&plan) {
            Ok(text) => Ok(text + "\n"),
            Err(error) => Err(Refused::TooMuch(error.to_string())),
        },
    }
}

impl Options {
    fn load(&self) -> Load {
        // What is required is there; nothing is in no range.
        let required = |given: Option<f64>| given.unwrap_or(f64::NAN);
        Load {
            connections: required(self.connections),
            events: required(self.events),
            fanout: required(self.fanout),
            stored: required(self.stored),
            retention_days: required(self.retention),
            reqs: self.reqs,
            subscriptions: self.subscriptions,
            event_bytes: self.event_bytes,
            archive_share: self.archive_share,
            compression: self.compression,
            connection_minutes: self.connection_minutes,
            recent_events: self.recent_events,
        }
    }
}

impl Machines {
    const fn build(&self) -> Build {
        Build {
            gateway_connections: self.gateway_connections,
            gateway_cores: self.gateway_cores,
            ingest_cores: self.ingest_cores,
            matcher_cores: self.matcher_cores,
            single_cores: self.single_cores,
            database_cores: self.database_cores,
            database_disk_gb: self.database_disk_gb,
            spare: self.spare,
            utilisation: self.utilisation,
            network_gbit: self.network_gbit,
        }
    }
}

impl Costs {
    const fn prices(&self) -> Prices {
        Prices {
            core_hour: self.price_core_hour,
            gib_hour: self.price_gib_hour,
            egress_gb: self.price_egress_gb,
            disk_gb_month: self.price_disk_gb_month,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(arguments: &str) -> Result<String, String> {
        let words = arguments.split_whitespace();
        let cli = Cli::try_parse_from(["heliograph", "capacity"].into_iter().chain(words));
        match cli.map_err(|error| error.to_string())?.command {
            Some(Command::Capacity(options)) => text(&options).map_err(|error| error.to_string()),
            other => Err(format!("{other:?}")),
        }
    }

    const LOAD: &str = "--connections 100000 --events 500 --fanout 200 --stored 0 --retention 30";

    #[test]
    fn a_plan_is_a_table_or_json_and_changes_with_its_options() {
        let table = parse(LOAD).unwrap();
        assert!(
            table.contains("| gateway |") && table.contains("| database |"),
            "{table}"
        );
        let json = parse(&format!(
            "{LOAD} --format json --mode cluster --price-core-hour 0"
        ))
        .unwrap();
        let plan: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(plan["mode"], "cluster");
        assert_eq!(plan["cost"]["cores"], 0.0);
        let fewer = parse(&format!(
            "{LOAD} --format json --gateway-connections 100000"
        ))
        .unwrap();
        let fewer: serde_json::Value = serde_json::from_str(&fewer).unwrap();
        let gateways = |plan: &serde_json::Value| plan["parts"][0]["count"].as_u64().unwrap();
        assert!(gateways(&fewer) < gateways(&plan), "{fewer}");
    }

    #[test]
    fn what_is_missing_or_makes_no_sense_is_said() {
        assert!(parse("--connections 5").unwrap_err().contains("--events"));
        let negative = parse(&LOAD.replace("500", "-500")).unwrap_err();
        assert!(
            negative.contains("--events -500: expected a rate"),
            "{negative}"
        );
        let huge = parse(&LOAD.replace("500", "1e999")).unwrap_err();
        assert!(huge.contains("--events inf: expected a rate"), "{huge}");
        let word = parse(&LOAD.replace("500", "many")).unwrap_err();
        assert!(word.contains("'many'"), "{word}");
        let single = parse(&format!("{LOAD} --mode single")).unwrap_err();
        assert!(
            single.contains("connections") || single.contains("cores"),
            "{single}"
        );
    }

    #[test]
    fn defaults_in_notes_are_those_of_the_configuration() {
        for (name, default) in heliograph_capacity::KEYS {
            let key = heliograph_config::KEYS.iter().find(|key| key.name == name);
            let configured: f64 = key.unwrap().default().replace('_', "").parse().unwrap();
            assert_eq!(configured, default, "{name}");
        }
    }

    #[test]
    fn the_document_is_printed_alone() {
        assert!(parse("--document").unwrap().starts_with("<!-- Generated"));
        assert!(parse("--document --connections 5").is_err());
    }
}
