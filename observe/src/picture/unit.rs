//! Values as Grafana writes them: by its word for the unit.

/// Factors and what stands behind a number for each, ascending.
type Scale = &'static [(f64, &'static str)];

const SHORT: Scale = &[(1.0, ""), (1e3, " K"), (1e6, " Mil"), (1e9, " Bil")];

const SI: Scale = &[
    (1.0, " "),
    (1e3, " k"),
    (1e6, " M"),
    (1e9, " G"),
    (1e12, " T"),
];

const BINARY: Scale = &[
    (1.0, " "),
    (1_024.0, " Ki"),
    (1_048_576.0, " Mi"),
    (1_073_741_824.0, " Gi"),
    (1_099_511_627_776.0, " Ti"),
];

const SECONDS: Scale = &[
    (1e-9, " ns"),
    (1e-6, " µs"),
    (1e-3, " ms"),
    (1.0, " s"),
    (60.0, " min"),
    (3_600.0, " h"),
    (86_400.0, " d"),
];

/// How values of a unit are written.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    /// What a value is multiplied by first.
    factor: f64,
    scale: Scale,
    prefix: String,
    suffix: String,
    /// Whether steps on an axis are powers of two.
    is_binary: bool,
    /// Words instead of numbers, for 0 and for everything else.
    words: Option<[&'static str; 2]>,
}

impl Unit {
    /// The unit that Grafana knows by this word; `None` if this module doesn't.
    #[must_use]
    pub fn new(word: &str) -> Option<Self> {
        let unit = |factor, scale, suffix: &str| Self {
            factor,
            scale,
            prefix: String::new(),
            suffix: suffix.to_owned(),
            is_binary: false,
            words: None,
        };
        let binary = |suffix| Self {
            is_binary: true,
            ..unit(1.0, BINARY, suffix)
        };
        let plain: Scale = &[(1.0, "")];
        let found = match word {
            "" | "short" => unit(1.0, SHORT, ""),
            "none" | "locale" | "sishort" => unit(1.0, plain, ""),
            "s" | "dtdurations" | "dthms" | "clocks" => unit(1.0, SECONDS, ""),
            "ms" | "dtdurationms" | "clockms" => unit(1e-3, SECONDS, ""),
            "µs" => unit(1e-6, SECONDS, ""),
            "ns" => unit(1e-9, SECONDS, ""),
            "bytes" => binary("B"),
            "decbytes" => unit(1.0, SI, "B"),
            "Bps" => unit(1.0, SI, "B/s"),
            "binBps" => binary("B/s"),
            "bps" => unit(1.0, SI, "b/s"),
            "percent" => unit(1.0, plain, "%"),
            "percentunit" => unit(100.0, plain, "%"),
            "ops" => unit(1.0, SHORT, " ops/s"),
            "reqps" => unit(1.0, SHORT, " req/s"),
            "cps" => unit(1.0, SHORT, " c/s"),
            "rps" => unit(1.0, SHORT, " rd/s"),
            "wps" => unit(1.0, SHORT, " wr/s"),
            "eps" => unit(1.0, SHORT, " evt/s"),
            "mps" => unit(1.0, SHORT, " msg/s"),
            "iops" => unit(1.0, SHORT, " io/s"),
            "currencyUSD" => Self {
                prefix: "$".to_owned(),
                ..unit(1.0, SHORT, "")
            },
            "bool" => Self {
                words: Some(["False", "True"]),
                ..unit(1.0, plain, "")
            },
            "bool_yes_no" => Self {
                words: Some(["No", "Yes"]),
                ..unit(1.0, plain, "")
            },
            "bool_on_off" => Self {
                words: Some(["Off", "On"]),
                ..unit(1.0, plain, "")
            },
            _ => {
                let (kind, own) = word.split_once(':')?;
                match kind {
                    "suffix" => unit(1.0, SHORT, own),
                    "si" => unit(1.0, SI, own),
                    "prefix" => Self {
                        prefix: own.to_owned(),
                        ..unit(1.0, SHORT, "")
                    },
                    _ => return None,
                }
            }
        };
        Some(found)
    }

    /// A value for itself: with three digits that count, or this many behind the point.
    #[must_use]
    pub fn format(&self, value: f64, decimals: Option<usize>) -> String {
        if let Some(special) = self.special(value) {
            return special;
        }
        let (number, name) = self.scaled(value);
        let digits = decimals.unwrap_or_else(|| match number.abs() {
            0.0 => 0,
            size if size >= 100.0 => 0,
            // The nines count.
            size if size >= 10.0 => 1 + usize::from(self.suffix == "%"),
            size if size >= 0.1 => 2,
            _ => 4,
        });
        let text = if decimals.is_none() {
            trim(&format!("{number:.digits$}"))
        } else {
            format!("{number:.digits$}")
        };
        self.dress(&text, name)
    }

