//! `docs/capacity.md`: what is measured, what is assumed, the formulas, examples that they compute, and
//! how costs grow with the number of each role.

use crate::{
    assumptions::ALL,
    coefficients::{Coefficients, QUESTIONS},
    figure::{Figure, Run, short, thousands},
    load::{Build, Load, Prices, Refused},
    messages,
    plan::{Mode, plan},
    scaling::Scaling,
};

/// The measured clusters that are compiled in.
const SCALING: &str = include_str!("../scaling.json");

/// The text between the tables.
const BEGINNING: &str = include_str!("text/beginning.txt");
const FORMULAS: &str = include_str!("text/formulas.txt");
const MESSAGES: &str = include_str!("text/messages.txt");
const GROWTH: &str = include_str!("text/growth.txt");
const LIMITS: &str = include_str!("text/limits.txt");

/// A figure's name in the formulas, what it is, and where it stands.
type Row = (&'static str, &'static str, fn(&Coefficients) -> &Figure);

const ROWS: [Row; 20] = [
    (
        "event_gateway",
        "gateway, an EVENT up to its OK, µs",
        |c| &c.cluster.figures.event_gateway_micros,
    ),
    ("event_ingest", "ingest, an EVENT, µs", |c| {
        &c.cluster.figures.event_ingest_micros
    }),
    ("event_matcher", "each matcher, an EVENT, µs", |c| {
        &c.cluster.figures.event_matcher_micros
    }),
    ("event_nats", "all NATS servers, an EVENT, µs", |c| {
        &c.cluster.figures.event_nats_micros
    }),
    ("event_statements", "CQL statements of an EVENT", |c| {
        &c.cluster.figures.event_statements
    }),
    (
        "delivery_matcher",
        "matcher, each subscription that wants an event, µs",
        |c| &c.cluster.figures.delivery_matcher_micros,
    ),
    ("gateway_base", "memory of an idle gateway, bytes", |c| {
        &c.cluster.figures.gateway_base_bytes
    }),
    (
        "ingest_base",
        "memory of an idle ingest worker, bytes",
        |c| &c.cluster.figures.ingest_base_bytes,
    ),
    ("matcher_base", "memory of an idle matcher, bytes", |c| {
        &c.cluster.figures.matcher_base_bytes
    }),
    (
        "connection_gateway",
        "gateway, a connection with a home feed open, bytes",
        |c| &c.cluster.figures.connection_gateway_bytes,
    ),
    (
        "subscription_matcher",
        "matcher, an open home feed, bytes",
        |c| &c.cluster.figures.subscription_matcher_bytes,
    ),
    (
        "index_event",
        "index of the recent tier, an event, bytes",
        |c| &c.cluster.figures.index_event_bytes,
    ),
    (
        "database_event",
        "database, an event on one replica, bytes",
        |c| &c.cluster.figures.database_event_bytes,
    ),
    (
        "single_event",
        "one process, an EVENT synced before its OK, µs",
        |c| &c.single.figures.event_micros,
    ),
    (
        "delivery",
        "one delivery to a connection that is idle otherwise, µs",
        |c| &c.single.figures.delivery_micros,
    ),
    ("opened", "opening and closing a connection, µs", |c| {
        &c.single.figures.connection_micros
    }),
    ("connection", "an idle connection, bytes", |c| {
        &c.single.figures.connection_bytes
    }),
    (
        "resident",
        "one process with the corpus loaded, bytes",
        |c| &c.single.figures.resident_bytes,
    ),
    ("single_disk", "disk of one process, an event, bytes", |c| {
        &c.single.figures.disk_event_bytes
    }),
    ("event", "an event of the corpus, bytes", |c| {
        &c.single.figures.event_bytes
    }),
];

/// One of the examples.
struct Example {
    title: &'static str,
    options: &'static str,
    load: Load,
    build: Build,
}

fn examples() -> [Example; 3] {
    let load = Load::default();
    [
        Example {
            title: "A small relay",
            options: "--connections 2000 --events 20 --fanout 20 --stored 5000000 --retention 365",
            load: Load {
                connections: 2_000.0,
                events: 20.0,
                fanout: 20.0,
                stored: 5e6,
                ..load.clone()
            },
            build: Build::default(),
        },
        Example {
            title: "A large one",
            options: "--connections 100000 --events 500 --fanout 200 --stored 100000000 --retention 365",
            load: Load {
                connections: 100_000.0,
                events: 500.0,
                fanout: 200.0,
                stored: 1e8,
                ..load.clone()
            },
            build: Build::default(),
        },
        Example {
            title: "A million connections",
            options: "--connections 1000000 --events 2000 --fanout 500 --stored 1000000000 --retention 730 \
                      --recent-events 20000000 --gateway-cores 4 --database-disk-gb 8000",
            load: Load {
                connections: 1e6,
                events: 2_000.0,
                fanout: 500.0,
                stored: 1e9,
                retention_days: 730.0,
                recent_events: 2e7,
                ..load
            },
            build: Build {
                gateway_cores: 4.0,
                database_disk_gb: 8_000.0,
                ..Build::default()
            },
        },
    ]
}

