//! Events that other people wrote (`crate::real_events`), published to one gateway and read back
//! from another; and the requests that clients really send, answered from either tier.

use std::{collections::BTreeMap, fs, path::Path};

use heliograph_protocol::{Event, Kind};
use heliograph_sandbox::cluster::{ClusterOptions, Role};
use heliograph_testkit::client::Client;
use serde_json::{Value, json};

use super::{
    bed::{Bed, own_key, until},
    tiers::{SMALL, answers},
};
use crate::{
    oracle::{Oracle, SETTINGS},
    real_events::{KEPT, PROTECTED, by_id, file, lines, publish},
    support::{Random, accept_all, array, ids, now, seeded},
};

/// Requests of each home feed template; a tenth of it of every other.
const FEEDS: usize = 60;

/// A kind that no template asks for.
const UNASKED: u16 = 7_778;

/// Requests whose answers a reader without authentication may see.
const TEMPLATES: [&str; 10] = [
    "home_feed",
    "home_feed_window",
    "profile_metadata_batch",
    "notifications",
    "engagement_on_screen",
    "thread",
    "events_by_id",
    "profile_page",
    "hashtag",
    "global_firehose",
];

/// What is stored of the file and anybody may read.
struct Corpus {
    oracle: Oracle,
    public: Vec<Event>,
}

impl Corpus {
    fn new(lines: &[String]) -> Self {
        let oracle = Oracle::new();
        let mut protected = 0;
        for line in lines {
            let event = Event::parse(line).unwrap();
            if event.is_protected() {
                protected += 1;
            } else if !event.kind().is_ephemeral() {
                oracle.write(&event);
            }
        }
        let mut public = oracle.answer(&[json!({})]);
        assert_eq!((protected, public.len()), (PROTECTED, KEPT - PROTECTED));
        let private = |kind: Kind| [4, 1059, 21_059].contains(&kind.as_u16());
        public.retain(|event| !private(event.kind()));
        Self { oracle, public }
    }

    /// An author, the more often the more there is of him.
    fn author(&self, random: &mut Random) -> Value {
        random.pick(&self.public).pubkey().to_hex().into()
    }

    fn id(&self, random: &mut Random) -> Value {
        random.pick(&self.public).id().to_hex().into()
    }

    fn time(&self, random: &mut Random) -> u64 {
        random.pick(&self.public).created_at().as_secs()
    }

    /// The value of a member of a template; `None` leaves the member out.
    fn fill(&self, name: &str, value: &Value, start: u64, random: &mut Random) -> Option<Value> {
        let text = match value {
            Value::String(text) => &**text,
            Value::Array(elements) => {
                let fill = |element| self.fill(name, element, start, &mut *random);
                return elements.iter().map(fill).collect();
            }
            other => return Some(other.clone()),
        };
        let mut many = |one: fn(&Self, &mut Random) -> Value, sizes: &[usize]| {
            let size = *random.pick(sizes);
            (0..size).map(|_| one(self, random)).collect::<Value>()
        };
        Some(match text {
            "$follows(chunk)" | "$follows" => many(Self::author, &[20, 150, 340, 500]),
            "$authors" => many(Self::author, &[1, 12, 80]),
            "$ids" => many(Self::id, &[1, 5, 20, 60]),
            "$tags" => json!(["nostr", "bitcoin", "zap"]),
            "$me" | "$pk" => self.author(random),
            "$root" | "$note" => self.id(random),
            "$since?" if random.once_in(2) => self.time(random).into(),
            "$since?" => return None,
            "$t" => start.into(),
            "$t+window" => (start + 30 * 86_400).into(),
            "min(10*n,500)" => (*random.pick(&[200, 500])).into(),
            other => panic!("a parameter that nobody knows: {name} {other}"),
        })
    }

    fn request(&self, template: &Value, random: &mut Random) -> Vec<Value> {
        let mut filter = |filter: &Value| {
            let start = self.time(random);
            let members = filter.as_object().expect("a filter").iter();
            let filled = members.filter_map(|(name, value)| {
                Some((name.clone(), self.fill(name, value, start, random)?))
            });
            Value::Object(filled.collect())
        };
        array(&template["filters"])
            .iter()
            .map(&mut filter)
            .collect()
    }

