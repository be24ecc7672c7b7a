//! Runs one seed and prints everything that happened: `heliograph-simulation 0x5eed`.
//!
//! A process for each seed, since the runtime draws from numbers of the whole process which task it
//! wakes first. They come from the system, here from a stream that is always the same; so a run can
//! be repeated to the byte.
#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
};

use heliograph_simulation::simulate;

fn main() -> ExitCode {
    let seed = std::env::args().nth(1);
    let Some(seed) = seed.as_deref().and_then(parse) else {
        println!("usage: heliograph-simulation SEED, decimal or 0x…");
        return ExitCode::from(64);
    };
    let report = simulate(seed);
    print!("{}", report.journal);
    for violation in &report.violations {
        println!("violation: {violation}");
    }
    println!("counts: {}", report.counts);
    if report.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn parse(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The system's random numbers, which are not to be random: the standard library takes its seeds from
/// the function of this name.
///
/// # Safety
///
/// As of `getrandom(2)`: `length` bytes at `buffer` can be written.
#[expect(unsafe_code, reason = "the only way to give std other numbers")]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    static STATE: AtomicU64 = AtomicU64::new(0);
    for index in 0..length {
        let word = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let byte = (word ^ (word >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56;
        // SAFETY: below `length`, which the caller vouches for.
        unsafe { buffer.add(index).write(byte.to_le_bytes()[0]) };
    }
    length.cast_signed()
}
