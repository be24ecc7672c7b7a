//! `cargo xtask capacity coefficients`: measures a cluster and one process, and writes the figures that
//! `heliograph capacity` computes with.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use heliograph_capacity::{
    Coefficients, Figure, Run,
    coefficients::{Cluster, Measured, Single, SingleQuestion},
};
use serde_json::Value;

use crate::{
    bench,
    cluster::{self, date},
    shell,
};

/// How it is done again, whatever it was called with and wherever files lay.
const COMMAND: &str = "cargo xtask capacity coefficients";

/// What the formulas are compiled with.
const FILE: &str = "crates/capacity/coefficients.json";

/// Where runs leave their results.
const OUT: &str = "target/capacity";

/// How the bench and the formulas call the same questions.
const QUESTIONS: [(&str, &str); 5] = [
    ("by_id", "REQ by id (20×)"),
    ("author_kind", "REQ author and kind (20×)"),
    ("feed", "REQ feed, active × 2 kinds (20×)"),
    ("reactions", "REQ thread (20×)"),
    ("inbox", "REQ inbox (20×)"),
];

/// The parts of the bench that are needed.
const CELLS: [&str; 5] = ["REQ", "publish 50", "live 1→1000", "idle", "connect"];

/// What to do about capacity.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measures what `heliograph capacity` computes with; `cargo xtask reference` then writes the page.
    Coefficients(Measure),
}

/// What was measured already.
#[derive(Debug, Args)]
pub(crate) struct Measure {
    /// Figures that `cargo xtask cluster measure --coefficients FILE` has written; measures without.
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
    /// Figures that `cargo xtask bench` has written (bench.json); measures without.
    #[arg(long, value_name = "FILE")]
    bench: Option<PathBuf>,
}

/// Runs a command of `cargo xtask capacity`.
///
/// # Errors
///
/// Something can't be measured, or the file not be written.
pub(crate) fn run(command: &Command) -> Result<()> {
    let Command::Coefficients(measure) = command;
    let out = shell::root().join(OUT);
    fs::create_dir_all(&out).with_context(|| format!("can't make {}", out.display()))?;
    let measured = match &measure.cluster {
        Some(path) => path.clone(),
        None => measure_cluster(&out)?,
    };
    let benched = match &measure.bench {
        Some(path) => path.clone(),
        None => measure_single(&out)?,
    };
    let report: Value = serde_json::from_str(&read(&benched)?)?;
    let cluster: Measured<Cluster> = serde_json::from_str(&read(&measured)?)?;
    let coefficients = Coefficients {
        cluster: repeatable(cluster),
        single: repeatable(single(&report)?),
    };
    let mut text = serde_json::to_string_pretty(&coefficients)?;
    text.push('\n');
    // As the program will read it.
    Coefficients::parse(&text)?;
    let path = shell::root().join(FILE);
    fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
    println!("wrote {}; now run `cargo xtask reference`", path.display());
    Ok(())
}

fn measure_cluster(out: &Path) -> Result<PathBuf> {
    let path = out.join("cluster.json");
    let file = path.to_str().context("a path that isn't text")?;
    // As in production: three servers of NATS, and more questions at once than a handful, except those that the one node
    // of the database here would answer too late.
    let mut arguments = vec![
        "--nats",
        "3",
        "--askers",
        "32",
        "--archive-askers",
        "6",
        "--events",
        "12000",
        "--seconds",
        "2",
    ];
    arguments.extend(["--coefficients", file]);
    cluster::measure(&arguments)?;
    Ok(path)
}

fn measure_single(out: &Path) -> Result<PathBuf> {
    let directory = out.to_str().context("a path that isn't text")?;
    let mut arguments = vec!["--events", "60000", "--seconds", "2", "--out", directory];
    for cell in CELLS {
        arguments.extend(["--only", cell]);
    }
    bench::measure(&arguments)?;
    Ok(out.join("bench.json"))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))
}

/// With the command that does it again.
fn repeatable<T>(mut measured: Measured<T>) -> Measured<T> {
    COMMAND.clone_into(&mut measured.run.command);
    measured
}

/// The figures of the first relay of a bench.
///
/// # Errors
///
/// A cell is missing or isn't valid, or the bench doesn't say what was built.
fn single(report: &Value) -> Result<Measured<Single>> {
    let relay = &report["relays"][0];
    let cell = |name: &str| -> Result<&Value> {
        let cells = relay["cells"].as_array().into_iter().flatten();
        let mut cells = cells.filter(|cell| cell["name"] == name);
        let cell = cells
            .next()
            .with_context(|| format!("the bench has no cell {name:?}"))?;
        valid(cell)?;
        Ok(cell)
    };
    let micros = |name: &str| {
        each(cell(name)?, &|pass| {
            1e6 * number(pass, "server_cpu_secs") / operations(pass)
        })
    };
    let events = number(&report["corpus"], "loaded");
    let bytes = number(&report["corpus"], "loaded_bytes");
    let extra = |pass: &Value, name: &str| pass["extra"][name].as_f64().unwrap_or(f64::NAN);
    let mut questions = std::collections::BTreeMap::new();
    for (key, name) in QUESTIONS {
        let question = SingleQuestion {
            micros: micros(name)?,
            asked_bytes: each(cell(name)?, &|pass| {
                number(pass, "bytes_sent") / operations(pass)
            })?,
            answer_bytes: each(cell(name)?, &|pass| {
                number(pass, "bytes_received") / operations(pass)
            })?,
        };
        questions.insert(key.to_owned(), question);
    }
    let load = cell("load")?;
    let figures = Single {
        event_micros: micros("publish 50×20")?,
        delivery_micros: micros("live 1→1000 at 10/s")?,
        connection_micros: micros("connect and disconnect")?,
        connection_bytes: each(cell("idle, deflate offered")?, &|pass| {
            extra(pass, "bytes a connection")
        })?,
        resident_bytes: each(load, &|pass| number(&pass["memory"], "resident"))?,
        disk_event_bytes: each(load, &|pass| extra(pass, "disk, × JSONL") * bytes / events)?,
        event_bytes: Figure::exactly((bytes / events).round()),
        questions,
    };
    let text = |key: &str| report[key].as_str().unwrap_or("unknown").to_owned();
    let run = Run {
        command: text("command"),
        commit: text("commit"),
        date: date()?,
        machine: text("machine"),
    };
    ensure!(
        run.commit != "unknown",
        "the bench doesn't say what was built"
    );
    Ok(Measured { run, figures })
}

