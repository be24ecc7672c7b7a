//! Commands of the page for operators, `docs/operate/kubernetes.md`, run as they stand there, in their
//! order, against a real API server (18).
//!
//! It has no nodes, so no pod ever runs: the test ends the Job of the migration as its pod would, and
//! of a command that talks to a pod it looks for everything that the command names.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use heliograph_chart::{Manifest, root};
use heliograph_sandbox::{kubernetes::ApiServer, wait};
use serde_json::{Map, Value, json};

use crate::{
    apiserver::server,
    page::{PAGE, blocks, lines, read},
    support::{ROLES, chart, items, str_of},
};

/// The chart's own page, whose commands are some of the other's.
const README: &str = "helm/heliograph/README.md";

/// Where `helm test` is explained, by the command that its pod runs.
const CANARY: &str = "docs/operate/canary.md";

/// Values for a cluster that the page says to start from.
const EXAMPLE: &str = "helm/examples/relay-cluster-values.yaml";

/// What the image runs, and where the chart puts its configuration.
const PROGRAM: &str = "/usr/local/bin/heliograph";

/// Kinds as commands name them, and where the server has them.
const KINDS: [(&str, &str, &str); 4] = [
    ("service", "api/v1", "services"),
    ("svc", "api/v1", "services"),
    ("deployment", "apis/apps/v1", "deployments"),
    ("job", "apis/batch/v1", "jobs"),
];

const JOB: &str = "/apis/batch/v1/namespaces/relay/jobs/relay-heliograph-migrate";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/relay/deployments";

/// The version that the section on upgrading brings.
const NEXT: &str = "9.9.9";

/// More than helm itself waits for a hook.
const PATIENCE: Duration = Duration::from_secs(600);

/// How the pod of the migration ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Migration {
    Succeeds,
    Fails,
}

/// What a command did.
#[derive(Debug)]
struct Done {
    status: ExitStatus,
    said: String,
    /// Whether it waited for the Job of a migration.
    migrated: bool,
}

/// Somebody who follows the page: a directory with the chart and `relay.yaml`, and a shell.
struct Operator {
    directory: tempfile::TempDir,
    server: &'static ApiServer,
    /// Commands that installed and upgraded, the last of each.
    install: String,
    upgrade: String,
    /// Tags of the roles' images after each command that changed them.
    tags: Vec<[String; 3]>,
    /// `helm` commands that were run.
    ran: usize,
    /// Objects that other commands name and that are there.
    found: usize,
}