    /// Home feeds, and a few of every other request.
    fn requests(&self, templates: &Value, random: &mut Random) -> Vec<(bool, Vec<Value>)> {
        let mut requests = Vec::new();
        for template in array(&templates["templates"]) {
            let id = template["id"].as_str().expect("a name");
            if !TEMPLATES.contains(&id) {
                continue;
            }
            let feed = id.starts_with("home_feed");
            let times = if feed { FEEDS } else { FEEDS / 10 };
            requests.extend((0..times).map(|_| (feed, self.request(template, random))));
        }
        requests
    }

    /// Checks every answer; how many of the home feeds each tier gave.
    #[track_caller]
    fn check(&self, bed: &Bed, requests: &[(bool, Vec<Value>)]) -> [f64; 2] {
        let mut tiers = [0.0, 0.0];
        for feeds in [true, false] {
            let before = answers(bed);
            for (_, filters) in requests.iter().filter(|(feed, _)| *feed == feeds) {
                let stored = bed.client().query(filters);
                let want = ids(&self.oracle.answer(filters));
                assert_eq!(stored.ids(), want, "{:?}: {filters:?}", stored.end);
            }
            if feeds {
                let after = answers(bed);
                tiers = [after[0] - before[0], after[1] - before[1]];
            }
        }
        tiers
    }
}

/// Reads these back, a few hundred at a time.
fn read_back(client: &mut Client, events: &[Event]) -> BTreeMap<String, String> {
    let mut found = Vec::new();
    for part in ids(events).chunks(200) {
        found.extend(client.query(&[json!({"ids": part})]).events);
    }
    by_id(found.iter().map(Event::as_str))
}

fn templates(events: &Path) -> Value {
    let path = events.with_file_name("filter-templates.json");
    serde_json::from_str(&fs::read_to_string(path).expect("templates beside the events")).unwrap()
}

/// One of each role over the database of `bed`, with a bus of its own, so that its matcher starts
/// with what the database holds.
fn over_the_same_database(bed: &Bed, settings: &[&str]) -> Option<Bed> {
    let keyspace = format!("scylla.keyspace={}", bed.name());
    let settings: Vec<&str> = settings.iter().copied().chain([&*keyspace]).collect();
    let one = |options: &mut ClusterOptions| {
        (options.gateways, options.matchers, options.ingest) = (1, 1, 1);
    };
    Bed::with(one, &settings)
}

/// Waits until the matcher has filled its recent tier from the database.
#[track_caller]
fn warmed_up(bed: &Bed, events: usize) {
    until("recent tier read from the database", || {
        (bed.sum(Role::Matcher, "heliograph_recent_events") >= events as f64).then_some(())
    });
}

#[test]
fn real_events_come_back_whole_from_another_gateway_and_feeds_are_right_from_either_tier() {
    let Some(path) = file() else { return };
    let settings = [&SETTINGS[..], &["gateway.filter_values_max=10000"]].concat();
    let Some(bed) = Bed::fresh(&settings) else {
        return;
    };
    let lines = lines(&path);
    let corpus = Corpus::new(&lines);
    publish(&mut bed.at(0), &lines);

    let back = read_back(&mut bed.at(1), &corpus.public);
    let all = by_id(&lines);
    assert_eq!(back.len(), corpus.public.len());
    assert!(
        back.iter().all(|(id, text)| all.get(id) == Some(text)),
        "not the bytes that came in"
    );

    let mut random = seeded();
    let requests = corpus.requests(&templates(&path), &mut random);
    let feeds = 2.0 * FEEDS as f64;
    let tiers = corpus.check(&bed, &requests);
    assert_eq!(tiers, [feeds, 0.0], "all is recent");

    let mixed = [&settings[..], &["recent.events_max=3000"]].concat();
    let Some(mixed) = over_the_same_database(&bed, &mixed) else {
        return;
    };
    warmed_up(&mixed, 2_000);
    let tiers = corpus.check(&mixed, &requests);
    println!("home feeds over half a recent tier: {tiers:?} recent and archive");
    assert!(tiers[0] > 0.0 && tiers[1] > 0.0, "{tiers:?}");
    drop(mixed);

    let small = [&settings[..], &SMALL].concat();
    let Some(small) = over_the_same_database(&bed, &small) else {
        return;
    };
    // Newer than all of them, by somebody whom nobody follows; more than the tier holds.
    let (nobody, now) = (own_key(), now());
    let newer = |n| nobody.sign(now + n, UNASKED, &[], "");
    let newer: Vec<Event> = (0..1_500).map(newer).collect();
    accept_all(&mut small.client(), &newer);
    let tiers = corpus.check(&small, &requests);
    assert_eq!(tiers, [0.0, feeds], "all lies below the floor");
}
