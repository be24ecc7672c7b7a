//! Many seeds, and the seeds that found something.
//!
//! | variable | means |
//! | --- | --- |
//! | `HELIOGRAPH_SIM_SEEDS` | how many seeds are run, 240 if absent |
//! | `HELIOGRAPH_SIM_SEED` | the only seed that is run, decimal or `0x…`; its log is printed |

mod found;
mod messages;
mod seeds;

/// Seeds of an ordinary run.
const SEEDS: u64 = 240;

#[expect(
    clippy::disallowed_methods,
    reason = "an option of this test, not of the program"
)]
fn option(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    Some(number.unwrap_or_else(|error| panic!("{name}: {text:?}: {error}")))
}

#[test]
fn many_seeds_keep_what_is_promised() {
    if let Some(seed) = option("HELIOGRAPH_SIM_SEED") {
        let run = seeds::simulate(seed);
        println!("{}", run.text);
        return assert_eq!(run.violations, Vec::<String>::new(), "seed {seed:#x}");
    }
    seeds::run(option("HELIOGRAPH_SIM_SEEDS").unwrap_or(SEEDS));
}

#[test]
fn the_same_seed_gives_the_same_log_to_the_byte() {
    for seed in [3, 0x5eed, 77, 1 << 40] {
        let (one, other) = (seeds::simulate(seed), seeds::simulate(seed));
        let differ = |(a, b): (&str, &str)| (a != b).then(|| format!("{a}\n{b}"));
        let lines = one.text.lines().zip(other.text.lines());
        assert_eq!(lines.map(differ).find(Option::is_some).flatten(), None);
        assert_eq!(one.text.len(), other.text.len());
    }
}
