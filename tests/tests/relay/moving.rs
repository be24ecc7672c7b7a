//! Moving in from other relays: by the recipes of `docs/operate/moving.md`, run as they stand there on
//! databases of those relays' form.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use heliograph_protocol::Event;
use heliograph_sandbox::{
    databases,
    process::{Launch, Process, hide_variables},
};
use heliograph_testkit::{
    keys::Key,
    process::{option, workspace},
    tool::run,
};

use crate::{
    moving_bed::{PATIENCE, Place, exported, path},
    support::id_set,
};

/// The commands of a section of the page, as they stand there.
fn recipe(section: &str) -> String {
    let page = fs::read_to_string(workspace().join("docs/operate/moving.md")).unwrap();
    let (_before, text) = page
        .split_once(&format!("## {section}\n"))
        .expect("the section");
    let text = text.split("\n## ").next().unwrap_or_default();
    let (_before, text) = text.split_once("```sh\n").expect("commands");
    text.split("```").next().unwrap_or_default().to_owned()
}

/// Runs commands in a directory, where `heliograph` is the one under test.
#[track_caller]
fn shell(place: &Place, script: &str, variables: &[(&str, &str)]) {
    let bin = place.at("bin");
    fs::create_dir_all(&bin).unwrap();
    let config = "relay.url = [\"wss://relay.example.com\"]\n";
    fs::write(place.at("config.toml"), config).unwrap();
    let heliograph = bin.join("heliograph");
    if !heliograph.exists() {
        std::os::unix::fs::symlink(heliograph_testkit::process::binary(), &heliograph).unwrap();
    }
    let search = std::env::var_os("PATH").unwrap_or_default();
    let mut all = bin.into_os_string();
    all.push(":");
    all.push(search);
    let mut command = Command::new("sh");
    // The options of the tests are none of the program's.
    hide_variables(&mut command, "HELIOGRAPH_");
    command
        .args(["-euc", script])
        .env("PATH", all)
        .envs(variables.iter().copied())
        .current_dir(place.at(""));
    run(&mut command, b"").success();
}

/// Whether a program is there or can be installed; `false` after saying so, unless this is CI.
fn has<T>(found: Result<T, heliograph_sandbox::Error>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(error) => {
            assert!(option("CI").is_none(), "{error}");
            println!("skipped: {error}");
            None
        }
    }
}

