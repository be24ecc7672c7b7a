//! Pictures of boards: an SVG with every panel where the board has it, drawn from the answers of a
//! Prometheus.

mod heat;
mod lines;
mod single;
mod svg;
mod unit;

pub use unit::Unit;

use crate::board::{Board, Panel};
use svg::{Anchor, CANVAS, EDGE, FAINT, PANEL, Svg, TEXT, fit};

/// Pixels of a picture.
const WIDTH: f64 = 1_200.0;
const MARGIN: f64 = 12.0;
const HEADER: f64 = 48.0;
const ROW: f64 = 34.0;
const GAP: f64 = 8.0;
const COLUMNS: f64 = 24.0;

/// A series as it is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// The label `le`, of a series that counts what is at most so much.
    pub at_most: Option<f64>,
    /// When in Unix seconds, and what.
    pub points: Vec<(f64, f64)>,
}

impl Line {
    /// The newest value that is a number.
    fn last(&self) -> Option<f64> {
        let mut values = self.points.iter().rev().map(|(_, value)| *value);
        values.find(|value| !value.is_nan())
    }
}

/// A moment that is marked on every panel over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// When, in Unix seconds.
    pub at: f64,
    /// Grafana's word for its colour.
    pub color: String,
}

/// What a picture is drawn from.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The series of each panel.
    pub series: Vec<Vec<Line>>,
    /// What is marked.
    pub marks: Vec<Mark>,
    /// From when to when, in Unix seconds.
    pub range: (f64, f64),
    /// What it is a picture of.
    pub subtitle: String,
}

/// A picture of a board.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The file.
    pub svg: String,
    /// What of the board isn't in it, and why.
    pub missing: Vec<String>,
}

/// Where a panel may draw.
#[derive(Debug, Clone, Copy)]
struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// What is seen, from when to when in Unix seconds.
type Range = (f64, f64);

/// The time that a panel shows, and what is marked in it.
#[derive(Debug, Clone, Copy)]
struct Time<'a> {
    range: Range,
    marks: &'a [Mark],
}

/// Draws a board.
///
/// # Panics
///
/// If there aren't as many lists of series as panels.
#[must_use]
pub fn draw(board: &Board, scene: &Scene) -> Picture {
    let series = &scene.series;
    assert_eq!(board.panels.len(), series.len(), "panels and their series");
    let time = Time {
        range: scene.range,
        marks: &scene.marks,
    };
    let mut svg = Svg::default();
    let end = board
        .panels
        .iter()
        .map(|panel| panel.grid[1] + panel.grid[3]);
    let height = HEADER + f64::from(end.max().unwrap_or(0)) * ROW + MARGIN;
    svg.rect([0.0, 0.0, WIDTH, height], CANVAS, "");
    svg.text(
        [MARGIN + 4.0, 31.0],
        (19.0, TEXT, Anchor::Start),
        &board.title,
    );
    let right = [WIDTH - MARGIN - 4.0, 30.0];
    svg.text(right, (12.0, FAINT, Anchor::End), &scene.subtitle);
    let mut missing = Vec::new();
    for (panel, lines) in board.panels.iter().zip(series) {
        if let Err(why) = draw_panel(&mut svg, panel, lines, time) {
            missing.push(format!("{}: {}: {why}", board.stem, panel.title));
        }
    }
    Picture {
        svg: svg.finish(WIDTH, height, &board.title),
        missing,
    }
}

