//! A histogram over time: how many values fell where and when, the more the brighter.

use super::{
    Area, Line, Range, Unit,
    svg::{Anchor, FAINT, Svg, short, text_width},
    time_axis,
};

/// Shades from few to many.
const SHADES: [&str; 7] = [
    "#1d2b4a", "#27477b", "#2f6d9c", "#3a98a4", "#6cc08b", "#c5d96a", "#f9e34c",
];

/// Columns at most: what can be told apart.
const COLUMNS: usize = 60;

/// A row of the picture: values above that of the row before and up to this.
struct Bucket {
    at_most: f64,
    /// By column.
    counts: Vec<f64>,
}

pub(super) fn draw(
    svg: &mut Svg,
    unit: &Unit,
    lines: &[&Line],
    range: Range,
    area: Area,
) -> Result<(), String> {
    let buckets = buckets(lines, range);
    let counts = buckets.iter().flat_map(|bucket| &bucket.counts);
    let most = counts.copied().fold(0.0, f64::max);
    if most <= 0.0 {
        return Err("no values in any bucket".to_owned());
    }
    // Rows that are empty above and below all others say nothing.
    let used = |bucket: &Bucket| bucket.counts.iter().any(|count| *count > 0.0);
    let first = buckets.iter().position(used).unwrap_or(0).saturating_sub(1);
    let last = buckets.iter().rposition(used).unwrap_or(0) + 1;
    let rows = &buckets[first..(last + 1).min(buckets.len())];
    let names: Vec<String> = rows
        .iter()
        .map(|row| unit.format(row.at_most, None))
        .collect();
    let left = names
        .iter()
        .map(|name| text_width(name, 10.0))
        .fold(20.0, f64::max)
        + 8.0;
    let plot = Area {
        x: area.x + left,
        y: area.y + 4.0,
        width: area.width - left - 6.0,
        height: area.height - 22.0,
    };
    time_axis(svg, range, plot);
    let columns = f64::from(u32::try_from(COLUMNS).unwrap_or(1));
    let count = f64::from(u32::try_from(rows.len()).unwrap_or(1));
    let (width, height) = (plot.width / columns, plot.height / count);
    let mut shades = vec![String::new(); SHADES.len()];
    for ((number, row), name) in (0..).zip(rows).zip(&names) {
        let y = plot.y + plot.height - height * f64::from(number + 1);
        if height > 11.0 || number % 2 == 0 {
            let at = [plot.x - 6.0, y + 3.5];
            svg.text(at, (10.0, FAINT, Anchor::End), name);
        }
        for (column, count) in (0..).zip(&row.counts) {
            if *count > 0.0 {
                let x = plot.x + width * f64::from(column);
                let (w, h) = (short(width - 0.6), short(height - 0.6));
                let cell = format!("M{} {}h{w}v{h}h-{w}z", short(x), short(y));
                shades[shade(*count / most)].push_str(&cell);
            }
        }
    }
    for (cells, color) in shades.iter().zip(SHADES) {
        if !cells.is_empty() {
            svg.path(cells, &format!("fill=\"{color}\""));
        }
    }
    Ok(())
}

/// Few are to be seen too, so shades go by the root.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of one times the number of shades"
)]
fn shade(part: f64) -> usize {
    let last = f64::from(u32::try_from(SHADES.len() - 1).unwrap_or(0));
    (part.sqrt() * last).round().clamp(0.0, last) as usize
}

/// What fell into each bucket, from series that count what is at most so much.
fn buckets(lines: &[&Line], (start, end): Range) -> Vec<Bucket> {
    let mut lines: Vec<(f64, &Line)> = lines
        .iter()
        .filter_map(|line| Some((line.at_most?, *line)))
        .collect();
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut below = vec![0.0; COLUMNS];
    let mut buckets = Vec::new();
    for (at_most, line) in lines {
        let mut sums = vec![0.0; COLUMNS];
        for (at, value) in &line.points {
            if let Some(column) = column((at - start) / (end - start))
                && value.is_finite()
            {
                sums[column] += value;
            }
        }
        let counts = sums
            .iter()
            .zip(&below)
            .map(|(sum, below)| (sum - below).max(0.0));
        let counts = counts.collect();
        below = sums;
        buckets.push(Bucket { at_most, counts });
    }
    buckets
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a part of one times the number of columns"
)]
fn column(part: f64) -> Option<usize> {
    let column = (part * COLUMNS as f64).floor();
    (column >= 0.0 && part <= 1.0).then(|| (column as usize).min(COLUMNS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_what_the_one_below_has_not() {
        let line = |at_most, value| Line {
            name: String::new(),
            at_most: Some(at_most),
            points: vec![(0.0, value)],
        };
        let (low, high) = (line(0.1, 3.0), line(f64::INFINITY, 5.0));
        let found = buckets(&[&high, &low], (0.0, 60.0));
        let counts: Vec<f64> = found.iter().map(|bucket| bucket.counts[0]).collect();
        assert_eq!(counts, [3.0, 2.0]);
    }

    #[test]
    fn few_are_seen_beside_many() {
        assert_eq!((shade(1.0), shade(0.0)), (SHADES.len() - 1, 0));
        assert!(shade(0.05) > 0);
    }
}
