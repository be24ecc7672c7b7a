//! A history as JSON lines: what a failed run leaves, and what the checker can be run over again.
//!
//! The first line is `{"started": <Unix seconds>}`. An event stands in full where it first occurs,
//! and by its id from then on.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use heliograph_protocol::{Event, EventId, Timestamp};
use serde_json::{Map, Value, json};

use super::{Entry, History, What};

impl History {
    /// Writes the log to a file, one entry a line.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        let mut seen = HashMap::new();
        writeln!(file, "{}", json!({"started": self.started().as_secs()}))?;
        for entry in self.entries() {
            writeln!(file, "{}", encode(&entry, &mut seen))?;
        }
        file.flush()
    }

    /// Reads a log that [`History::write`] wrote.
    ///
    /// # Errors
    ///
    /// Those of the file system, and [`io::ErrorKind::InvalidData`] with the number of the line
    /// that isn't an entry.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut seen = HashMap::new();
        let (mut started, mut entries) = (None, Vec::new());
        for (index, line) in BufReader::new(File::open(path)?).lines().enumerate() {
            let wrong = |why: &str| {
                let text = format!("line {}: {why}", index + 1);
                io::Error::new(io::ErrorKind::InvalidData, text)
            };
            let value: Value =
                serde_json::from_str(&line?).map_err(|error| wrong(&error.to_string()))?;
            match started {
                None => started = Some(value["started"].as_u64().ok_or(wrong("no start"))?),
                Some(_) => entries.push(decode(&value, &mut seen).ok_or(wrong("not an entry"))?),
            }
        }
        let started = started.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Self::starting(Timestamp::from_secs(started), entries))
    }
}

/// The events that stand in earlier lines.
type Seen = HashMap<EventId, Event>;

