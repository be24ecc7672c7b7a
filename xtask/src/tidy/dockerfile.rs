//! `deploy/docker` as far as it can be read without a container engine: bases are pinned, files exist,
//! the user is a number and not root's, what is started is in the image.

use anyhow::{Context, Result};

use super::{Finding, compose::is_pinned};

/// The file.
pub(crate) const PATH: &str = "deploy/docker/Dockerfile";

/// What is not in its context.
pub(crate) const IGNORE: &str = "deploy/docker/Dockerfile.dockerignore";

/// One instruction, with its continued lines joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// All instructions in order.
pub(crate) fn instructions(dockerfile: &str) -> Vec<Instruction> {
    let lines = dockerfile.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut joined = vec![String::new()];
    for line in lines {
        let current = joined.last_mut().expect("there is always one");
        current.push_str(line.trim_end_matches('\\').trim_end());
        if line.ends_with('\\') {
            current.push(' ');
        } else {
            joined.push(String::new());
        }
    }
    let split = |line: &String| {
        let (name, text) = line.split_once(' ')?;
        Some(Instruction {
            name: name.to_uppercase(),
            text: text.trim().to_owned(),
        })
    };
    joined.iter().filter_map(split).collect()
}

/// The instructions that make the image, not those of the stages before.
pub(crate) fn last_stage(dockerfile: &str) -> Vec<Instruction> {
    let mut all = instructions(dockerfile);
    let from = all
        .iter()
        .rposition(|instruction| instruction.name == "FROM");
    all.split_off(from.unwrap_or_default())
}

/// Whether a file of the tree is in the context: the last pattern that fits decides. Patterns are
/// paths, `*` for everything and `**/name`, which is all that the file may use.
pub(crate) fn is_in_context(ignore: &str, path: &str) -> bool {
    let mut inside = true;
    for line in ignore.lines().map(str::trim) {
        let (pattern, keeps) = match line.strip_prefix('!') {
            Some(pattern) => (pattern, true),
            None => (line, false),
        };
        let fits = match pattern.strip_prefix("**/") {
            Some(name) => path.split('/').any(|part| part == name),
            None => pattern == "*" || is_below(path, pattern),
        };
        if fits && !line.is_empty() && !line.starts_with('#') {
            inside = keeps;
        }
    }
    inside
}

