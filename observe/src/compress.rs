//! Rules in compressed time: every duration of a file of rules divided by one factor, so that a fault
//! of seconds is one of minutes to them.
//!
//! Durations are windows, offsets, `for:`, `interval:`, the time that `predict_linear` looks ahead, and
//! what an age is compared with. Ratios of durations stay; latencies are what they are.

use std::time::Duration;

use serde_yaml_ng::Value;

/// Series that are ages, and functions that make one of a time: what stands behind a comparison with them is a
/// duration.
const AGES: [&str; 3] = [
    "time",
    "heliograph_ingest_oldest_unacked_seconds",
    "heliograph:ingest_oldest_unacked:seconds",
];

/// Keys of groups and rules whose values are durations.
const DURATIONS: [&str; 3] = ["interval", "for", "keep_firing_for"];

/// How rules are changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compression {
    /// What durations are divided by.
    pub factor: f64,
    /// The shortest window that is left, for some samples have to lie in each.
    pub window_min: Duration,
}

impl Compression {
    /// A file of rules, in YAML, with every duration divided.
    ///
    /// # Errors
    ///
    /// It isn't a file of rules, or a duration can't be read.
    pub fn file(self, rules: &str) -> Result<String, String> {
        let mut file: Value = serde_yaml_ng::from_str(rules).map_err(|error| error.to_string())?;
        let groups = file.get_mut("groups").and_then(Value::as_sequence_mut);
        for group in groups.ok_or("no groups")? {
            self.durations(group)?;
            let rules = group.get_mut("rules").and_then(Value::as_sequence_mut);
            for rule in rules.ok_or("a group without rules")? {
                self.durations(rule)?;
                let expression = rule.get_mut("expr").ok_or("a rule without expr")?;
                let text = expression.as_str().ok_or("an expr that is no text")?;
                *expression = Value::String(self.expression(text)?);
            }
        }
        serde_yaml_ng::to_string(&file).map_err(|error| error.to_string())
    }

    fn durations(self, of: &mut Value) -> Result<(), String> {
        for key in DURATIONS {
            if let Some(value) = of.get_mut(key) {
                let text = value.as_str().ok_or_else(|| format!("{key} is no text"))?;
                *value = Value::String(format_ms(self.divide(parse(text)?)));
            }
        }
        Ok(())
    }

    /// An expression with every duration divided.
    ///
    /// # Errors
    ///
    /// A duration can't be read.
    pub fn expression(self, text: &str) -> Result<String, String> {
        let mut rewriter = Rewriter {
            compression: self,
            rest: text,
            out: String::with_capacity(text.len()),
            depth: 0,
            ahead: Vec::new(),
            is_age: false,
            is_compared: false,
        };
        rewriter.run()?;
        Ok(rewriter.out)
    }

    fn divide(self, duration: Duration) -> Duration {
        duration.div_f64(self.factor)
    }
}

/// Goes through an expression token by token.
struct Rewriter<'a> {
    compression: Compression,
    rest: &'a str,
    out: String,
    /// Open parentheses.
    depth: usize,
    /// Calls of `predict_linear`: the depth of their arguments, and whether the second one has begun.
    ahead: Vec<(usize, bool)>,
    /// Whether the operand of `and`, `or` and the like that is read has had an age.
    is_age: bool,
    /// Whether the last token was a comparison.
    is_compared: bool,
}

