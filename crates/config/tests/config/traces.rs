//! Where traces go, how many, and the hash of what is in force.

use super::try_load;

fn check_wrong(file: &str, part: &str) {
    let error = try_load(file, &[], &[]).expect_err("a wrong value");
    let error = error.to_string();
    assert!(error.contains(part), "{part} in {error}");
}

#[test]
fn traces_are_off_unless_a_collector_is_named() {
    let traces = try_load("", &[], &[]).unwrap().config.traces;
    assert_eq!(traces.endpoint, None);
    assert_eq!((traces.sample_ratio, traces.per_second_max), (0.01, 20));
    let file = "[traces]\nendpoint = \"https://[::1]:4317\"";
    let traces = try_load(file, &[], &[]).unwrap().config.traces;
    assert_eq!(traces.endpoint.as_deref(), Some("https://[::1]:4317"));
}

#[test]
fn a_collector_is_scheme_host_and_port() {
    let check = |url: &str, part| check_wrong(&format!("[traces]\nendpoint = \"{url}\""), part);
    check("collector:4317", "has another scheme");
    check("http://collector", "has no port");
    check("http://[::1]", "has no port");
    check("http://collector:4317/v1/traces", "has no valid port");
    check("http://me:geheim@collector:4317", "names a user");
    let error = try_load("[traces]\nendpoint = \"http://me:geheim@a:1\"", &[], &[]).unwrap_err();
    assert!(!error.to_string().contains("geheim"), "{error}");
}

#[test]
fn a_share_is_a_fraction_in_every_layer() {
    let ratio = |file: &str, flags: &[(&str, &str)]| {
        let loaded = try_load(file, &[], flags).unwrap();
        loaded.config.traces.sample_ratio
    };
    assert_eq!(ratio("[traces]\nsample_ratio = 0.25", &[]), 0.25);
    assert_eq!(ratio("[traces]\nsample_ratio = 1", &[]), 1.0);
    assert_eq!(ratio("[traces]\nsample_ratio = 1e-3", &[]), 0.001);
    assert_eq!(ratio("", &[("traces.sample_ratio", "0.5")]), 0.5);
    assert_eq!(ratio("", &[("traces.sample_ratio", "0")]), 0.0);
    check_wrong("[traces]\nsample_ratio = 1.5", "1.5 is out of range");
    check_wrong("[traces]\nsample_ratio = -0.1", "is out of range");
    check_wrong("[traces]\nsample_ratio = nan", "sample_ratio: is");
    check_wrong("[traces]\nsample_ratio = \"much\"", "is \"much\"");
    check_wrong("[gateway]\nlimit_max = 2.0", "limit_max: is a fraction");
}

#[test]
fn what_is_printed_can_be_loaded_again() {
    let flags = [("traces.sample_ratio", "1.0")];
    let printed = try_load("", &[], &flags).unwrap().to_annotated_toml();
    assert!(printed.contains("\nsample_ratio = 1.0\n"), "{printed}");
    assert_eq!(
        try_load(&printed, &[], &[])
            .unwrap()
            .config
            .traces
            .sample_ratio,
        1.0
    );
}

#[test]
fn headers_are_names_with_values() {
    let headers = |text: &str| {
        let file = format!("[traces]\nheaders = \"{text}\"");
        let headers = try_load(&file, &[], &[])?.config.traces.headers;
        let headers = headers.into_iter();
        Ok(headers
            .map(|of| (of.name, of.value.expose().to_owned()))
            .collect::<Vec<_>>())
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(headers("").unwrap(), []);
    assert_eq!(
        headers("authorization=Bearer a=b, x-team = relay").unwrap(),
        [pair("authorization", "Bearer a=b"), pair("x-team", "relay")]
    );
    let wrong = [
        "Authorization=a",
        "a",
        "=a",
        "a=b,",
        "a-bin=b",
        "grpc-timeout=1",
        "a=ä",
    ];
    for text in wrong {
        let error: heliograph_config::ConfigErrors = headers(text).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("traces.headers: holds something else"),
            "{text}: {error}"
        );
    }
}

#[test]
fn the_hash_is_that_of_what_is_in_force() {
    let hash = |file: &str| try_load(file, &[], &[]).unwrap().hash();
    let plain = hash("");
    assert_eq!(plain, hash("[gateway]\nlimit_max = 500"));
    assert_ne!(plain, hash("[gateway]\nlimit_max = 400"));
    let nats = |rest: &str| format!("[nats]\nusername = \"me\"\n{rest}");
    let (one, other) = (nats("password = \"a\""), nats("password = \"b\""));
    assert_eq!(hash(&one), hash(&other));
}

#[test]
fn what_a_process_has_for_itself_is_not_in_the_hash() {
    let hash = |flags: &[(&str, &str)]| try_load("", &[], flags).unwrap().hash();
    let own = [
        ("cluster.node", "gateway-7"),
        ("gateway.listen", "10.0.0.7:7777"),
        ("matcher.listen", "10.0.0.7:7779"),
        ("matcher.advertise", "gateway-7:7779"),
        ("admin.listen", "10.0.0.7:7778"),
    ];
    assert_eq!(hash(&own), hash(&[]));
}

#[test]
fn a_reload_changes_the_hash_by_what_it_takes() {
    let file = |text: &str| try_load(text, &[], &[]).unwrap();
    let old = file("");
    let newer = file("[traces]\nsample_ratio = 0.5\nendpoint = \"http://a:1\"");
    let reloaded = old.reload(&newer).unwrap();
    assert_eq!(reloaded.changed, ["traces.sample_ratio"]);
    assert_eq!(
        reloaded.loaded.hash(),
        file("[traces]\nsample_ratio = 0.5").hash()
    );
    assert_ne!(reloaded.loaded.hash(), newer.hash());
}