/// The whole page.
///
/// # Errors
///
/// An example is refused, or the measured clusters can't be read: a test would have said so.
pub fn document() -> Result<String, Refused> {
    let coefficients = Coefficients::checked_in();
    let scaling = Scaling::parse(SCALING);
    let scaling = scaling.map_err(|error| Refused::Contradiction(error.to_string()))?;
    let mut text = BEGINNING.to_owned();
    text.push_str("\n## Examples\n");
    for example in examples() {
        let Example { load, build, .. } = &example;
        let plan = plan(Mode::Auto, load, build, &Prices::default(), &coefficients)?;
        text.push_str(&format!("\n### {}\n\n", example.title));
        text.push_str(&format!(
            "```sh\nheliograph capacity {}\n```\n\n",
            example.options
        ));
        text.push_str(&plan.markdown());
    }
    text.push_str("\n## What is measured\n\n");
    text.push_str(&measured(&coefficients));
    text.push_str("\n## What is assumed\n\n");
    text.push_str(&assumed());
    text.push('\n');
    text.push_str(FORMULAS);
    text.push('\n');
    text.push_str(MESSAGES);
    text.push('\n');
    text.push_str(&messages::markdown());
    text.push('\n');
    text.push_str(GROWTH);
    text.push_str(&format!(
        "\n{}\n\n{}",
        run(&scaling.run),
        scaling.markdown()
    ));
    text.push_str(LIMITS);
    Ok(text)
}

fn run(run: &Run) -> String {
    let Run {
        command,
        commit,
        date,
        machine,
    } = run;
    format!("`{command}`, {date}, {commit}: {machine}.")
}

fn measured(c: &Coefficients) -> String {
    let mut text = format!(
        "Median (least–greatest) of the passes; CPU time in µs of one core. Each REQ leaves a subscription open and ends the one before.\n\n\
         Cluster: {}\n\nOne process: {}\n\n",
        run(&c.cluster.run),
        run(&c.single.run)
    );
    text.push_str(&figures(c));
    text.push_str(&questions(c));
    text
}

fn figures(c: &Coefficients) -> String {
    let mut text = String::new();
    text.push_str("| name | what | figure |\n| --- | --- | --- |\n");
    for (name, what, figure) in ROWS {
        text.push_str(&format!("| `{name}` | {what} | {} |\n", figure(c).text()));
    }
    text
}

fn questions(c: &Coefficients) -> String {
    let (f, s) = (&c.cluster.figures, &c.single.figures);
    let mut text = String::new();
    text.push_str("\n| REQ | share, % | gateway | matcher | NATS | from the archive: gateway | matcher | statements | one process | bytes asked | bytes answered |\n");
    text.push_str(&format!("|{}\n", " --- |".repeat(11)));
    for (key, name, share) in QUESTIONS {
        let (Some(q), Some(single)) = (f.questions.get(key), s.questions.get(key)) else {
            continue;
        };
        let cells = [
            q.gateway_micros,
            q.matcher_micros,
            q.nats_micros,
            q.archive_gateway_micros,
            q.archive_matcher_micros,
            q.archive_statements,
            single.micros,
            single.asked_bytes,
            single.answer_bytes,
        ];
        let cells = cells.map(|figure| short(figure.median));
        text.push_str(&format!("| {name} | {share} | {} |\n", cells.join(" | ")));
    }
    let means = [
        c.question(|q| &q.gateway_micros),
        c.question(|q| &q.matcher_micros),
        c.question(|q| &q.nats_micros),
        c.question(|q| &q.archive_gateway_micros),
        c.question(|q| &q.archive_matcher_micros),
        c.question(|q| &q.archive_statements),
        c.single_question(|q| &q.micros),
        c.single_question(|q| &q.asked_bytes),
        c.single_question(|q| &q.answer_bytes),
    ];
    let means = means.map(short);
    text.push_str(&format!("| in the mean | 100 | {} |\n", means.join(" | ")));
    text
}

fn assumed() -> String {
    let mut text = "| name | value | what | why |\n| --- | --- | --- | --- |\n".to_owned();
    for assumption in ALL {
        let value = if assumption.value >= 1_000.0 {
            thousands(assumption.value)
        } else {
            assumption.value.to_string()
        };
        text.push_str(&format!(
            "| `{}` | {value} | {} | {} |\n",
            assumption.name, assumption.what, assumption.source
        ));
    }
    text.push_str(
        "\nThe shares of the questions above are assumed too. So are the defaults of the options: `heliograph capacity --help` has them, prices among them, and each can be given.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_made_and_has_every_example_and_figure() {
        let text = document().unwrap();
        for example in examples() {
            assert!(text.contains(example.options), "{}", example.title);
        }
        for (key, name, _) in QUESTIONS {
            assert!(text.contains(&format!("| {name} |")), "{key}");
        }
        assert!(!text.contains("NaN") && !text.contains("inf "), "{text}");
        // Tables have as many cells in each line as in the first.
        let mut cells = 0;
        for line in text.lines() {
            let count = line.replace("\\|", "").matches('|').count();
            assert!(
                !line.starts_with('|') || cells == 0 || count == cells,
                "{line}"
            );
            cells = if line.starts_with('|') { count } else { 0 };
        }
    }

    #[test]
    fn an_example_is_what_its_options_say() {
        for example in examples() {
            let mut words = example.options.split_whitespace();
            while let (Some(option), Some(value)) = (words.next(), words.next()) {
                let value: f64 = value.parse().unwrap();
                let given = match option {
                    "--connections" => example.load.connections,
                    "--events" => example.load.events,
                    "--fanout" => example.load.fanout,
                    "--stored" => example.load.stored,
                    "--retention" => example.load.retention_days,
                    "--recent-events" => example.load.recent_events,
                    "--gateway-cores" => example.build.gateway_cores,
                    "--database-disk-gb" => example.build.database_disk_gb,
                    other => panic!("{other}"),
                };
                assert_eq!(given, value, "{option}");
            }
        }
    }
}
