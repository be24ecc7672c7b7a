//! Loading: layers, errors, reload, `config print` and the files that are shipped.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use heliograph_config::{KEYS, Loaded, load, reference_markdown};

use crate::try_load;

const NO_ENV: [(&str, &str); 0] = [];

#[track_caller]
fn file(text: &str) -> Loaded {
    try_load(text, &NO_ENV, &[]).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The lines of what is wrong, without the name of the temporary file.
#[track_caller]
fn wrong(text: &str) -> Vec<String> {
    let errors = try_load(text, &NO_ENV, &[])
        .expect_err("this is wrong")
        .to_string();
    errors.lines().map(str::to_owned).collect()
}

#[track_caller]
fn check_wrong(text: &str, expected: &[&str]) {
    let lines = wrong(text);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for part in expected {
        assert!(lines[0].contains(part), "{part} in {}", lines[0]);
    }
}

#[test]
fn without_any_layer_the_defaults_hold() {
    let loaded = load(None, std::iter::empty(), &[]).unwrap();
    let gateway = &loaded.config.gateway;
    assert_eq!(gateway.listen, SocketAddr::from(([127, 0, 0, 1], 7777)));
    assert_eq!((gateway.limit_max, gateway.events_per_sec), (500, Some(10)));
    assert_eq!(gateway.ping_interval, Duration::from_secs(55));
    assert_eq!(loaded.config.policy.created_at_lower_limit, None);
    assert_eq!(loaded.config.store.dir, PathBuf::from("./data"));
}

#[test]
fn a_later_layer_wins() {
    let text = "[gateway]\nlimit_max = 100\nlimit_default = 10\nfilters_max = 1";
    let environment = [
        ("HELIOGRAPH_GATEWAY_LIMIT_MAX", "200"),
        ("HELIOGRAPH_GATEWAY_LIMIT_DEFAULT", "20"),
        ("PATH", "/bin"),
    ];
    let loaded = try_load(text, &environment, &[("gateway.limit_max", "3_00")]).unwrap();
    let gateway = &loaded.config.gateway;
    assert_eq!(
        (
            gateway.limit_max,
            gateway.limit_default,
            gateway.filters_max
        ),
        (300, 20, 1)
    );
}

#[test]
fn lists_in_variables_and_flags_are_separated_by_commas_or_toml() {
    let loaded = try_load(
        "",
        &[("HELIOGRAPH_POLICY_KINDS_BLOCKED", "4, 1059")],
        &[
            ("gateway.trusted_proxies", "10.0.0.0/8,::1"),
            ("gateway.paths", r#"["/", "/relay"]"#),
            ("relay.url", ""),
        ],
    )
    .unwrap();
    let kinds: Vec<_> = loaded
        .config
        .policy
        .kinds_blocked
        .iter()
        .map(|k| k.as_u16())
        .collect();
    assert_eq!(kinds, [4, 1059]);
    assert_eq!(loaded.config.gateway.trusted_proxies.len(), 2);
    assert_eq!(loaded.config.gateway.paths, ["/", "/relay"]);
    assert!(loaded.config.relay.urls.is_empty());
}

#[test]
fn zero_or_the_empty_text_turns_a_limit_off() {
    let loaded = file("[gateway]\nevents_per_sec = 0\n[admin]\nlisten = \"\"");
    assert_eq!(loaded.config.gateway.events_per_sec, None);
    assert_eq!(loaded.config.admin.listen, None);
}

#[test]
fn an_unknown_key_names_the_nearest() {
    check_wrong(
        "[gateway]\nlisten = \"127.0.0.1:1\"\nlimt_max = 3",
        &[
            "gateway.limt_max: unknown key, the nearest is gateway.limit_max (",
            " line 3)",
        ],
    );
    check_wrong(
        "[gatway]\nlisten = 1",
        &["gatway: unknown section, the nearest is gateway"],
    );
    check_wrong(
        "listen = 1",
        &["listen: stands outside of a section, [gateway] has such a key"],
    );
    check_wrong("gateway = 1", &["gateway: is a section, not a value"]);
}

#[test]
fn an_unknown_variable_or_flag_names_the_nearest() {
    let errors = try_load(
        "",
        &[("HELIOGRAPH_GATEWAY_LISTN", "x")],
        &[("store.dri", "x")],
    );
    let errors = errors.unwrap_err().to_string();
    assert!(
        errors.contains("the nearest is HELIOGRAPH_GATEWAY_LISTEN"),
        "{errors}"
    );
    assert!(
        errors.contains("the nearest is store.dir (command line)"),
        "{errors}"
    );
}

#[test]
fn a_value_out_of_range_says_what_is_allowed_and_where_it_was_read() {
    check_wrong(
        "[gateway]\n\nlimit_max = 100_001",
        &[
            "gateway.limit_max: 100001 is out of range, allowed is 1 to 100,000 (",
            " line 3)",
        ],
    );
    check_wrong("[gateway]\nlimit_max = -1", &["-1 is out of range"]);
    check_wrong(
        "[gateway]\nlimit_max = 99999999999999999999",
        &["beyond 64 bits"],
    );
}

#[test]
fn a_value_of_another_type_is_named() {
    check_wrong(
        "[gateway]\nlimit_max = \"many\"",
        &["limit_max: is \"many\", allowed is 1 to"],
    );
    check_wrong("[gateway]\nlimit_max = 1.5", &["limit_max: is a fraction"]);
    check_wrong("[gateway]\nlimit_max = {a = 1}", &["limit_max: is a table"]);
    check_wrong(
        "[auth]\nrequired_to_read = 1",
        &["required_to_read: is 1, allowed is true or"],
    );
    check_wrong(
        "[policy]\nkinds_blocked = 4",
        &["kinds_blocked: is 4, allowed is a list"],
    );
}

#[test]
fn every_kind_of_value_is_checked() {
    for (text, part) in [
        (
            "[relay]\nname = \"123456789012345678901234567890\"",
            "too long with 30 characters",
        ),
        ("[relay]\nname = \"\"", "is empty"),
        ("[relay]\ndescription = \"a\\nb\"", "control character"),
        ("[relay]\nurl = [\"https://a.example\"]", "another scheme"),
        ("[relay]\nurl = [\"wss://me@a.example\"]", "names a user"),
        ("[relay]\nurl = [\"wss://a.example:0\"]", "no valid port"),
        ("[relay]\nurl = [\"wss://\"]", "is not a URL"),
        ("[relay]\nurl = [\"wss:///x\"]", "no valid host"),
        ("[relay]\nurl = [\"wss://a.example/?x\"]", "a query"),
        ("[relay]\nurl = [\"wss://[::1/\"]", "no valid host"),
        ("[relay]\npubkey = \"ABCD\"", "not a public key"),
        ("[relay]\ncontact = \"me\"", "another scheme"),
        ("[gateway]\nlisten = \"localhost\"", "is not an address"),
        ("[gateway]\npaths = []", "is empty"),
        ("[gateway]\npaths = [\"relay\"]", "is not a path"),
        (
            "[gateway]\ntrusted_proxies = [\"10.0.0.1/8\"]",
            "bits set past its prefix",
        ),
        ("[policy]\nkinds_allowed = [65536]", "65536 is not a kind"),
        (
            "[store]\nsync = \"maybe\"",
            "allowed is \"fsync\" or \"none\"",
        ),
        ("[store]\ndir = \"\"", "is empty"),
        ("[log]\nlevel = \"loud\"", "levels by target"),
    ] {
        check_wrong(text, &[part]);
    }
}

#[test]
fn values_that_are_at_odds_are_named_together() {
    for (text, part) in [
        (
            "[gateway]\nproxy_protocol = true",
            "gateway.trusted_proxies, which is empty",
        ),
        (
            "[gateway]\nevent_bytes_max = 131_008\nmessage_bytes_max = 131_071",
            "131,072 or more",
        ),
        (
            "[gateway]\nlarge_event_bytes_max = 2_000",
            "gateway.event_bytes_max (65,536) or more",
        ),
        (
            "[admin]\nlisten = \"127.0.0.1:7777\"",
            "the same as gateway.listen",
        ),
        (
            "[shutdown]\ndrain_secs = 20",
            "shutdown.grace_secs: 20 is too little",
        ),
        (
            "[store]\nscan_rows_max = 2_000_000",
            "store.count_rows_max: 1,000,000 is too little",
        ),
    ] {
        check_wrong(text, &[part]);
    }
}

#[test]
fn everything_that_is_wrong_is_reported_at_once() {
    let text = "[gateway]\nlimit_max = 0\nfilters_max = 0\nnonsense_key_of_mine = 1\n[x]\n";
    assert_eq!(wrong(text).len(), 4);
}

#[test]
fn malformed_toml_and_missing_files_are_reported_with_their_place() {
    let lines = wrong("[gateway]\nlimit_max = = 1\n");
    assert!(
        lines[0].contains("syntax: ") && lines[0].contains(" line 2)"),
        "{lines:?}"
    );
    let missing = Path::new("/nonexistent/relay.toml");
    let error = load(Some(missing), std::iter::empty(), &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("/nonexistent/relay.toml: can't be read: "),
        "{error}"
    );
}

#[test]
fn an_error_is_one_line_whatever_the_value_holds() {
    let errors = try_load("", &[("HELIOGRAPH_LOG_LEVEL", "a\nb\u{1b}[31m")], &[]).unwrap_err();
    let text = errors.to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
}

#[test]
fn what_is_printed_loads_again_to_the_same_configuration() {
    let loaded = try_load(
        "[relay]\ndescription = \"quotes \\\" and \\\\ and # signs\"",
        &[("HELIOGRAPH_GATEWAY_PATHS", "/,/relay")],
        &[("gateway.filters_max", "7")],
    )
    .unwrap();
    let printed = loaded.to_annotated_toml();
    assert_eq!(file(&printed).config, loaded.config);
    assert!(
        printed.contains("# from: command line\nfilters_max = 7\n"),
        "{printed}"
    );
    assert!(printed.contains("# from: environment variable HELIOGRAPH_GATEWAY_PATHS\n"));
    assert!(printed.contains("default: 20; reloads on SIGHUP\n"));
}

#[test]
fn a_reload_takes_the_keys_that_reload_and_names_the_others() {
    let old = file("[gateway]\nlimit_max = 600\nlisten = \"127.0.0.1:1111\"");
    let new = file("[gateway]\nlimit_max = 700\nlisten = \"127.0.0.1:2222\"");
    let reload = old.reload(&new).unwrap();
    assert_eq!(reload.changed, ["gateway.limit_max"]);
    assert_eq!(reload.needs_restart, ["gateway.listen"]);
    assert_eq!(reload.loaded.config.gateway.limit_max, 700);
    assert_eq!(reload.loaded.config.gateway.listen.port(), 1111);
}

#[test]
fn a_reload_of_the_same_values_changes_nothing() {
    let old = file("[gateway]\nlimit_max = 500");
    let reload = old.reload(&file("")).unwrap();
    assert!(reload.changed.is_empty() && reload.needs_restart.is_empty());
    assert_eq!(reload.loaded.config, old.config);
}

#[test]
fn keys_are_unique_and_documented() {
    let mut names: Vec<_> = KEYS.iter().map(heliograph_config::Key::env).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), KEYS.len());
    let page = reference_markdown();
    for key in KEYS {
        assert!(key.doc().ends_with('.'), "{}", key.name);
        assert!(
            !key.unit.is_empty() && !key.default().contains('\n'),
            "{}",
            key.name
        );
        assert!(
            page.contains(&format!("| `{}` | `{}` |", key.name, key.default())),
            "{}",
            key.name
        );
    }
}

#[test]
fn the_shipped_files_load() {
    let shipped = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../deploy/config")
            .join(name);
        load(Some(&path), std::iter::empty(), &[]).unwrap_or_else(|errors| panic!("{errors}"))
    };
    let conformance = shipped("conformance.toml").config;
    assert_eq!(conformance.relay.urls, ["wss://relay.example.com"]);
    assert_eq!(conformance.gateway.events_per_sec, None);
    assert_eq!(conformance.gateway.connections_per_ip_per_sec, None);
    assert_eq!(conformance.policy.created_at_upper_limit, None);
    assert_eq!(conformance.policy.ephemeral_age_max, None);
    shipped("relay.toml");
    shipped("cluster.toml");
}