fn encode(entry: &Entry, seen: &mut Seen) -> Value {
    let (name, members) = members(&entry.what, seen);
    let mut line = Map::new();
    line.insert("at_us".to_owned(), json!(micros(entry.at)));
    if let Some(intended) = entry.intended {
        line.insert("intended_us".to_owned(), json!(micros(intended)));
    }
    line.insert("connection".to_owned(), json!(entry.connection));
    line.insert("gateway".to_owned(), json!(entry.gateway));
    line.insert("what".to_owned(), json!(name));
    if let Value::Object(members) = members {
        line.extend(members);
    }
    Value::Object(line)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn members(what: &What, seen: &mut Seen) -> (&'static str, Value) {
    match what {
        What::Connected => ("connected", Value::Null),
        What::Unreachable { why } => ("unreachable", json!({"why": **why})),
        What::Disconnected { why } => ("disconnected", json!({"why": **why})),
        What::Left { why } => ("left", json!({"why": **why})),
        What::Illegal { why } => ("illegal", json!({"why": **why})),
        What::Publish { event } => ("publish", json!({"event": event_value(event, seen)})),
        What::Ok { id, accepted, text } => {
            let id = id.to_hex();
            (
                "ok",
                json!({"id": id, "accepted": accepted, "text": **text}),
            )
        }
        What::Req { sub, filters } => ("req", json!({"sub": **sub, "filters": **filters})),
        What::Close { sub } => ("close", json!({"sub": **sub})),
        What::Event { sub, event } => {
            let event = event_value(event, seen);
            ("event", json!({"sub": **sub, "event": event}))
        }
        What::Eose { sub, hint } => ("eose", json!({"sub": **sub, "hint": hint.as_deref()})),
        What::Closed { sub, text } => ("closed", json!({"sub": **sub, "text": **text})),
        What::Count { sub, filters } => ("count", json!({"sub": **sub, "filters": **filters})),
        What::Counted { sub, count } => ("counted", json!({"sub": **sub, "count": count})),
        What::Notice { text } => ("notice", json!({"text": **text})),
        What::ReadBack => ("read back", Value::Null),
        What::Mark { name } => ("mark", json!({"name": **name})),
        What::Begin { name } => ("begin", json!({"name": **name})),
        What::End { name } => ("end", json!({"name": **name})),
        What::Frozen => ("frozen", Value::Null),
        What::Thawed => ("thawed", Value::Null),
    }
}

fn event_value(event: &Event, seen: &mut Seen) -> Value {
    if seen.get(event.id()) == Some(event) {
        return json!(event.id().to_hex());
    }
    seen.insert(*event.id(), event.clone());
    serde_json::from_str(event.as_str()).unwrap_or_default()
}

fn decode(line: &Value, seen: &mut Seen) -> Option<Entry> {
    let time = |name: &str| line[name].as_u64().map(Duration::from_micros);
    Some(Entry {
        at: time("at_us")?,
        intended: time("intended_us"),
        connection: u32::try_from(line["connection"].as_u64()?).ok()?,
        gateway: usize::try_from(line["gateway"].as_u64()?).ok()?,
        what: what(line, seen)?,
    })
}

fn what(line: &Value, seen: &mut Seen) -> Option<What> {
    let text = |name: &str| line[name].as_str().map(Arc::<str>::from);
    let filters = || {
        line["filters"]
            .as_array()
            .map(|list| list.as_slice().into())
    };
    let mut event = || match &line["event"] {
        Value::String(id) => seen.get(&EventId::from_hex(id.as_bytes()).ok()?).cloned(),
        value => {
            let event = Event::parse(&value.to_string()).ok()?;
            seen.insert(*event.id(), event.clone());
            Some(event)
        }
    };
    Some(match line["what"].as_str()? {
        "connected" => What::Connected,
        "unreachable" => What::Unreachable { why: text("why")? },
        "disconnected" => What::Disconnected { why: text("why")? },
        "left" => What::Left { why: text("why")? },
        "illegal" => What::Illegal { why: text("why")? },
        "publish" => What::Publish { event: event()? },
        "ok" => What::Ok {
            id: EventId::from_hex(line["id"].as_str()?.as_bytes()).ok()?,
            accepted: line["accepted"].as_bool()?,
            text: text("text")?,
        },
        "req" => What::Req {
            sub: text("sub")?,
            filters: filters()?,
        },
        "close" => What::Close { sub: text("sub")? },
        "event" => What::Event {
            sub: text("sub")?,
            event: event()?,
        },
        "eose" => What::Eose {
            sub: text("sub")?,
            hint: text("hint"),
        },
        "closed" => What::Closed {
            sub: text("sub")?,
            text: text("text")?,
        },
        "count" => What::Count {
            sub: text("sub")?,
            filters: filters()?,
        },
        "counted" => What::Counted {
            sub: text("sub")?,
            count: line["count"].as_u64()?,
        },
        "notice" => What::Notice {
            text: text("text")?,
        },
        "read back" => What::ReadBack,
        "mark" => What::Mark {
            name: text("name")?,
        },
        "begin" => What::Begin {
            name: text("name")?,
        },
        "end" => What::End {
            name: text("name")?,
        },
        "frozen" => What::Frozen,
        "thawed" => What::Thawed,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Key;

    #[test]
    fn a_history_is_read_as_it_was_written() {
        let event = Key::nth(0).sign(1, 30_023, &[&["d", "é\n"]], "\"text\"");
        let (sub, text): (Arc<str>, Arc<str>) = ("s".into(), "error: no".into());
        let (why, name) = (Arc::clone(&text), Arc::clone(&text));
        let filters: Arc<[Value]> = [json!({"kinds": [1]}), json!({})].into();
        let all = [
            What::Connected,
            What::Unreachable {
                why: Arc::clone(&why),
            },
            What::Disconnected {
                why: Arc::clone(&why),
            },
            What::Left {
                why: Arc::clone(&why),
            },
            What::Illegal { why },
            What::Publish {
                event: event.clone(),
            },
            What::Ok {
                id: *event.id(),
                accepted: true,
                text: Arc::clone(&text),
            },
            What::Req {
                sub: Arc::clone(&sub),
                filters: Arc::clone(&filters),
            },
            What::Close {
                sub: Arc::clone(&sub),
            },
            What::Event {
                sub: Arc::clone(&sub),
                event: event.clone(),
            },
            What::Event {
                sub: Arc::clone(&sub),
                event,
            },
            What::Eose {
                sub: Arc::clone(&sub),
                hint: None,
            },
            What::Eose {
                sub: Arc::clone(&sub),
                hint: Some("finish".into()),
            },
            What::Closed {
                sub: Arc::clone(&sub),
                text: Arc::clone(&text),
            },
            What::Count {
                sub: Arc::clone(&sub),
                filters,
            },
            What::Counted { sub, count: 7 },
            What::Notice { text },
            What::ReadBack,
            What::Mark {
                name: Arc::clone(&name),
            },
            What::Begin {
                name: Arc::clone(&name),
            },
            What::End { name },
            What::Frozen,
            What::Thawed,
        ];
        let entry = |(n, what): (usize, What)| Entry {
            at: Duration::from_micros(n as u64 * 1_000),
            intended: n
                .is_multiple_of(2)
                .then_some(Duration::from_micros(n as u64)),
            connection: 3,
            gateway: 1,
            what,
        };
        let entries: Vec<Entry> = all.into_iter().enumerate().map(entry).collect();
        let started = Timestamp::from_secs(1_800_000_000);
        let history = History::starting(started, entries.clone());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        history.write(&path).unwrap();
        let again = History::read(&path).unwrap();
        assert_eq!(again.entries(), entries);
        assert_eq!(again.started(), started);
    }

    #[test]
    fn a_line_that_is_no_entry_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        let good = r#"{"at_us":1,"connection":0,"gateway":0,"what":"frozen"}"#;
        for bad in [
            "{}",
            r#"{"at_us":1,"connection":0,"gateway":0,"what":"rain"}"#,
            "rain",
        ] {
            std::fs::write(&path, format!("{{\"started\":1}}\n{good}\n{bad}\n")).unwrap();
            let error = History::read(&path).unwrap_err().to_string();
            assert!(error.starts_with("line 3: "), "{error}");
        }
    }
}
