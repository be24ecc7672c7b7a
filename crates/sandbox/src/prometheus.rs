//! Prometheus as a real server: scrapes, evaluates rules and answers queries.
//!
//! It is Debian's package, unpacked without installing it, where no `prometheus` is on the path.

mod answer;
mod install;

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

pub use answer::{Alert, AlertState, Rule, RuleKind, Series};
pub use install::{Programs, install};

use crate::{
    Error, Storage,
    directory::Directory,
    http,
    loopback::Block,
    process::{Launch, Process},
};

/// Time until it answers; about a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

const PORT: u16 = 9090;

/// The file with the targets, which the server reads again when it changes.
const TARGETS: &str = "targets.json";

/// Something to scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The label `job`.
    pub job: String,
    /// Where `/metrics` is.
    pub address: SocketAddr,
    /// Labels that each of its series gets.
    pub labels: Vec<(String, String)>,
}

/// How to run it.
#[derive(Debug, Clone)]
pub struct PrometheusOptions {
    /// What it scrapes from the start.
    pub targets: Vec<Target>,
    /// Between two scrapes of a target, which is also the time that one may take.
    pub scrape_interval: Duration,
    /// Between two evaluations of a group of rules that doesn't say itself.
    pub evaluation_interval: Duration,
    /// Files with rules.
    pub rules: Vec<PathBuf>,
    /// For `--enable-feature`.
    pub features: Vec<String>,
    /// For how long the newest sample of a series that isn't known to have ended counts.
    pub lookback: Duration,
    /// Whether others may send it samples, to `/api/v1/write`.
    pub takes_writes: bool,
    /// Where its samples are.
    pub storage: Storage,
}

impl Default for PrometheusOptions {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            scrape_interval: Duration::from_secs(1),
            evaluation_interval: Duration::from_secs(1),
            rules: Vec::new(),
            features: vec!["exemplar-storage".to_owned()],
            lookback: Duration::from_secs(300),
            takes_writes: false,
            storage: Storage::Memory,
        }
    }
}

/// A running server; stopped and removed on drop.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    address: SocketAddr,
    // Dropped after the process.
    _block: Block,
    directory: Directory,
}

impl Prometheus {
    /// Installs the server if need be, starts it and waits until it answers.
    ///
    /// # Errors
    ///
    /// It can't be installed, refuses its configuration or the rules, or doesn't answer after a
    /// minute.
    pub fn start(options: &PrometheusOptions) -> Result<Self, Error> {
        let programs = install()?;
        let directory = Directory::create("prometheus", options.storage)?;
        let block = Block::take()?;
        let address = block.address(1, PORT);
        let path = directory.path().to_owned();
        write(&path.join("prometheus.yml"), &configure(options))?;
        write(&path.join(TARGETS), &targets(&options.targets))?;
        let mut arguments = vec![
            "--config.file=prometheus.yml".to_owned(),
            "--storage.tsdb.path=data".to_owned(),
            "--web.enable-lifecycle".to_owned(),
            "--log.level=warn".to_owned(),
            format!("--web.listen-address={address}"),
            format!("--query.lookback-delta={}", duration(options.lookback)),
        ];
        if options.takes_writes {
            arguments.push("--web.enable-remote-write-receiver".to_owned());
        }
        if !options.features.is_empty() {
            let features = options.features.join(",");
            arguments.push(format!("--enable-feature={features}"));
        }
        let process = Process::start(&Launch {
            name: "prometheus".to_owned(),
            program: programs.prometheus,
            arguments: arguments.into_iter().map(Into::into).collect(),
            variables: Vec::new(),
            hide_variables: "",
            log: path.join("log"),
            directory: path,
        })?;
        process.wait_for_page(address, "/-/ready", PATIENCE)?;
        Ok(Self {
            process,
            address,
            _block: block,
            directory,
        })
    }

    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has printed: warnings and errors.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Scrapes these targets from now on; the server notices within some seconds.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub fn set_targets(&self, new: &[Target]) -> Result<(), Error> {
        let path = self.directory.path();
        let draft = path.join("targets.draft");
        write(&draft, &targets(new))?;
        // At once, so that nobody reads half of it.
        let file = path.join(TARGETS);
        fs::rename(&draft, &file).map_err(Error::path("can't write", &file))
    }

