//! A whole run: every relay in turn, then in reversed order, each time on an empty directory.

use std::{convert::Infallible, fs, io, path::Path, time::Duration};

use anyhow::{Context, Result};
use heliograph_sandbox::wait;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    cells::{Bench, FRESH, Figures, Measured, TLS, check},
    options::{Options, RelayOptions, Sizes},
    process::machine,
    relay::{Certificate, Relay, import},
    report::{CellReport, CorpusReport, RelayReport, Report, Software, markdown, summary},
    work::Work,
};

/// Measures all relays, writes bench.json and bench.md and returns what is in them. `tell` gets a line
/// for each cell.
///
/// # Errors
///
/// The first relay doesn't start, or the results can't be written. What fails later or in a cell stands in
/// the report.
pub fn run(options: &Options, tell: &mut dyn FnMut(&str)) -> Result<Report> {
    raise_open_files();
    let cores = Cores::divide(options.pin)?;
    let relays = options.relays().map_err(anyhow::Error::msg)?;
    let sizes = options.sizes();
    let work = Work::make(options.seed, options.authors, &sizes)?;
    tell(&format!(
        "corpus: {} events, sha256 {}",
        work.summary.events, work.summary.fingerprint
    ));
    fs::create_dir_all(&options.out).with_context(|| options.out.display().to_string())?;
    let data = tempfile::Builder::new()
        .prefix("data-")
        .tempdir_in(&options.out)?;
    // Commands may change their directory.
    let data_path = fs::canonicalize(data.path())?;
    let mut report = begin(options, &relays, &sizes, &work);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start a runtime")?;
    for pass in 0..options.passes.max(1) {
        let mut order: Vec<usize> = (0..relays.len()).collect();
        if pass % 2 == 1 {
            order.reverse();
        }
        report
            .passes
            .push(order.iter().map(|nth| relays[*nth].name.clone()).collect());
        for nth in order {
            let directory = data_path.join(format!("{pass}-{nth}"));
            let mut keep = |measured: Measured| {
                tell(&line(pass, &relays[nth].name, &measured));
                add(&mut report.relays[nth].cells, measured);
            };
            let setting = Setting {
                options,
                sizes: &sizes,
                work: &work,
                cores: &cores,
            };
            let measured = runtime.block_on(measure(&setting, &relays[nth], &directory, &mut keep));
            let measured = measured.map(|software| report.relays[nth].software = software);
            if let Err(error) = measured {
                if !report.has_figures() {
                    return Err(error);
                }
                let failed = (START.to_owned(), Err(error));
                tell(&line(pass, &relays[nth].name, &failed));
                add(&mut report.relays[nth].cells, failed);
            }
            // Room for the next one, which finds the disk as this one did.
            if let Err(error) = remove(&directory, REMOVAL) {
                let left = format!("its data wasn't removed: {}: {error}", directory.display());
                tell(&format!("{}: {left}", relays[nth].name));
                remark(&mut report.relays[nth].cells, left);
            }
        }
    }
    report.cross_check();
    write(&report, &options.out)?;
    Ok(report)
}

/// How long a directory may stay that can't be removed: what still runs writes files into it.
const REMOVAL: Duration = Duration::from_secs(10);

/// Removes a directory, if it is there.
///
/// # Errors
///
/// It can't be removed within `patience`.
fn remove(directory: &Path, patience: Duration) -> io::Result<()> {
    let mut last = Ok(());
    let removed = wait::until(patience, || {
        last = match fs::remove_dir_all(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        };
        Ok::<_, Infallible>(last.is_ok().then_some(()))
    });
    let Ok(_in_time) = removed;
    last
}

/// Says something of the last work, whatever came of it.
fn remark(cells: &mut [CellReport], text: String) {
    if let Some(cell) = cells.last_mut() {
        match cell.passes.last_mut() {
            Some(figures) => figures.remarks.push(text),
            None => cell.failures.push(text),
        }
    }
}

/// Where it stands in the report that a relay can't be started, or stopped.
const START: &str = "start";

/// What is said of a cluster's cells that others begin anew for.
const NOT_FRESH: &str =
    "a cluster isn't started anew on its data: memory may be what cells before left";

/// What is the same for every relay and pass.
struct Setting<'a> {
    options: &'a Options,
    sizes: &'a Sizes,
    work: &'a Work,
    cores: &'a Cores,
}

impl Setting<'_> {
    fn bench<'a>(&'a self, relay: &'a Relay) -> Bench<'a> {
        Bench {
            options: self.options,
            sizes: self.sizes,
            work: self.work,
            relay,
        }
    }
}