impl Operator {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["helm", "bin"] {
            fs::create_dir(directory.path().join(name)).expect("a directory");
        }
        // Some of its files are links to files of `deploy/`.
        let mut copy = Command::new("cp");
        copy.arg("-rL").arg(root().join("helm/heliograph"));
        let status = copy.arg(directory.path().join("helm")).status();
        assert!(status.expect("cp starts").success());
        let helm = directory.path().join("bin/helm");
        std::os::unix::fs::symlink(&chart().tools().helm, helm).expect("a link");
        Self {
            directory,
            server: server(),
            install: String::new(),
            upgrade: String::new(),
            tags: Vec::new(),
            ran: 0,
            found: 0,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a line in a shell, and ends what the API server gets to do for it.
    fn run(&mut self, line: &str, migration: Migration) -> Done {
        let log = File::create(self.at("said")).expect("a file");
        let mut shell = Command::new("sh");
        shell.args(["-euc", line]).current_dir(self.at(""));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("HELM_") || name.starts_with("KUBE") {
                shell.env_remove(name.as_ref());
            }
        }
        let mut path = self.at("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        shell
            .env("PATH", path)
            .env("KUBECONFIG", self.server.kubeconfig());
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            shell.env(name, self.at("home"));
        }
        shell.env("KUBECACHEDIR", self.at("home"));
        shell
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log);
        let mut child = shell.spawn().expect("a shell starts");
        let mut migrated = false;
        let status = wait::within(PATIENCE, line, || {
            let ended = child.try_wait().expect("a child of ours");
            if ended.is_none() {
                migrated |= self.migrate(line, migration);
            }
            ended
        });
        let said = fs::read_to_string(self.at("said")).expect("a file");
        // The server's own; helm also speaks of watches that it has ended itself.
        let warns = |said: &str| said.starts_with("Warning:") || said.contains("warnings.go:");
        assert!(!said.lines().any(warns), "{line}: {said}");
        Done {
            status,
            said,
            migrated,
        }
    }

    /// Runs a line that has to succeed.
    #[track_caller]
    fn succeed(&mut self, line: &str) -> Done {
        let done = self.run(line, Migration::Succeeds);
        assert!(done.status.success(), "{line}: {}", done.said);
        done
    }

    /// Ends the Job of the migration as its pod would, if there is one that hasn't ended.
    fn migrate(&self, line: &str, migration: Migration) -> bool {
        let Ok(job) = self.server.get(JOB) else {
            return false;
        };
        if !items(&job["status"]["conditions"]).is_empty() {
            return false;
        }
        if line.starts_with("helm install") {
            let started = self.server.get(DEPLOYMENTS).expect("the server answers");
            assert_eq!(items(&started["items"]).len(), 0, "started before the Job");
        }
        let now = &job["metadata"]["creationTimestamp"];
        let condition = |name: &str| json!({"type": name, "status": "True", "lastProbeTime": now, "lastTransitionTime": now});
        let status = match migration {
            Migration::Succeeds => json!({"startTime": now, "completionTime": now, "succeeded": 1,
                "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]}),
            Migration::Fails => json!({"startTime": now, "failed": 1,
                "conditions": [condition("FailureTarget"), condition("Failed")]}),
        };
        let ended = json!({"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": job["metadata"]["name"], "namespace": "relay"}, "status": status});
        self.server
            .apply(&format!("{JOB}/status"), &ended)
            .expect("a Job that ends");
        true
    }

    /// What the page has in mind where a section begins.
    fn begin(&mut self, section: &str) {
        match section {
            "Install a cluster" => {
                self.uninstall();
                fs::copy(root().join(EXAMPLE), self.at("relay.yaml")).expect("a file");
            }
            "Upgrade" => {
                let file = self.at("helm/heliograph/Chart.yaml");
                let text = fs::read_to_string(&file).expect("Chart.yaml");
                let version = app_version(&text);
                let text = text.replace(
                    &format!("\nappVersion: {version}\n"),
                    &format!("\nappVersion: {NEXT}\n"),
                );
                fs::write(&file, text).expect("a file");
            }
            _ => {}
        }
    }

    fn uninstall(&mut self) {
        self.succeed("helm uninstall relay --namespace relay");
    }

    fn is_cluster(&self) -> bool {
        let values = fs::read_to_string(self.at("relay.yaml")).unwrap_or_default();
        values.contains("mode: cluster")
    }

    /// Values of the page come on top of those that `relay.yaml` has.
    fn values(&self, text: &str) {
        let file = self.at("relay.yaml");
        let before = fs::read_to_string(&file).unwrap_or_default();
        let parse = |text: &str| -> Map<String, Value> {
            serde_yaml_ng::from_str(text).expect("values are YAML")
        };
        let mut values = if before.is_empty() {
            Map::new()
        } else {
            parse(&before)
        };
        values.extend(parse(text));
        let text = serde_yaml_ng::to_string(&values).expect("values are YAML");
        fs::write(&file, text).expect("a file");
    }

    /// Does what a line of the page says.
    fn follow(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["helm", "install", ..] => {
                let done = self.succeed(line);
                assert_eq!(done.migrated, self.is_cluster(), "{line}: {}", done.said);
                line.clone_into(&mut self.install);
                self.note_tags();
            }
            ["helm", "upgrade", ..] => {
                let done = self.succeed(line);
                assert_eq!(done.migrated, self.is_cluster(), "{line}: {}", done.said);
                line.clone_into(&mut self.upgrade);
                self.note_tags();
                self.is_upgraded(&words);
            }
            ["helm", "rollback", ..] => {
                let done = self.succeed(line);
                assert!(!done.migrated, "{line}: a Job ran");
                self.note_tags();
                let [.., before, left, now] = &self.tags[..] else {
                    panic!("two upgrades before `{line}`");
                };
                assert_ne!(before, left, "nothing to see of a rollback");
                assert_eq!(now, before, "{line}");
            }
            ["helm", "test", ..] => return self.tests(line),
            ["kubectl", ..] => return self.talks_to_pods(&words),
            // Asks a server of the world.
            ["curl", ..] => return,
            [.., "heliograph", "control", "list", _, server, _, _] => {
                return self.forwards(server);
            }
            _ => panic!("this test doesn't know `{line}`"),
        }
        self.ran += 1;
    }

    /// The image of each role; nothing while there is one process.
    fn note_tags(&mut self) {
        if !self.is_cluster() {
            return;
        }
        let tag = |role: &str| {
            let kind = ["deployments", "statefulsets"][usize::from(role == "matcher")];
            let path = format!("/apis/apps/v1/namespaces/relay/{kind}/relay-heliograph-{role}");
            let object = self.server.get(&path).expect("the role is there");
            let containers = items(&object["spec"]["template"]["spec"]["containers"]);
            let image = str_of(&containers[0]["image"]);
            let (_, tag) = image.rsplit_once(':').expect("an image with a tag");
            tag.to_owned()
        };
        self.tags.push(ROLES.map(tag));
    }

    /// What an upgrade sets is in force: versions of images by role, and one key.
    fn is_upgraded(&self, words: &[&str]) {
        if !self.is_cluster() {
            let path = "/apis/networking.k8s.io/v1/namespaces/relay/ingresses/relay-heliograph";
            let ingress = self.server.get(path).expect("the page's Ingress");
            let host = &items(&ingress["spec"]["rules"])[0]["host"];
            assert_eq!(*host, "relay.example.com");
            return;
        }
        let text = fs::read_to_string(self.at("helm/heliograph/Chart.yaml")).expect("Chart.yaml");
        let set = words.iter().skip_while(|word| **word != "--set").nth(1);
        let set: Vec<(&str, &str)> = set
            .iter()
            .flat_map(|set| set.split(','))
            .map(|one| one.split_once('=').expect("KEY=VALUE"))
            .collect();
        let expected = ROLES.map(|role| {
            let key = format!("{role}.image.tag");
            let own = set.iter().find(|(name, _)| *name == key);
            own.map_or(app_version(&text), |(_, tag)| *tag).to_owned()
        });
        assert_eq!(self.tags.last(), Some(&expected), "{words:?}");
        for (key, value) in set {
            let Some(key) = key.strip_prefix("config.gateway.") else {
                continue;
            };
            let path = "/api/v1/namespaces/relay/configmaps/relay-heliograph-gateway";
            let map = self.server.get(path).expect("the gateway's configuration");
            let file = str_of(&map["data"]["heliograph.toml"]);
            assert!(file.contains(&format!("{key} = {value}\n")), "{file}");
        }
    }

    /// helm knows the options, and the pod that it would start runs what the page on the canary says.
    fn tests(&mut self, line: &str) {
        self.succeed(&format!("{line} --help"));
        let hooks = self.succeed("helm get hooks relay --namespace relay 2> errors");
        let hooks = Manifest::parse(&hooks.said).expect("hooks are YAML");
        let arguments = &hooks.workload("test").program()["args"];
        let page = read(CANARY);
        let documented = lines(&page)
            .map(|(_, line)| line)
            .find(|line| line.contains("--check-limits"))
            .expect("its command");
        for option in documented.split_whitespace() {
            if option == "canary" || option.starts_with("--") && option != "--config" {
                let there = items(arguments).iter().any(|one| one == option);
                assert!(there, "{line}: no {option} in {arguments}");
            }
        }
    }

    /// Everything is there that a command of `kubectl` names.
    fn talks_to_pods(&mut self, words: &[&str]) {
        let line = words.join(" ");
        if words.iter().any(|word| word.starts_with("job/")) {
            return self.fails(&line);
        }
        self.finds(words);
        let Some(at) = words.iter().position(|word| *word == "--") else {
            return;
        };
        assert_eq!(words[at + 1], PROGRAM, "{line}");
        let dockerfile = read("deploy/docker/Dockerfile");
        assert!(dockerfile.contains(&format!("ENTRYPOINT [\"{PROGRAM}\"]")));
        let object = self.find(words).expect("a Deployment");
        let containers = items(&object["spec"]["template"]["spec"]["containers"]);
        assert!(containers[0]["command"].is_null(), "the image's own");
        let config = words.iter().skip_while(|word| **word != "--config").nth(1);
        let config = format!("--config={}", config.expect("a configuration"));
        let arguments = items(&containers[0]["args"]);
        assert!(arguments.iter().any(|one| *one == config), "{line}");
    }

    /// The Job stays where it fails, and nothing else is there; afterwards the relay is there again.
    fn fails(&mut self, line: &str) {
        self.uninstall();
        let install = self.install.clone();
        let done = self.run(&install, Migration::Fails);
        assert!(!done.status.success() && done.migrated, "{}", done.said);
        let words: Vec<&str> = line.split_whitespace().collect();
        self.finds(&words);
        let started = self.server.get(DEPLOYMENTS).expect("the server answers");
        assert_eq!(items(&started["items"]).len(), 0, "{install}");
        self.uninstall();
        self.succeed(&install);
    }

    /// A port that is forwarded is one of the Service.
    #[track_caller]
    fn finds(&mut self, words: &[&str]) {
        let Some(object) = self.find(words) else {
            return;
        };
        self.found += 1;
        if words.contains(&"port-forward") {
            let port = words.last().and_then(|ports| ports.rsplit_once(':'));
            let port: u64 = port.expect("ports").1.parse().expect("a number");
            let ports = items(&object["spec"]["ports"]);
            assert!(ports.iter().any(|one| one["port"] == port), "{words:?}");
        }
    }

    /// The object that a command names. `None` for what isn't the relay's, which is in the example.
    #[track_caller]
    fn find(&self, words: &[&str]) -> Option<Value> {
        let mut namespace = words.iter().skip_while(|word| **word != "--namespace");
        let namespace = *namespace.nth(1).expect("a namespace");
        let named = words.iter().find_map(|word| word.split_once('/'));
        let (kind, name) = named.expect("an object");
        let (_, version, plural) = KINDS
            .iter()
            .find(|(known, ..)| *known == kind)
            .expect("a kind");
        if namespace != "relay" {
            let port = words.last().and_then(|ports| ports.rsplit_once(':'));
            let address = format!("{name}.{namespace}.svc:{}", port.expect("ports").1);
            assert!(read(EXAMPLE).contains(&address), "no {address}");
            return None;
        }
        let path = format!("/{version}/namespaces/{namespace}/{plural}/{name}");
        let object = self.server.get(&path);
        Some(object.unwrap_or_else(|error| panic!("{words:?}: {error}")))
    }

    /// The address is one that the line above has forwarded.
    fn forwards(&self, server: &str) {
        assert_eq!(server, "nats.servers=nats://127.0.0.1:4222");
    }
}

