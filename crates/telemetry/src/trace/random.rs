//! Random numbers for names of traces and spans: fast, and seeded by the system in each thread.
//!
//! xoshiro256++ by David Blackman and Sebastiano Vigna, in the public domain
//! (<https://prng.di.unimi.it/xoshiro256plusplus.c>). Nobody's secrets depend on it.

use std::cell::RefCell;

thread_local! {
    static STATE: RefCell<Option<[u64; 4]>> = const { RefCell::new(None) };
}

/// 64 random bits; `None` if the system has none to begin with.
pub(super) fn bits() -> Option<u64> {
    STATE.with_borrow_mut(|state| {
        let state = match state {
            Some(state) => state,
            None => state.insert(seed()?),
        };
        Some(next(state))
    })
}

/// `N` random bytes that aren't all zero, which names of traces and spans may not be.
pub(super) fn name<const N: usize>() -> Option<[u8; N]> {
    let mut name = [0; N];
    while name == [0; N] {
        for part in name.chunks_mut(8) {
            part.copy_from_slice(&bits()?.to_le_bytes()[..part.len()]);
        }
    }
    Some(name)
}

fn seed() -> Option<[u64; 4]> {
    let mut seed = [0; 4];
    while seed == [0; 4] {
        for word in &mut seed {
            *word = getrandom::u64().ok()?;
        }
    }
    Some(seed)
}

fn next(state: &mut [u64; 4]) -> u64 {
    let [s0, s1, s2, s3] = *state;
    let result = s0.wrapping_add(s3).rotate_left(23).wrapping_add(s0);
    let (s2, s3) = (s2 ^ s0, s3 ^ s1);
    *state = [s0 ^ s3, s1 ^ s2, s2 ^ (s1 << 17), s3.rotate_left(45)];
    result
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_published_generator() {
        // From the state 1, 2, 3, 4, as the reference implementation prints them.
        let mut state = [1, 2, 3, 4];
        let numbers = [(); 4].map(|()| next(&mut state));
        assert_eq!(
            numbers,
            [
                41_943_041,
                58_720_359,
                3_588_806_011_781_223,
                3_591_011_842_654_386
            ]
        );
    }

    #[test]
    fn names_differ_also_between_threads() {
        let names = || (0..1_000).map(|_| name::<16>().unwrap());
        let threads = [(); 4].map(|()| std::thread::spawn(move || names().collect::<Vec<_>>()));
        let all = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        assert_eq!(all.collect::<HashSet<_>>().len(), 4_000);
    }
}