/// One relay in one pass.
async fn measure(
    setting: &Setting<'_>,
    relay_options: &RelayOptions,
    directory: &Path,
    keep: &mut impl FnMut(Measured),
) -> Result<Software> {
    let Setting {
        options,
        work,
        cores,
        ..
    } = *setting;
    fs::create_dir_all(directory)?;
    let name = "import";
    if let Some(command) = relay_options
        .import
        .as_ref()
        .filter(|_| options.wants(name))
    {
        let file = directory.join("corpus.jsonl");
        work.write_loaded(&file)?;
        let figures = measure_import(command, &file, &directory.join("import"), work).await;
        fs::remove_file(&file)?;
        let figures = match figures {
            Ok(figures) => {
                let imported = directory.join("import");
                Ok(with_faults(figures, setting, relay_options, &imported).await)
            }
            failed @ Err(_) => failed,
        };
        keep((name.to_owned(), figures));
    }
    let data = directory.join("data");
    let relay = cores.start(relay_options, &data).await?;
    let software = relay.software().await;
    if relay_options.is_cluster() {
        setting.bench(&relay).warm_up().await?;
    }
    setting.bench(&relay).run(keep).await;
    let has_tls = relay_options.tls.is_some();
    let fresh = FRESH.into_iter().filter(|name| options.wants(name));
    let fresh = fresh.filter(|name| has_tls || *name != TLS);
    if relay_options.is_cluster() {
        for name in fresh {
            let (name, mut figures) = setting.bench(&relay).run_fresh(name).await;
            if let Ok(figures) = &mut figures {
                figures.remarks.push(NOT_FRESH.to_owned());
            }
            keep((name, figures));
        }
        relay.stop().await?;
        return Ok(software);
    }
    relay.stop().await?;
    for name in fresh {
        let relay = if name == TLS {
            match with_tls(relay_options, &data.with_extension("tls")) {
                Ok(with_tls) => cores.start(&with_tls, &data).await?,
                Err(error) => {
                    keep((name.to_owned(), Err(error)));
                    continue;
                }
            }
        } else {
            cores.start(relay_options, &data).await?
        };
        keep(setting.bench(&relay).run_fresh(name).await);
        relay.stop().await?;
    }
    Ok(software)
}

/// The relay with TLS and a certificate that is made in `directory`.
fn with_tls(relay: &RelayOptions, directory: &Path) -> Result<RelayOptions> {
    let certificate = Certificate::make(directory)?;
    relay.with_tls(&certificate).context("it has no TLS")
}

/// Adds what is wrong with the answers of a relay on what was imported: a file that was skipped is
/// quickly imported.
async fn with_faults(
    mut figures: Figures,
    setting: &Setting<'_>,
    relay_options: &RelayOptions,
    directory: &Path,
) -> Figures {
    let checked = async {
        let relay = setting.cores.start(relay_options, directory).await?;
        let faults = check(&setting.bench(&relay)).await?;
        relay.stop().await?;
        Ok::<_, anyhow::Error>(faults)
    };
    let faults = match checked.await {
        Ok(faults) => faults,
        Err(error) => vec![format!("{error:#}")],
    };
    let told = faults
        .iter()
        .map(|fault| format!("after the import, {fault}"));
    figures.faults.extend(told);
    figures
}

async fn measure_import(
    command: &str,
    file: &Path,
    directory: &Path,
    work: &Work,
) -> Result<Figures> {
    let import = import(command, file, directory).await?;
    let times = import.disk as f64 / work.loaded_bytes().max(1) as f64;
    let operations = work.loaded().count() as u64;
    Ok(Figures {
        unit: "event".to_owned(),
        operations,
        counts: vec![operations],
        wall_secs: import.wall.as_secs_f64(),
        server_cpu_secs: import.cpu.as_secs_f64(),
        disk: import.disk,
        extra: [("disk, × JSONL".to_owned(), times)].into(),
        ..Figures::default()
    })
}

fn begin(options: &Options, relays: &[RelayOptions], sizes: &Sizes, work: &Work) -> Report {
    let relays = relays.iter().map(|relay| RelayReport {
        name: relay.name.clone(),
        command: relay.command.clone(),
        durability: relay.durability.clone(),
        software: Software::default(),
        cells: Vec::new(),
    });
    Report {
        commit: options.commit.clone(),
        command: options.command.clone(),
        machine: machine(),
        started: options.started.clone(),
        corpus: CorpusReport {
            seed: options.seed,
            authors: work.corpus.options().authors,
            loaded: sizes.events,
            loaded_bytes: work.loaded_bytes(),
            published: sizes.published(),
            fingerprint: work.summary.fingerprint.clone(),
        },
        sizes: *sizes,
        pinned: options.pin,
        passes: Vec::new(),
        relays: relays.collect(),
        findings: Vec::new(),
    }
}

