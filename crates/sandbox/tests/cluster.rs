//! Members of a cluster start with settings of their own, end when told to, and come back. The
//! roles are a stand-in (`src/bin/sandbox-role.rs`); whole clusters are tested with the program itself.

use std::collections::HashSet;

use heliograph_sandbox::{
    Error,
    cluster::{Cluster, ClusterOptions, CqlServers, Durability, NatsServers, Role},
    http,
};

/// One of each role; nobody asks the servers, so there need not be any.
fn options() -> ClusterOptions {
    ClusterOptions {
        gateways: 1,
        matchers: 1,
        ingest: 1,
        nats: NatsServers::Running(vec!["nats://127.0.0.1:1".to_owned()]),
        cql: CqlServers::Running(vec!["127.0.0.1:1".to_owned()]),
        ..ClusterOptions::new(env!("CARGO_BIN_EXE_sandbox-role").into())
    }
}

fn is_ready(cluster: &Cluster, role: Role, number: usize) -> bool {
    http::is_ok(cluster.member(role, number).admin, "/readyz")
}

#[test]
fn every_member_has_a_name_and_addresses_of_its_own() {
    let cluster = Cluster::start(&ClusterOptions {
        gateways: 2,
        ingest: 2,
        ..options()
    })
    .unwrap();
    let members: Vec<_> = Role::ALL
        .into_iter()
        .flat_map(|role| cluster.members(role))
        .collect();
    assert_eq!(members.len(), 5);
    let addresses: HashSet<_> = members.iter().map(|member| member.admin).collect();
    let names: HashSet<_> = members.iter().map(|member| &member.name).collect();
    assert_eq!((addresses.len(), names.len()), (5, 5));
    let output = cluster.output(Role::Gateway, 1);
    let own = format!("--set=gateway.listen={}\n", cluster.gateway(1));
    assert!(
        output.starts_with("gateway\n") && output.contains(&own),
        "{output}"
    );
    assert!(
        output.contains("--set=cluster.node=gateway-1\n"),
        "{output}"
    );
    assert_eq!(
        cluster.gateway_url(1),
        format!("ws://{}", cluster.gateway(1))
    );
    assert_eq!(cluster.member(Role::Ingest, 0).url, None);
}

#[test]
fn clusters_share_servers_under_names_of_their_own() {
    let (first, second) = (Cluster::start(&options()), Cluster::start(&options()));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_ne!(first.name(), second.name());
    assert_ne!(first.gateway(0), second.gateway(0));
    let keyspace = ("scylla.keyspace".to_owned(), first.name().to_owned());
    assert!(first.settings().contains(&keyspace));
}

#[test]
fn settings_of_the_caller_win() {
    let mut options = options();
    options.durability = Durability::Quorum;
    let urls = ("relay.url".to_owned(), "wss://relay.example.com".to_owned());
    options.settings = vec![urls.clone()];
    let cluster = Cluster::start(&options).unwrap();
    let given: Vec<_> = cluster
        .settings()
        .iter()
        .filter(|(key, _)| *key == urls.0)
        .collect();
    assert_eq!(given, [&urls]);
    let confirmed = ("cluster.durability_unsafe".to_owned(), "true".to_owned());
    assert!(cluster.settings().contains(&confirmed));
}

#[test]
fn a_member_is_killed_and_comes_back_where_it_was() {
    let cluster = Cluster::start(&options()).unwrap();
    let before = cluster.member(Role::Matcher, 0);
    cluster.kill(Role::Matcher, 0);
    assert!(!is_ready(&cluster, Role::Matcher, 0));
    assert!(is_ready(&cluster, Role::Gateway, 0));
    cluster.restart(Role::Matcher, 0).unwrap();
    let after = cluster.member(Role::Matcher, 0);
    assert_ne!(after.pid, before.pid);
    assert_eq!((after.admin, after.url), (before.admin, before.url));
}

#[test]
fn members_are_added_paused_and_terminated() {
    let cluster = Cluster::start(&options()).unwrap();
    assert_eq!(cluster.add(Role::Gateway).unwrap(), 1);
    assert!(is_ready(&cluster, Role::Gateway, 1));
    cluster.pause(Role::Gateway, 1);
    assert!(!is_ready(&cluster, Role::Gateway, 1));
    cluster.resume(Role::Gateway, 1);
    assert!(is_ready(&cluster, Role::Gateway, 1));
    // The stand-in doesn't handle the signal, so it dies of it.
    assert_eq!(cluster.terminate(Role::Gateway, 1).unwrap().code(), None);
    assert!(!is_ready(&cluster, Role::Gateway, 1));
}

#[test]
fn stopping_goes_from_the_edge_inwards() {
    let cluster = Cluster::start(&options()).unwrap();
    let ended = cluster.stop().unwrap();
    let names: Vec<&str> = ended.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["gateway-0", "ingest-0", "matcher-0"]);
}

#[test]
fn what_does_not_start_says_why() {
    let mut options = options();
    options.settings = vec![("relay.name".to_owned(), "broken".to_owned())];
    let error = Cluster::start(&options);
    let Err(Error::Ended { name, log, .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(name, "heliograph migrate");
    assert!(log.contains("relay.name is broken"), "{log}");
}

#[test]
fn more_members_than_addresses_are_refused() {
    let options = ClusterOptions {
        gateways: Role::MEMBERS_MAX + 1,
        ..options()
    };
    assert!(matches!(Cluster::start(&options), Err(Error::Options(_))));
}
