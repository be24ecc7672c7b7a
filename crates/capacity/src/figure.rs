//! One measured figure, and the run that it comes from.

use serde::{Deserialize, Serialize};

/// A median with its spread over the passes of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// The median.
    pub median: f64,
    /// The least of all passes.
    pub least: f64,
    /// The greatest of all passes.
    pub greatest: f64,
}

/// How and where something was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The command that does it again.
    pub command: String,
    /// What was built.
    pub commit: String,
    /// The day, as 2026-11-23.
    pub date: String,
    /// Processor, cores, and what ran on it.
    pub machine: String,
}

impl Figure {
    /// The median and the spread of some passes; `None` if there is none that is a number.
    #[must_use]
    pub fn of(passes: &[f64]) -> Option<Self> {
        let mut passes: Vec<f64> = passes.iter().copied().filter(|p| p.is_finite()).collect();
        passes.sort_by(f64::total_cmp);
        let (least, greatest) = (*passes.first()?, *passes.last()?);
        let middle = passes.len() / 2;
        let median = if passes.len() % 2 == 1 {
            passes[middle]
        } else {
            f64::midpoint(passes[middle - 1], passes[middle])
        };
        // Finer would be noise.
        let [median, least, greatest] =
            [median, least, greatest].map(|figure| (figure * 1_000.0).round() / 1_000.0);
        Some(Self {
            median,
            least,
            greatest,
        })
    }

    /// A figure without spread.
    #[must_use]
    pub const fn exactly(value: f64) -> Self {
        Self {
            median: value,
            least: value,
            greatest: value,
        }
    }

    /// `median (least–greatest)`, with about three digits.
    #[must_use]
    pub fn text(&self) -> String {
        let [median, least, greatest] = [self.median, self.least, self.greatest].map(short);
        if least == greatest {
            return median;
        }
        format!("{median} ({least}–{greatest})")
    }
}

/// A number with about three digits.
#[must_use]
pub(crate) fn short(figure: f64) -> String {
    match figure.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => thousands(figure),
        size if size >= 10.0 => format!("{figure:.1}"),
        size if size >= 0.1 => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}

/// A whole number with a comma between thousands.
#[must_use]
pub(crate) fn thousands(figure: f64) -> String {
    let digits = format!("{:.0}", figure.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if figure < 0.0 {
        format!("-{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_median_with_its_spread() {
        let figure = Figure::of(&[3.0, 1.0, 20.0]).unwrap();
        assert_eq!(figure.text(), "3.00 (1.00–20.0)");
        assert_eq!(Figure::of(&[1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Figure::of(&[f64::NAN]), None);
        assert_eq!(Figure::of(&[]), None);
    }

    #[test]
    fn numbers_are_short_and_readable() {
        assert_eq!(short(0.0), "0");
        assert_eq!(short(0.0123), "0.012");
        assert_eq!(short(1_234.5), "1,234");
        assert_eq!(thousands(1_000_000.0), "1,000,000");
        assert_eq!(thousands(999.0), "999");
    }
}
