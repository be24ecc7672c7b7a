//! The formulas: cases computed by hand, what must always hold, and what is refused.

use crate::{
    coefficients::{Coefficients, QUESTIONS, Question, SingleQuestion},
    figure::Figure,
    load::{Build, Load, Prices, Refused},
    plan::{Mode, Part, Plan, plan},
};

/// Round figures to compute by hand with.
fn round() -> Coefficients {
    let mut c = Coefficients::checked_in();
    let f = &mut c.cluster.figures;
    f.event_gateway_micros = Figure::exactly(100.0);
    f.event_ingest_micros = Figure::exactly(200.0);
    f.event_matcher_micros = Figure::exactly(20.0);
    f.event_nats_micros = Figure::exactly(200.0);
    f.event_statements = Figure::exactly(10.0);
    f.delivery_matcher_micros = Figure::exactly(0.1);
    f.gateway_base_bytes = Figure::exactly(100.0 * MIB);
    f.ingest_base_bytes = Figure::exactly(128.0 * MIB);
    f.matcher_base_bytes = Figure::exactly(100.0 * MIB);
    f.connection_gateway_bytes = Figure::exactly(10_000.0);
    f.subscription_matcher_bytes = Figure::exactly(4_000.0);
    f.index_event_bytes = Figure::exactly(128.0);
    f.database_event_bytes = Figure::exactly(1_000.0);
    let s = &mut c.single.figures;
    s.event_micros = Figure::exactly(80.0);
    s.delivery_micros = Figure::exactly(8.0);
    s.connection_micros = Figure::exactly(50.0);
    s.connection_bytes = Figure::exactly(6_000.0);
    s.resident_bytes = Figure::exactly(256.0 * MIB);
    s.disk_event_bytes = Figure::exactly(1_500.0);
    s.event_bytes = Figure::exactly(1_000.0);
    for (key, _, _) in QUESTIONS {
        let question = Question {
            gateway_micros: Figure::exactly(100.0),
            matcher_micros: Figure::exactly(200.0),
            nats_micros: Figure::exactly(100.0),
            archive_gateway_micros: Figure::exactly(200.0),
            archive_matcher_micros: Figure::exactly(1_200.0),
            archive_statements: Figure::exactly(20.0),
        };
        c.cluster.figures.questions.insert(key.to_owned(), question);
        let question = SingleQuestion {
            micros: Figure::exactly(50.0),
            asked_bytes: Figure::exactly(500.0),
            answer_bytes: Figure::exactly(10_000.0),
        };
        c.single.figures.questions.insert(key.to_owned(), question);
    }
    c
}

pub(crate) const MIB: f64 = 1_048_576.0;

pub(crate) fn of(mode: Mode, load: &Load, build: &Build) -> Result<Plan, Refused> {
    plan(mode, load, build, &Prices::default(), &round())
}

/// 60,000 connections, 1,000 events a second to 100 subscriptions each.
pub(crate) fn load() -> Load {
    Load {
        connections: 60_000.0,
        events: 1_000.0,
        fanout: 100.0,
        stored: 0.0,
        retention_days: 100.0,
        reqs: Some(1_000.0),
        archive_share: 0.1,
        connection_minutes: 10.0,
        compression: 1.0,
        ..Load::default()
    }
}

pub(crate) fn part<'a>(plan: &'a Plan, role: &str) -> &'a Part {
    plan.parts.iter().find(|part| part.role == role).unwrap()
}

#[track_caller]
pub(crate) fn check(role: &str, count: u64, bound_by: &str, load: &Load, build: &Build) {
    let plan = of(Mode::Cluster, load, build).unwrap();
    let part = part(&plan, role);
    assert_eq!((part.count, &*part.bound_by), (count, bound_by), "{role}");
}

#[test]
fn gateways_follow_from_connections_cpu_or_bandwidth() {
    let build = Build {
        network_gbit: 10.0,
        ..Build::default()
    };
    // 1,000 × 100 + 1,000 × (0.9 × 100 + 0.1 × 200) + 100,000 × 8 + 100 × 50 µs = 1.015 cores
    // of 1.2 of each: one; but 60,000 connections want two.
    check("gateway", 3, "connections; 1 to spare", &load(), &build);
    // 5.055 cores of 1.2 each: five. 5 × as many subscriptions of each event.
    let wide = Load {
        fanout: 600.0,
        ..load()
    };
    // 0.1 + 0.11 + 4.8 + 0.005 = 5.015 cores.
    check("gateway", 6, "CPU; 1 to spare", &wide, &build);
    // 100,000 × 1,060 bytes + 1,000 × 10,000 = 116 MB/s = 928 Mbit/s of 120 each: eight.
    let thin = Build {
        network_gbit: 0.2,
        ..Build::default()
    };
    check(
        "gateway",
        9,
        "bandwidth to clients; 1 to spare",
        &load(),
        &thin,
    );
}

