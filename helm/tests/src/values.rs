//! `values.yaml` as a table for people, by its comments; and whether `values.schema.json` has the
//! same keys.
//!
//! A comment `# -- text` above a key, as helm-docs has it, is what the table says about that key and
//! all below it. Keys without one are groups of others.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// What stands in front of a key's text.
const MARK: &str = "# -- ";

/// A key of `values.yaml` that has a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// From the top, as in `gateway.pdb.enabled`.
    pub path: String,
    /// What it is.
    pub text: String,
    /// Its value in `values.yaml`, as JSON.
    pub default: String,
}

/// Every key with a text, in the order of the file.
///
/// # Errors
///
/// The file isn't YAML, a text stands above no key, or a value has none.
pub fn keys(values: &str) -> Result<Vec<Key>> {
    let defaults: Value = serde_yaml_ng::from_str(values).context("values.yaml isn't YAML")?;
    let mut keys = Vec::new();
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut text: Option<String> = None;
    for (number, line) in values.lines().enumerate() {
        let content = line.trim_start();
        if let Some(said) = content.strip_prefix(MARK) {
            text = Some(said.trim().to_owned());
            continue;
        }
        let Some(name) = name_of(content) else {
            ensure!(
                text.is_none(),
                "values.yaml:{}: no key below the text",
                number + 1
            );
            continue;
        };
        let depth = line.len() - content.len();
        parents.retain(|(indent, _)| *indent < depth);
        parents.push((depth, name.to_owned()));
        let names: Vec<&str> = parents.iter().map(|(_, name)| name.as_str()).collect();
        let pointer = format!("/{}", names.join("/"));
        let path = names.join(".");
        let covered = |key: &Key| path.starts_with(&format!("{}.", key.path));
        if let Some(text) = text.take() {
            let default = defaults.pointer(&pointer);
            let default = default.with_context(|| format!("values.yaml: no value at {path}"))?;
            keys.push(Key {
                path,
                text,
                default: default.to_string(),
            });
        } else if !content.trim_end().ends_with(':') && !keys.iter().any(covered) {
            bail!("values.yaml:{}: {path} has no text (`{MARK}…`)", number + 1);
        }
    }
    Ok(keys)
}

/// The name in a line `name: …`; `None` if it is no such line.
fn name_of(content: &str) -> Option<&str> {
    if content.starts_with(['#', '-']) {
        return None;
    }
    let (name, rest) = content.split_once(':')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (is_name && (rest.is_empty() || rest.starts_with(' '))).then_some(name)
}

/// The table of all keys, a section for each group at the top.
#[must_use]
pub fn table(keys: &[Key]) -> String {
    let mut text = String::from("| key | default | what |\n| --- | --- | --- |\n");
    for key in keys {
        let cell = |text: &str| text.replace('|', "\\|");
        text.push_str(&format!(
            "| `{}` | `{}` | {} |\n",
            key.path,
            cell(&key.default),
            cell(&key.text)
        ));
    }
    text
}

/// What differs between the keys of `values.yaml` and those of `values.schema.json`: keys that only
/// one has, objects with keys of ours that let others in, keys without a description.
///
/// # Errors
///
/// One of them can't be read.
pub fn differences(values: &str, schema: &str) -> Result<Vec<String>> {
    let keys = keys(values)?;
    let values: Value = serde_yaml_ng::from_str(values).context("values.yaml isn't YAML")?;
    let schema: Value = serde_json::from_str(schema).context("values.schema.json isn't JSON")?;
    let mut found = Vec::new();
    compare(
        "",
        &values,
        &schema,
        &Look {
            root: &schema,
            keys: &keys,
        },
        &mut found,
    );
    Ok(found)
}

/// What a comparison needs everywhere.
struct Look<'a> {
    /// The whole schema, for its references.
    root: &'a Value,
    keys: &'a [Key],
}

