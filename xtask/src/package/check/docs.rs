//! Commands of the pages about packages: each is one that these checks or the tests run, or one of the
//! few that need a network or a running systemd.

use anyhow::{Context, Result, ensure};
use clap::Parser as _;

use super::{
    super::{Parts, read},
    Products,
};
use crate::{Arguments, shell};

const PAGES: [&str; 3] = ["docs/operate/install.md", "docs/release.md", "SECURITY.md"];

/// What can't be run here, by its beginning. `dpkg -i` is run in a root of its own by the checks.
const ELSEWHERE: [&str; 13] = [
    "cargo install --path services/heliograph --locked",
    "sudo apt-get install ",
    "sudo apt install ./heliograph_",
    "sudo dpkg ",
    "sudo install ",
    "sudo systemctl ",
    "sudo systemd-sysusers ",
    "sudo -u heliograph heliograph ",
    "sha256sum --check ",
    "docker ",
    "cosign ",
    "git tag ",
    "git push ",
];

/// Each line in a block of `sh`.
pub(super) fn commands(products: &Products) -> Result<()> {
    let mut seen = 0;
    for page in PAGES {
        let text = String::from_utf8(read(page)?)?;
        for line in blocks(&text) {
            seen += 1;
            check(&products.parts, &line).with_context(|| format!("{page}: `{line}`"))?;
        }
    }
    ensure!(seen > 10, "only {seen} commands are in the pages");
    Ok(())
}

fn check(parts: &Parts, line: &str) -> Result<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["cargo", "xtask", ..] => {
            Arguments::try_parse_from(&words[1..])?;
        }
        ["heliograph", ref arguments @ ..]
        | ["sudo", "-u", "heliograph", "heliograph", ref arguments @ ..] => {
            let help = arguments.iter().copied().chain(["--help"]);
            shell::read(shell::relay(&parts.program).args(help))?;
        }
        _ => ensure!(
            ELSEWHERE.iter().any(|known| line.starts_with(known)),
            "no check runs it, and it isn't listed as one that can't be run"
        ),
    }
    Ok(())
}

/// The commands, with continued lines joined and comments left out.
fn blocks(page: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut inside = false;
    let mut command = String::new();
    for line in page.lines().map(str::trim) {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            command.push_str(line.trim_end_matches('\\'));
            if !line.ends_with('\\') {
                commands.push(std::mem::take(&mut command));
            }
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_the_lines_of_sh_blocks() {
        let page = "a\n```sh\n# b\nc \\\n  d\ne\n```\n```text\nf\n```\ng\n";
        assert_eq!(blocks(page), ["c d", "e"]);
    }
}
