//! The few elements of SVG that pictures are made of, and their colours.

/// Behind everything, behind a panel, around it; lines of the grid; text and lesser text.
pub(super) const CANVAS: &str = "#111217";
pub(super) const PANEL: &str = "#181b1f";
pub(super) const EDGE: &str = "#2a2d33";
pub(super) const GRID: &str = "#26292e";
pub(super) const TEXT: &str = "#ccccdc";
pub(super) const FAINT: &str = "#8e8e9c";

/// The size of text on axes.
pub(super) const SMALL: f64 = 10.0;

/// Colours of series, in this order.
const PALETTE: [&str; 12] = [
    "#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#c8f2c2",
    "#e0b400", "#7eb6a5", "#ffa6b0", "#a352cc",
];

/// The colour of series number `n`.
pub(super) fn palette(n: usize) -> &'static str {
    PALETTE[n % PALETTE.len()]
}

/// A colour by Grafana's word for it, or as it is.
pub(super) fn color(word: &str) -> &str {
    let plain = word.rsplit_once('-').map_or(word, |(_, plain)| plain);
    match plain {
        "green" => "#73bf69",
        "yellow" => "#f2cc0c",
        "orange" => "#ff9830",
        "red" => "#f2495c",
        "blue" => "#5794f2",
        "purple" => "#b877d9",
        "text" => TEXT,
        "transparent" => "none",
        _ if word.starts_with('#') || word.starts_with("rgb") => word,
        _ => TEXT,
    }
}

/// A colour on the ground of a panel, for areas.
pub(super) fn faded(color: &str) -> String {
    let parts = |color: &str| {
        let part = |from: usize| u32::from_str_radix(color.get(from..from + 2)?, 16).ok();
        Some([part(1)?, part(3)?, part(5)?])
    };
    let (Some(own), Some(ground)) = (parts(color), parts(PANEL)) else {
        return color.to_owned();
    };
    let mixed = own.iter().zip(ground);
    let mixed = mixed.map(|(own, ground)| format!("{:02x}", (own * 11 + ground * 9) / 20));
    format!("#{}", mixed.collect::<String>())
}

/// Where the words of a text element stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture that grows.
#[derive(Debug, Default)]
pub(super) struct Svg(String);

impl Svg {
    pub(super) fn rect(&mut self, [x, y, width, height]: [f64; 4], fill: &str, more: &str) {
        self.add(&format!(
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{fill}\"{more}/>",
            short(x),
            short(y),
            short(width),
            short(height)
        ));
    }

    pub(super) fn line(&mut self, from: [f64; 2], to: [f64; 2], color: &str, more: &str) {
        self.add(&format!(
            "<path d=\"M{} {}L{} {}\" stroke=\"{color}\"{more}/>",
            short(from[0]),
            short(from[1]),
            short(to[0]),
            short(to[1])
        ));
    }

    pub(super) fn path(&mut self, d: &str, more: &str) {
        self.add(&format!("<path d=\"{d}\" {more}/>"));
    }

    /// Words; those of axes and legends, small and faint, are what the picture has without saying.
    pub(super) fn text(
        &mut self,
        [x, y]: [f64; 2],
        (size, color, anchor): (f64, &str, Anchor),
        words: &str,
    ) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let mut style = String::new();
        if (size - SMALL).abs() > 0.01 {
            style.push_str(&format!(" font-size=\"{}\"", short(size)));
        }
        if color != FAINT {
            style.push_str(&format!(" fill=\"{color}\""));
        }
        let (x, y) = (short(x), short(y));
        let words = escape(words);
        self.add(&format!(
            "<text x=\"{x}\" y=\"{y}\"{style}{anchor}>{words}</text>"
        ));
    }

    pub(super) fn add(&mut self, element: &str) {
        self.0.push_str(element);
        self.0.push('\n');
    }

    /// The whole file.
    pub(super) fn finish(self, width: f64, height: f64, title: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" \
             font-family=\"Inter,Helvetica Neue,Helvetica,Arial,sans-serif\" \
             font-size=\"{SMALL}\" fill=\"{FAINT}\">\n\
             <title>{}</title>\n{}</svg>\n",
            escape(title),
            self.0
        )
    }
}