/// What is hard to carry: quotes, backslashes, breaks, other alphabets, tags of all lengths.
fn awkward() -> Vec<Event> {
    let key = Key::nth(3);
    vec![
        key.sign(
            10,
            1,
            &[],
            "a \"quote\", a \\ backslash, \\n no break, \n a break, \t a tab",
        ),
        key.sign(
            11,
            1,
            &[&["t", "ünï"], &["x"], &["e", "", "wss://x"]],
            "日本語 🦀 \u{7f} '; --",
        ),
        key.sign(12, 1, &[&["-"]], "protected"),
        key.sign(13, 30_023, &[&["d", "\\\\ \"x\""]], "long | form"),
        key.sign(14, 0, &[], r#"{"name":"a","about":"line\nbreak"}"#),
        key.sign(15, 4, &[&["p", &Key::nth(4).hex()]], "x?iv=y"),
    ]
}

#[track_caller]
fn check_moved(data: &Path, expected: &[Event]) {
    let found: BTreeSet<String> = exported(data).into_keys().collect();
    assert_eq!(found, id_set(expected));
}

#[test]
fn an_export_of_strfry_moves_in() {
    if has(databases::program("zstd")).is_none() {
        return;
    }
    let place = Place::new();
    // What `strfry export` writes: one event a line, its own order of members.
    let lines: String = awkward()
        .iter()
        .map(|event| {
            format!(
                "{}\n",
                serde_json::from_str::<serde_json::Value>(event.as_str()).unwrap()
            )
        })
        .collect();
    fs::write(place.at("dump"), lines).unwrap();
    let bin = place.at("bin");
    fs::create_dir_all(&bin).unwrap();
    let strfry = bin.join("strfry");
    fs::write(
        &strfry,
        format!(
            "#!/bin/sh\ntest \"$1\" = export && cat {}\n",
            path(&place.at("dump"))
        ),
    )
    .unwrap();
    fs::set_permissions(&strfry, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    shell(&place, &recipe("From strfry"), &[]);
    check_moved(&place.at("data"), &awkward());
}

/// The table of nostr-rs-relay, schema version 18 (`src/repo/sqlite_migration.rs`).
const NOSTR_RS_RELAY: &str = "
PRAGMA journal_mode = WAL;
PRAGMA user_version = 18;
CREATE TABLE event (
id INTEGER PRIMARY KEY,
event_hash BLOB NOT NULL,
first_seen INTEGER NOT NULL,
created_at INTEGER NOT NULL,
expires_at INTEGER,
author BLOB NOT NULL,
delegated_by BLOB,
kind INTEGER NOT NULL,
hidden INTEGER,
content TEXT NOT NULL
);
CREATE UNIQUE INDEX event_hash_index ON event(event_hash);
";

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[test]
fn a_database_of_nostr_rs_relay_moves_in() {
    if has(databases::program("sqlite3")).is_none() {
        return;
    }
    let place = Place::new();
    let hidden = Key::nth(3).sign(1, 1, &[], "deleted long ago");
    let mut script = NOSTR_RS_RELAY.to_owned();
    for (event, hidden) in awkward()
        .iter()
        .map(|event| {
            (
                event,
                ["NULL", "FALSE"][usize::from(event.kind().as_u16() == 1)],
            )
        })
        .chain([(&hidden, "TRUE")])
    {
        let (id, author) = (event.id().to_hex(), event.pubkey().to_hex());
        let (at, kind) = (event.created_at().as_secs(), event.kind().as_u16());
        script.push_str(&format!(
            "INSERT INTO event (event_hash, first_seen, created_at, author, kind, hidden, content) \
             VALUES (x'{id}', {at}, {at}, x'{author}', {kind}, {hidden}, {});\n",
            quoted(event.as_str())
        ));
    }
    fs::write(place.at("fill.sql"), script).unwrap();
    shell(&place, "sqlite3 nostr.db < fill.sql > /dev/null", &[]);
    shell(&place, &recipe("From nostr-rs-relay"), &[]);
    check_moved(&place.at("data"), &awkward());
}

/// The table of nostream (migrations/), as far as events go.
const NOSTREAM: &str = "
CREATE TABLE events (
id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
event_id bytea NOT NULL UNIQUE,
event_pubkey bytea NOT NULL,
event_kind integer NOT NULL,
event_created_at integer NOT NULL,
event_content text NOT NULL,
event_tags jsonb,
event_signature bytea NOT NULL,
first_seen timestamp DEFAULT now(),
deleted_at timestamp,
event_deduplication jsonb,
remote_address inet,
expires_at integer
);
";

/// A `PostgreSQL` server of this test.
struct Postgres {
    process: Process,
    sockets: String,
}

impl Postgres {
    /// `None` after saying so where it can't be had.
    fn start(place: &Place) -> Option<Self> {
        let programs = has(databases::postgres())?;
        let data = place.at("postgres");
        fs::create_dir(&data).unwrap();
        // The server doesn't run as root: then it is started as somebody else.
        let root = rustix::process::getuid().is_root();
        let user: &[&str] = if root {
            run(Command::new("chown").args(["-R", "65534"]).arg(&data), b"").success();
            run(Command::new("chmod").arg("755").arg(place.at("")), b"").success();
            &[
                "setpriv",
                "--reuid=65534",
                "--clear-groups",
                "--regid=65534",
            ]
        } else {
            &["env"]
        };
        let initdb = programs.join("initdb");
        let mut command = Command::new(user[0]);
        command.args(&user[1..]).arg(initdb).args([
            "-D",
            path(&data),
            "-U",
            "relay",
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
        ]);
        command.current_dir(&data);
        run(&mut command, b"").success();
        let mut arguments: Vec<std::ffi::OsString> = user[1..].iter().map(Into::into).collect();
        arguments.push(programs.join("postgres").into());
        for argument in [
            "-D",
            path(&data),
            "-k",
            path(&data),
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
        ] {
            arguments.push(argument.into());
        }
        let launch = Launch {
            name: "postgres".to_owned(),
            program: user[0].into(),
            arguments,
            variables: Vec::new(),
            hide_variables: "",
            directory: data.clone(),
            log: place.at("postgres.log"),
        };
        let process = Process::start(&launch).unwrap();
        let ready = |process: &Process| process.output().contains("ready to accept connections");
        process.wait_until("ready", PATIENCE, ready).unwrap();
        Some(Self {
            process,
            sockets: path(&data).to_owned(),
        })
    }
}

#[test]
fn a_database_of_nostream_moves_in() {
    let place = Place::new();
    let Some(postgres) = Postgres::start(&place) else {
        return;
    };
    let deleted = Key::nth(3).sign(1, 1, &[], "deleted long ago");
    let mut script = NOSTREAM.to_owned();
    for (event, deleted_at) in awkward()
        .iter()
        .map(|event| (event, "NULL"))
        .chain([(&deleted, "now()")])
    {
        let value: serde_json::Value = serde_json::from_str(event.as_str()).unwrap();
        script.push_str(&format!(
            "INSERT INTO events (event_id, event_pubkey, event_kind, event_created_at, event_content, \
             event_tags, event_signature, deleted_at) VALUES ('\\x{}', '\\x{}', {}, {}, {}, {}, '\\x{}', \
             {deleted_at});\n",
            event.id().to_hex(),
            event.pubkey().to_hex(),
            value["kind"],
            value["created_at"],
            quoted(value["content"].as_str().unwrap()),
            quoted(&value["tags"].to_string()),
            value["sig"].as_str().unwrap(),
        ));
    }
    fs::write(place.at("fill.sql"), script).unwrap();
    let variables = [("PGHOST", postgres.sockets.as_str()), ("PGUSER", "relay")];
    shell(
        &place,
        "createdb nostr_ts_relay; psql -qv ON_ERROR_STOP=1 nostr_ts_relay -f fill.sql",
        &variables,
    );
    shell(&place, &recipe("From nostream"), &variables);
    postgres.process.kill();
    check_moved(&place.at("data"), &awkward());
}
