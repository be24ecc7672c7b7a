//! Random numbers and popularity, with integers alone: the same on every machine.

/// `SplitMix64`: one multiplication chain a number, and any seed is a good one.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, all alike but for a bias of `bound / 2^64`; 0 if `bound` is.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the upper half")
    }

    /// As [`below`](Self::below), for what is indexed.
    pub(crate) fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).expect("below a usize")
    }

    /// A number below `bound`, small ones much more often: each order of magnitude alike.
    pub(crate) fn skewed(&mut self, bound: usize) -> usize {
        let widest = self.index(bound) + 1;
        let widest = self.index(widest) + 1;
        self.index(widest)
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Appends `bytes` random bytes in hex.
    pub(crate) fn hex(&mut self, bytes: usize, out: &mut String) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut bits = 0;
        for at in 0..bytes * 2 {
            if at % 16 == 0 {
                bits = self.next();
            }
            out.push(char::from(DIGITS[(bits & 15) as usize]));
            bits >>= 4;
        }
    }
}

/// Draws number `n` in proportion to `(n + 1)^-3/4`.
#[derive(Debug)]
pub(crate) struct Zipf(Vec<u64>);

impl Zipf {
    /// The exponent is the slope of events by author in the sample, without its most active key:
    /// 120 at rank 2, 33 at rank 10, 6 at rank 100, 2 at rank 500 (0.77).
    pub(crate) fn new(count: u32) -> Self {
        let mut sum = 0;
        let sums = (1..=u128::from(count)).map(|rank| {
            // rank^3/4 in units of 2^-16, by two integer roots, which are exact.
            let power = (rank.pow(3) << 64).isqrt().isqrt();
            sum += u64::try_from((1_u128 << 56) / power).expect("at most 2^40");
            sum
        });
        Self(sums.collect())
    }

    pub(crate) fn draw(&self, random: &mut Random) -> u32 {
        let at = random.below(self.0.last().copied().unwrap_or_default());
        let index = self.0.partition_point(|sum| *sum <= at);
        u32::try_from(index).expect("as many as a u32 counts")
    }
}

/// The shares, in percent, at which tables have their values.
pub(crate) const POINTS: [u64; 9] = [0, 10, 25, 50, 75, 90, 95, 99, 100];

/// The values of a distribution at [`POINTS`].
pub(crate) type Quantiles = [u32; 9];

/// Draws a value between the points of a table. The last hundredth is bent towards its lower end,
/// since a largest value in a sample stands alone.
pub(crate) fn draw(quantiles: &Quantiles, random: &mut Random) -> u32 {
    const PART: u64 = 1_000;
    let at = random.below(100 * PART);
    let upper = POINTS.partition_point(|point| point * PART <= at);
    let (low, high) = (quantiles[upper - 1], quantiles[upper]);
    let width = (POINTS[upper] - POINTS[upper - 1]) * PART;
    let mut part = (at - POINTS[upper - 1] * PART) * PART / width;
    if upper == POINTS.len() - 1 {
        part = part.pow(4) / PART.pow(3);
        part = part * part / PART;
    }
    let more = (u64::from(high - low) * part + PART / 2) / PART;
    low + u32::try_from(more).expect("at most their difference")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_published_generator() {
        let mut random = Random::new(1_234_567);
        let first: [u64; 3] = std::array::from_fn(|_| random.next());
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(first, published);
    }

    #[test]
    fn popularity_falls_by_three_quarters_of_a_power() {
        let (zipf, mut random) = (Zipf::new(10_000), Random::new(1));
        let mut drawn = vec![0_u32; 10_000];
        for _ in 0..1_000_000 {
            drawn[zipf.draw(&mut random) as usize] += 1;
        }
        // 16^0.75 is 8, and 256^0.75 is 64.
        let ratio = |nth: usize| f64::from(drawn[0]) / f64::from(drawn[nth - 1]);
        assert!((7.0..9.0).contains(&ratio(16)), "{}", ratio(16));
        assert!((48.0..84.0).contains(&ratio(256)), "{}", ratio(256));
    }

    #[test]
    fn a_table_is_drawn_back() {
        let table = [10, 20, 30, 40, 50, 60, 70, 80, 9_999];
        let mut random = Random::new(1);
        let mut drawn: Vec<u32> = (0..100_000).map(|_| draw(&table, &mut random)).collect();
        drawn.sort_unstable();
        for (point, value) in POINTS.iter().zip(table).skip(1).take(7) {
            let at = usize::try_from(*point).unwrap() * 1_000;
            assert!(drawn[at].abs_diff(value) <= 1, "{point} %: {}", drawn[at]);
        }
        assert!(drawn[0] >= 10 && drawn[99_999] <= 9_999);
    }
}