fn add(cells: &mut Vec<CellReport>, (name, figures): Measured) {
    let at = cells
        .iter()
        .position(|cell| cell.name == name)
        .unwrap_or_else(|| {
            cells.push(CellReport {
                name,
                passes: Vec::new(),
                failures: Vec::new(),
            });
            cells.len() - 1
        });
    match figures {
        Ok(figures) => cells[at].passes.push(figures),
        Err(error) => cells[at].failures.push(format!("{error:#}")),
    }
}

fn line(pass: u32, relay: &str, (cell, figures): &Measured) -> String {
    let text = match figures {
        Err(error) => format!("FAILED: {error:#}"),
        Ok(figures) => {
            let seconds = figures.wall_secs.max(f64::MIN_POSITIVE);
            let count = figures.operations.max(1) as f64;
            format!(
                "{:.0} {}/s, p50 {:.2} ms, {:.1} µs of CPU each{}",
                figures.operations as f64 / seconds,
                figures.unit,
                figures.latency.p50_ms,
                figures.server_cpu_secs * 1e6 / count,
                if figures.is_valid() { "" } else { ", INVALID" }
            )
        }
    };
    format!("pass {}, {relay}: {cell}: {text}", pass + 1)
}

fn write(report: &Report, directory: &Path) -> Result<()> {
    let json = serde_json::to_string_pretty(report)?;
    for (name, text) in [("bench.json", json), ("bench.md", markdown(report))] {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for relay in &report.relays {
        let Some(summary) = summary(report, relay, cores) else {
            continue;
        };
        let directory = directory.join(&relay.name);
        fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        let json = serde_json::to_string_pretty(&summary)?;
        for (name, text) in [("summary.json", json), ("summary.md", summary.markdown())] {
            let path = directory.join(name);
            fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// Thousands of connections need as many open files, here and in the relays, which inherit it.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Where that is forbidden, cells that need more say so.
    let _as_it_was = setrlimit(Resource::Nofile, wanted);
}

/// Which cores relays and this client run on.
#[derive(Debug)]
struct Cores {
    #[cfg(target_os = "linux")]
    parts: Option<(rustix::thread::CpuSet, rustix::thread::CpuSet)>,
}

#[cfg(target_os = "linux")]
impl Cores {
    /// The last of the cores for the client and the others for relays, if they are to be apart.
    fn divide(apart: bool) -> Result<Self> {
        use rustix::thread::{CpuSet, sched_getaffinity};
        if !apart {
            return Ok(Self { parts: None });
        }
        let mut relays = sched_getaffinity(None)?;
        let last = (0..CpuSet::MAX_CPU).rev().find(|core| relays.is_set(*core));
        let last = last
            .filter(|_| relays.count() > 1)
            .context("--pin needs two cores")?;
        let mut client = CpuSet::new();
        client.set(last);
        relays.unset(last);
        Ok(Self {
            parts: Some((relays, client)),
        })
    }

    /// Starts a relay on its cores, which it inherits from this thread.
    async fn start(&self, options: &RelayOptions, directory: &Path) -> Result<Relay> {
        use rustix::thread::{sched_getaffinity, sched_setaffinity};
        let Some((relays, client)) = &self.parts else {
            return Relay::start(options, directory).await;
        };
        let all = sched_getaffinity(None)?;
        sched_setaffinity(None, relays)?;
        let relay = Relay::start(options, directory).await;
        sched_setaffinity(None, if relay.is_ok() { client } else { &all })?;
        relay
    }
}

#[cfg(not(target_os = "linux"))]
impl Cores {
    fn divide(apart: bool) -> Result<Self> {
        anyhow::ensure!(!apart, "--pin needs Linux");
        Ok(Self {})
    }

    async fn start(&self, options: &RelayOptions, directory: &Path) -> Result<Relay> {
        Relay::start(options, directory).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_removed_or_said_to_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (data, file) = (dir.path().join("data"), dir.path().join("file"));
        fs::create_dir_all(data.join("inner")).unwrap();
        fs::write(&file, "").unwrap();
        for _again in 0..2 {
            assert!(remove(&data, Duration::ZERO).is_ok() && !data.exists());
        }
        assert!(remove(&file, Duration::ZERO).is_err(), "no directory");
    }

    #[test]
    fn what_is_said_of_a_relay_stands_with_its_last_work() {
        let mut cells = Vec::new();
        remark(&mut cells, "nothing was measured".to_owned());
        for name in ["load", "idle"] {
            add(&mut cells, (name.to_owned(), Ok(Figures::default())));
        }
        remark(&mut cells, "data stays".to_owned());
        assert_eq!(cells[0].passes[0].remarks, [""; 0]);
        assert_eq!(cells[1].passes[0].remarks, ["data stays"]);
        let failed = anyhow::anyhow!("no answer");
        add(&mut cells, ("start".to_owned(), Err(failed)));
        remark(&mut cells, "data stays".to_owned());
        assert_eq!(cells[2].failures, ["no answer", "data stays"]);
    }
}
