//! Dashboards as data: what a board, a row and a panel are made of, and their form in Grafana.
//!
//! A panel can't be written down without title, description, unit and thresholds, and its queries
//! can't forget the variables: [`expression`] puts them in.

mod expression;
mod json;
mod limits;
mod panel;

use super::input::BOARDS;
pub(super) use expression::with_variables;
pub(super) use limits::Limits;
pub(super) use panel::{
    Panel, Query, bars, heat, lines, median_and_end, number, quantiles, quantiles_by, query, rates,
    stacked,
};

/// A dashboard.
pub(super) struct Board {
    /// Its address in Grafana, `/d/<uid>`.
    pub(super) uid: &'static str,
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    /// The processes that export this metric are those that the variables offer.
    pub(super) anchor: &'static str,
    /// Numbers that whoever looks may set: name, label, value.
    pub(super) inputs: &'static [(&'static str, &'static str, &'static str)],
    pub(super) rows: Vec<Row>,
}

/// Panels under a heading.
pub(super) struct Row {
    pub(super) title: &'static str,
    pub(super) panels: Vec<Panel>,
}

/// A row.
pub(super) fn row(title: &'static str, panels: Vec<Panel>) -> Row {
    Row { title, panels }
}

impl Board {
    /// Where it lies in the repository: its address without the program's name.
    pub(super) fn path(&self) -> String {
        let name = self.uid.strip_prefix("heliograph-").unwrap_or(self.uid);
        format!("{BOARDS}/{name}.json")
    }

    /// The dashboard as Grafana imports it.
    pub(super) fn to_json(&self) -> String {
        let mut text = format!("{:#}", json::board(self));
        text.push('\n');
        text
    }
}
