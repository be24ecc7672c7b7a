//! A panel over time: lines, filled areas, stacks and bars, with an axis and a legend.

use super::{
    Area, Line, Range, Time, Unit, draw_marks,
    svg::{self, Anchor, FAINT, SMALL, Svg, faded, fit, palette, polyline, short, text_width},
    time_axis,
};
use crate::board::Panel;

const LEGEND_SIZE: f64 = 11.0;
const LEGEND_ROW: f64 = 16.0;

/// Lines that are filled below at most: of more, nothing is seen.
const FILLED_MAX: usize = 2;

/// Series from which on those that are zero throughout are left out.
const ZEROES_FROM: usize = 7;

/// Lines of a legend at most; what doesn't fit is counted.
const LEGEND_ROWS_MAX: usize = 2;

/// The ends of an axis and its steps.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

pub(super) fn draw(
    svg: &mut Svg,
    panel: &Panel,
    unit: &Unit,
    lines: &[&Line],
    time: Time<'_>,
    area: Area,
) {
    let range = time.range;
    let some = some(lines);
    let lines = some.as_slice();
    let legend = Legend::new(lines, area.width);
    let legend_height = legend.height();
    let sums = if panel.is_stacked {
        stack(lines)
    } else {
        Vec::new()
    };
    let shown: Vec<&[(f64, f64)]> = if panel.is_stacked {
        sums.iter().map(Vec::as_slice).collect()
    } else {
        lines.iter().map(|line| line.points.as_slice()).collect()
    };
    let height = area.height - legend_height - 18.0;
    let axis = Axis::new(panel, unit, &shown, (height / 34.0).clamp(2.0, 5.0));
    let ticks = axis.ticks(unit);
    let widest = ticks.iter().map(|(_, words)| text_width(words, 10.0));
    let left = widest.fold(20.0, f64::max) + 8.0;
    let plot = Area {
        x: area.x + left,
        y: area.y + 4.0,
        width: area.width - left - 6.0,
        height,
    };
    time_axis(svg, range, plot);
    let mut grid = String::new();
    for (value, words) in &ticks {
        let y = axis.y(*value, plot);
        grid.push_str(&format!(
            "M{} {}h{}",
            short(plot.x),
            short(y),
            short(plot.width)
        ));
        svg.text([plot.x - 6.0, y + 3.5], (SMALL, FAINT, Anchor::End), words);
    }
    svg.path(&grid, &format!("stroke=\"{}\"", svg::GRID));
    // The last of a stack is the highest: those below are drawn over it.
    let order: Vec<usize> = if panel.is_stacked {
        (0..shown.len()).rev().collect()
    } else {
        (0..shown.len()).collect()
    };
    svg.add(
        "<g transform=\"scale(.5)\" stroke-width=\"2.6\" stroke-linejoin=\"round\" fill=\"none\">",
    );
    for number in order {
        let points = place(shown[number], axis, range, plot);
        let color = svg_color(panel, lines, number);
        series(
            svg,
            panel,
            &points,
            (color, shown.len() <= FILLED_MAX),
            axis.y(axis.low.max(0.0), plot),
        );
    }
    svg.add("</g>");
    draw_marks(svg, time, plot);
    if panel.shows_thresholds {
        thresholds(svg, panel, axis, plot);
    }
    let top = area.y + area.height - legend_height + 12.0;
    legend.draw(svg, panel, lines, [area.x, top]);
}

/// The series, of many only those that have something to show.
fn some<'a>(lines: &[&'a Line]) -> Vec<&'a Line> {
    let shows = |line: &&&Line| line.points.iter().any(|(_, value)| value.abs() > 0.0);
    let shown: Vec<&Line> = lines.iter().filter(shows).copied().collect();
    if lines.len() < ZEROES_FROM || shown.is_empty() {
        return lines.to_vec();
    }
    shown
}

/// A single series that is judged has the colour of its judgement, others that of their number.
fn svg_color<'a>(panel: &'a Panel, lines: &[&Line], number: usize) -> &'a str {
    let fixed = panel.colors.iter();
    let name = &lines[number].name;
    if let Some((_, color)) = fixed.into_iter().find(|(of, _)| of.matches(name)) {
        return svg::color(color);
    }
    if panel.is_judged
        && let Some(color) = lines[number]
            .last()
            .and_then(|last| super::judge(panel, last))
    {
        return color;
    }
    palette(number)
}