fn draw_panel(svg: &mut Svg, panel: &Panel, lines: &[Line], time: Time<'_>) -> Result<(), String> {
    let area = place(panel);
    if panel.kind == "row" {
        let at = [area.x + 4.0, area.y + area.height - 8.0];
        svg.text(at, (14.0, TEXT, Anchor::Start), &panel.title);
        return Ok(());
    }
    let frame = [area.x, area.y, area.width, area.height];
    let edge = format!(" stroke=\"{EDGE}\" rx=\"2\"");
    svg.rect(frame, PANEL, &edge);
    let title = fit(&panel.title, 12.5, area.width - 20.0);
    let at = [area.x + 10.0, area.y + 19.0];
    svg.text(at, (12.5, TEXT, Anchor::Start), &title);
    let inside = Area {
        x: area.x + 10.0,
        y: area.y + 28.0,
        width: area.width - 20.0,
        height: area.height - 36.0,
    };
    if panel.kind == "text" {
        single::text(svg, &panel.text, inside);
        return Ok(());
    }
    let unit = Unit::new(&panel.unit);
    let unit = unit.ok_or_else(|| format!("no unit {:?} is known", panel.unit))?;
    let drawn: Vec<&Line> = lines.iter().filter(|line| line.last().is_some()).collect();
    if drawn.is_empty() {
        return Err("no series".to_owned());
    }
    match &*panel.kind {
        "timeseries" | "barchart" | "state-timeline" => {
            lines::draw(svg, panel, &unit, &drawn, time, inside);
            Ok(())
        }
        "stat" | "gauge" => {
            single::stat(svg, panel, &unit, &drawn, time.range, inside);
            Ok(())
        }
        "bargauge" | "piechart" | "table" => {
            single::bars(svg, panel, &unit, &drawn, inside);
            Ok(())
        }
        "heatmap" => heat::draw(svg, &unit, &drawn, time.range, inside),
        other => Err(format!("a panel of kind {other} can't be drawn")),
    }
}

fn place(panel: &Panel) -> Area {
    let [x, y, width, height] = panel.grid.map(f64::from);
    let column = (WIDTH - 2.0 * MARGIN + GAP) / COLUMNS;
    Area {
        x: MARGIN + x * column,
        y: HEADER + y * ROW,
        width: width * column - GAP,
        height: height * ROW - GAP,
    }
}

/// The colour that a panel's thresholds have for a value; `None` if it has none.
fn judge(panel: &Panel, value: f64) -> Option<&str> {
    let reached = panel.thresholds.iter().rev();
    let found = reached.into_iter().find(|(from, _)| value >= *from);
    found.map(|(_, color)| svg::color(color))
}

/// A value of a panel in words.
fn worded(panel: &Panel, unit: &Unit, value: f64) -> String {
    let mut words = panel.words.iter();
    let word = words.find(|(of, _)| (of - value).abs() < f64::EPSILON);
    word.map_or_else(
        || unit.format(value, panel.decimals),
        |(_, word)| word.clone(),
    )
}

/// Upright lines at moments.
fn draw_marks(svg: &mut Svg, time: Time<'_>, plot: Area) {
    let (start, end) = time.range;
    let mut colors: Vec<&str> = time.marks.iter().map(|mark| &*mark.color).collect();
    colors.sort_unstable();
    colors.dedup();
    for color in colors {
        let of_color = time.marks.iter().filter(|mark| mark.color == color);
        let inside = of_color.filter(|mark| (start..=end).contains(&mark.at));
        let lines = inside.map(|mark| {
            let x = plot.x + plot.width * (mark.at - start) / (end - start);
            let [x, y, height] = [x, plot.y, plot.height].map(|pixels| svg::short(pixels.round()));
            format!("M{x} {y}v{height}")
        });
        let lines: String = lines.collect();
        if !lines.is_empty() {
            let color = svg::color(color);
            let style = format!("stroke=\"{color}\" stroke-dasharray=\"2 3\" opacity=\".6\"");
            svg.path(&lines, &style);
        }
    }
}

