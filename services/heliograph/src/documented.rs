//! Every `heliograph` command in the documentation is one that the program takes, and that a test runs.

mod cluster;
mod machine;
mod tried;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Parser as _;
use heliograph_testkit::process::workspace;

use crate::cli::Cli;

/// Fewer would mean that they aren't found any more.
const COMMANDS_MIN: usize = 40;

/// Pages of the root.
const ROOT: [&str; 3] = ["CONTRIBUTING.md", "README.md", "SECURITY.md"];

/// Directories with pages.
const DIRECTORIES: [&str; 5] = ["deploy", "docs", "fuzz", "helm", "loadtest"];

/// The pages, by their paths in the repository.
fn pages() -> Vec<PathBuf> {
    let root = workspace();
    let mut pages = ROOT.map(|name| root.join(name)).to_vec();
    let mut directories = DIRECTORIES.map(|name| root.join(name)).to_vec();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    for page in &mut pages {
        *page = page.strip_prefix(&root).unwrap().to_owned();
    }
    pages.sort();
    pages
}

fn read(path: impl AsRef<Path>) -> String {
    let path = workspace().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of blocks of shell commands, with those that go on joined.
fn shell_lines(page: &str) -> Vec<String> {
    let (mut lines, mut inside, mut open) = (Vec::new(), false, String::new());
    for line in page.lines() {
        let line = line.trim();
        if line.starts_with("```") {
            inside = !inside && matches!(line, "```sh" | "```bash" | "```console");
            continue;
        }
        if !inside {
            continue;
        }
        if let Some(part) = line.strip_suffix('\\') {
            open.push_str(part);
            continue;
        }
        lines.push(std::mem::take(&mut open) + line);
    }
    lines
}

/// Splits a line into words, and into commands where a shell would. Quotes hold words together.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut commands, mut words, mut word) = (Vec::new(), Vec::new(), String::new());
    let (mut quote, mut has_word) = (None, false);
    for c in line.chars() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (Some(_), c) => word.push(c),
            (None, '\'' | '"') => (quote, has_word) = (Some(c), true),
            (None, '#') if !has_word => break,
            (None, ' ' | '|' | ';' | '&' | '>' | '<') => {
                if has_word {
                    words.push(std::mem::take(&mut word));
                    has_word = false;
                }
                match c {
                    '|' | ';' | '&' => commands.push(std::mem::take(&mut words)),
                    '>' | '<' => words.push(c.to_string()),
                    _ => {}
                }
            }
            (None, c) => {
                word.push(c);
                has_word = true;
            }
        }
    }
    if has_word {
        words.push(word);
    }
    commands.push(words);
    commands
}

/// The arguments, if this runs the program: by itself, with variables, or inside of a container.
fn arguments(words: &[String]) -> Option<&[String]> {
    let is_program = |word: &String| word == "heliograph" || word.ends_with("/heliograph");
    let at = words.iter().position(is_program)?;
    let before = &words[..at];
    let is_first = before.iter().all(|word| {
        matches!(word.as_str(), "sudo" | "nohup" | "time" | "exec") || word.contains('=')
    });
    let is_inside = before.last().is_some_and(|word| word == "--");
    let end = words.iter().position(|word| word == ">" || word == "<");
    (is_first || is_inside).then(|| &words[at..end.unwrap_or(words.len()).max(at)])
}

#[test]
fn every_command_in_the_documentation_is_taken() {
    let (mut count, mut wrong) = (0, Vec::new());
    for page in pages() {
        let text = read(&page);
        for line in shell_lines(&text) {
            for words in commands(&line) {
                let Some(arguments) = arguments(&words) else {
                    continue;
                };
                count += 1;
                if let Err(error) = Cli::try_parse_from(arguments)
                    && error.use_stderr()
                {
                    wrong.push(format!("{}: {line}\n{error}", page.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= COMMANDS_MIN, "only {count} commands found");
}

#[test]
fn commands_are_found_as_a_shell_finds_them() {
    let found = |line: &str| -> Vec<Vec<String>> {
        let commands = commands(line);
        let found = commands.iter().filter_map(|words| arguments(words));
        found.map(<[String]>::to_vec).collect()
    };
    assert_eq!(
        found("zcat a.gz | heliograph import - > log  # in"),
        [["heliograph", "import", "-"]]
    );
    assert_eq!(
        found("A=1 heliograph query '{\"kinds\": [1]}' && ls"),
        [["heliograph", "query", "{\"kinds\": [1]}"]]
    );
    assert_eq!(
        found("kubectl exec relay-0 -- heliograph info"),
        [["heliograph", "info"]]
    );
    assert!(found("systemctl restart heliograph").is_empty());
}