fn series(
    svg: &mut Svg,
    panel: &Panel,
    points: &[[f64; 2]],
    (color, is_filled): (&str, bool),
    bottom: f64,
) {
    if panel.draws_bars {
        let bars = points.iter().filter(|[_, y]| y.is_finite());
        let bars = bars.map(|[x, y]| polyline(&[[*x, bottom], [*x, *y]]));
        let bars = bars.collect::<String>();
        return svg.path(&bars, &format!("stroke=\"{color}\" stroke-width=\"5\""));
    }
    for part in points.split(|[_, y]| !y.is_finite()) {
        let ([first, ..], Some(last)) = (part, part.last()) else {
            continue;
        };
        // One point alone is a dot.
        let line = if part.len() == 1 {
            polyline(&[*first, [first[0] + 1.0, first[1]]])
        } else {
            polyline(part)
        };
        let close = |line: &str| format!("{line}{}", svg::down(*last, *first, bottom));
        if panel.is_stacked {
            // What is behind must not shine through.
            let fill = format!("stroke=\"{color}\" fill=\"{}\"", faded(color));
            svg.path(&close(&line), &fill);
            continue;
        }
        if panel.fill > 0 && is_filled {
            // A tint: every other point is enough.
            let rough: Vec<[f64; 2]> = part.iter().copied().step_by(2).chain([*last]).collect();
            let fill = format!(
                "fill=\"{color}\" fill-opacity=\".{:02}\" stroke=\"none\"",
                panel.fill.min(99)
            );
            svg.path(&close(&polyline(&rough)), &fill);
        }
        svg.path(&line, &format!("stroke=\"{color}\""));
    }
}

/// Every series with those before it added.
fn stack(lines: &[&Line]) -> Vec<Vec<(f64, f64)>> {
    let mut times: Vec<f64> = lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|(at, _)| *at)
        .collect();
    times.sort_by(f64::total_cmp);
    times.dedup();
    let mut sum = vec![0.0; times.len()];
    let mut stacked = Vec::new();
    for line in lines {
        let mut own = line.points.iter().peekable();
        for (sum, time) in sum.iter_mut().zip(&times) {
            if let Some((_, value)) = own.next_if(|(at, _)| at == time)
                && value.is_finite()
            {
                *sum += value;
            }
        }
        stacked.push(times.iter().copied().zip(sum.iter().copied()).collect());
    }
    stacked
}

fn place(points: &[(f64, f64)], axis: Axis, (start, end): Range, plot: Area) -> Vec<[f64; 2]> {
    let inside = points.iter().filter(|(at, _)| (start..=end).contains(at));
    let mut placed: Vec<[f64; 2]> = Vec::new();
    let mut last = None;
    // Prometheus leaves points out where there is nothing.
    let step = points
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .fold(f64::MAX, f64::min);
    for (at, value) in inside {
        let x = plot.x + plot.width * (at - start) / (end - start);
        if last.is_some_and(|last| at - last > step * 1.5) {
            placed.push([x, f64::NAN]);
        }
        let y = if value.is_finite() {
            axis.y(*value, plot)
        } else {
            f64::NAN
        };
        placed.push([x, y]);
        last = Some(at);
    }
    placed
}

fn thresholds(svg: &mut Svg, panel: &Panel, axis: Axis, plot: Area) {
    for (from, color) in &panel.thresholds {
        if from.is_finite() && (axis.low..=axis.high).contains(from) {
            let y = axis.y(*from, plot);
            let more = " stroke-dasharray=\"5 4\" stroke-opacity=\".8\"";
            svg.line(
                [plot.x, y],
                [plot.x + plot.width, y],
                svg::color(color),
                more,
            );
        }
    }
}

impl Axis {
    fn new(panel: &Panel, unit: &Unit, lines: &[&[(f64, f64)]], count: f64) -> Self {
        let values = lines
            .iter()
            .flat_map(|points| points.iter())
            .map(|(_, value)| *value);
        let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let [low, high] = panel.ends;
        // From zero, unless that would make a flat line of what is far from it.
        let far = least > 0.0 && most - least < least * 0.1 && most - least > 0.0 && least > 1e6;
        let low = low.unwrap_or(if least < 0.0 || far { least } else { 0.0 });
        let high = high.map_or(most, |high| if most > high { most } else { high });
        let high = if high > low {
            high
        } else {
            low + if low == 0.0 { 1.0 } else { low.abs() }
        };
        let step = unit.step(high - low, count);
        let snapped = (high / step - 1e-6).ceil() * step;
        Self {
            low: if far {
                (low / step).floor() * step
            } else {
                low
            },
            high: if panel.ends[1].is_some_and(|end| (end - high).abs() < f64::EPSILON) {
                high
            } else {
                snapped
            },
            step,
        }
    }

