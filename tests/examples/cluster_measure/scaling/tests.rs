//! A small run on the servers that tests share: no times are asserted, but that all answers are right
//! and everything is accounted for.

use clap::Parser as _;
use heliograph_capacity::scaling::{COLUMNS, Part};
use heliograph_sandbox::Error;
use heliograph_testkit::process::{binary, option};

use super::*;

/// Figures of servers that this run doesn't own.
const OTHERS: [&str; 5] = [
    "event_nats",
    "event_cql",
    "id_nats",
    "feed_nats",
    "delivery_nats",
];

/// Options on a command line of their own.
#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn parse(line: &str) -> Result<Options, clap::Error> {
    let words = line.split_whitespace();
    Line::try_parse_from(
        ["scaling", "--binary", "heliograph"]
            .into_iter()
            .chain(words),
    )
    .map(|line| line.options)
}

/// `None` after saying so where the servers can't be had.
fn shared() -> Option<Ground> {
    match ClusterOptions::on_shared(binary().to_owned()) {
        Ok(options) => Some(Ground {
            nats: options.nats,
            cql: options.cql,
            owner: None,
        }),
        Err(error @ Error::Missing { .. }) if option("CI").is_none() => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn every_answer_is_right_and_every_role_accounted_for() {
    let Some(ground) = shared() else {
        return;
    };
    let load = "--passes 1 --events 150 --questions 40 --subscribers 4 --live-events 20 --unpinned \
                --cluster 2,1,1 --cluster 2,2,1";
    let mut options = parse(load).unwrap();
    options.binary = binary().to_owned();
    let scaling = measure(&options, &ground, &mut options.work(None)).unwrap();

    assert_eq!(scaling.clusters.len(), 2);
    for cluster in &scaling.clusters {
        for column in COLUMNS
            .iter()
            .filter(|column| !OTHERS.contains(&column.key))
        {
            let figure = cluster.figure(column.key).unwrap().median;
            assert!(
                figure > 0.0 && figure.is_finite(),
                "{} is {figure}",
                column.key
            );
        }
        let messages = |key: &str| cluster.figure(key).unwrap().median;
        // Every matcher follows all events; each crosses once to each gateway, here both.
        assert_eq!(messages("matched_event"), f64::from(cluster.matchers));
        assert_eq!(messages("links_event"), 2.0);
    }
    let table = scaling.markdown();
    let parts = [Part::Event, Part::Question, Part::Delivery, Part::Messages].len();
    assert_eq!(table.matches("\n| 2·2·1 | ").count(), parts, "{table}");
    let text = serde_json::to_string(&scaling).unwrap();
    assert_eq!(Scaling::parse(&text).unwrap(), scaling);
}

#[test]
fn no_more_live_events_than_a_gateway_keeps_for_a_subscriber_that_waits() {
    assert!(parse("--live-events 2000").is_ok());
    assert!(parse("--live-events 2001").is_err());
}

#[test]
fn clusters_are_given_as_three_numbers() {
    assert_eq!(parse("").unwrap().order().len(), CLUSTERS.len());
    let some = parse("--cluster 4,2,1 --cluster 1,1,2").unwrap();
    assert_eq!(some.order(), [[4, 2, 1], [1, 1, 2]]);
    for wrong in ["4,2", "0,1,1", "4,2,17", "a,b,c"] {
        assert!(parse(&format!("--cluster {wrong}")).is_err(), "{wrong}");
    }
}