    /// The value of an expression now: of each series that it has, the one point.
    ///
    /// # Errors
    ///
    /// It isn't one, or the server doesn't answer.
    pub fn query(&self, expression: &str) -> Result<Vec<Series>, Error> {
        let path = format!("/api/v1/query?query={}", encode(expression));
        answer::series(&self.ask(&path, expression)?, expression)
    }

    /// The values of an expression from `start` to `end`, both in Unix seconds, every `step`.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    pub fn query_range(
        &self,
        expression: &str,
        (start, end): (f64, f64),
        step: Duration,
    ) -> Result<Vec<Series>, Error> {
        let path = format!(
            "/api/v1/query_range?start={start}&end={end}&step={}&query={}",
            step.as_secs_f64(),
            encode(expression)
        );
        answer::series(&self.ask(&path, expression)?, expression)
    }

    /// The traces that exemplars of a selector's series name, from `start` to `end` in Unix seconds:
    /// their label `trace_id`.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    pub fn traces(&self, selector: &str, (start, end): (f64, f64)) -> Result<Vec<String>, Error> {
        let path = format!(
            "/api/v1/query_exemplars?start={start}&end={end}&query={}",
            encode(selector)
        );
        let data = self.ask(&path, selector)?;
        Ok(answer::traces(&data))
    }

    /// Every alert that is pending or fires.
    ///
    /// # Errors
    ///
    /// The server doesn't answer.
    pub fn alerts(&self) -> Result<Vec<Alert>, Error> {
        answer::alerts(&self.ask("/api/v1/alerts", "alerts")?)
    }

    /// Every rule, in the order of the files, with its health.
    ///
    /// # Errors
    ///
    /// As [`alerts`](Self::alerts).
    pub fn rules(&self) -> Result<Vec<Rule>, Error> {
        answer::rules(&self.ask("/api/v1/rules", "rules")?)
    }

    /// The member `data` of an answer.
    fn ask(&self, path: &str, what: &str) -> Result<Value, Error> {
        let answer = http::get(self.address, path)
            .map_err(Error::io(format!("prometheus at {}", self.address)))?;
        answer::data(&answer.body, what)
    }
}

/// The server's configuration file; it runs in its directory.
fn configure(options: &PrometheusOptions) -> String {
    let (scrape, evaluate) = (
        duration(options.scrape_interval),
        duration(options.evaluation_interval),
    );
    let mut text = format!(
        "global:\n  scrape_interval: {scrape}\n  scrape_timeout: {scrape}\n  \
         evaluation_interval: {evaluate}\nrule_files:\n"
    );
    for rules in &options.rules {
        writeln!(text, "  - {}", quote(rules)).expect("a string takes all");
    }
    write!(
        text,
        "scrape_configs:\n  - job_name: targets\n    honor_labels: true\n    \
         file_sd_configs:\n      - files: [{TARGETS}]\n        refresh_interval: 1s\n"
    )
    .expect("a string takes all");
    text
}

/// A path in YAML, which takes the strings of JSON.
fn quote(path: &Path) -> Value {
    json!(path.to_string_lossy())
}

/// The targets as `file_sd_configs` wants them. A label `job` there wins over that of the
/// configuration.
fn targets(targets: &[Target]) -> String {
    let one = |target: &Target| {
        let labels = target.labels.iter();
        let mut labels: serde_json::Map<String, Value> = labels
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        labels.insert("job".to_owned(), json!(target.job));
        json!({"targets": [target.address.to_string()], "labels": labels})
    };
    Value::Array(targets.iter().map(one).collect()).to_string()
}

/// As Prometheus writes durations.
fn duration(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// For a query of a URL (RFC 3986 §2.1).
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a string takes all");
        }
    }
    encoded
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::path("can't write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_encoded_for_a_url() {
        assert_eq!(
            encode("sum(a{b=\"é\"}) > 1"),
            "sum%28a%7Bb%3D%22%C3%A9%22%7D%29%20%3E%201"
        );
    }

    #[test]
    fn a_target_has_its_job_and_its_labels() {
        let target = Target {
            job: "relay".to_owned(),
            address: ([127, 0, 0, 1], 7_778).into(),
            labels: vec![("role".to_owned(), "gateway".to_owned())],
        };
        let expected = json!([{
            "targets": ["127.0.0.1:7778"],
            "labels": {"job": "relay", "role": "gateway"},
        }]);
        let text = targets(&[target]);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    }
}
