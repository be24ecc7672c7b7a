//! Real NATS and CQL servers start, are killed and come back on their data.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use heliograph_sandbox::{
    cluster::{Cluster, ClusterOptions},
    cql::{self, Cassandra, CassandraOptions, answers_options},
    http,
    nats::{self, Nats, NatsOptions},
};

/// A client that speaks just enough of the protocol to ask JetStream.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(url: &str) -> Self {
        let address = url.strip_prefix("nats://").expect("a NATS URL");
        let socket = TcpStream::connect(address).expect("the server listens");
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("the socket is open");
        let mut client = Self(BufReader::new(socket));
        assert!(client.line().starts_with("INFO "));
        client.send("CONNECT {\"verbose\":false}\r\nSUB answer 1\r\n");
        client
    }

    fn send(&mut self, text: &str) {
        self.0
            .get_mut()
            .write_all(text.as_bytes())
            .expect("the server reads");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the server answers");
        line
    }

    /// Publishes with a reply subject and returns the answer.
    fn ask(&mut self, subject: &str, body: &str) -> String {
        self.send(&format!(
            "PUB {subject} answer {}\r\n{body}\r\n",
            body.len()
        ));
        while !self.line().starts_with("MSG answer") {}
        self.line()
    }
}

#[test]
fn a_nats_server_is_killed_and_comes_back_with_its_streams() {
    let nats = Nats::start(&NatsOptions::default()).unwrap();
    let mut client = Client::connect(&nats.url());
    let made = client.ask(
        "$JS.API.STREAM.CREATE.S",
        "{\"name\":\"S\",\"subjects\":[\"s\"],\"storage\":\"file\"}",
    );
    assert!(made.contains("\"did_create\":true"), "{made}");
    assert!(client.ask("s", "hello").contains("\"seq\":1"));
    let pid = nats.pid(0);

    nats.kill(0);
    assert!(!http::is_ok(nats.monitor(0), "/healthz"));
    nats.restart(0).unwrap();

    assert!(http::is_ok(nats.monitor(0), "/healthz"));
    assert_ne!(nats.pid(0), pid);
    let mut client = Client::connect(&nats.url());
    assert!(client.ask("s", "again").contains("\"seq\":2"));
}

#[test]
fn three_nats_servers_are_one_cluster_without_any_one_of_them() {
    let options = NatsOptions {
        nodes: 3,
        sync_always: true,
        ..NatsOptions::default()
    };
    let nats = Nats::start(&options).unwrap();
    assert_eq!(nats.urls().len(), 3);
    let mut client = Client::connect(&nats.urls()[1]);
    let made = client.ask(
        "$JS.API.STREAM.CREATE.S",
        "{\"name\":\"S\",\"subjects\":[\"s\"],\"num_replicas\":3}",
    );
    assert!(made.contains("\"did_create\":true"), "{made}");
    nats.kill(0);
    nats.restart(0).unwrap();
    nats.pause(2);
    nats.resume(2);
    nats.wait(2).unwrap();
}

#[test]
fn a_paused_server_does_not_answer_until_it_is_resumed() {
    let nats = Nats::start(&NatsOptions::default()).unwrap();
    nats.pause(0);
    assert!(!http::is_ok(nats.monitor(0), "/healthz"));
    nats.resume(0);
    assert!(http::is_ok(nats.monitor(0), "/healthz"));
}

#[test]
fn two_instances_run_side_by_side_and_leave_nothing() {
    let first = Nats::start(&NatsOptions::default()).unwrap();
    let second = Nats::start(&NatsOptions::default()).unwrap();
    assert_ne!(first.url(), second.url());
    let pid = first.pid(0);
    drop(first);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(http::is_ok(second.monitor(0), "/healthz"));
}

#[test]
fn a_cassandra_node_answers_is_killed_and_comes_back() {
    let cassandra = Cassandra::start(&CassandraOptions::default()).unwrap();
    let address: SocketAddr = cassandra.contact_points()[0].parse().unwrap();
    assert_eq!(address.port(), cql::PORT);
    assert!(answers_options(address));
    cassandra.kill(0);
    assert!(!answers_options(address));
    cassandra.restart(0).unwrap();
    assert!(answers_options(address));
}

#[test]
fn numbers_of_nodes_that_make_no_quorum_are_refused() {
    for nodes in [0, 2, 4] {
        let nats = NatsOptions {
            nodes,
            ..NatsOptions::default()
        };
        let cassandra = CassandraOptions {
            nodes,
            ..CassandraOptions::default()
        };
        assert!(Nats::start(&nats).is_err());
        assert!(Cassandra::start(&cassandra).is_err());
    }
}

#[test]
fn three_cassandra_nodes_agree_and_do_so_again_when_one_comes_back() {
    let options = CassandraOptions {
        nodes: 3,
        heap_mib: 384,
        ..CassandraOptions::default()
    };
    let cassandra = Cassandra::start(&options).unwrap();
    cassandra.kill(1);
    cassandra.restart(1).unwrap();
    for address in cassandra.contact_points() {
        assert!(answers_options(address.parse().unwrap()));
    }
    // Both neighbours saw it come up a second time.
    for node in [0, 2] {
        let ups = cassandra.output(node).matches(".2:7000 is now UP").count();
        assert!(ups >= 2, "node {node} saw it {ups} times");
    }
}

#[test]
fn a_cluster_on_shared_servers_leaves_nothing_on_them() {
    let binary = env!("CARGO_BIN_EXE_sandbox-role").into();
    let cluster = Cluster::start(&ClusterOptions {
        gateways: 0,
        matchers: 0,
        ingest: 0,
        ..ClusterOptions::on_shared(binary).unwrap()
    })
    .unwrap();
    assert_eq!(cluster.contact_points(), cql::shared().unwrap());
    let node = cluster.contact_points()[0].parse().unwrap();
    let url = nats::shared().unwrap().remove(0);
    let (keyspace, stream) = (cluster.name().to_owned(), cluster.name().to_uppercase());
    let replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
    let create = format!("CREATE KEYSPACE {keyspace} WITH replication = {replication}");
    cql::execute(node, &create).unwrap();
    assert!(cql::execute(node, &create).is_err(), "it is there already");
    let mut client = Client::connect(&url);
    let made = client.ask(
        &format!("$JS.API.STREAM.CREATE.{stream}"),
        &format!("{{\"name\":\"{stream}\",\"subjects\":[\"{keyspace}.x\"]}}"),
    );
    assert!(made.contains("\"did_create\":true"), "{made}");

    drop(cluster);

    cql::execute(node, &create).expect("the keyspace is gone");
    let asked = client.ask(&format!("$JS.API.STREAM.INFO.{stream}"), "");
    assert!(asked.contains("stream not found"), "{asked}");
    cql::execute(node, &format!("DROP KEYSPACE {keyspace}")).unwrap();
}
