//! How a Cassandra node is configured and started.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use super::{CassandraOptions, JMX_PORT, STORAGE_PORT};
use crate::{Error, loopback::Block, process::Launch};

/// A third of the ring each. A single node has all of it, whichever is its token.
const TOKENS: [&str; 3] = [
    "-9223372036854775808",
    "-3074457345618258603",
    "3074457345618258602",
];

/// Packages of java.base that Cassandra reaches into; Java 17 wants them named.
const OPENED: [&str; 17] = [
    "java.io",
    "java.lang",
    "java.lang.module",
    "java.lang.reflect",
    "java.math",
    "java.net",
    "java.nio",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "jdk.internal.loader",
    "jdk.internal.math",
    "jdk.internal.module",
    "jdk.internal.ref",
    "jdk.internal.reflect",
    "jdk.internal.util.jar",
    "sun.nio.ch",
];

/// As [`OPENED`], for what it calls, by module.
const EXPORTED: [&str; 7] = [
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
];

/// Properties that make a node quick: no waiting for peers that a test hasn't. None of them is a JMX
/// port, and without one there is no JMX.
const PROPERTIES: [&str; 8] = [
    "jdk.attach.allowAttachSelf=true",
    "java.net.preferIPv4Stack=true",
    "cassandra-foreground=yes",
    "cassandra.skip_wait_for_gossip_to_settle=0",
    "cassandra.superuser_setup_delay_ms=0",
    "cassandra.consistent.rangemovement=false",
    "cassandra.config=file:cassandra.yaml",
    "logback.configurationFile=logback.xml",
];

const LOGBACK: &str = r#"<configuration>
  <appender name="O" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{HH:mm:ss.SSS} %-5level %logger{20} %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="O"/></root>
</configuration>
"#;

/// Makes the directory of node `number` (from 1) and says how to start it.
pub(super) fn prepare(
    number: u8,
    options: &CassandraOptions,
    jars: &Path,
    parent: &Path,
    block: &Block,
) -> Result<Launch, Error> {
    let directory = parent.join(number.to_string());
    fs::create_dir_all(&directory).map_err(Error::path("can't create", &directory))?;
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).map_err(Error::path("can't write", &path))
    };
    write(
        "cassandra.yaml",
        &configure(number, options, &directory, block),
    )?;
    write("logback.xml", LOGBACK)?;
    Ok(Launch {
        name: format!("cassandra {number}"),
        program: "java".into(),
        arguments: arguments(number, options, jars, &directory, block)?,
        variables: Vec::new(),
        hide_variables: "CASSANDRA_",
        log: directory.join("log"),
        directory,
    })
}

