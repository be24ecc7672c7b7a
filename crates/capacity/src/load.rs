//! What is asked of a relay, and what it may be made of: the inputs, checked.

use serde::Serialize;

/// Inputs of a plan. Rates are those of the busiest hour.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Load {
    /// Connections that are open at once.
    pub connections: f64,
    /// New events a second.
    pub events: f64,
    /// Open subscriptions that want an event, in the mean.
    pub fanout: f64,
    /// Events that are stored already, or will be imported.
    pub stored: f64,
    /// Days for which new events are kept.
    pub retention_days: f64,
    /// REQs and COUNTs a second; by connections without.
    pub reqs: Option<f64>,
    /// Open subscriptions of a connection.
    pub subscriptions: f64,
    /// Bytes of an event; as in the corpus without.
    pub event_bytes: Option<f64>,
    /// The share of REQs that need the database, 0 to 1.
    pub archive_share: f64,
    /// Bytes sent for each byte of messages, with the compression that clients take part in, 0.1 to 1.
    pub compression: f64,
    /// How long a connection stays, in minutes.
    pub connection_minutes: f64,
    /// Newest events that each matcher, or the one process, indexes in memory.
    pub recent_events: f64,
}

/// What the parts are to be like.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Build {
    /// Connections of one gateway at most.
    pub gateway_connections: f64,
    /// Cores of a gateway.
    pub gateway_cores: f64,
    /// Cores of an ingest worker.
    pub ingest_cores: f64,
    /// Cores of a matcher.
    pub matcher_cores: f64,
    /// Cores of the machine of one process.
    pub single_cores: f64,
    /// Cores of a node of the database.
    pub database_cores: f64,
    /// Disk of a node of the database, in GB.
    pub database_disk_gb: f64,
    /// Members of a role that may be missing while the others carry the load: 0, 1, 2 or 3; of the
    /// database and of NATS one at most.
    pub spare: f64,
    /// The share of a core, or of a link, that may be in use in the busiest hour, 0.1 to 0.95.
    pub utilisation: f64,
    /// What a machine can send, in Gbit/s.
    pub network_gbit: f64,
}

/// Prices, in whatever currency.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prices {
    /// A core for an hour.
    pub core_hour: f64,
    /// A GiB of memory for an hour.
    pub gib_hour: f64,
    /// A GB sent to clients.
    pub egress_gb: f64,
    /// A GB of disk for a month.
    pub disk_gb_month: f64,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            connections: 10_000.0,
            events: 100.0,
            fanout: 50.0,
            stored: 0.0,
            retention_days: 365.0,
            reqs: None,
            subscriptions: 3.0,
            event_bytes: None,
            archive_share: 0.05,
            compression: 0.62,
            connection_minutes: 30.0,
            recent_events: 4e6,
        }
    }
}

impl Default for Build {
    fn default() -> Self {
        Self {
            gateway_connections: 30_000.0,
            gateway_cores: 2.0,
            ingest_cores: 1.0,
            matcher_cores: 4.0,
            single_cores: 4.0,
            database_cores: 8.0,
            database_disk_gb: 2_000.0,
            spare: 1.0,
            utilisation: 0.6,
            network_gbit: 1.0,
        }
    }
}

impl Default for Prices {
    fn default() -> Self {
        Self {
            core_hour: 0.04,
            gib_hour: 0.005,
            egress_gb: 0.08,
            disk_gb_month: 0.10,
        }
    }
}

/// An input that no plan can be made for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Out of its range, or not a number.
    #[error("--{option} {given}: expected {range}")]
    Range {
        /// The option.
        option: &'static str,
        /// What was given.
        given: String,
        /// What would be right.
        range: &'static str,
    },
    /// Two inputs contradict each other.
    #[error("{0}")]
    Contradiction(String),
    /// No number of machines like these is enough.
    #[error("{0}")]
    TooMuch(String),
}

/// What a number has to be.
struct Range {
    least: f64,
    greatest: f64,
    text: &'static str,
}

const fn range(least: f64, greatest: f64, text: &'static str) -> Range {
    Range {
        least,
        greatest,
        text,
    }
}

