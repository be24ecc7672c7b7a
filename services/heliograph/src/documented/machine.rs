//! Commands of the pages about one machine, run as they stand there, each page in a system of its own:
//! this machine's programs, but other processes, another network, another `/etc` and `/var/lib/heliograph`,
//! and a `/backup`. Made with user namespaces, so without being root.
//!
//! A command that is the relay goes on beside those that follow, until the next one or the page's end.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use clap::Parser as _;
use heliograph_sandbox::process::hide_variables;
use heliograph_testkit::process::{binary, option, workspace};

use super::{arguments, commands, read, shell_lines};
use crate::cli::Cli;

/// Namespaces of its own.
const UNSHARE: [&str; 8] = [
    "--user",
    "--map-root-user",
    "--mount",
    "--net",
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child",
];

/// Makes the system at $1 of what this one has, and runs `script` there in the directory $2.
const ENTER: &str = r#"
root=$1 place=$2
ip link set lo up
mount -t tmpfs none "$root"
# Shows at the same place what there is in the directory $1, but for the names in $2.
show() {
  mkdir -p "$root$1"
  for entry in "$1"/*; do
    case " $2 " in *" ${entry##*/} "*) continue ;; esac
    if [ -L "$entry" ]; then
      cp -P "$entry" "$root$1/"
    elif [ -d "$entry" ]; then
      mkdir "$root$entry"
      mount --rbind "$entry" "$root$entry"
    fi
  done
}
show "" "backup etc var"
show /var lib
show /var/lib heliograph
mkdir "$root/backup" "$root/var/lib/heliograph"
# What can't be read isn't needed.
cp -RP /etc "$root/" 2> /dev/null || true
rm -rf "$root"/etc/heliograph*
exec unshare --root="$root" --wd="$place" sh -eu ./script
"#;

/// What stands around a page's commands: a relay and its end, and what the log has to say.
const FUNCTIONS: &str = r#"
relay=
soon() {
  tries=0
  until "$@" > /dev/null 2>&1; do
    tries=$((tries + 1))
    test "$tries" -lt 1200 || { echo "never: $*"; exit 1; }
    sleep 0.05
  done
}
ready() { soon heliograph health --ready; }
serve() { "$@" & relay=$!; ready; }
stop() {
  if [ -n "$relay" ]; then
    kill "$relay"
    wait "$relay"
    relay=
  fi
}
says() { soon grep -qF "$1" log; }
"#;

/// A page, and what its commands find and leave.
struct Page {
    path: &'static str,
    /// `$ROOT` is the repository, `$TOML` the page's first block of TOML.
    before: &'static str,
    after: &'static str,
    /// How many of its commands run.
    commands: usize,
}

/// The line to run, and whether it is the relay. `None` for what is run elsewhere, or nowhere: of a
/// cluster, of other relays, of other programs.
fn step(line: &str) -> Option<(&str, bool)> {
    let line = line.trim();
    let line = line.strip_suffix('&').unwrap_or(line).trim_end();
    let all = commands(line);
    let first = all.first()?;
    let program = first.iter().find(|word| !word.contains('='))?;
    let there = match program.as_str() {
        "heliograph" => {
            let elsewhere = ["cluster", "wss://", "gateway-1", " copy", " mirror"];
            !elsewhere.iter().any(|word| line.contains(word))
        }
        "curl" => line.contains("http://127.0.0.1:"),
        "kill" => true,
        _ => false,
    };
    let relay = arguments(first).is_some_and(|arguments| {
        let cli = Cli::try_parse_from(arguments);
        cli.is_ok_and(|cli| cli.command.is_none())
    });
    there.then_some((line, relay))
}

/// All of it as one script, and how many commands of the page are in it.
fn script(page: &Page) -> (String, usize) {
    let mut text = format!("{FUNCTIONS}\n{}\n", page.before);
    let mut count = 0;
    for line in shell_lines(&read(page.path)) {
        let Some((line, relay)) = step(&line) else {
            continue;
        };
        count += 1;
        text += &format!("echo '+ {}'\n", line.replace('\'', r"'\''"));
        text += &if relay {
            format!("stop\n{line} & relay=$!\nready\n")
        } else if line.starts_with("heliograph delete") && !line.contains("--dry-run") {
            // Without a terminal it wants to be told twice.
            format!("if {line} 2> refused; then exit 1; fi\ngrep -qe --yes refused\n{line} --yes\n")
        } else {
            format!("{line}\n")
        };
    }
    (text + page.after + "\nstop\n", count)
}

fn first_toml(page: &str) -> &str {
    let (_, block) = page.split_once("```toml\n").unwrap_or_default();
    block.split("```").next().unwrap_or_default()
}

