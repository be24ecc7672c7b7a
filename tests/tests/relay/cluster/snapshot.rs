//! A cluster backed up by snapshots of its database and by the archive, emptied and restored, by the
//! commands of `docs/operate/backup.md` as they stand there.
//!
//! Publishers write while the snapshots are taken, so that every table is of another moment.

mod load;
mod recipe;
mod story;

use std::{collections::BTreeMap, time::Duration};

use heliograph_protocol::{Event, Filter};
use heliograph_sandbox::{
    cluster::{ClusterOptions, CqlServers, Role},
    cql::{CassandraOptions, execute},
};
use heliograph_testkit::{
    client::{Client, End},
    history::{Expect, History, check, read_back},
    keys::Key,
    tool::tool,
};
use serde_json::{Value, json};

use self::{
    load::{progress, write_while},
    recipe::Recipe,
    story::Story,
};
use super::bed::Bed;
use crate::{
    moving_bed::{Place, exported},
    support::{now, settle},
};

/// The keyspace is called as on the page. Of the events the newest are in memory, and those are the
/// story's filler: answers come out of the tables.
const SETTINGS: [&str; 5] = [
    "scylla.keyspace=heliograph",
    "recent.events_max=1000",
    "gateway.limit_max=10000",
    "gateway.limit_default=10000",
    "gateway.outbox_bytes_max=67108864",
];

/// The page's commands on snapshots, in its order.
const SNAPSHOT_OF_EVENTS: usize = 0;
const SNAPSHOT_OF_THE_REST: usize = 1;
const COPY: usize = 2;
const LOAD: usize = 3;
const IMPORT: usize = 4;
const ARCHIVE: &str = "heliograph archive --to /backup/relay --cluster --config cluster.toml";

/// Longer than anything takes: how long an answer took is none of this test's questions.
const LONG: Duration = Duration::from_secs(600);

/// Events that a failure shows.
const SHOWN: usize = 5;

/// The last event of all: who sees it sees all others.
const FENCE: usize = 2_005;

#[test]
fn a_cluster_is_restored_from_snapshots_of_its_database_and_the_archive() {
    let own = |options: &mut ClusterOptions| {
        options.cql = CqlServers::Cassandra(CassandraOptions {
            jmx: true,
            ..CassandraOptions::default()
        });
    };
    let Some(bed) = Bed::with(own, &SETTINGS) else {
        return;
    };
    let (place, history) = (Place::new(), History::new());
    let recipe = Recipe::of(&place, &bed);
    let mut story = Story::new();
    let mut client = connect(&bed, &story);
    story.begin(&mut client);
    let written = write_while(&bed, &history, || {
        progress(&history, 300);
        recipe.run(SNAPSHOT_OF_EVENTS);
        progress(&history, 30);
        recipe.run(SNAPSHOT_OF_THE_REST);
        progress(&history, 300);
    });
    recipe.run(COPY);
    story.go_on(&mut client);
    recipe.line(ARCHIVE);
    story.wait_until_over(&mut client);
    drop(client);
    bed.stop().unwrap();

    let nobody = |options: &mut ClusterOptions| {
        (options.gateways, options.matchers, options.ingest) = (0, 0, 0);
        options.cql = CqlServers::Running(bed.contact_points());
    };
    let Some(restored) = Bed::with(nobody, &SETTINGS) else {
        return;
    };
    let node = bed.contact_points()[0].parse().unwrap();
    execute(node, "DROP KEYSPACE heliograph").unwrap();
    recipe.set_cluster(&restored);
    recipe.run(LOAD);
    for role in [Role::Ingest, Role::Matcher, Role::Gateway, Role::Gateway] {
        restored.add(role).unwrap();
    }
    let mut client = connect(&restored, &story);
    story.check_snapshot(&mut client);
    recipe.run(IMPORT);

    let fence = Key::nth(FENCE).note(now(), "the end");
    client.accept(&fence);
    settle(&mut client);
    let mut expected = outcome(&place, &written);
    expected.extend(story.kept().cloned());
    expected.push(fence);
    check_served(&mut client, &story, &expected);
    let gateways = [restored.gateway(0), restored.gateway(1)];
    read_back(&history, &gateways, LONG);
    let expect = Expect {
        gateways: gateways.len(),
        ok_within: LONG,
        answer_within: LONG,
        ..Expect::default()
    };
    let summary = check(&history, &expect).unwrap_or_else(|violations| panic!("{violations}"));
    println!("{summary}");
    story.check_gone(&mut client);
}

/// A client that may see everything.
#[track_caller]
fn connect(bed: &Bed, story: &Story) -> Client {
    let mut client = bed.client();
    for key in parties(story) {
        client.authenticate(&key);
    }
    client
}

/// Everybody who publishes or is written to, but for the filler.
fn parties(story: &Story) -> Vec<Key> {
    story.parties().into_iter().chain(load::parties()).collect()
}

/// What comes of these in any order.
#[track_caller]
fn outcome(place: &Place, written: &[Event]) -> Vec<Event> {
    let data = place.at("expected");
    let lines: Vec<&str> = written.iter().map(Event::as_str).collect();
    tool(&data, &["import", "-"], lines.join("\n").as_bytes()).success();
    let left = exported(&data).into_values();
    left.map(|text| Event::parse(&text).unwrap()).collect()
}

/// By author, by kind, by both, by tag, by time: the tables that list events.
fn ways(story: &Story) -> [Value; 6] {
    let keys = [parties(story), vec![story.filler(), Key::nth(FENCE)]].concat();
    let authors: Vec<String> = keys.iter().map(Key::hex).collect();
    let kinds = [0, 1, 4, 5, 7, 62, 1_059, 30_023];
    [
        json!({ "authors": authors }),
        json!({ "kinds": kinds }),
        json!({"authors": authors, "kinds": kinds}),
        json!({"#t": ["drill"]}),
        json!({ "#p": authors }),
        json!({}),
    ]
}

#[track_caller]
fn check_served(client: &mut Client, story: &Story, expected: &[Event]) {
    let by_id = |event: &Event| (event.id().to_hex(), event.as_str().to_owned());
    for way in ways(story) {
        let filter = Filter::parse(&way.to_string()).unwrap();
        let stored = client.query(std::slice::from_ref(&way));
        assert!(
            matches!(stored.end, End::Eose(_)),
            "{way}: {:?}",
            stored.end
        );
        let mut found: BTreeMap<String, String> = stored.events.iter().map(by_id).collect();
        let wanted = expected.iter().filter(|event| filter.matches(event));
        let is_missing =
            |event: &&Event| found.remove(&event.id().to_hex()).as_deref() != Some(event.as_str());
        let missing: Vec<&str> = wanted.filter(is_missing).map(Event::as_str).collect();
        let (lost, back) = (missing.len(), found.len());
        let some: Vec<&str> = missing
            .into_iter()
            .chain(found.values().map(String::as_str))
            .take(SHOWN)
            .collect();
        assert_eq!(
            (lost, back),
            (0, 0),
            "missing and too many of {way}: {some:?}"
        );
    }
}