fn compare(path: &str, values: &Value, schema: &Value, look: &Look<'_>, found: &mut Vec<String>) {
    let schema = resolve(schema, look.root);
    // What has a text may hold more than its default does.
    let is_free = look.keys.iter().any(|key| {
        let below = path.strip_prefix(&key.path);
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    let Some(properties) = schema["properties"].as_object() else {
        if !is_free {
            found.push(format!(
                "{path}: a group in values.yaml, without properties in the schema"
            ));
        }
        return;
    };
    let is_closed = schema["additionalProperties"] == Value::Bool(false);
    // A chart that has this one as its part keeps keys of its own there.
    if !is_closed && !is_free && path != "global" {
        found.push(format!("{path}: the schema lets unknown keys in"));
    }
    let empty = serde_json::Map::new();
    let values = values.as_object().unwrap_or(&empty);
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    for (name, value) in values {
        let path = below(name);
        match properties.get(name) {
            None => found.push(format!("{path}: not in values.schema.json")),
            Some(schema) => {
                let described = look.keys.iter().find(|key| key.path == path);
                let schema_text = resolve(schema, look.root);
                let says = |schema: &Value| schema["description"].is_string();
                if described.is_some() && !says(schema) && !says(schema_text) {
                    found.push(format!("{path}: no description in values.schema.json"));
                }
                compare(&path, value, schema, look, found);
            }
        }
    }
    if !is_free {
        for name in properties.keys().filter(|name| !values.contains_key(*name)) {
            found.push(format!("{}: not in values.yaml", below(name)));
        }
    }
}

/// The schema that a reference stands for, alone or as the one part of `allOf`.
fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let reference = schema["$ref"]
        .as_str()
        .or_else(|| schema["allOf"][0]["$ref"].as_str());
    let target = reference.and_then(|reference| {
        let pointer = reference.strip_prefix('#')?;
        root.pointer(pointer)
    });
    target.unwrap_or(schema)
}

/// The part of a schema that is for a path of names.
#[must_use]
pub fn schema_at<'a>(schema: &'a Value, path: &[&str]) -> &'a Value {
    let mut part = schema;
    for name in path {
        part = resolve(&resolve(part, schema)["properties"][*name], schema);
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: &str = "# About.\ntop:\n  # -- First | one.\n  a: 1\n  # Group.\n  b:\n    # -- Second.\n    c: [x]\n# -- Third.\nd:\n  e: {}\n  f:\n    g: 2\n";

    #[test]
    fn a_text_stands_above_its_key() {
        let found = keys(VALUES).unwrap();
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|key| (key.path.as_str(), key.default.as_str()))
            .collect();
        let third = r#"{"e":{},"f":{"g":2}}"#;
        assert_eq!(
            found,
            [("top.a", "1"), ("top.b.c", "[\"x\"]"), ("d", third)]
        );
    }

    #[test]
    fn a_value_without_text_is_an_error() {
        let error = keys("a:\n  # -- Yes.\n  b: 1\n  c: 2\n").unwrap_err();
        assert!(
            error.to_string().contains("values.yaml:4: a.c has no text"),
            "{error}"
        );
    }

    #[test]
    fn a_cell_holds_any_text() {
        assert!(table(&keys(VALUES).unwrap()).contains("| `top.a` | `1` | First \\| one. |\n"));
    }

    #[test]
    fn keys_of_one_side_alone_are_found() {
        let schema = r##"{"additionalProperties": false, "properties": {
            "top": {"properties": {"a": {"description": "A."}, "x": {"description": "X."},
                    "b": {"additionalProperties": false, "properties": {"c": {"type": "array"}}}}},
            "d": {"$ref": "#/$defs/d"}},
            "$defs": {"d": {"description": "D.", "type": "object"}}}"##;
        let found = differences(VALUES, schema).unwrap();
        let expected = [
            "top: the schema lets unknown keys in",
            "top.b.c: no description in values.schema.json",
            "top.x: not in values.yaml",
        ];
        assert_eq!(found, expected);
    }
}
