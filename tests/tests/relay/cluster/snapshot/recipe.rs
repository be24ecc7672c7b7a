//! The commands of `docs/operate/backup.md`, run as they stand there on a database and in a directory of
//! the test.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use heliograph_sandbox::process::hide_variables;
use heliograph_testkit::{
    process::{binary, conformance_config, workspace},
    tool::run,
};

use super::Bed;
use crate::moving_bed::{Place, path};

/// The page, and what stands there for something of the test.
pub(super) struct Recipe<'a> {
    place: &'a Place,
    page: String,
    names: [(&'static str, String); 3],
}

impl<'a> Recipe<'a> {
    /// For a cluster with a database of its own.
    #[track_caller]
    pub(super) fn of(place: &'a Place, bed: &Bed) -> Self {
        let cassandra = bed.cassandra().expect("a database of its own");
        let bin = place.at("bin");
        fs::create_dir_all(&bin).unwrap();
        cassandra.write_tools(0, &bin).unwrap();
        fs::copy(conformance_config(), place.at("cluster.toml")).unwrap();
        let node = bed.contact_points()[0].clone();
        let (ip, _port) = node.split_once(':').expect("ip:port");
        let data = cassandra.data(0);
        let recipe = Self {
            place,
            page: fs::read_to_string(workspace().join("docs/operate/backup.md")).unwrap(),
            names: [
                ("/var/lib/cassandra/data", path(&data).to_owned()),
                ("/backup", path(&place.at("backup")).to_owned()),
                ("node1,node2,node3", ip.to_owned()),
            ],
        };
        recipe.set_cluster(bed);
        recipe
    }

    /// From now on `heliograph` works on this cluster. What its settings say would stand in the file that
    /// the page names.
    pub(super) fn set_cluster(&self, bed: &Bed) {
        let settings = bed.settings().iter();
        let settings: String = settings
            .map(|(key, value)| format!(" '--set={key}={value}'"))
            .collect();
        let program = self.place.at("bin").join("heliograph");
        let text = format!("#!/bin/sh\nexec '{}' \"$@\"{settings}\n", path(binary()));
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs a block of commands of the section on snapshots.
    #[track_caller]
    pub(super) fn run(&self, block: usize) {
        let section = self.page.split("## Snapshots of the database\n").nth(1);
        let section = section.and_then(|text| text.split("\n## ").next());
        let mut blocks = section.expect("the section").split("```sh\n").skip(1);
        let text = blocks.nth(block).expect("a block of commands");
        self.shell(text.split("```").next().unwrap_or_default());
    }

    /// Runs a command that stands on the page, wherever.
    #[track_caller]
    pub(super) fn line(&self, line: &str) {
        assert!(self.page.lines().any(|other| other == line), "{line}");
        self.shell(line);
    }

    #[track_caller]
    fn shell(&self, script: &str) {
        let mut script = script.to_owned();
        for (name, here) in &self.names {
            script = script.replace(name, here);
        }
        let mut search = self.place.at("bin").into_os_string();
        search.push(":");
        search.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new("sh");
        // The options of the tests are none of the program's.
        hide_variables(&mut command, "HELIOGRAPH_");
        command
            .args(["-euc", script.as_str()])
            .env("PATH", search)
            .current_dir(self.place.at(""));
        let done = run(&mut command, b"").success();
        println!("{script}{}{}", done.stdout, done.stderr);
    }
}