/// A path through points; a gap where one isn't a number. In halves of a pixel, relative and without points
/// that change nothing, to be short; whoever draws it scales it.
pub(super) fn polyline(points: &[[f64; 2]]) -> String {
    let placed = |[x, y]: &[f64; 2]| y.is_finite().then(|| [halves(*x), halves(*y)]);
    let points: Vec<Option<[i64; 2]>> = points.iter().map(placed).collect();
    let level =
        |at: usize, y: i64| points.get(at).copied().flatten().map(|[_, own]| own) == Some(y);
    let mut path = String::new();
    let mut last: Option<[i64; 2]> = None;
    // Whether the next step is the first of its line.
    let mut is_first = true;
    for (at, point) in points.iter().enumerate() {
        let Some([x, y]) = *point else {
            last = None;
            continue;
        };
        match last {
            None => path.push_str(&format!("M{x} {y}")),
            // Between two of the same height.
            Some([_, before]) if before == y && level(at + 1, y) => continue,
            Some([before, height]) => {
                let (right, down) = (x - before, y - height);
                // The sign parts two numbers as a space does.
                let between = if is_first { "l" } else { " " };
                let inside = if down < 0 { "" } else { " " };
                path.push_str(&format!("{between}{right}{inside}{down}"));
            }
        }
        is_first = last.is_none();
        last = Some([x, y]);
    }
    path
}

/// The end of a path that was drawn from `first` to `last`: down to the bottom and back below the first
/// point, so that what lies between can be filled.
pub(super) fn down(last: [f64; 2], first: [f64; 2], bottom: f64) -> String {
    format!(
        "L{} {}H{}",
        halves(last[0]),
        halves(bottom),
        halves(first[0])
    )
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "pixels of a picture are few"
)]
fn halves(pixels: f64) -> i64 {
    (pixels * 2.0).round() as i64
}

/// A number of pixels in few characters.
pub(super) fn short(pixels: f64) -> String {
    let text = format!("{pixels:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

/// As much of the words as fits into a width, at a size; about, as fonts differ.
pub(super) fn fit(words: &str, size: f64, width: f64) -> String {
    if text_width(words, size) <= width {
        return words.to_owned();
    }
    let mut cut = String::new();
    for sign in words.chars() {
        cut.push(sign);
        if text_width(&cut, size) > width - size {
            cut.pop();
            return cut.trim_end().to_owned() + "…";
        }
    }
    cut
}

/// How wide words are, about.
pub(super) fn text_width(words: &str, size: f64) -> f64 {
    let one = |sign: char| match sign {
        'i' | 'l' | 'j' | '.' | ',' | ':' | '\'' | '|' | 't' | 'f' | ' ' => 0.3,
        'm' | 'w' | 'M' | 'W' => 0.85,
        sign if sign.is_uppercase() => 0.68,
        _ => 0.56,
    };
    words.chars().map(one).sum::<f64>() * size
}

fn escape(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_short_and_has_gaps() {
        let points = [[0.0, 1.0], [1.0, 1.5], [2.0, f64::NAN], [3.0, 2.0]];
        assert_eq!(polyline(&points), "M0 2l2 1M6 4");
        let level = [[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 0.5], [4.0, 0.0]];
        assert_eq!(polyline(&level), "M0 2l4 0 2-1 2-1");
    }

    #[test]
    fn a_colour_fades_towards_the_ground() {
        assert_eq!(faded("#ffffff"), "#97989a");
        assert_eq!(faded("none"), "none");
    }

    #[test]
    fn words_are_cut_where_they_do_not_fit() {
        assert_eq!(fit("short", 10.0, 100.0), "short");
        let cut = fit("a name that is far too long", 10.0, 60.0);
        assert!(cut.ends_with('…') && cut.len() < 15, "{cut}");
    }

    #[test]
    fn text_is_no_markup() {
        let mut svg = Svg::default();
        svg.text([0.0, 0.0], (1.0, TEXT, Anchor::Start), "a < b & c");
        assert!(svg.finish(1.0, 1.0, "<").contains("a &lt; b &amp; c"));
    }
}
