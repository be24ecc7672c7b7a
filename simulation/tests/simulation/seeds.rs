//! Runs seeds, each in a process of its own, and says how to repeat one that fails.
#![expect(
    clippy::print_stdout,
    reason = "who runs seeds wants to know which failed"
)]

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

/// Failed seeds after which no further ones are run.
const FAILED_MAX: usize = 10;

/// Violations of a seed that are told of at most.
const TOLD_MAX: usize = 8;

/// What a run printed.
pub(crate) struct Run {
    pub(crate) seed: u64,
    /// All of it.
    pub(crate) text: String,
    pub(crate) violations: Vec<String>,
    counts: BTreeMap<String, u64>,
}

/// Runs one seed.
pub(crate) fn simulate(seed: u64) -> Run {
    let program = env!("CARGO_BIN_EXE_heliograph-simulation");
    let output = Command::new(program)
        .arg(format!("{seed:#x}"))
        .output()
        .expect("the program of this package can be run");
    let text = String::from_utf8(output.stdout).expect("it prints text");
    let after = |line: &str, word: &str| line.strip_prefix(word).map(str::to_owned);
    let of = |word: &'static str| text.lines().filter_map(move |line| after(line, word));
    let mut violations: Vec<String> = of("violation: ").collect();
    let counts = of("counts: ").next_back().unwrap_or_default();
    let counts = counts.split_whitespace().filter_map(|count| {
        let (name, number) = count.split_once('=')?;
        Some((name.to_owned(), number.parse().ok()?))
    });
    let counts: BTreeMap<String, u64> = counts.collect();
    if violations.is_empty() && (!output.status.success() || counts.is_empty()) {
        let said = String::from_utf8_lossy(&output.stderr);
        violations.push(format!("it ended with {}: {said}", output.status));
    }
    Run {
        seed,
        text,
        violations,
        counts,
    }
}

/// Runs seeds from 0 on, as many at once as there are cores.
pub(crate) fn run(count: u64) {
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let failed = Mutex::new(Vec::new());
    let sums = Mutex::new(BTreeMap::<String, u64>::new());
    let work = || {
        while failed.lock().expect("no panic").len() < FAILED_MAX {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= count {
                break;
            }
            let run = simulate(seed);
            let mut sums = sums.lock().expect("no panic");
            for (name, number) in &run.counts {
                *sums.entry(name.clone()).or_default() += number;
            }
            if !run.violations.is_empty() {
                tell(&run);
                failed.lock().expect("no panic").push(seed);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let (failed, sums) = (failed.into_inner().expect("no panic"), sums.into_inner());
    let sums = sums.expect("no panic");
    println!(
        "{count} seeds in {:.1} s: {sums:?}",
        began.elapsed().as_secs_f64()
    );
    assert!(failed.is_empty(), "seeds that failed: {failed:x?}");
    assert_enough(count, &sums);
}

fn tell(run: &Run) {
    println!("seed {:#x} fails:", run.seed);
    for violation in run.violations.iter().take(TOLD_MAX) {
        println!("  {violation}");
    }
    println!(
        "  replay: cargo run -p heliograph-simulation -- {:#x}",
        run.seed
    );
}

/// A simulation in which nothing happens finds nothing.
fn assert_enough(seeds: u64, sums: &BTreeMap<String, u64>) {
    let of = |name: &str| sums.get(name).copied().unwrap_or_default();
    assert!(of("accepted") > 10 * seeds, "{sums:?}");
    assert!(of("deliveries") > 100 * seeds, "{sums:?}");
    assert!(of("open") > seeds, "{sums:?}");
    assert!(of("closed") < of("subscriptions") / 2, "{sums:?}");
}
