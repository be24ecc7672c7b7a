//! Members in network namespaces lose each other and find each other again. Where the machine has
//! no namespaces the tests say so and end.
#![expect(clippy::unwrap_used, reason = "helpers of tests outside of them")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::Duration,
};

use heliograph_sandbox::{
    cluster::{Cluster, ClusterOptions, CqlServers, Links, NatsServers, Peer, Role},
    http,
    network::namespace::Network,
    process::{Launch, Process},
};

/// Long enough for a busy machine, and for TCP to try again after a break.
const PATIENCE: Duration = Duration::from_secs(60);

/// Long enough to be sure that nothing comes.
const NOTHING: Duration = Duration::from_millis(500);

/// One of each role, where nobody asks the servers.
fn cluster(links: Links) -> Cluster {
    let options = ClusterOptions {
        gateways: 1,
        matchers: 1,
        ingest: 1,
        nats: NatsServers::Running(vec!["nats://127.0.0.1:1".to_owned()]),
        cql: CqlServers::Running(vec!["127.0.0.1:1".to_owned()]),
        links,
        ..ClusterOptions::new(env!("CARGO_BIN_EXE_sandbox-role").into())
    };
    Cluster::start(&options).unwrap()
}

/// The value of a key that a member was given last.
fn given(cluster: &Cluster, role: Role, key: &str) -> String {
    let output = cluster.output(role, 0);
    let prefix = format!("--set={key}=");
    let mut lines = output.lines().rev();
    let value = lines.find_map(|line| line.strip_prefix(&prefix));
    value
        .unwrap_or_else(|| panic!("no {key} in {output}"))
        .to_owned()
}

/// A member that is a script for the shell.
fn shell(script: &str, log: &Path) -> Launch {
    Launch {
        name: "member".to_owned(),
        program: "bash".into(),
        arguments: vec!["-c".into(), script.into()],
        variables: Vec::new(),
        hide_variables: "",
        directory: std::env::temp_dir(),
        log: log.to_owned(),
    }
}

#[test]
fn every_way_of_a_member_goes_through_a_proxy_of_its_own() {
    let cluster = cluster(Links::Proxied);
    assert!(!cluster.has_namespaces());
    let nats = Role::ALL.map(|role| given(&cluster, role, "nats.servers"));
    let cql = [Role::Ingest, Role::Matcher].map(|role| given(&cluster, role, "scylla.nodes"));
    let advertised = given(&cluster, Role::Matcher, "matcher.advertise");
    let mut all: Vec<&str> = nats
        .iter()
        .map(|url| url.strip_prefix("nats://").unwrap())
        .chain(cql.iter().map(String::as_str))
        .chain([advertised.as_str()])
        .collect();
    for address in &all {
        let address: SocketAddr = address.parse().unwrap();
        // It listens, and resets what has nowhere to go.
        assert!(TcpStream::connect(address).is_ok(), "{address}");
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 6, "{all:?}");
    assert_eq!(given(&cluster, Role::Gateway, "cluster.node"), "gateway-0");
}

/// The namespace has no interface but its own: a member reaches nothing outside of its cluster.
#[test]
fn members_in_namespaces_are_reached_by_clients_also_when_they_are_isolated() {
    let cluster = cluster(Links::Namespaces);
    if !cluster.has_namespaces() {
        println!("skipped: no network namespaces here");
        return;
    }
    let ready = || {
        let admin = cluster.member(Role::Gateway, 0).admin;
        http::is_ok(admin, "/readyz")
    };
    assert!(ready());
    cluster.isolate(Role::Gateway, 0).unwrap();
    assert!(ready(), "clients lost it too");
    cluster.rejoin(Role::Gateway, 0).unwrap();
    cluster.restart(Role::Gateway, 0).unwrap();
    assert!(ready());
    let own = format!(
        "/run/netns/{}",
        namespace(cluster.member(Role::Gateway, 0).pid)
    );
    assert!(Path::new(&own).exists(), "{own}");
    drop(cluster);
    assert!(!Path::new(&own).exists(), "{own} is left");
}

