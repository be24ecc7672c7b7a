//! Which test runs each command that the pages for operators name.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use clap::{ArgMatches, CommandFactory as _};

use super::{arguments, commands, pages, read, shell_lines};
use crate::cli::Cli;

/// The pages for operators.
const OPERATE: &str = "docs/operate";

const ARCHIVE: &str = "tests/tests/relay/archive.rs";
const CANARY: &str = "tests/tests/relay/canary.rs";
const CLUSTER: &str = "services/heliograph/src/documented/cluster.rs";
const CONTROL: &str = "tests/tests/relay/cluster/control.rs";
const MACHINE: &str = "services/heliograph/src/documented/machine.rs";
const MIRROR: &str = "tests/tests/relay/mirror.rs";
const MOVING: &str = "tests/tests/relay/cluster/moving.rs";
const ROLES: &str = "tests/tests/relay/cluster/roles.rs";
const TOOLS: &str = "tests/tests/relay/tools.rs";

/// A command, and a test that runs it with its effect looked at: where it stands, what it is called.
#[rustfmt::skip]
const TRIED: [(&str, &str, &str); 30] = [
    ("archive", ARCHIVE, "archives_made_under_load_restore_what_the_relay_has"),
    ("canary", CANARY, "once_says_whether_a_relay_works"),
    ("compact", TOOLS, "compact_keeps_every_event"),
    ("config check", MACHINE, "configuring_goes_as_its_page_says"),
    ("config print", MACHINE, "configuring_goes_as_its_page_says"),
    ("control ban pubkey", CONTROL, "a_banned_key_is_hidden_and_refused_everywhere_until_the_ban_is_lifted"),
    ("control ip ban", CONTROL, "a_banned_address_is_cut_off_and_turned_away_by_every_gateway"),
    ("control kind", CONTROL, "a_blocked_kind_and_the_relay_s_name_are_known_to_every_gateway"),
    ("control list", CONTROL, "a_banned_key_is_hidden_and_refused_everywhere_until_the_ban_is_lifted"),
    ("control name", CONTROL, "a_blocked_kind_and_the_relay_s_name_are_known_to_every_gateway"),
    ("control unban pubkey", CONTROL, "a_banned_key_is_hidden_and_refused_everywhere_until_the_ban_is_lifted"),
    ("copy", MOVING, "one_process_moves_to_a_cluster_while_everybody_writes"),
    ("corpus", "services/heliograph/src/tools/corpus.rs", "a_file_gets_the_same_bytes_as_the_output"),
    ("count", TOOLS, "count_prints_a_number"),
    ("dead-letters discard", CLUSTER, "dead_letters_are_listed_replayed_and_discarded"),
    ("dead-letters list", CLUSTER, "dead_letters_are_listed_replayed_and_discarded"),
    ("dead-letters replay", CLUSTER, "dead_letters_are_listed_replayed_and_discarded"),
    ("delete", TOOLS, "delete_removes_what_matches"),
    ("export", TOOLS, "export_takes_a_filter_and_bounds"),
    ("gateway", ROLES, "every_role_says_that_it_lives_is_ready_and_what_it_did"),
    ("health", MACHINE, "installing_goes_as_its_page_says"),
    ("import", TOOLS, "import_takes_files_plain_and_compressed"),
    ("info", TOOLS, "info_says_how_many_events_of_which_kind_in_how_many_bytes"),
    ("ingest", ROLES, "every_role_says_that_it_lives_is_ready_and_what_it_did"),
    ("matcher", ROLES, "every_role_says_that_it_lives_is_ready_and_what_it_did"),
    ("migrate", ROLES, "migrations_are_done_and_a_database_without_them_is_noticed"),
    ("mirror", MIRROR, "a_mirror_goes_on_live_and_past_restarts_of_everybody"),
    ("query", TOOLS, "query_prints_matches_newest_first"),
    ("repair", MACHINE, "data_is_handled_as_its_page_says"),
    ("standalone", MACHINE, "running_goes_as_its_page_says"),
];

/// The subcommands of a command line: `control ip ban`; `standalone` without any.
fn name(arguments: &[String]) -> String {
    let matches = Cli::command().try_get_matches_from(arguments);
    let matches = matches.unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    let (mut names, mut at): (Vec<&str>, &ArgMatches) = (Vec::new(), &matches);
    while let Some((name, inner)) = at.subcommand() {
        names.push(name);
        at = inner;
    }
    if names.is_empty() {
        "standalone".to_owned()
    } else {
        names.join(" ")
    }
}

/// Whether a source has a test of that name.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    lines.windows(2).any(|pair| {
        pair[0] == "#[test]" && pair[1].strip_prefix("fn ") == Some(&format!("{name}() {{"))
    })
}

#[test]
fn a_test_runs_every_command_that_the_pages_for_operators_name() {
    // Each with a page that names it.
    let mut named = BTreeMap::new();
    for page in pages() {
        if !page.starts_with(OPERATE) {
            continue;
        }
        for line in shell_lines(&read(&page)) {
            for words in commands(&line) {
                if let Some(arguments) = arguments(&words) {
                    named.entry(name(arguments)).or_insert_with(|| page.clone());
                }
            }
        }
    }
    let tried = TRIED.map(|(command, ..)| command.to_owned());
    let untried = named.iter().filter(|(name, _)| !tried.contains(name));
    let untried: Vec<_> = untried.collect();
    assert!(untried.is_empty(), "no test of {untried:?} is listed");
    let listed: BTreeSet<String> = tried.into();
    assert_eq!(listed.len(), TRIED.len(), "something is listed twice");
    for (command, file, test) in TRIED {
        assert!(named.contains_key(command), "no page names {command}");
        let source = read(Path::new(file));
        assert!(has_test(&source, test), "{file} has no test {test}");
        // Those that run a page have the page's words, not their own.
        let word = command.rsplit(' ').next().unwrap_or_default();
        let says = source.to_lowercase().contains(word) || source.contains(OPERATE);
        assert!(says, "{file} doesn't say {word}");
    }
}

#[test]
fn a_command_is_called_by_all_of_its_subcommands() {
    let name = |line: &str| name(&commands(line)[0]);
    assert_eq!(name("heliograph --data x"), "standalone");
    assert_eq!(
        name("heliograph control ip ban 192.0.2.0/24"),
        "control ip ban"
    );
    assert_eq!(
        name("heliograph --config c.toml control kind block 1"),
        "control kind"
    );
}

#[test]
fn a_function_is_a_test_only_if_it_is_marked_as_one() {
    let source = "#[test]\nfn a() {\n}\nfn b() {\n}\n";
    assert!(has_test(source, "a"));
    assert!(!has_test(source, "b"));
    assert!(!has_test("#[test]\nfn ab() {\n}\n", "a"));
}