impl Rewriter<'_> {
    fn run(&mut self) -> Result<(), String> {
        while let Some(first) = self.rest.chars().next() {
            let compared = self.is_compared;
            match first {
                '"' | '\'' | '`' => self.copy(quoted(self.rest, first)),
                '#' => self.copy(self.rest.find('\n').unwrap_or(self.rest.len())),
                '[' => self.window()?,
                '0'..='9' | '.' => self.number(compared)?,
                _ if first.is_ascii_alphabetic() || "_:".contains(first) => self.word(compared)?,
                '>' | '<' | '=' | '!' => {
                    self.copy(1);
                    self.is_compared = true;
                    continue;
                }
                '(' | ')' | ',' => self.structure(first),
                _ => self.copy(first.len_utf8()),
            }
            if first.is_whitespace() {
                self.is_compared = compared;
            } else if !(compared && self.out.ends_with("bool")) {
                self.is_compared = false;
            }
        }
        Ok(())
    }

    fn copy(&mut self, bytes: usize) {
        let (head, tail) = self.rest.split_at(bytes);
        self.out.push_str(head);
        self.rest = tail;
    }

    /// `[5m]`, `[1h:1m]` or `[1h:]`.
    fn window(&mut self) -> Result<(), String> {
        let end = self.rest.find(']').ok_or("a window without end")?;
        let parts = self.rest[1..end].split(':').map(str::trim);
        let parts = parts.map(|part| match part {
            "" => Ok(String::new()),
            _ => {
                let divided = self.compression.divide(parse(part)?);
                Ok(format_ms(divided.max(self.compression.window_min)))
            }
        });
        let parts = parts.collect::<Result<Vec<_>, String>>()?;
        self.out.push_str(&format!("[{}]", parts.join(":")));
        self.rest = &self.rest[end + 1..];
        Ok(())
    }

    fn number(&mut self, compared: bool) -> Result<(), String> {
        let end = self
            .rest
            .find(|sign: char| !sign.is_ascii_alphanumeric() && sign != '.')
            .unwrap_or(self.rest.len());
        if !(compared && self.is_age) {
            self.copy(end);
            return Ok(());
        }
        let number: f64 = self.rest[..end]
            .parse()
            .map_err(|_not_one| format!("{} is compared with an age", &self.rest[..end]))?;
        self.out
            .push_str(&(number / self.compression.factor).to_string());
        self.rest = &self.rest[end..];
        Ok(())
    }

    fn word(&mut self, compared: bool) -> Result<(), String> {
        let end = self
            .rest
            .find(|sign: char| !sign.is_ascii_alphanumeric() && !"_:".contains(sign))
            .unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        match word {
            "and" | "or" | "unless" => self.is_age = false,
            "predict_linear" => self.ahead.push((self.depth + 1, false)),
            _ if AGES.contains(&word) && !compared => self.is_age = true,
            _ => {}
        }
        let is_offset = word == "offset";
        self.copy(end);
        if is_offset { self.offset() } else { Ok(()) }
    }

    fn offset(&mut self) -> Result<(), String> {
        let start = self
            .rest
            .find(|sign: char| !sign.is_whitespace() && sign != '-')
            .unwrap_or(self.rest.len());
        self.copy(start);
        let end = self
            .rest
            .find(|sign: char| !sign.is_ascii_alphanumeric())
            .unwrap_or(self.rest.len());
        let divided = self.compression.divide(parse(&self.rest[..end])?);
        self.out.push_str(&format_ms(divided));
        self.rest = &self.rest[end..];
        Ok(())
    }

    fn structure(&mut self, sign: char) {
        let at = self.ahead.last().copied();
        match (sign, at) {
            ('(', _) => self.depth += 1,
            (',', Some((depth, false))) if depth == self.depth => {
                self.copy(1);
                self.out.push_str(" (");
                if let Some((_, begun)) = self.ahead.last_mut() {
                    *begun = true;
                }
                return;
            }
            (')', Some((depth, begun))) if depth == self.depth => {
                if begun {
                    self.out
                        .push_str(&format!(") / {}", self.compression.factor));
                }
                self.ahead.pop();
                self.depth -= 1;
            }
            (')', _) => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.copy(1);
    }
}