/// Whether this machine lets us make such systems; in CI it has to.
fn allowed() -> bool {
    let mut probe = Command::new("unshare");
    probe.args(UNSHARE).args(["ip", "link", "set", "lo", "up"]);
    probe.stdout(Stdio::null()).stderr(Stdio::null());
    let allowed = probe.status().is_ok_and(|status| status.success());
    assert!(
        allowed || option("CI").is_none(),
        "CI needs unshare (util-linux), ip (iproute2) and user namespaces"
    );
    if !allowed {
        println!("skipped: no unshare, no ip, or no user namespaces");
    }
    allowed
}

#[track_caller]
fn check(page: &Page) {
    if !allowed() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["bin", "place", "system"] {
        fs::create_dir(at(name)).unwrap();
    }
    std::os::unix::fs::symlink(binary(), at("bin/heliograph")).unwrap();
    let (script, count) = script(page);
    assert_eq!(count, page.commands, "commands of {}:\n{script}", page.path);
    fs::write(at("place/script"), script).unwrap();
    fs::write(at("toml"), first_toml(&read(page.path))).unwrap();
    let mut log = File::options();
    let log = log.create(true).append(true).open(at("place/log")).unwrap();
    let mut path = at("bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path.push(":/usr/sbin:/sbin");
    let mut unshare = Command::new("unshare");
    hide_variables(&mut unshare, "HELIOGRAPH_");
    unshare
        .args(UNSHARE)
        .args(["sh", "-euc", ENTER, "sh"])
        .args([at("system"), at("place")])
        .env("PATH", path)
        .env("ROOT", fs::canonicalize(workspace()).unwrap())
        .env("TOML", at("toml"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    let status = unshare.status().unwrap();
    let said = fs::read_to_string(at("place/log")).unwrap();
    assert!(status.success(), "{}: {status}\n{said}", page.path);
    assert!(!Path::new("/backup/relay").exists(), "it left its system");
}

#[test]
fn running_goes_as_its_page_says() {
    check(&Page {
        path: "docs/operate/run.md",
        before: r#"cp "$TOML" /etc/heliograph.toml"#,
        after: "says supported_nips\ntest -f events.jsonl",
        commands: 4,
    });
}

#[test]
fn configuring_goes_as_its_page_says() {
    check(&Page {
        path: "docs/operate/configure.md",
        before: "echo 'relay.name = \"One\"' > heliograph.toml",
        after: "says 'configuration reloaded'",
        commands: 7,
    });
}

#[test]
fn installing_goes_as_its_page_says() {
    check(&Page {
        path: "docs/operate/install.md",
        before: r#"
mkdir /etc/heliograph
cp "$ROOT/deploy/debian/heliograph.toml" /etc/heliograph/heliograph.toml
serve heliograph --config /etc/heliograph/heliograph.toml
"#,
        after: "",
        commands: 1,
    });
}

#[test]
fn data_is_handled_as_its_page_says() {
    check(&Page {
        path: "docs/operate/data.md",
        before: r"
heliograph corpus --seed 1 --events 300 > events.jsonl
heliograph corpus --seed 2 --events 100 | gzip > 2024.jsonl.gz
heliograph corpus --seed 3 --events 100 | heliograph import - --data other
heliograph export --data other -o 2025.jsonl.zst
heliograph archive --to /backup/relay --data other
heliograph config print > heliograph.toml
",
        after: r#"
test -s events.jsonl
test "$(heliograph count '{}')" -gt 300
says 'the log is not damaged'
"#,
        commands: 13,
    });
}

#[test]
fn backing_up_goes_as_its_page_says() {
    check(&Page {
        path: "docs/operate/backup.md",
        before: r"
heliograph config print > config.toml
heliograph corpus --events 300 | heliograph import - --config config.toml
",
        after: "",
        commands: 4,
    });
}

#[test]
fn who_sends_most_is_asked_as_its_page_says() {
    check(&Page {
        path: "docs/operate/top.md",
        before: "serve heliograph",
        after: "says half_life_seconds\nsays '\"authors\"'",
        commands: 2,
    });
}

#[test]
fn an_upgrade_is_looked_at_as_the_canarys_page_says() {
    check(&Page {
        path: "docs/operate/canary.md",
        before: r#"
printf '[canary]\npublish = "ws://127.0.0.1:7777"\nread = ["ws://127.0.0.1:7777"]\n' > gateway.toml
serve heliograph
"#,
        after: "",
        commands: 2,
    });
}

#[test]
fn a_line_runs_here_if_it_is_about_one_machine() {
    assert_eq!(
        step("heliograph --data x &"),
        Some(("heliograph --data x", true))
    );
    assert_eq!(step("A=1 heliograph"), Some(("A=1 heliograph", true)));
    assert_eq!(step("heliograph info"), Some(("heliograph info", false)));
    assert_eq!(step("heliograph migrate --config cluster.toml"), None);
    assert_eq!(step("curl -s https://relay.example.com | gunzip"), None);
    assert_eq!(step("sudo systemctl restart heliograph"), None);
    assert_eq!(step(""), None);
}