#[test]
fn ingest_follows_from_events() {
    // 0.2 cores: one of 0.6, and a spare. 3,001 events: 0.6002, so two.
    check("ingest", 2, "CPU; 1 to spare", &load(), &Build::default());
    let events = |events| Load { events, ..load() };
    let build = Build {
        matcher_cores: 16.0,
        ..Build::default()
    };
    check("ingest", 2, "CPU; 1 to spare", &events(3_000.0), &build);
    check("ingest", 3, "CPU; 1 to spare", &events(3_001.0), &build);
}

#[test]
fn every_matcher_follows_all_events_and_shares_the_rest() {
    // Each 0.02 cores for events. Shared: 1,000 × (0.9 × 200 + 0.1 × 1,200) + 100,000 × 0.1 µs = 0.31,
    // uneven 0.496 of 2.38: one.
    let why = "CPU: questions and deliveries; 1 to spare";
    check("matcher", 2, why, &load(), &Build::default());
    // 10 × the questions: 3.01 × 1.6 = 4.816 of 2.38: three.
    let asking = Load {
        reqs: Some(10_000.0),
        ..load()
    };
    check("matcher", 4, why, &asking, &Build::default());
}

#[test]
fn more_matchers_do_not_help_where_each_is_too_small_for_the_events() {
    // 61,000 events: 1.22 cores of 1.2, half of what one may use.
    let load = Load {
        events: 61_000.0,
        fanout: 1.0,
        retention_days: 1.0,
        ..load()
    };
    let refused = of(Mode::Cluster, &load, &Build::default()).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("--matcher-cores 4 (5 would do)"), "{text}");
    // NATS sends 3.6 Gbit/s of that.
    let larger = Build {
        matcher_cores: 5.0,
        network_gbit: 10.0,
        ..Build::default()
    };
    assert!(of(Mode::Cluster, &load, &larger).is_ok());
}

#[test]
fn the_database_follows_from_disk_statements_and_copies() {
    // 1,000 × 0.5 × 100 days × 86,400 = 4.32 G events, × 1,000 bytes × 3 = 12.96 TB of 1 TB each: 13.
    check(
        "database",
        15,
        "disk; 1 to spare",
        &load(),
        &Build::default(),
    );
    let short = Load {
        retention_days: 1.0,
        ..load()
    };
    check(
        "database",
        3,
        "a node for each copy; 1 to spare",
        &short,
        &Build::default(),
    );
    // (10,000 × 10 + 1,000 × 0.1 × 20) × 3 / 12,500 = 24.48 cores of 4.8 each: six.
    let busy = Load {
        events: 10_000.0,
        fanout: 10.0,
        ..short
    };
    check(
        "database",
        9,
        "statements; 1 to spare",
        &busy,
        &Build::default(),
    );
}

#[test]
fn memory_is_that_of_what_is_left_when_the_spares_are_away() {
    let plan = of(Mode::Cluster, &load(), &Build::default()).unwrap();
    // A connection with three subscriptions is one without, and three times what the first adds.
    // 100 MiB + 30,000 × (6,000 + 3 × 4,000 + 0.005 × 4 MiB) = 1,273,997,... bytes, / 0.75, to a quarter.
    let sockets: f64 = 30_000.0 * (18_000.0 + 0.005 * 4.0 * MIB);
    let expected = ((100.0 * MIB + sockets) / 0.75 / (256.0 * MIB)).ceil() / 4.0;
    assert_eq!(part(&plan, "gateway").memory_gib, expected);
    assert_eq!(expected, 1.75);
    let silent = Load {
        subscriptions: 0.0,
        fanout: 0.0,
        ..load()
    };
    let silent = of(Mode::Cluster, &silent, &Build::default()).unwrap();
    // 30,000 × 26,972 + 100 MiB: 1.14 GiB.
    assert_eq!(part(&silent, "gateway").memory_gib, 1.25);
    // The index of 4 million events may take an eighth: 4 × 10⁶ × 128 × 8 = 3.81 GiB.
    assert_eq!(part(&plan, "matcher").memory_gib, 4.0);
    assert!(part(&plan, "matcher").memory_for.contains("an eighth"));
}