/// Bytes of the string that `text` begins with, quotes included.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, sign) in text.char_indices().skip(1) {
        match sign {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            _ if sign == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Reads a duration as Prometheus writes them: `5m`, `1h30m`, `500ms`.
///
/// # Errors
///
/// It isn't one.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration");
    let (mut rest, mut sum) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|sign: char| !sign.is_ascii_digit());
        let (number, tail) = rest.split_at(digits.ok_or_else(wrong)?);
        let letters = tail.find(|sign: char| !sign.is_ascii_alphabetic());
        let (unit, tail) = tail.split_at(letters.unwrap_or(tail.len()));
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            "y" => 31_536_000.0,
            _ => return Err(wrong()),
        };
        sum += number.parse::<f64>().map_err(|_none| wrong())? * seconds;
        rest = tail;
    }
    if text.is_empty() {
        return Err(wrong());
    }
    Ok(Duration::from_secs_f64(sum))
}

fn format_ms(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY_20: Compression = Compression {
        factor: 20.0,
        window_min: Duration::from_secs(3),
    };

    #[track_caller]
    fn check(expression: &str, expected: &str) {
        assert_eq!(BY_20.expression(expression).unwrap(), expected);
    }

    #[test]
    fn windows_offsets_and_steps_are_divided() {
        check("rate(a_total[5m])", "rate(a_total[15000ms])");
        check("a offset 1h", "a offset 180000ms");
        check("a offset -1h30m + 5", "a offset -270000ms + 5");
        check(
            "max_over_time(a[1h:1m])",
            "max_over_time(a[180000ms:3000ms])",
        );
        check("max_over_time(a[6h:])", "max_over_time(a[1080000ms:])");
    }

    #[test]
    fn a_window_keeps_room_for_some_samples() {
        check("rate(a[30s])", "rate(a[3000ms])");
    }

    #[test]
    fn names_texts_and_latencies_stay() {
        let same = "a:rate5m{le=\"0.5\", b=\"[5m] \\\" > 3\"} > 14.4 * 0.001 # [5m]";
        check(same, same);
        check(
            "histogram_quantile(0.99, a) > 1 and b == bool 2",
            "histogram_quantile(0.99, a) > 1 and b == bool 2",
        );
    }

    #[test]
    fn what_an_age_is_compared_with_is_divided() {
        check("time() - a > 300", "time() - a > 15");
        check(
            "heliograph_ingest_oldest_unacked_seconds >= 300 or b > 300",
            "heliograph_ingest_oldest_unacked_seconds >= 15 or b > 300",
        );
        check(
            "heliograph:ingest_oldest_unacked:seconds > 300",
            "heliograph:ingest_oldest_unacked:seconds > 15",
        );
        // How often JetStream is asked doesn't change.
        check(
            "heliograph_ingest_oldest_unacked_seconds and heliograph:ingest_looked_age:seconds < 60",
            "heliograph_ingest_oldest_unacked_seconds and heliograph:ingest_looked_age:seconds < 60",
        );
        check(
            "b > 300 and time() - a > bool 40",
            "b > 300 and time() - a > bool 2",
        );
    }

    #[test]
    fn what_is_foreseen_is_as_near() {
        check(
            "predict_linear(a[6h], 4 * 3600) < 0",
            "predict_linear(a[1080000ms], ( 4 * 3600) / 20) < 0",
        );
        check(
            "f(predict_linear(sum(a)[1h:1m], (4)), 7)",
            "f(predict_linear(sum(a)[180000ms:3000ms], ( (4)) / 20), 7)",
        );
    }

    #[test]
    fn a_file_is_rewritten_whole() {
        let rules = "groups:\n- name: a\n  interval: 30s\n  rules:\n  - alert: B\n    \
                     expr: rate(c[5m]) > 1\n    for: 2m\n    labels: {severity: page}\n";
        let file = BY_20.file(rules).unwrap();
        for part in [
            "interval: 1500ms",
            "rate(c[15000ms]) > 1",
            "for: 6000ms",
            "severity: page",
        ] {
            assert!(file.contains(part), "{part} in {file}");
        }
        assert!(BY_20.file("groups:\n- name: a\n").is_err());
        assert!(BY_20.file("groups: 3").is_err());
    }

    #[test]
    fn durations_are_read_as_prometheus_does() {
        assert_eq!(parse("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("3d"), Ok(Duration::from_secs(3 * 86_400)));
        for wrong in ["", "5", "m", "5 m", "5x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
