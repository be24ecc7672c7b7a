//! The layers: defaults, file, environment, flags; then the check of the whole.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    Config, ConfigError, ConfigErrors, KEYS, Key, Source,
    check::Check,
    environment::is_setting,
    relations,
    suggest::nearest,
    table::Section,
    value::{Shape, Value},
};

/// Bytes of a configuration file; a larger one is surely another file.
const FILE_BYTES_MAX: u64 = 16 * 1_024 * 1_024;

/// The configuration as written: for each key at most one value, that of the last layer which has
/// one. Every key is optional here.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Written(BTreeMap<&'static str, (Value, Source)>);

/// Names the keys without their values, some of which are secrets.
impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A configuration that was loaded and checked, with what was written and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The checked values.
    pub config: Config,
    pub(crate) written: Written,
}

/// Loads the configuration: default < `file` < variables that begin with `HELIOGRAPH_` <
/// `overrides`, which are (key, text) from the command line. In text, lists are `a,b,c` or TOML.
///
/// # Errors
///
/// [`ConfigErrors`] with everything that is wrong: a file that can't be read, unknown keys, values
/// of the wrong type, out of range or at odds with each other.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    overrides: &[(&str, String)],
) -> Result<Loaded, ConfigErrors> {
    let mut errors = Vec::new();
    let mut written = Written::default();
    if let Some(path) = file {
        written.read_file(path, &mut errors);
    }
    written.read_environment(environment, &mut errors);
    written.read_overrides(overrides, &mut errors);
    written.check(errors)
}

impl Written {
    /// Turns what was written into a configuration, unless something is wrong with it or `errors`
    /// already holds something.
    pub(crate) fn check(self, mut errors: Vec<ConfigError>) -> Result<Loaded, ConfigErrors> {
        let mut checker = Checker {
            written: &self,
            errors: Vec::new(),
        };
        let config = Config::check(&mut checker);
        errors.append(&mut checker.errors);
        if let Some(config) = &config {
            relations::check(config, &self, &mut errors);
        }
        match config {
            Some(config) if errors.is_empty() => Ok(Loaded {
                config,
                written: self,
            }),
            _ => Err(ConfigErrors(errors)),
        }
    }

    /// The value in force, with where it was read.
    pub(crate) fn effective(&self, key: &Key) -> (Value, Source) {
        match self.0.get(key.name) {
            Some(found) => found.clone(),
            None => (default_value(key), Source::Default),
        }
    }

    pub(crate) fn source(&self, name: &str) -> Source {
        self.0
            .get(name)
            .map_or(Source::Default, |(_, source)| source.clone())
    }

    pub(crate) fn set(&mut self, key: &Key, value: Value, source: Source) {
        self.0.insert(key.name, (value, source));
    }

    fn read_file(&mut self, path: &Path, errors: &mut Vec<ConfigError>) {
        let text = match read_text(path) {
            Ok(text) => text,
            Err(problem) => {
                let name = path.display().to_string();
                errors.push(ConfigError::new(name, problem, "configuration file"));
                return;
            }
        };
        let file = File {
            path: Arc::from(path),
            text: &text,
        };
        let (table, malformed) = DeTable::parse_recoverable(&text);
        for error in malformed {
            let at = error.span().map_or(0, |span| span.start);
            errors.push(ConfigError::new("syntax", error.message(), file.source(at)));
        }
        for (name, value) in table.get_ref() {
            let at = file.source(name.span().start);
            let section = name.get_ref().as_ref();
            match value.get_ref() {
                DeValue::Table(keys) if KEYS.iter().any(|key| key.section() == section) => {
                    self.read_section(section, keys, &file, errors);
                }
                DeValue::Table(_) => {
                    let sections = KEYS.iter().map(Key::section);
                    errors.push(unknown(section, "section", sections, at));
                }
                _ => errors.push(outside(section, at)),
            }
        }
    }

    fn read_section(
        &mut self,
        section: &str,
        keys: &DeTable<'_>,
        file: &File<'_>,
        errors: &mut Vec<ConfigError>,
    ) {
        for (name, value) in keys {
            let full = format!("{section}.{}", name.get_ref());
            match find(&full) {
                Some(key) => self.set(key, Value::from_toml(value.get_ref()), file.at(value)),
                None => errors.push(unknown(
                    &full,
                    "key",
                    KEYS.iter().map(|key| key.name),
                    file.source(name.span().start),
                )),
            }
        }
    }

