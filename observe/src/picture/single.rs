//! Panels of single values: stats with a small line behind them, bars with names, plain text.

use super::{
    Area, Line, Range, Unit, judge,
    svg::{Anchor, EDGE, FAINT, Svg, TEXT, down, fit, palette, polyline, text_width},
    worded,
};
use crate::board::Panel;

/// Bars of a panel at most: what is there room for.
const BAR_HEIGHT: f64 = 24.0;

pub(super) fn stat(
    svg: &mut Svg,
    panel: &Panel,
    unit: &Unit,
    lines: &[&Line],
    range: Range,
    area: Area,
) {
    let room = (area.width / 90.0).floor().max(1.0);
    let columns = lines
        .iter()
        .zip(0..)
        .take_while(|(_, n)| f64::from(*n) < room);
    let columns: Vec<&Line> = columns.map(|(line, _)| *line).collect();
    let count = f64::from(u32::try_from(columns.len()).unwrap_or(1));
    let width = area.width / count;
    for (number, line) in columns.iter().enumerate() {
        let x = area.x + width * f64::from(u32::try_from(number).unwrap_or(0));
        let own = Area { x, width, ..area };
        let value = line.last().unwrap_or(f64::NAN);
        let color = judge(panel, value).unwrap_or(palette(number));
        spark(svg, line, range, own, color);
        let words = worded(panel, unit, value);
        let wanted = (area.height * 0.5).clamp(15.0, 30.0);
        let size = (wanted * (width - 8.0) / text_width(&words, wanted)).min(wanted);
        let middle = own.y + own.height * 0.5 + size * 0.2;
        let at = [own.x + width / 2.0, middle];
        svg.text(at, (size, color, Anchor::Middle), &words);
        if columns.len() > 1 {
            let name = fit(&line.name, 10.0, width - 6.0);
            let at = [own.x + width / 2.0, own.y + 6.0];
            svg.text(at, (10.0, FAINT, Anchor::Middle), &name);
        }
    }
}

/// How the value came to be, without an axis.
fn spark(svg: &mut Svg, line: &Line, (start, end): Range, area: Area, color: &str) {
    let values = line.points.iter().map(|(_, value)| *value);
    let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    let least = values
        .iter()
        .copied()
        .fold(f64::INFINITY, f64::min)
        .min(0.0);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if values.len() < 2 || most <= least {
        return;
    }
    let (top, height) = (area.y + area.height * 0.6, area.height * 0.4);
    let place = |(at, value): &(f64, f64)| {
        let x = area.x + area.width * (at - start) / (end - start);
        [x, top + height * (1.0 - (value - least) / (most - least))]
    };
    let points: Vec<[f64; 2]> = line.points.iter().map(place).collect();
    let points: Vec<[f64; 2]> = points.into_iter().filter(|[_, y]| y.is_finite()).collect();
    let ([first, ..], Some(last)) = (&*points, points.last()) else {
        return;
    };
    let bottom = top + height;
    let close = down(*last, *first, bottom);
    let style = format!(
        "transform=\"scale(.5)\" stroke=\"{color}\" stroke-opacity=\".5\" fill=\"{color}\" \
         fill-opacity=\".12\""
    );
    svg.path(&format!("{}{close}", polyline(&points)), &style);
}

/// Each series as a bar with its name and value, the longest for the greatest.
pub(super) fn bars(svg: &mut Svg, panel: &Panel, unit: &Unit, lines: &[&Line], area: Area) {
    let value = |line: &Line| line.last().unwrap_or(0.0);
    let mut sorted = lines.to_vec();
    sorted.sort_by(|a, b| value(b).total_cmp(&value(a)));
    let most = sorted.first().map_or(0.0, |line| value(line)).max(1e-12);
    let name_width = area.width * 0.42;
    let bar_width = area.width * 0.58 - 70.0;
    let rows = ((area.height - 4.0) / BAR_HEIGHT).floor();
    for (number, line) in (0..).zip(&sorted).take_while(|(n, _)| f64::from(*n) < rows) {
        let y = area.y + 6.0 + f64::from(number) * BAR_HEIGHT;
        let name = fit(&line.name, 11.0, name_width - 8.0);
        svg.text([area.x, y + 11.0], (11.0, TEXT, Anchor::Start), &name);
        let color = if panel.is_judged {
            judge(panel, value(line))
        } else {
            None
        };
        let color = color.unwrap_or("#5794f2");
        let left = area.x + name_width;
        svg.rect([left, y + 2.0, bar_width, 12.0], EDGE, " rx=\"1\"");
        let length = bar_width * (value(line) / most).clamp(0.0, 1.0);
        svg.rect(
            [left, y + 2.0, length, 12.0],
            color,
            " rx=\"1\" fill-opacity=\".85\"",
        );
        let words = worded(panel, unit, value(line));
        let right = [area.x + area.width, y + 12.0];
        svg.text(right, (11.0, TEXT, Anchor::End), &words);
    }
}

/// Words without their Markdown.
pub(super) fn text(svg: &mut Svg, words: &str, area: Area) {
    let mut y = area.y + 12.0;
    for line in words.lines().filter(|line| !line.trim().is_empty()) {
        let plain = plain(line);
        let mut row = String::new();
        for word in plain.split_whitespace() {
            if text_width(&format!("{row} {word}"), 11.5) > area.width && !row.is_empty() {
                put(svg, &row, &mut y, area);
                row.clear();
            }
            if !row.is_empty() {
                row.push(' ');
            }
            row.push_str(word);
        }
        put(svg, &row, &mut y, area);
    }
}

fn put(svg: &mut Svg, row: &str, y: &mut f64, area: Area) {
    if *y <= area.y + area.height {
        svg.text([area.x, *y], (11.5, FAINT, Anchor::Start), row);
    }
    *y += 16.0;
}

/// A line of Markdown as its reader sees it: links are their words.
fn plain(line: &str) -> String {
    let (mut plain, mut rest) = (String::new(), line.trim_start_matches(['#', ' ']));
    while let Some((before, after)) = rest.split_once("](") {
        plain.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    plain.push_str(rest);
    plain.replace(['*', '`', '['], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_is_left_out() {
        assert_eq!(plain("## **A** [link](https://x) `b`"), "A link b");
    }
}