/// The name of the namespace that a process is in.
fn namespace(pid: u32) -> String {
    let output = std::process::Command::new("ip")
        .args(["netns", "identify", &pid.to_string()])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn an_unplugged_member_hears_nothing_and_loses_nothing() {
    let Some(network) = Network::create().unwrap() else {
        println!("skipped: no network namespaces here");
        return;
    };
    let log = std::env::temp_dir().join(format!("heliograph-member-{}", std::process::id()));
    let here = TcpListener::bind((network.back(Network::host()), 0)).unwrap();
    let address = here.local_addr().unwrap();
    network.join(10).unwrap();
    // Sends back what it gets, with nothing but the shell.
    let script = format!(
        "exec 3<>/dev/tcp/{}/{}; cat <&3 >&3",
        address.ip(),
        address.port()
    );
    let member = network.inside(10, shell(&script, &log));
    let member = Process::start(&member).unwrap();
    let (mut socket, from) = here.accept().unwrap();
    assert_eq!(from.ip(), network.back(10));
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut byte = [0];
    socket.write_all(b"a").unwrap();
    socket.read_exact(&mut byte).unwrap();
    network.unplug(10).unwrap();
    socket.write_all(b"b").unwrap();
    socket.set_read_timeout(Some(NOTHING)).unwrap();
    let error = socket.read_exact(&mut byte).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    network.plug(10).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"b");
    drop(member);
    drop(std::fs::remove_file(log));
}

#[test]
fn the_same_faults_happen_to_links_without_namespaces() {
    let cluster = cluster(Links::Proxied);
    let nats = given(&cluster, Role::Ingest, "nats.servers");
    let address: SocketAddr = nats.strip_prefix("nats://").unwrap().parse().unwrap();
    cluster.isolate(Role::Ingest, 0).unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(NOTHING)).unwrap();
    let error = socket.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "it is not silent");
    cluster.rejoin(Role::Ingest, 0).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // Nobody is behind it.
    let error = socket.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    cluster.link(Role::Ingest, 0, Peer::Nats).cut();
    let mut socket = TcpStream::connect(address).unwrap();
    let error = socket.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// Databases tell drivers the address that they listen on, which may be a loopback address.
#[test]
fn a_member_is_led_to_a_loopback_address_outside_of_its_namespace() {
    let Some(network) = Network::create().unwrap() else {
        println!("skipped: no network namespaces here");
        return;
    };
    let here = TcpListener::bind("127.251.7.1:0").unwrap();
    let address = here.local_addr().unwrap();
    let log = std::env::temp_dir().join(format!("heliograph-led-{}", std::process::id()));
    network.join(10).unwrap();
    network.lead_to(10, address.ip()).unwrap();
    let script = format!("echo hello > /dev/tcp/{}/{}", address.ip(), address.port());
    let member = network.inside(10, shell(&script, &log));
    let _member = Process::start(&member).unwrap();
    here.set_nonblocking(true).unwrap();
    let accepted = heliograph_sandbox::wait::until(PATIENCE, || match here.accept() {
        Ok((socket, from)) => Ok(Some((socket, from))),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    });
    let (mut socket, from) = accepted.unwrap().expect("a connection");
    assert_eq!(from.ip(), network.back(10));
    socket.set_nonblocking(false).unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello\n");
    drop(std::fs::remove_file(log));
}

/// A process that is killed leaves its namespaces to whoever makes some next.
#[test]
fn what_a_dead_process_left_is_removed() {
    let Some(network) = Network::create().unwrap() else {
        println!("skipped: no network namespaces here");
        return;
    };
    let std::net::IpAddr::V4(ip) = network.back(10) else {
        panic!("networks are of version 4");
    };
    let left = format!("hg{}-99", ip.octets()[2]);
    drop(network);
    let made = std::process::Command::new("ip")
        .args(["netns", "add", &left])
        .status()
        .unwrap();
    assert!(made.success());
    let _network = Network::create().unwrap();
    assert!(!Path::new("/run/netns").join(left).exists());
}
