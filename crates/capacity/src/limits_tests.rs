//! What bounds the parts besides cores, what bounds one process, the notes, and what must always hold.

use proptest::prelude::*;

use crate::{
    coefficients::Coefficients,
    load::{Build, Load, Prices},
    plan::{Mode, plan},
    plan_tests::{MIB, check, load, of, part},
};

#[test]
fn matchers_follow_from_the_bytes_that_gateways_want() {
    // Clients want 928 Mbit/s of 60 from each gateway: 16, and a spare. 1,000 × 1,060 bytes to each of these
    // and 10 MB of answers: 28.02 MB/s = 224.2 Mbit/s, uneven 358.7 of 60 from each matcher: six.
    let thin = Build {
        network_gbit: 0.1,
        ..Build::default()
    };
    check(
        "matcher",
        7,
        "bandwidth to gateways; 1 to spare",
        &load(),
        &thin,
    );
    check(
        "gateway",
        17,
        "bandwidth to clients; 1 to spare",
        &load(),
        &thin,
    );
}

#[test]
fn there_is_a_gateway_for_each_matcher() {
    // Shared: 30,000 × (0.9 × 200 + 0.1 × 1,200) + 10,000 µs = 9.01 cores, uneven 14.4 of 2.38: seven.
    let asking = Load {
        reqs: Some(30_000.0),
        ..load()
    };
    let roomy = Build {
        gateway_cores: 16.0,
        network_gbit: 100.0,
        ..Build::default()
    };
    check(
        "matcher",
        8,
        "CPU: questions and deliveries; 1 to spare",
        &asking,
        &roomy,
    );
    check(
        "gateway",
        8,
        "one for each matcher; 1 to spare",
        &asking,
        &roomy,
    );
    // An event crosses to all eight.
    let link = of(Mode::Cluster, &asking, &roomy).unwrap().bandwidth.link;
    assert!((link - 8.0 * (1_000.0 * 1_060.0 * 8.0 + 3e8)).abs() < 1.0);
    let notes = of(Mode::Cluster, &asking, &roomy).unwrap().notes;
    assert!(
        notes
            .iter()
            .any(|note| note.starts_with("7 gateways on 7 matchers")),
        "{notes:?}"
    );
}

#[test]
fn servers_of_nats_are_refused_where_two_cannot_send_it() {
    // 7,400 × 1,060 bytes × 7 = 439 Mbit/s, half of it 219.6 of 300; of 180 it's too much.
    let events = Load {
        events: 7_400.0,
        fanout: 1.0,
        retention_days: 1.0,
        ..load()
    };
    let network = |network_gbit| Build {
        network_gbit,
        ..Build::default()
    };
    assert!(of(Mode::Cluster, &events, &network(0.5)).is_ok());
    let error = of(Mode::Cluster, &events, &network(0.3)).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("each server of NATS would send"), "{error}");
    assert!(error.contains("--network-gbit 0.3"), "{error}");
}

/// 2,000 connections that ask once a minute.
fn small() -> Load {
    Load {
        connections: 2_000.0,
        events: 20.0,
        fanout: 20.0,
        reqs: Some(100.0),
        ..Load::default()
    }
}

#[test]
fn one_process_is_not_planned_past_what_is_known_of_its_disk_and_memory() {
    // 1,000 REQ/s × 0.5 × 20 reads: as many as may be.
    let archive = |archive_share| Load {
        reqs: Some(1_000.0),
        archive_share,
        ..small()
    };
    let build = Build::default();
    assert!(of(Mode::Single, &archive(0.5), &build).is_ok());
    let error = of(Mode::Single, &archive(0.51), &build).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("10200 reads a second from its disk for --archive-share 0.51"),
        "{error}"
    );
    // 67 million × 128 bytes × 8 = 63.9 GiB.
    let recent = |recent_events| Load {
        stored: 2e8,
        recent_events,
        ..small()
    };
    let plan = of(Mode::Single, &recent(6.7e7), &build).unwrap();
    assert_eq!(part(&plan, "single").memory_gib, 64.0);
    let error = of(Mode::Single, &recent(6.8e7), &build).unwrap_err();
    assert!(error.to_string().contains("65 GiB of memory"), "{error}");
    let plan = of(Mode::Auto, &recent(6.8e7), &build).unwrap();
    assert_eq!(plan.mode, Mode::Cluster);
}

#[test]
fn memory_of_one_process_has_every_subscription_in_it() {
    let plan = of(
        Mode::Single,
        &Load {
            connections: 20_000.0,
            recent_events: 1e6,
            ..small()
        },
        &Build::default(),
    );
    // 256 MiB + 2 × 128 MB + 20,000 × (6,000 + 3 × (4,000 + 4,000) + 0.005 × 4 MiB) bytes, / 0.75.
    let sockets = 20_000.0 * (30_000.0 + 0.005 * 4.0 * MIB);
    let bytes = (256.0 * MIB + 2.0 * 128e6 + sockets) / 0.75;
    let expected = (bytes / (256.0 * MIB)).ceil() / 4.0;
    assert_eq!(part(&plan.unwrap(), "single").memory_gib, expected);
    assert_eq!(expected, 2.0);
}