    fn ticks(self, unit: &Unit) -> Vec<(f64, String)> {
        let first = (self.low / self.step - 1e-6).ceil();
        let ticks = (0..20).map(|n| (first + f64::from(n)) * self.step);
        let ticks = ticks.take_while(|tick| *tick <= self.high + self.step * 1e-6);
        ticks
            .map(|tick| (tick, unit.tick(tick, self.step)))
            .collect()
    }

    fn y(self, value: f64, plot: Area) -> f64 {
        let part = (value - self.low) / (self.high - self.low);
        plot.y + plot.height * (1.0 - part.clamp(0.0, 1.0))
    }
}

/// Names, placed in rows.
struct Legend {
    /// Row and left end of each name, as far as there is room.
    entries: Vec<(usize, f64, String)>,
    more: usize,
    rows: usize,
}

impl Legend {
    fn new(lines: &[&Line], width: f64) -> Self {
        let (mut row, mut x, mut entries) = (0, 0.0, Vec::new());
        for line in lines {
            let name = fit(&line.name, LEGEND_SIZE, (width - 24.0).min(260.0));
            let wide = 18.0 + text_width(&name, LEGEND_SIZE) + 12.0;
            if x > 0.0 && x + wide > width - 30.0 {
                row += 1;
                x = 0.0;
            }
            if row == LEGEND_ROWS_MAX {
                break;
            }
            entries.push((row, x, name));
            x += wide;
        }
        Self {
            more: lines.len() - entries.len(),
            rows: entries.last().map_or(0, |(row, ..)| row + 1),
            entries,
        }
    }

    fn height(&self) -> f64 {
        f64::from(u32::try_from(self.rows).unwrap_or(0)) * LEGEND_ROW
    }

    fn draw(&self, svg: &mut Svg, panel: &Panel, lines: &[&Line], [left, top]: [f64; 2]) {
        let mut end = [left, top];
        for (number, (row, x, name)) in self.entries.iter().enumerate() {
            let y = top + f64::from(u32::try_from(*row).unwrap_or(0)) * LEGEND_ROW;
            let color = svg_color(panel, lines, number);
            svg.rect([left + x, y - 5.0, 12.0, 3.0], color, " rx=\"1\"");
            let at = [left + x + 17.0, y];
            svg.text(at, (LEGEND_SIZE, FAINT, Anchor::Start), name);
            end = [left + x + 30.0 + text_width(name, LEGEND_SIZE), y];
        }
        if self.more > 0 {
            let words = format!("+ {}", self.more);
            svg.text(end, (LEGEND_SIZE, FAINT, Anchor::Start), &words);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(f64, f64)]) -> Line {
        Line {
            name: String::new(),
            at_most: None,
            points: points.to_vec(),
        }
    }

    #[test]
    fn a_stack_adds_what_is_there() {
        let (one, two) = (
            line(&[(1.0, 1.0), (2.0, 2.0)]),
            line(&[(2.0, 5.0), (3.0, 7.0)]),
        );
        let stacked = stack(&[&one, &two]);
        assert_eq!(stacked[0], [(1.0, 1.0), (2.0, 2.0), (3.0, 0.0)]);
        assert_eq!(stacked[1], [(1.0, 1.0), (2.0, 7.0), (3.0, 7.0)]);
    }

    #[test]
    fn where_points_are_left_out_the_line_has_a_gap() {
        let axis = Axis {
            low: 0.0,
            high: 10.0,
            step: 5.0,
        };
        let plot = Area {
            x: 0.0,
            y: 0.0,
            width: 10.0,
            height: 10.0,
        };
        let points = [(0.0, 0.0), (1.0, 5.0), (5.0, 10.0)];
        let placed = place(&points, axis, (0.0, 10.0), plot);
        assert_eq!(placed.len(), 4);
        assert_eq!((placed[1], placed[3]), ([1.0, 5.0], [5.0, 0.0]));
        assert!(placed[2][1].is_nan());
    }
}