const COUNT: Range = range(1.0, 1e9, "a number from 1 to 1,000,000,000");
const RATE: Range = range(0.001, 1e7, "a rate from 0.001 to 10,000,000 a second");
const FANOUT: Range = range(0.0, 1e9, "0 to 1,000,000,000");
const STORED: Range = range(0.0, 1e13, "0 to 10,000,000,000,000");
const DAYS: Range = range(0.01, 36_500.0, "0.01 to 36,500 days");
const SHARE: Range = range(0.0, 1.0, "a share from 0 to 1");
const CORES: Range = range(1.0, 256.0, "1 to 256 cores");
const WHOLE_SPARES: &str = "a whole number from 0 to 3";
const PRICE: Range = range(0.0, 1e6, "a price from 0 to 1,000,000");

impl Range {
    fn check(&self, option: &'static str, given: f64) -> Result<(), Refused> {
        // Not a number is in no range.
        if given >= self.least && given <= self.greatest {
            return Ok(());
        }
        Err(Refused::Range {
            option,
            given: given.to_string(),
            range: self.text,
        })
    }
}

impl Load {
    /// Checks each input, and that they fit together.
    ///
    /// # Errors
    ///
    /// The first that doesn't.
    pub fn check(&self) -> Result<(), Refused> {
        COUNT.check("connections", self.connections)?;
        RATE.check("events", self.events)?;
        FANOUT.check("fanout", self.fanout)?;
        STORED.check("stored", self.stored)?;
        DAYS.check("retention", self.retention_days)?;
        if let Some(reqs) = self.reqs {
            range(0.0, 1e7, "a rate from 0 to 10,000,000 a second").check("reqs", reqs)?;
        }
        range(0.0, 1_000.0, "0 to 1,000").check("subscriptions", self.subscriptions)?;
        if let Some(bytes) = self.event_bytes {
            range(200.0, 1e6, "200 to 1,000,000 bytes").check("event-bytes", bytes)?;
        }
        SHARE.check("archive-share", self.archive_share)?;
        range(0.1, 1.0, "a ratio from 0.1 to 1").check("compression", self.compression)?;
        range(0.1, 1e6, "0.1 to 1,000,000 minutes")
            .check("connection-minutes", self.connection_minutes)?;
        range(1_000.0, 1e8, "1,000 to 100,000,000").check("recent-events", self.recent_events)?;
        let open = self.connections * self.subscriptions;
        if self.fanout > open {
            return Err(Refused::Contradiction(format!(
                "--fanout {}: more than the {open} subscriptions that {} connections with {} each have open; \
                 correct one of --fanout, --connections, --subscriptions",
                self.fanout, self.connections, self.subscriptions
            )));
        }
        Ok(())
    }
}

impl Build {
    /// Checks each input.
    ///
    /// # Errors
    ///
    /// The first that is out of its range.
    pub fn check(&self) -> Result<(), Refused> {
        range(100.0, 1e6, "100 to 1,000,000 connections")
            .check("gateway-connections", self.gateway_connections)?;
        CORES.check("gateway-cores", self.gateway_cores)?;
        CORES.check("ingest-cores", self.ingest_cores)?;
        CORES.check("matcher-cores", self.matcher_cores)?;
        CORES.check("single-cores", self.single_cores)?;
        CORES.check("database-cores", self.database_cores)?;
        range(10.0, 1e6, "10 to 1,000,000 GB").check("database-disk-gb", self.database_disk_gb)?;
        range(0.0, 3.0, WHOLE_SPARES).check("spare", self.spare)?;
        if self.spare.fract() != 0.0 {
            return Err(Refused::Range {
                option: "spare",
                given: self.spare.to_string(),
                range: WHOLE_SPARES,
            });
        }
        range(0.1, 0.95, "a share from 0.1 to 0.95").check("utilisation", self.utilisation)?;
        range(0.01, 400.0, "0.01 to 400 Gbit/s").check("network-gbit", self.network_gbit)
    }
}

impl Prices {
    /// Checks each price.
    ///
    /// # Errors
    ///
    /// The first that is out of its range.
    pub fn check(&self) -> Result<(), Refused> {
        PRICE.check("price-core-hour", self.core_hour)?;
        PRICE.check("price-gib-hour", self.gib_hour)?;
        PRICE.check("price-egress-gb", self.egress_gb)?;
        PRICE.check("price-disk-gb-month", self.disk_gb_month)
    }
}
