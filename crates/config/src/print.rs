//! What `config print` shows, and the reference page.

use std::fmt::Write as _;

use crate::{KEYS, Key, Loaded, keys::SECTIONS, value::Value};

/// Columns of a comment line in `config print`.
const WIDTH: usize = 96;

impl Loaded {
    /// The values in force as TOML that can be loaded again, without secrets, each with its doc, unit, default,
    /// whether it reloads on SIGHUP, and where its value was read.
    #[must_use]
    pub fn to_annotated_toml(&self) -> String {
        let mut out = String::new();
        let mut section = "";
        for key in KEYS {
            if key.section() != section {
                section = key.section();
                if !out.is_empty() {
                    out.push('\n');
                }
                comment(&mut out, &section_doc(section));
                line(&mut out, &format!("[{section}]"));
            }
            out.push('\n');
            self.print_key(&mut out, key);
        }
        out
    }

    fn print_key(&self, out: &mut String, key: &Key) {
        let (value, source) = self.written.effective(key);
        let (_, name) = key.name.split_once('.').unwrap_or(("", key.name));
        comment(out, &key.doc());
        comment(
            out,
            &format!(
                "unit: {}; allowed: {}; default: {}; {}",
                key.unit,
                key.allowed(),
                key.default(),
                reloads(key)
            ),
        );
        comment(out, &format!("from: {source}"));
        if key.is_secret() && value != Value::Text(String::new()) {
            line(out, &format!("# {name} is set and not shown"));
        } else {
            line(out, &format!("{name} = {value}"));
        }
    }
}

fn reloads(key: &Key) -> &'static str {
    if key.reload {
        "reloads on SIGHUP"
    } else {
        "needs a restart"
    }
}

fn section_doc(section: &str) -> String {
    let found = SECTIONS.iter().find(|(name, _)| *name == section);
    let lines = found.map_or(&[][..], |(_, lines)| lines);
    lines
        .iter()
        .map(|line| line.trim())
        .collect::<Vec<_>>()
        .join(" ")
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// Writes a comment, broken at white space. No character of `text` can end it early.
fn comment(out: &mut String, text: &str) {
    let mut width = usize::MAX;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        let length = word.chars().count() + 1;
        if width.saturating_add(length) > WIDTH {
            if width != usize::MAX {
                out.push('\n');
            }
            out.push('#');
            width = 1;
        }
        out.push(' ');
        out.push_str(word);
        width += length;
    }
    out.push('\n');
}

/// The reference page `docs/reference/config.md`.
#[must_use]
pub fn reference_markdown() -> String {
    let mut out = String::from(
        "<!-- Generated from crates/config/src/keys.rs; don't edit. -->\n\
         # Configuration\n\n\
         Later layers win: default, then the TOML file (`--config FILE`), then the environment, then flags\n\
         (`--set key=value`). The variable of `gateway.listen` is `HELIOGRAPH_GATEWAY_LISTEN`; in variables and\n\
         flags a list is `a,b,c`. A secret may stand in a file of its own: `HELIOGRAPH_NATS_PASSWORD_FILE` names the file\n\
         whose text is `nats.password`. `heliograph config check` names everything that is wrong, `heliograph config\n\
         print` shows the values in force and where each was read. On SIGHUP the file and the environment are\n\
         read again; keys marked *reload* take their new value at once, the others at the next start.\n",
    );
    let mut section = "";
    for key in KEYS {
        if key.section() != section {
            section = key.section();
            write_section(&mut out, section);
        }
        write_key(&mut out, key);
    }
    out
}

fn write_section(out: &mut String, section: &str) {
    let doc = section_doc(section);
    write!(
        out,
        "\n## [{section}]\n{doc}\n\n| key | default | allowed | unit | changes | what and why |\n\
         | --- | --- | --- | --- | --- | --- |\n"
    )
    .expect("writing to a string can't fail");
}

fn write_key(out: &mut String, key: &Key) {
    let changes = if key.reload { "reload" } else { "restart" };
    writeln!(
        out,
        "| `{}` | `{}` | {} | {} | {changes} | {} |",
        key.name,
        key.default(),
        cell(&key.allowed()),
        key.unit,
        cell(&key.doc())
    )
    .expect("writing to a string can't fail");
}

/// Text for a table cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
