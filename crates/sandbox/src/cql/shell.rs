//! The database's own tools, as a shell finds them on its path: classes of the same jars as the server.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use super::{Cassandra, JMX_PORT, launch::modules};
use crate::Error;

/// A tool runs for a second or two and has little to do.
const JAVA: [&str; 5] = [
    "-Xmx256M",
    "-XX:MaxDirectMemorySize=256M",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    // Otherwise it writes into a directory that outlives it.
    "-XX:-UsePerfData",
];

const LOGBACK: &str = r#"<configuration>
  <appender name="E" class="ch.qos.logback.core.ConsoleAppender">
    <target>System.err</target>
    <encoder><pattern>%-5level %logger{20} %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="E"/></root>
</configuration>
"#;

impl Cassandra {
    /// Writes the programs `nodetool`, which speaks to this node, and `sstableloader`, which is configured
    /// as the node is, into a directory.
    ///
    /// # Errors
    ///
    /// The servers were started without [`super::CassandraOptions::jmx`], or the directory can't be written.
    pub fn write_tools(&self, node: usize, directory: &Path) -> Result<(), Error> {
        if !self.jmx {
            let why = "nodetool needs Cassandra with JMX";
            return Err(Error::Options(why.to_owned()));
        }
        let logback = directory.join("logback.xml");
        fs::write(&logback, LOGBACK).map_err(Error::path("can't write", &logback))?;
        let mut java = vec!["java".to_owned()];
        java.extend(JAVA.map(str::to_owned));
        java.extend(modules());
        let home = self.nodes[node].directory().display();
        java.extend([
            "-Djava.net.preferIPv4Stack=true".to_owned(),
            format!("-Dcassandra.config=file:{home}/cassandra.yaml"),
            format!("-Dcassandra.storagedir={home}"),
            format!("-Dlogback.configurationFile={}", logback.display()),
            // `nodetool` keeps a history there.
            format!("-Duser.home={}", directory.display()),
            "-cp".to_owned(),
            format!("{}/*", self.jars.display()),
        ]);
        let ip = self.nodes[node].address.ip();
        let port = JMX_PORT.to_string();
        let reach = ["-h".to_owned(), ip.to_string(), "-p".to_owned(), port];
        write(directory, "nodetool", &java, "NodeTool", reach)?;
        write(directory, "sstableloader", &java, "BulkLoader", [])
    }
}

/// Writes a program that runs a class of the tools with these arguments and its own.
fn write(
    directory: &Path,
    name: &str,
    java: &[String],
    class: &str,
    arguments: impl IntoIterator<Item = String>,
) -> Result<(), Error> {
    let class = format!("org.apache.cassandra.tools.{class}");
    let words = java.iter().cloned().chain([class]).chain(arguments);
    let words: Vec<String> = words.map(|word| quoted(&word)).collect();
    let path = directory.join(name);
    let text = format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" "));
    fs::write(&path, text).map_err(Error::path("can't write", &path))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .map_err(Error::path("can't write", &path))
}

/// As one word of a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn words_reach_the_program_as_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let odd = "it's $HOME and `this` \\ \"that\"";
        let java = ["printf", "%s|", odd].map(str::to_owned);
        write(directory.path(), "tool", &java, "X", ["more".to_owned()]).unwrap();
        let output = Command::new("sh")
            .arg(directory.path().join("tool"))
            .arg("two words")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            said,
            format!("{odd}|org.apache.cassandra.tools.X|more|two words|")
        );
    }
}