/// The version in a `Chart.yaml` that images have unless values say otherwise.
fn app_version(chart: &str) -> &str {
    let version = chart
        .lines()
        .find_map(|line| line.strip_prefix("appVersion: "));
    version.expect("a version").trim_matches('"')
}

#[test]
fn chart_18_commands_of_the_page_run_in_its_order() {
    let page = read(PAGE);
    let mut operator = Operator::new();
    let mut section = "";
    for (title, language, text) in blocks(&page) {
        if title != section {
            section = title;
            operator.begin(section);
        }
        if language == "yaml" {
            operator.values(text);
        }
        if language == "sh" {
            let text = text.replace("\\\n", " ");
            for line in text.lines() {
                operator.follow(line);
            }
        }
    }
    // What the last section adds to the values is upgraded to as any other change.
    let upgrade = operator.upgrade.clone();
    operator.follow(&upgrade);
    let canary = format!("{DEPLOYMENTS}/relay-heliograph-canary");
    operator.server.get(&canary).expect("the canary");
    assert!(operator.ran >= 9, "{} commands", operator.ran);
    assert!(operator.found >= 4, "{} objects", operator.found);
}

#[test]
fn chart_18_commands_of_the_charts_own_page_are_some_of_those() {
    let (page, readme) = (read(PAGE), read(README));
    let known: Vec<String> = lines(&page).map(|(_, line)| line).collect();
    let mut seen = 0;
    for (_, line) in lines(&readme) {
        assert!(known.contains(&line), "{README}: `{line}`");
        seen += 1;
    }
    assert!(seen >= 2, "{seen} commands");
}
