//! Every `heliograph` command in the documentation is one that the program takes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Parser as _;

use crate::cli::Cli;

/// Fewer would mean that they aren't found any more.
const COMMANDS_MIN: usize = 40;

/// The pages: those of the root, `docs/`, `deploy/` and `helm/`.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = Vec::new();
    let mut directories: Vec<PathBuf> = ["docs", "deploy", "helm"]
        .map(|name| root.join(name))
        .into();
    directories.retain(|directory| directory.exists());
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
    pages.push(root.join("README.md"));
    pages.sort();
    pages
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
        let text = fs::read_to_string(&page).unwrap();
        for line in shell_lines(&text) {
            for words in commands(&line) {
                let Some(arguments) = arguments(&words) else {
                    continue;
                };
                count += 1;
                if let Err(error) = Cli::try_parse_from(arguments)
                    && error.use_stderr()
                {
                    let name = page.file_name().unwrap().to_string_lossy();
                    wrong.push(format!("{name}: {line}\n{error}"));
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