    /// A value on an axis with such steps.
    #[must_use]
    pub fn tick(&self, value: f64, step: f64) -> String {
        if let Some(special) = self.special(value) {
            return special;
        }
        let (number, name) = self.scaled(value);
        let shrunk = if value == 0.0 { 1.0 } else { number / value };
        let step = (step * shrunk).abs();
        let mut digits = 0;
        while digits < 4 && (step * power(digits)).fract() > 1e-6 && step * power(digits) < 10.0 {
            digits += 1;
        }
        self.dress(&trim(&format!("{number:.digits$}")), name)
    }

    /// A step for an axis whose ends are `span` apart, with about `count` of them.
    #[must_use]
    pub fn step(&self, span: f64, count: f64) -> f64 {
        let raw = span / count * self.factor;
        let step = if self.is_binary {
            raw.max(1.0).log2().ceil().exp2()
        } else if self.scale == SECONDS && raw > 10.0 {
            let steps = [
                15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0,
                43_200.0, 86_400.0,
            ];
            let found = steps.into_iter().find(|step| *step >= raw);
            found.unwrap_or_else(|| (raw / 86_400.0).ceil() * 86_400.0)
        } else {
            round(raw)
        };
        step / self.factor
    }

    fn special(&self, value: f64) -> Option<String> {
        if let Some([no, yes]) = self.words {
            return Some(if value == 0.0 { no } else { yes }.to_owned());
        }
        if value.is_nan() {
            return Some("–".to_owned());
        }
        value.is_infinite().then(|| "∞".to_owned())
    }

    fn scaled(&self, value: f64) -> (f64, &'static str) {
        let value = value * self.factor;
        let fits = |entry: &&(f64, &str)| value.abs() >= entry.0 * 0.999_999;
        let found = self.scale.iter().rev().find(fits);
        let one = || self.scale.iter().find(|entry| entry.0 == 1.0);
        // Nothing is nothing of the unit itself.
        let (factor, name) = match found {
            Some(found) if value != 0.0 => *found,
            _ => one().copied().unwrap_or((1.0, "")),
        };
        (value / factor, name)
    }

    fn dress(&self, number: &str, name: &str) -> String {
        let text = format!("{}{number}{name}{}", self.prefix, self.suffix);
        text.trim_end().to_owned()
    }
}

/// The next of 1, 2, 5 times a power of ten.
fn round(raw: f64) -> f64 {
    let size = 10_f64.powf(raw.max(1e-12).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let fits = |step: &f64| step * size >= raw * 0.999_999;
    steps.into_iter().find(fits).unwrap_or(10.0) * size
}

fn power(digits: usize) -> f64 {
    [1.0, 10.0, 100.0, 1_000.0, 10_000.0][digits.min(4)]
}

/// Without zeros that say nothing.
fn trim(number: &str) -> String {
    if !number.contains('.') {
        return number.to_owned();
    }
    let number = number.trim_end_matches('0').trim_end_matches('.');
    if number == "-0" { "0" } else { number }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(unit: &str, value: f64, expected: &str) {
        assert_eq!(Unit::new(unit).unwrap().format(value, None), expected);
    }

    #[test]
    fn values_are_written_in_their_unit() {
        check("s", 0.012_34, "12.3 ms");
        check("s", 0.0, "0 s");
        check("s", 5_400.0, "1.5 h");
        check("short", 1_234.0, "1.23 K");
        check("bytes", 1_536.0, "1.5 KiB");
        check("bytes", 12.0, "12 B");
        check("Bps", 2_500.0, "2.5 kB/s");
        check("percentunit", 0.9991, "99.91%");
        check("ops", 0.25, "0.25 ops/s");
        check("currencyUSD", 12.0, "$12");
        check("bool_yes_no", 1.0, "Yes");
        check("suffix: cores", 3.0, "3 cores");
        check("short", f64::NAN, "–");
        assert_eq!(Unit::new("furlongs"), None);
    }

    #[test]
    fn steps_are_round_in_their_unit() {
        let step = |unit: &str, span| Unit::new(unit).unwrap().step(span, 4.0);
        assert!((step("short", 130.0) - 50.0).abs() < 1e-9);
        assert!((step("bytes", 3_000_000.0) - 1_048_576.0).abs() < 1e-3);
        assert!((step("s", 0.003) - 0.001).abs() < 1e-9);
        assert!((step("s", 200.0) - 60.0).abs() < 1e-9);
        assert!((step("percentunit", 1.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn ticks_have_the_digits_of_their_step() {
        let seconds = Unit::new("s").unwrap();
        assert_eq!(seconds.tick(0.015, 0.005), "15 ms");
        assert_eq!(seconds.tick(1.5, 0.5), "1.5 s");
        let short = Unit::new("short").unwrap();
        assert_eq!(short.tick(1_500.0, 500.0), "1.5 K");
        assert_eq!(short.tick(0.05, 0.05), "0.05");
    }
}
