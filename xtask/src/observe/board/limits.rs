//! Thresholds: from which value on something is worth a look, and from which on it is bad.

use serde_json::{Value, json};

/// Colours by value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::observe) enum Limits {
    /// No value is better than another: a measure of what is going on.
    None,
    /// Orange from the first value on, red from the second.
    Above(f64, f64),
    /// Orange from this value on; never red.
    Warn(f64),
    /// Red below the first value, orange below the second.
    Below(f64, f64),
    /// Red unless it is 0.
    Zero,
}

impl Limits {
    /// The steps, least first; the first one has no value.
    pub(super) fn steps(self) -> Value {
        const LEAST: f64 = 1e-9;
        let steps = match self {
            Self::None => vec![("blue", None)],
            Self::Above(warn, bad) => {
                vec![("green", None), ("orange", Some(warn)), ("red", Some(bad))]
            }
            Self::Warn(warn) => vec![("green", None), ("orange", Some(warn))],
            Self::Below(bad, warn) if bad == warn => vec![("red", None), ("green", Some(bad))],
            Self::Below(bad, warn) => {
                vec![("red", None), ("orange", Some(bad)), ("green", Some(warn))]
            }
            Self::Zero => vec![("green", None), ("red", Some(LEAST))],
        };
        steps
            .into_iter()
            .map(|(color, value)| json!({ "color": color, "value": value }))
            .collect()
    }

    /// Whether they are worth a line in a graph.
    pub(super) fn drawn(self) -> bool {
        !matches!(self, Self::None | Self::Zero)
    }
}