fn is_below(path: &str, directory: &str) -> bool {
    let rest = path.strip_prefix(directory);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Checks the file, given the rest of what it hangs on: the pinned compiler, the patterns of the
/// context, and which files there are.
pub(super) fn check(
    dockerfile: &str,
    toolchain: &str,
    ignore: &str,
    exists: &dyn Fn(&str) -> bool,
) -> Result<Vec<Finding>> {
    let channel = toolchain
        .split_once("channel = \"")
        .and_then(|(_, rest)| rest.split('"').next())
        .context("no channel in rust-toolchain.toml")?;
    let mut findings = Vec::new();
    let mut report = |what: String| findings.push(format!("{PATH}: {what}"));
    for instruction in instructions(dockerfile) {
        let words: Vec<&str> = instruction.text.split_whitespace().collect();
        match instruction.name.as_str() {
            "FROM" => {
                let image = words.first().copied().unwrap_or_default();
                if !is_pinned(image) && image != "scratch" {
                    report(format!("image `{image}` is not pinned to a version"));
                }
                let rust = image.strip_prefix("rust:");
                if rust.is_some_and(|tag| tag.split('-').next() != Some(channel)) {
                    report(format!("`{image}` is not the compiler {channel}"));
                }
            }
            "COPY" if !instruction.text.contains("--from=") => {
                let paths = words.iter().filter(|word| !word.starts_with("--"));
                let paths: Vec<&&str> = paths.collect();
                let sources = paths.split_last().map(|(_, sources)| sources);
                for path in sources.unwrap_or_default() {
                    if **path != "." && !(exists(path) && is_in_context(ignore, path)) {
                        report(format!("copies `{path}`, which is not there"));
                    }
                }
            }
            _ => {}
        }
    }
    check_image(&last_stage(dockerfile), &mut report);
    Ok(findings)
}

/// Who runs what.
fn check_image(image: &[Instruction], report: &mut dyn FnMut(String)) {
    let one = |name: &str| {
        let found = image.iter().rfind(|instruction| instruction.name == name);
        found.map(|instruction| instruction.text.as_str())
    };
    let user = one("USER").unwrap_or("0");
    let numbers: Vec<Option<u32>> = user.split(':').map(|part| part.parse().ok()).collect();
    if numbers
        .iter()
        .any(|number| number.is_none_or(|number| number == 0))
    {
        report(format!("user `{user}` is root, or no number"));
    }
    let entrypoint = one("ENTRYPOINT").unwrap_or_default();
    let program = serde_json::from_str::<Vec<String>>(entrypoint).unwrap_or_default();
    let program = program.first().map(String::as_str).unwrap_or_default();
    let is_copied = image.iter().any(|instruction| {
        instruction.name == "COPY" && instruction.text.split_whitespace().last() == Some(program)
    });
    if !program.starts_with('/') || !is_copied {
        report(format!(
            "entry point `{entrypoint}` is no file that is copied into the image"
        ));
    }
    if one("HEALTHCHECK").is_none_or(|check| !check.contains(&format!("CMD [\"{program}\""))) {
        report("has no health check by its own program".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "FROM rust:1.95.0-slim AS build\nCOPY . .\nRUN make \\\n    all\n\
        FROM scratch\nCOPY --from=build /out/x /bin/x\nCOPY LICENSE /doc/\nUSER 65532:65532\n\
        HEALTHCHECK --timeout=5s CMD [\"/bin/x\", \"health\"]\nENTRYPOINT [\"/bin/x\"]\n";

    /// The findings about the good file with a change.
    #[track_caller]
    fn findings(from: &str, to: &str) -> String {
        let dockerfile = GOOD.replace(from, to);
        assert!(from == to || dockerfile != GOOD, "`{from}` changes nothing");
        let found = check(
            &dockerfile,
            "channel = \"1.95.0\"",
            "*\n!LICENSE\n",
            &|path| path == "LICENSE",
        );
        found.unwrap().join("\n")
    }

    #[test]
    fn the_good_file_has_no_findings() {
        assert_eq!(findings("", ""), "");
    }

    #[test]
    fn each_mistake_is_found() {
        for (from, to, finding) in [
            ("rust:1.95.0-slim", "rust:latest", "not pinned"),
            (
                "rust:1.95.0-slim",
                "rust:1.90.0-slim",
                "is not the compiler 1.95.0",
            ),
            (
                "COPY LICENSE",
                "COPY NOTICE",
                "copies `NOTICE`, which is not there",
            ),
            ("USER 65532:65532\n", "", "user `0`"),
            ("USER 65532:65532", "USER nobody", "user `nobody`"),
            ("USER 65532:65532", "USER 65532:0", "user `65532:0`"),
            (
                "ENTRYPOINT [\"/bin/x\"]",
                "ENTRYPOINT [\"x\"]",
                "entry point",
            ),
            (
                "ENTRYPOINT [\"/bin/x\"]",
                "ENTRYPOINT [\"/bin/y\"]",
                "entry point",
            ),
            (
                "CMD [\"/bin/x\", \"health\"]",
                "CMD curl localhost",
                "health check",
            ),
        ] {
            let found = findings(from, to);
            assert!(found.contains(finding), "{finding} in `{found}`");
        }
    }

    #[test]
    fn instructions_may_go_over_many_lines() {
        let all = instructions("# x\nRUN a \\\n  # y\n  && b\n");
        assert_eq!(
            all,
            [Instruction {
                name: "RUN".to_owned(),
                text: "a && b".to_owned()
            }]
        );
    }

    #[test]
    fn the_last_pattern_that_fits_decides() {
        let ignore = "# all\n*\n!crates\n**/node_modules\n!Cargo.toml\ncrates/big\n";
        for (path, inside) in [
            ("crates/a/src/lib.rs", true),
            ("Cargo.toml", true),
            ("crates/node_modules/x", false),
            ("crates/big/x", false),
            ("cratesx/a", false),
            ("docs/a.md", false),
        ] {
            assert_eq!(is_in_context(ignore, path), inside, "{path}");
        }
    }
}