#[test]
fn streams_hold_what_waits_and_say_which_limit_is_too_low() {
    let plan = of(Mode::Cluster, &load(), &Build::default()).unwrap();
    let streams = plan.streams.unwrap();
    assert_eq!(streams.committed_bytes, 1_000.0 * 1_060.0 * 900.0);
    assert_eq!(streams.events_bytes, 1_000.0 * 1_060.0 * 720.0);
    let raised = |plan: &Plan| {
        let notes = plan.notes.iter();
        let words = notes.filter_map(|note| note.strip_prefix("Raise `")?.split('`').next());
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(raised(&plan), ["recent.events_max"]);
    let double = Load {
        events: 2_000.0,
        recent_events: 2e6,
        ..load()
    };
    let plan = of(Mode::Cluster, &double, &Build::default()).unwrap();
    assert_eq!(raised(&plan), ["nats.committed_bytes_max"]);
}

#[test]
fn bandwidth_and_cost_by_hand() {
    let plan = of(Mode::Cluster, &load(), &Build::default()).unwrap();
    let b = plan.bandwidth;
    assert_eq!(b.clients_in, 8.0 * (1_000.0 * 1_060.0 + 1_000.0 * 500.0));
    assert!((b.clients_out - 8.0 * (100_000.0 * 1_060.0 + 1e7)).abs() < 1.0);
    // Two more copies of each of two streams, one worker, two matchers.
    assert_eq!(b.nats_out, 8.0 * 1_000.0 * 1_060.0 * 7.0);
    let gateways = part(&plan, "gateway").count as f64;
    let link = 8.0 * (1_000.0 * 1_060.0 * gateways + 1e7);
    assert!((b.link - link).abs() < 1.0);
    let cores: f64 = plan.parts.iter().map(|p| p.count as f64 * p.cores).sum();
    assert!((plan.cost.cores - cores * 0.04 * 730.0).abs() < 1e-6);
    // 116 MB/s × half × 730 h × 3,600 s = 152,424 GB at 0.08.
    assert!(
        (plan.cost.egress - 12_193.92).abs() < 0.01,
        "{}",
        plan.cost.egress
    );
    let parts = [
        plan.cost.cores,
        plan.cost.memory,
        plan.cost.disk,
        plan.cost.egress,
    ];
    assert_eq!(plan.cost.total, parts.iter().sum::<f64>());
}

#[test]
fn one_process_if_it_suffices_and_the_reason_if_it_does_not() {
    let small = Load {
        connections: 2_000.0,
        events: 20.0,
        fanout: 20.0,
        ..Load::default()
    };
    let plan = of(Mode::Auto, &small, &Build::default()).unwrap();
    assert_eq!((plan.mode, plan.parts.len()), (Mode::Single, 1));
    assert!(plan.notes[0].contains("no spare"), "{:?}", plan.notes);
    assert_eq!(
        of(Mode::Cluster, &small, &Build::default()).unwrap().mode,
        Mode::Cluster
    );

    let plan = of(Mode::Auto, &load(), &Build::default()).unwrap();
    assert_eq!(plan.mode, Mode::Cluster);
    assert!(
        plan.notes[0].starts_with("One process isn't enough: "),
        "{:?}",
        plan.notes
    );
    let refused = of(Mode::Single, &load(), &Build::default()).unwrap_err();
    assert!(matches!(refused, Refused::TooMuch(_)), "{refused}");
}

#[test]
fn a_spare_carries_the_load_of_one_that_is_away() {
    for spare in [0.0, 1.0, 2.0] {
        let build = Build {
            spare,
            ..Build::default()
        };
        let plan = of(Mode::Cluster, &load(), &build).unwrap();
        for role in ["gateway", "ingest", "matcher"] {
            let part = part(&plan, role);
            assert!(part.count as f64 > spare, "{role}");
            assert!(
                part.busy <= build.utilisation + 1e-9,
                "{role} {}",
                part.busy
            );
        }
        let left = part(&plan, "gateway").count as f64 - spare;
        assert!(load().connections / left <= build.gateway_connections);
    }
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Load, &mut Build, &mut Prices), words: &[&str]) {
    let (mut load, mut build, mut prices) = (load(), Build::default(), Prices::default());
    change(&mut load, &mut build, &mut prices);
    let error = plan(Mode::Auto, &load, &build, &prices, &round())
        .unwrap_err()
        .to_string();
    for word in words {
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    refused(
        |load, _, _| load.connections = 0.0,
        &["--connections 0", "from 1"],
    );
    refused(|load, _, _| load.connections = -5.0, &["--connections -5"]);
    refused(|load, _, _| load.events = f64::NAN, &["--events NaN"]);
    refused(|load, _, _| load.events = f64::INFINITY, &["--events inf"]);
    refused(|load, _, _| load.events = 0.0, &["--events 0"]);
    refused(|load, _, _| load.fanout = -1.0, &["--fanout -1"]);
    refused(
        |load, _, _| load.stored = 1e18,
        &["--stored 1000000000000000000"],
    );
    refused(|load, _, _| load.retention_days = 0.0, &["--retention 0"]);
    refused(
        |load, _, _| load.archive_share = 1.5,
        &["--archive-share 1.5"],
    );
    refused(
        |_, build, _| build.utilisation = 1.0,
        &["--utilisation 1", "0.95"],
    );
    refused(|_, build, _| build.spare = 9.0, &["--spare 9"]);
    refused(
        |_, build, _| build.spare = 0.5,
        &["--spare 0.5", "a whole number from 0 to 3"],
    );
    refused(
        |_, _, prices| prices.egress_gb = -0.1,
        &["--price-egress-gb -0.1"],
    );
    refused(
        |load, _, _| load.fanout = 200_000.0,
        &["--fanout 200000", "180000 subscriptions"],
    );
    refused(
        |load, _, _| {
            load.connections = 1e9;
            load.retention_days = 1.0;
        },
        &["× gateway (connections)", "no cluster of that size"],
    );
}