#[test]
fn keys_whose_defaults_are_too_low_are_named() {
    let raised = |load: &Load, build: &Build| {
        let notes = of(Mode::Auto, load, build).unwrap().notes;
        let notes = notes.into_iter();
        notes
            .filter(|note| note.starts_with("Raise"))
            .collect::<Vec<_>>()
    };
    let within = Load {
        recent_events: 2e6,
        ..small()
    };
    assert_eq!(raised(&within, &Build::default()), [""; 0]);
    let past = Load {
        recent_events: 3e6,
        ..small()
    };
    let note = "Raise `recent.events_max` from its default, 2,000,000, to 3000000.";
    assert_eq!(raised(&past, &Build::default()), [note]);
    // 120,000 connections at two gateways, while the spare is away; and 60,000 at one process.
    let wide = Build {
        gateway_connections: 60_000.0,
        single_cores: 64.0,
        network_gbit: 10.0,
        ..Build::default()
    };
    let note = "Raise `gateway.connections_max` from its default, 50,000, to 60000.";
    for connections in [120_000.0, 60_000.0] {
        let load = Load {
            connections,
            ..within.clone()
        };
        assert_eq!(raised(&load, &wide), [note], "{connections}");
    }
}

#[test]
fn what_has_three_copies_has_one_to_spare_at_most() {
    for (spare, said) in [(1.0, false), (2.0, true)] {
        let build = Build {
            spare,
            ..Build::default()
        };
        let plan = of(Mode::Cluster, &load(), &build).unwrap();
        let database = part(&plan, "database");
        assert!(database.bound_by.ends_with("; 1 to spare"), "{database:?}");
        let notes = plan.notes.iter();
        let notes = notes.filter(|note| note.contains("stand the loss of one"));
        assert_eq!(notes.count() == 1, said, "{spare}");
    }
}

proptest! {
    /// More of anything never needs fewer of anything.
    #[test]
    fn more_load_never_gives_fewer_members(
        connections in 1_000.0..500_000.0_f64,
        events in 1.0..5_000.0_f64,
        fanout in 0.0..500.0_f64,
        stored in 0.0..1e9_f64,
        days in 1.0..1_000.0_f64,
        reqs in 0.0..20_000.0_f64,
        which in 0..6_usize,
        by in 1.0..3.0_f64,
    ) {
        let small = Load {
            connections,
            events,
            fanout,
            stored,
            retention_days: days,
            reqs: Some(reqs),
            ..Load::default()
        };
        let mut large = small.clone();
        match which {
            0 => large.connections *= by,
            1 => large.events *= by,
            2 => large.fanout *= by,
            3 => large.stored = large.stored * by + 1e6,
            4 => large.retention_days *= by,
            _ => large.reqs = Some(reqs * by + 10.0),
        }
        let build = Build { matcher_cores: 32.0, ..Build::default() };
        let c = Coefficients::checked_in();
        let make = |load: &Load| plan(Mode::Cluster, load, &build, &Prices::default(), &c);
        if let (Ok(small), Ok(large)) = (make(&small), make(&large)) {
            for (less, more) in small.parts.iter().zip(&large.parts) {
                prop_assert!(less.count <= more.count, "{} {} {}", less.role, less.count, more.count);
            }
            prop_assert!(small.bandwidth.link <= large.bandwidth.link * (1.0 + 1e-9));
            prop_assert!(small.cost.egress <= large.cost.egress * (1.0 + 1e-9));
            prop_assert!(small.stored_bytes <= large.stored_bytes);
        }
    }

    /// Whatever is asked, no core is planned to be busier than it may be.
    #[test]
    fn nobody_is_busier_than_allowed(
        connections in 1_000.0..500_000.0_f64,
        events in 1.0..5_000.0_f64,
        fanout in 0.0..500.0_f64,
        reqs in 0.0..20_000.0_f64,
        utilisation in 0.2..0.9_f64,
        network_gbit in 0.2..10.0_f64,
    ) {
        let load = Load { connections, events, fanout, reqs: Some(reqs), ..Load::default() };
        let build = Build { matcher_cores: 32.0, utilisation, network_gbit, ..Build::default() };
        let c = Coefficients::checked_in();
        if let Ok(plan) = plan(Mode::Cluster, &load, &build, &Prices::default(), &c) {
            let carry = |role: &str| part(&plan, role).count as f64 - build.spare;
            let network = network_gbit * 1e9 * utilisation * (1.0 + 1e-9);
            prop_assert!(plan.bandwidth.clients_out / carry("gateway") <= network);
            prop_assert!(plan.bandwidth.link * 1.6 / carry("matcher") <= network || carry("matcher") == 1.0);
            prop_assert!(plan.bandwidth.nats_out / 2.0 <= network);
            prop_assert!(carry("gateway") >= carry("matcher"));
            for part in &plan.parts {
                prop_assert!(part.busy <= utilisation + 1e-9, "{} {}", part.role, part.busy);
            }
        }
    }
}