fn configure(number: u8, options: &CassandraOptions, directory: &Path, block: &Block) -> String {
    let directory = directory.display();
    let ip = block.ip(number);
    let seed = block.address(1, STORAGE_PORT);
    let token = TOKENS[usize::from(number) - 1];
    let fail = options.batch_size_fail_kib;
    let warn = (fail / 8).max(1);
    // Periodic: what was acknowledged up to a tenth of a second before a kill isn't replayed.
    let sync = if options.keeps_all {
        "commitlog_sync: batch"
    } else {
        "commitlog_sync: periodic\ncommitlog_sync_period: 1000ms"
    };
    format!(
        "cluster_name: sandbox
num_tokens: 1
initial_token: {token}
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
auto_bootstrap: false
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [ {{ seeds: \"{seed}\" }} ]
listen_address: {ip}
rpc_address: {ip}
data_file_directories: [ \"{directory}/data\" ]
commitlog_directory: \"{directory}/commitlog\"
hints_directory: \"{directory}/hints\"
saved_caches_directory: \"{directory}/saved_caches\"
cdc_raw_directory: \"{directory}/cdc_raw\"
{sync}
commitlog_segment_size: 16MiB
auto_snapshot: false
concurrent_reads: 8
concurrent_writes: 16
memtable_heap_space: 64MiB
memtable_offheap_space: 64MiB
memtable_allocation_type: offheap_objects
file_cache_size: 64MiB
networking_cache_size: 32MiB
storage_compatibility_mode: NONE
batch_size_warn_threshold: {warn}KiB
batch_size_fail_threshold: {fail}KiB
materialized_views_enabled: false
sasi_indexes_enabled: false
user_defined_functions_enabled: false
"
    )
}

fn arguments(
    number: u8,
    options: &CassandraOptions,
    jars: &Path,
    directory: &Path,
    block: &Block,
) -> Result<Vec<OsString>, Error> {
    let heap = options.heap_mib;
    let mut arguments = vec![
        format!("-Xms{heap}M"),
        format!("-Xmx{heap}M"),
        "-Xss384k".to_owned(),
        "-XX:MaxDirectMemorySize=256M".to_owned(),
        "-XX:+UseSerialGC".to_owned(),
        // Otherwise it writes into a directory that outlives it.
        "-XX:-UsePerfData".to_owned(),
    ];
    if !options.optimise {
        arguments.push("-XX:TieredStopAtLevel=1".to_owned());
    }
    arguments.extend(modules());
    arguments.extend(PROPERTIES.map(|property| format!("-D{property}")));
    // Else no sync of system tables, those of the schema among them.
    let sync = options.keeps_all;
    arguments.push(format!("-Dcassandra.unsafesystem={}", !sync));
    arguments.push(format!(
        "-Dcassandra.test.flush_local_schema_changes={sync}"
    ));
    // How long a joining node waits to hear from others: there are none, or they are near.
    let delay = if options.nodes == 1 { 1 } else { 2_000 };
    arguments.push(format!("-Dcassandra.ring_delay_ms={delay}"));
    if options.jmx {
        arguments.extend(jmx(&block.ip(number).to_string()));
    }
    let directory = directory.display();
    arguments.push(format!("-Dcassandra.storagedir={directory}"));
    arguments.push(format!("-Dcassandra.logdir={directory}"));
    arguments.push(format!("-javaagent:{}", agent(jars)?.display()));
    arguments.extend([
        "-cp".to_owned(),
        format!("{directory}:{}/*", jars.display()),
    ]);
    arguments.push("org.apache.cassandra.service.CassandraDaemon".to_owned());
    Ok(arguments.into_iter().map(OsString::from).collect())
}

/// What Java has to let Cassandra's classes reach, in the server and in its tools.
pub(super) fn modules() -> Vec<String> {
    let opened = OPENED.map(|package| format!("java.base/{package}"));
    let more = [
        "jdk.management/com.sun.management.internal",
        "java.rmi/sun.rmi.transport.tcp",
    ];
    let opened = opened.into_iter().chain(more.map(str::to_owned));
    let opened = opened.map(|package| ("--add-opens", package));
    let exported = EXPORTED.map(|package| ("--add-exports", package.to_owned()));
    let all = opened.chain(exported);
    all.flat_map(|(option, package)| [option.to_owned(), format!("{package}=ALL-UNNAMED")])
        .collect()
}

/// JMX at the node's own address and nowhere else, without a password: by Java's own agent, since
/// Cassandra's would bind to 127.0.0.1, which all instances share.
fn jmx(ip: &str) -> [String; 6] {
    [
        format!("-Djava.rmi.server.hostname={ip}"),
        format!("-Dcom.sun.management.jmxremote.host={ip}"),
        format!("-Dcom.sun.management.jmxremote.port={JMX_PORT}"),
        format!("-Dcom.sun.management.jmxremote.rmi.port={JMX_PORT}"),
        "-Dcom.sun.management.jmxremote.authenticate=false".to_owned(),
        "-Dcom.sun.management.jmxremote.ssl=false".to_owned(),
    ]
}

/// The jar that measures objects, which is an agent of the virtual machine as well.
fn agent(jars: &Path) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(jars).map_err(Error::path("can't read", jars))?;
    let agent = entries.flatten().map(|entry| entry.path()).find(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("jamm-"))
    });
    agent.ok_or_else(|| Error::Install {
        what: "cassandra".to_owned(),
        why: format!("no jamm jar in {}", jars.display()),
    })
}
