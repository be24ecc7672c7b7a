//! What runs commands of the pages as they stand there, and which commands nothing runs, and why.

use super::{INSTALL, systemd};

/// Something that runs lines of pages as they stand there.
pub(super) struct Runner {
    /// The source, and the name of the function in it.
    pub(super) file: &'static str,
    pub(super) function: &'static str,
    /// The page, and how its lines begin that are run.
    pub(super) page: &'static str,
    pub(super) beginnings: &'static [&'static str],
}

const SYSTEMD: &str = "xtask/src/package/check/systemd.rs";
const MACHINE: &str = "services/heliograph/src/documented/machine.rs";
const MOVING: &str = "tests/tests/relay/moving.rs";
const SNAPSHOT: &str = "tests/tests/relay/cluster/snapshot.rs";
const CHART: &str = "helm/tests/tests/chart/documented.rs";

/// All of them.
pub(super) const RUNNERS: &[Runner] = &[
    Runner {
        file: SYSTEMD,
        function: "by_hand",
        page: INSTALL,
        beginnings: &[
            "sudo install ",
            "sudo systemctl enable --now ",
            "sudo systemd-sysusers ",
        ],
    },
    Runner {
        file: SYSTEMD,
        function: "together",
        page: systemd::RUN,
        beginnings: &[
            "echo HELIOGRAPH_ADMIN_LISTEN=",
            "sudo systemctl disable --now ",
            "sudo systemctl enable --now ",
        ],
    },
    Runner {
        file: MACHINE,
        function: "running_goes_as_its_page_says",
        page: systemd::RUN,
        beginnings: &["curl -H "],
    },
    Runner {
        file: MACHINE,
        function: "configuring_goes_as_its_page_says",
        page: "docs/operate/configure.md",
        beginnings: &["kill -HUP "],
    },
    Runner {
        file: MACHINE,
        function: "who_sends_most_is_asked_as_its_page_says",
        page: "docs/operate/top.md",
        beginnings: &["curl "],
    },
    Runner {
        file: MOVING,
        function: "an_export_of_strfry_moves_in",
        page: "docs/operate/moving.md",
        beginnings: &["strfry export "],
    },
    Runner {
        file: MOVING,
        function: "a_database_of_nostr_rs_relay_moves_in",
        page: "docs/operate/moving.md",
        beginnings: &["sqlite3 "],
    },
    Runner {
        file: MOVING,
        function: "a_database_of_nostream_moves_in",
        page: "docs/operate/moving.md",
        beginnings: &["psql "],
    },
    Runner {
        file: SNAPSHOT,
        function: "a_cluster_is_restored_from_snapshots_of_its_database_and_the_archive",
        page: "docs/operate/backup.md",
        beginnings: &[
            "cd /var/lib/cassandra/",
            "cp $snapshot/",
            "done",
            "for snapshot in ",
            "for table in ",
            "mkdir -p /backup/",
            "nodetool ",
            "sstableloader ",
        ],
    },
    Runner {
        file: CHART,
        function: "chart_18_commands_of_the_page_run_in_its_order",
        page: "docs/operate/kubernetes.md",
        beginnings: &["helm install ", "helm rollback ", "helm upgrade "],
    },
    Runner {
        file: CHART,
        function: "chart_18_commands_of_the_charts_own_page_are_some_of_those",
        page: "helm/heliograph/README.md",
        beginnings: &["helm install "],
    },
];

/// What isn't run, by its beginning, and why.
pub(super) const NOT_RUN: &[(&str, &str)] = &[
    (
        "K6_PROMETHEUS_RW_SERVER_URL=",
        "it is for several machines; a test has k6 write into a Prometheus the same way, from one",
    ),
    (
        "cargo install",
        "it compiles for a quarter of an hour; tests run the same program, compiled otherwise",
    ),
    (
        "cargo run",
        "it compiles for a quarter of an hour; tests run the same program, compiled otherwise",
    ),
    (
        "cd loadtest/k6 && go build",
        "tests build the same module into the directory of their tools",
    ),
    (
        "cosign",
        "it needs a registry, and an identity that a build service vouches for",
    ),
    (
        "curl --header",
        "it needs a relay in public; tests ask one of their own for the same",
    ),
    (
        "curl -s https:",
        "it needs a server in public; tests import from standard input all the same",
    ),
    ("docker build", "it needs an engine"),
    (
        "docker compose",
        "it needs an engine; `cargo xtask tidy` reads the file and gives its configurations to the program",
    ),
    ("docker run", "it needs an engine"),
    ("git push", "it is for the one who makes a release"),
    ("git tag", "it is for the one who makes a release"),
    (
        "helm test",
        "it needs a node for its pod; a test finds the pod in the release, another runs the pod's command on a relay",
    ),
    (
        "k6 run",
        "it would be minutes of load; tests run the same scripts with k6, shorter and on ports of their own",
    ),
    (
        "kubectl --namespace",
        "it needs a pod on a node; a test finds all that it names in a real API server, and has the program read the command inside",
    ),
    (
        "kubectl apply",
        "it needs an operator and nodes; a test holds each object against its schema",
    ),
    (
        "loadtest/k6/k6-nostr run",
        "it would be minutes of load; tests run the same scripts with k6, shorter and on ports of their own",
    ),
    ("mkdir -p strfry", "it belongs to the line after it"),
    (
        "node loadtest/",
        "it needs the results of long runs; tests give it those of short ones",
    ),
    (
        "sha256sum --check",
        "it needs a published release; a check computes the checksums again",
    ),
    ("skopeo", "it needs a registry"),
    (
        "sudo apt install",
        "it would change this machine; dpkg installs the package in a root of its own",
    ),
    (
        "sudo apt-get install",
        "it would change this machine; checks run it where the package is missing",
    ),
    (
        "sudo systemctl",
        "it needs a running systemd, but for `enable` and `disable`",
    ),
];