/// Times below a plot: minutes since the beginning.
fn time_axis(svg: &mut Svg, (start, end): Range, plot: Area) {
    let minutes = (end - start) / 60.0;
    let room = (plot.width / 55.0).max(1.0);
    let steps = [
        0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 360.0, 720.0,
    ];
    let step = steps.into_iter().find(|step| minutes / step <= room);
    let step = step.unwrap_or(minutes);
    let (mut at, mut grid) = (0.0, String::new());
    while at <= minutes + 0.01 {
        let x = plot.x + plot.width * at / minutes.max(0.01);
        let (left, top) = (svg::short(x), svg::short(plot.y));
        grid.push_str(&format!("M{left} {top}v{}", svg::short(plot.height)));
        let whole = at.floor();
        let words = format!("{whole:.0}:{:02.0}", (at - whole) * 60.0);
        let below = [x, plot.y + plot.height + 14.0];
        svg.text(below, (svg::SMALL, FAINT, Anchor::Middle), &words);
        at += step;
    }
    svg.path(&grid, &format!("stroke=\"{}\"", svg::GRID));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(kind: &str, unit: &str) -> Panel {
        Panel {
            title: format!("A {kind}"),
            kind: kind.to_owned(),
            grid: [0, 0, 12, 8],
            unit: unit.to_owned(),
            decimals: None,
            ends: [None; 2],
            thresholds: vec![
                (f64::NEG_INFINITY, "green".to_owned()),
                (5.0, "red".to_owned()),
            ],
            shows_thresholds: true,
            is_stacked: false,
            fill: 10,
            draws_bars: false,
            is_judged: true,
            words: vec![(7.0, "seven".to_owned())],
            colors: Vec::new(),
            targets: Vec::new(),
            text: "**Words**".to_owned(),
        }
    }

    fn picture(panel: Panel, lines: &[Line]) -> Picture {
        let board = Board::of("a", "A board", vec![panel]);
        let scene = Scene {
            series: vec![lines.to_vec()],
            marks: vec![Mark {
                at: 50.0,
                color: "blue".to_owned(),
            }],
            range: (0.0, 100.0),
            subtitle: "a test".to_owned(),
        };
        draw(&board, &scene)
    }

    fn line(name: &str, at_most: Option<f64>, values: &[f64]) -> Line {
        let times = (0..).map(|n| f64::from(n) * 10.0);
        Line {
            name: name.to_owned(),
            at_most,
            points: times.zip(values.iter().copied()).collect(),
        }
    }

    #[test]
    fn every_kind_of_panel_is_drawn() {
        for kind in [
            "timeseries",
            "stat",
            "gauge",
            "bargauge",
            "table",
            "heatmap",
            "text",
            "row",
        ] {
            let bucket = (kind == "heatmap").then_some(0.5);
            let lines = [
                line("one", bucket, &[1.0, f64::NAN, 3.0]),
                line("two", None, &[4.0; 3]),
            ];
            let drawn = picture(
                panel(kind, "s"),
                &lines[..if bucket.is_some() { 1 } else { 2 }],
            );
            assert_eq!(drawn.missing, Vec::<String>::new(), "{kind}");
            assert!(
                drawn.svg.contains("A board") && drawn.svg.len() > 450,
                "{kind}"
            );
        }
    }

    #[test]
    fn a_moment_is_marked() {
        let lines = [line("one", None, &[1.0, 2.0])];
        let drawn = picture(panel("timeseries", "s"), &lines);
        assert!(drawn.svg.contains(svg::color("blue")), "{}", drawn.svg);
    }

    #[test]
    fn a_value_has_its_colour_and_its_word() {
        let drawn = picture(panel("stat", "short"), &[line("one", None, &[1.0, 7.0])]);
        assert!(drawn.svg.contains(">seven<") && drawn.svg.contains(svg::color("red")));
    }

    #[test]
    fn a_panel_without_series_or_with_an_unknown_unit_is_missing() {
        let nothing = line("one", None, &[f64::NAN; 3]);
        let drawn = picture(panel("timeseries", "s"), &[nothing]);
        assert_eq!(drawn.missing, ["a: A timeseries: no series"]);
        let drawn = picture(panel("stat", "furlongs"), &[line("one", None, &[1.0])]);
        assert_eq!(drawn.missing, ["a: A stat: no unit \"furlongs\" is known"]);
    }
}
