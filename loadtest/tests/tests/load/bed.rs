//! What every test of the suite needs: both k6, a corpus that is new, relays.

use std::{
    path::{Path, PathBuf},
    sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use heliograph_loadtest::{Corpus, Ended, Single, module, now};
use heliograph_sandbox::{
    cluster::{Cluster, ClusterOptions},
    k6::{self, Programs},
    or_skip,
};
use heliograph_testkit::process::binary;

/// Time for a run: several times what it should take, for a busy machine.
pub(crate) const RUN_PATIENCE: Duration = Duration::from_secs(240);

/// Events of the corpus: half as many again as the smoke profile takes.
const EVENTS: u64 = 4_000;

/// For a debug build on a busy machine.
const RELAY_SETTINGS: [&str; 2] = ["store.scan_ms_max=60000", "store.count_ms_max=60000"];

/// For a debug build and a Java database on a busy machine.
const CLUSTER_SETTINGS: [&str; 4] = [
    "store.scan_ms_max=60000",
    "store.count_ms_max=60000",
    "scylla.read_timeout_ms=20000",
    "nats.timeout_ms=10000",
];

/// Who measures, and who would disturb.
static MACHINE: RwLock<()> = RwLock::new(());

/// The machine for one test: its limits on time are those of the smoke profile.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    // A test that failed leaves nothing behind that others mind.
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// The machine for tests that may disturb each other.
pub(crate) fn beside_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Both k6, built if need be. `None` after saying so where they can't be had.
#[track_caller]
pub(crate) fn programs() -> Option<&'static Programs> {
    static PROGRAMS: OnceLock<Option<Programs>> = OnceLock::new();
    let install = || or_skip(k6::install(&module()));
    PROGRAMS.get_or_init(install).as_ref()
}

/// A corpus whose newest events are of now, made once for a run of the tests.
pub(crate) fn corpus() -> &'static Path {
    static CORPUS: OnceLock<PathBuf> = OnceLock::new();
    CORPUS.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let file = directory.join("loadtest-corpus.jsonl");
        // At once, as another run of the tests may be reading it.
        let draft = directory.join(format!("loadtest-corpus-{}", std::process::id()));
        write_corpus(1, EVENTS, now(), &draft);
        std::fs::rename(&draft, &file).unwrap();
        file
    })
}

/// Writes a corpus that ends at that time, in Unix seconds.
pub(crate) fn write_corpus(seed: u64, events: u64, end: u64, file: &Path) {
    let corpus = Corpus { seed, events, end };
    corpus.write(binary(), file).unwrap();
}

/// A relay in one process, with further settings.
pub(crate) fn single(settings: &[&str]) -> Single {
    let settings: Vec<&str> = RELAY_SETTINGS.iter().chain(settings).copied().collect();
    Single::start(binary(), &settings).unwrap()
}

/// A cluster of two each on shared servers. `None` after saying so where these can't be had.
#[track_caller]
pub(crate) fn cluster() -> Option<Cluster> {
    let mut options = or_skip(ClusterOptions::on_shared(binary().to_owned()))?;
    let pair = |setting: &str| {
        let (key, value) = setting.split_once('=').expect("key=value");
        (key.to_owned(), value.to_owned())
    };
    options.settings = CLUSTER_SETTINGS.into_iter().map(pair).collect();
    options.config = Some(heliograph_loadtest::config());
    Some(Cluster::start(&options).unwrap())
}

/// Fails the test unless the run ended with that exit code.
#[track_caller]
pub(crate) fn assert_code(run: &Ended, code: i32) {
    let Ended { status, output, .. } = run;
    assert_eq!(status.code(), Some(code), "{status}:\n{output}");
}
