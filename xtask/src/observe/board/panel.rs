//! Panels: what is asked, and how the answer is drawn.

use super::Limits;

/// How a panel draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Lines,
    Stacked,
    Number,
    Bars,
    Heat,
}

/// A panel. Made by [`lines`], [`stacked`], [`number`], [`bars`] or [`heat`], which want everything
/// that a panel must have.
pub(in crate::observe) struct Panel {
    pub(super) kind: Kind,
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    pub(super) unit: &'static str,
    pub(super) limits: Limits,
    pub(super) queries: Vec<Query>,
    /// The alerts whose cause or symptom it shows.
    pub(super) alerts: &'static [&'static str],
    pub(super) width: u32,
    pub(super) height: u32,
}

/// One expression of a panel, without variables, and the name of its series.
pub(in crate::observe) struct Query {
    pub(super) expression: String,
    pub(super) legend: String,
}

impl Query {
    /// Whether example traces are drawn with it: with everything that is a time it took.
    pub(super) fn exemplars(&self) -> bool {
        self.expression.contains("_seconds_bucket")
    }

    /// Names the series after what `{}` stands for in `pattern`: their name until now.
    pub(in crate::observe) fn renamed(mut self, pattern: &str) -> Self {
        self.legend = pattern.replace("{}", &self.legend);
        self
    }
}

/// A query.
pub(in crate::observe) fn query(expression: impl Into<String>, legend: impl Into<String>) -> Query {
    Query {
        expression: expression.into(),
        legend: legend.into(),
    }
}

/// Events a second of a counter, by one or more of its labels (`a, b`).
pub(in crate::observe) fn rates(counter: &str, by: &str) -> Vec<Query> {
    let legend: Vec<String> = by
        .split(", ")
        .map(|label| format!("{{{{{label}}}}}"))
        .collect();
    let expression = format!("sum by ({by}) (rate({counter}[$i]))");
    vec![query(expression, legend.join(" "))]
}

/// The median and the slow ends of a histogram.
pub(in crate::observe) fn quantiles(histogram: &str) -> Vec<Query> {
    quantiles_of(
        histogram,
        "",
        &[(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")],
    )
}

/// The median and the slow end of a histogram by one of its labels.
pub(in crate::observe) fn quantiles_by(histogram: &str, by: &str) -> Vec<Query> {
    quantiles_of(histogram, by, &[(0.5, "p50"), (0.99, "p99")])
}

/// The median and the slow end of a histogram.
pub(in crate::observe) fn median_and_end(histogram: &str) -> Vec<Query> {
    quantiles_of(histogram, "", &[(0.5, "p50"), (0.99, "p99")])
}

fn quantiles_of(histogram: &str, by: &str, quantiles: &[(f64, &str)]) -> Vec<Query> {
    let (name, labels) = match histogram.split_once('{') {
        Some((name, labels)) => (name, format!("{{{labels}")),
        None => (histogram, String::new()),
    };
    let (group, series) = if by.is_empty() {
        (String::new(), String::new())
    } else {
        (format!(", {by}"), format!(" {{{{{by}}}}}"))
    };
    quantiles
        .iter()
        .map(|(quantile, label)| Query {
            expression: format!(
                "histogram_quantile({quantile}, sum by (le{group}) (rate({name}_bucket{labels}[$i])))"
            ),
            legend: format!("{label}{series}"),
        })
        .collect()
}

macro_rules! kind {
    ($(#[$doc:meta])* $name:ident, $kind:ident, $width:literal, $height:literal) => {
        $(#[$doc])*
        pub(in crate::observe) fn $name(
            title: &'static str,
            description: &'static str,
            unit: &'static str,
            limits: Limits,
            queries: Vec<Query>,
        ) -> Panel {
            Panel {
                kind: Kind::$kind,
                title,
                description,
                unit,
                limits,
                queries,
                alerts: &[],
                width: $width,
                height: $height,
            }
        }
    };
}

kind!(
    /// Lines over time.
    lines, Lines, 8, 8
);
kind!(
    /// Areas over time, one above the other.
    stacked, Stacked, 8, 8
);
kind!(
    /// The newest value, large.
    number, Number, 4, 4
);
kind!(
    /// A bar for each series.
    bars, Bars, 8, 8
);
kind!(
    /// A histogram over time.
    heat, Heat, 12, 9
);

impl Panel {
    /// Links the runbooks of these alerts.
    pub(in crate::observe) fn alerts(mut self, alerts: &'static [&'static str]) -> Self {
        self.alerts = alerts;
        self
    }

    /// In columns of 24.
    pub(in crate::observe) fn width(mut self, width: u32) -> Self {
        self.width = width;
        self
    }
}