/// Whether all of a cell was done as asked: otherwise its figures are those of less work. The bench counts
/// a REQ that ends with CLOSED as limited.
fn valid(cell: &Value) -> Result<()> {
    let name = &cell["name"];
    let none = |value: &Value, key: &str| -> Result<()> {
        let whole = match &value[key] {
            Value::Array(list) => list.is_empty(),
            number => number.as_u64() == Some(0),
        };
        ensure!(
            whole,
            "the cell {name} isn't valid: {key} {}; measure again",
            value[key]
        );
        Ok(())
    };
    none(cell, "failures")?;
    for pass in cell["passes"].as_array().into_iter().flatten() {
        none(pass, "faults")?;
        none(&pass["refusals"], "limited")?;
        none(&pass["refusals"], "refused")?;
    }
    Ok(())
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or(f64::NAN)
}

fn operations(pass: &Value) -> f64 {
    number(pass, "operations")
}

/// A figure of each pass.
fn each(cell: &Value, figure: &dyn Fn(&Value) -> f64) -> Result<Figure> {
    let passes = cell["passes"].as_array().into_iter().flatten();
    let figures: Vec<f64> = passes.map(figure).collect();
    Figure::of(&figures).with_context(|| format!("the cell {} has no figures", cell["name"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pass(cpu: f64, operations: u64) -> Value {
        json!({
            "operations": operations, "server_cpu_secs": cpu, "bytes_sent": 300 * operations,
            "bytes_received": 2_000 * operations, "memory": {"resident": 1_000},
            "extra": {"disk, × JSONL": 2.0, "bytes a connection": 6_000.0}, "faults": [],
            "refusals": {"limited": 0, "refused": 0, "superseded": 3, "examples": ["duplicate: newer"]},
        })
    }

    fn report() -> Value {
        let names = [
            "load",
            "publish 50×20",
            "live 1→1000 at 10/s",
            "connect and disconnect",
            "idle, deflate offered",
        ];
        let names = names.into_iter().chain(QUESTIONS.map(|(_, name)| name));
        let cells: Vec<Value> = names
            .map(|name| json!({"name": name, "failures": [], "passes": [pass(0.01, 100), pass(0.03, 100)]}))
            .collect();
        json!({
            "commit": "commit abcdefabcdef", "command": "cargo xtask bench", "machine": "m",
            "corpus": {"loaded": 10, "loaded_bytes": 8_000}, "relays": [{"cells": cells}],
        })
    }

    #[test]
    fn figures_of_a_bench_are_those_of_its_cells() {
        let single = single(&report()).unwrap().figures;
        let event = single.event_micros;
        assert_eq!(
            [event.least, event.median, event.greatest],
            [100.0, 200.0, 300.0]
        );
        assert_eq!(single.event_bytes.median, 800.0);
        assert_eq!(single.disk_event_bytes.median, 1_600.0);
        let feed = &single.questions["feed"];
        assert_eq!(
            (feed.asked_bytes.median, feed.answer_bytes.median),
            (300.0, 2_000.0)
        );
    }

    #[test]
    fn a_bench_without_a_cell_or_a_commit_is_refused() {
        let mut without = report();
        without["relays"][0]["cells"]
            .as_array_mut()
            .unwrap()
            .remove(1);
        let error = single(&without).unwrap_err().to_string();
        assert!(error.contains("publish 50×20"), "{error}");
        let mut nameless = report();
        nameless["commit"] = json!("unknown");
        assert!(single(&nameless).is_err());
    }

    #[test]
    fn a_cell_that_was_not_done_as_asked_is_refused() {
        let changes = [
            ("/failures", json!(["didn't start"])),
            ("/passes/1/faults", json!(["3 deliveries didn't come"])),
            ("/passes/1/refusals/limited", json!(1)),
            ("/passes/0/refusals/refused", json!(2)),
            // What isn't there says nothing.
            ("/passes/0/refusals", json!({})),
        ];
        for (place, value) in changes {
            let mut report = report();
            let cells = report["relays"][0]["cells"].as_array_mut().unwrap();
            let mut cells = cells.iter_mut();
            let cell = cells.find(|cell| cell["name"] == "REQ thread (20×)");
            *cell.unwrap().pointer_mut(place).unwrap() = value;
            let error = single(&report).unwrap_err().to_string();
            assert!(error.contains("REQ thread (20×)\" isn't valid"), "{error}");
        }
    }

    #[test]
    fn the_command_is_recorded_without_a_path() {
        let mut measured = single(&report()).unwrap();
        "cargo xtask bench --out /somewhere/else".clone_into(&mut measured.run.command);
        assert_eq!(repeatable(measured).run.command, COMMAND);
    }
}