    fn read_environment(
        &mut self,
        environment: impl Iterator<Item = (String, String)>,
        errors: &mut Vec<ConfigError>,
    ) {
        let mut files = Vec::new();
        for (name, text) in environment.filter(|(name, text)| is_setting(name, text)) {
            let source = Source::Environment(name.clone());
            match KEYS.iter().find(|key| key.env() == name) {
                Some(key) => self.set(key, Value::from_text(&text, key.shape()), source),
                None if secret_file(&name).is_some() => files.push((name, text)),
                None => {
                    let names: Vec<_> = KEYS.iter().map(Key::env).collect();
                    let names = names.iter().map(String::as_str);
                    errors.push(unknown(&name, "variable", names, source));
                }
            }
        }
        self.read_secrets(files, errors);
    }

    /// Reads secrets from the files that variables name, after the secrets that stand in variables
    /// themselves.
    fn read_secrets(&mut self, files: Vec<(String, String)>, errors: &mut Vec<ConfigError>) {
        for (name, path) in files {
            let Some(key) = secret_file(&name) else {
                continue;
            };
            let wrong = |problem: String| {
                let source = Source::Environment(name.clone());
                ConfigError::new(key.name, problem, source)
            };
            if matches!(self.source(key.name), Source::Environment(_)) {
                errors.push(wrong(format!("is set by {} too", key.env())));
                continue;
            }
            match read_text(Path::new(&path)) {
                Ok(text) => {
                    let secret = text.trim_end_matches(['\r', '\n']).to_owned();
                    self.set(key, Value::Text(secret), Source::Environment(name));
                }
                Err(problem) => errors.push(wrong(format!("{path} {problem}"))),
            }
        }
    }

    fn read_overrides(&mut self, overrides: &[(&str, String)], errors: &mut Vec<ConfigError>) {
        for (name, text) in overrides {
            match find(name) {
                Some(key) => self.set(key, Value::from_text(text, key.shape()), Source::Flag),
                None => {
                    let names = KEYS.iter().map(|key| key.name);
                    errors.push(unknown(name, "key", names, Source::Flag));
                }
            }
        }
    }
}

/// A configuration file while it is read.
struct File<'a> {
    path: Arc<Path>,
    text: &'a str,
}

impl File<'_> {
    fn source(&self, offset: usize) -> Source {
        let before = self.text.as_bytes().iter().take(offset);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        Source::File {
            path: Arc::clone(&self.path),
            line,
        }
    }

    fn at<T>(&self, value: &Spanned<T>) -> Source {
        self.source(value.span().start)
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let length = std::fs::metadata(path)
        .map_err(|error| format!("can't be read: {error}"))?
        .len();
    if length > FILE_BYTES_MAX {
        return Err("is too large, at most 16 MiB are allowed".to_owned());
    }
    std::fs::read_to_string(path).map_err(|error| format!("can't be read: {error}"))
}

pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The secret that the variable `name` names a file for: its own variable with `_FILE` behind.
fn secret_file(name: &str) -> Option<&'static Key> {
    let name = name.strip_suffix("_FILE")?;
    KEYS.iter().find(|key| key.env() == name && key.is_secret())
}

fn unknown<'a>(
    name: &str,
    what: &str,
    names: impl Iterator<Item = &'a str>,
    source: Source,
) -> ConfigError {
    let hint = match nearest(name, names) {
        Some(near) => format!("unknown {what}, the nearest is {near}"),
        None => format!("unknown {what}, `heliograph config print` lists all"),
    };
    ConfigError::new(name, hint, source)
}

/// A value that stands outside of every section.
fn outside(name: &str, source: Source) -> ConfigError {
    let named = |key: &&Key| {
        key.name
            .split_once('.')
            .is_some_and(|(_, short)| short == name)
    };
    let hint = match KEYS.iter().find(named) {
        Some(key) => format!(
            "stands outside of a section, [{}] has such a key",
            key.section()
        ),
        None if KEYS.iter().any(|key| key.section() == name) => {
            "is a section, not a value".to_owned()
        }
        None => "unknown key outside of a section".to_owned(),
    };
    ConfigError::new(name, hint, source)
}

/// The default as a value. Defaults are TOML; a test reads each of them.
fn default_value(key: &Key) -> Value {
    match DeValue::parse(&key.default()) {
        Ok(value) => Value::from_toml(value.get_ref()),
        Err(_malformed) => match key.shape() {
            Shape::Text => Value::Text(key.default()),
            _ => Value::Other("a malformed default"),
        },
    }
}

/// Takes checked values out of what was written, gathering errors.
pub(crate) struct Checker<'a> {
    written: &'a Written,
    errors: Vec<ConfigError>,
}

impl Checker<'_> {
    pub(crate) fn take<T: 'static>(&mut self, name: &str, check: &Check<T>) -> Option<T> {
        let key = find(name)?;
        let (value, source) = self.written.effective(key);
        match check.read(&value) {
            Ok(checked) => Some(checked),
            Err(problem) => {
                let problem = format!("{problem}, allowed is {}", check.allowed);
                self.errors.push(ConfigError::new(name, problem, source));
                None
            }
        }
    }
}
