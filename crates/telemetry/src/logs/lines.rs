//! One line: what was left out, how many before it, who writes.

use std::{fmt, time::Instant};

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Json, Writer, format},
        time::SystemTime,
    },
    registry::LookupSpan,
};

use super::{IDENTITY, Identity, limit::Limit};

/// Lines for people.
#[derive(Debug)]
pub(super) struct TextLines(Limited<Full>);

/// Lines for collectors: one JSON object each.
#[derive(Debug)]
pub(super) struct JsonLines(Limited<Json>);

/// Lines as the library makes them, but for those that are left out.
#[derive(Debug)]
struct Limited<F> {
    limit: Limit,
    format: Format<F, SystemTime>,
}

impl<F> Limited<F> {
    fn new(format: Format<F, SystemTime>) -> Self {
        Self {
            limit: Limit::default(),
            format,
        }
    }

    /// A line without its end, and how many were left out before it; nothing if it is left out itself.
    fn line<S, N>(
        &self,
        context: &FmtContext<'_, S, N>,
        event: &Event<'_>,
    ) -> Result<Option<(String, u64)>, fmt::Error>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
        N: for<'a> FormatFields<'a> + 'static,
        Format<F, SystemTime>: FormatEvent<S, N>,
    {
        let Some(suppressed) = self.limit.pass(event.metadata(), Instant::now()) else {
            return Ok(None);
        };
        let mut line = String::new();
        self.format
            .format_event(context, Writer::new(&mut line), event)?;
        line.truncate(line.trim_end_matches('\n').len());
        Ok(Some((line, suppressed)))
    }
}

impl TextLines {
    pub(super) fn new(coloured: bool) -> Self {
        Self(Limited::new(
            format().with_target(false).with_ansi(coloured),
        ))
    }
}

impl JsonLines {
    pub(super) fn new() -> Self {
        Self(Limited::new(format().json().flatten_event(true)))
    }
}

impl<S, N> FormatEvent<S, N> for TextLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some((line, suppressed)) = self.0.line(context, event)? else {
            return Ok(());
        };
        if suppressed > 0 {
            writeln!(writer, "{line} suppressed={suppressed}")
        } else {
            writeln!(writer, "{line}")
        }
    }
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some((line, suppressed)) = self.0.line(context, event)? else {
            return Ok(());
        };
        write!(writer, "{}", line.strip_suffix('}').unwrap_or(&line))?;
        if suppressed > 0 {
            write!(writer, ",\"suppressed\":{suppressed}")?;
        }
        if let Some(Identity { role, instance }) = IDENTITY.get() {
            // Names of processes hold letters, digits, `_` and `-`.
            write!(writer, ",\"role\":\"{role}\",\"instance\":\"{instance}\"")?;
        }
        writeln!(writer, "}}")
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use heliograph_protocol::TraceContext;
    use parking_lot::Mutex;
    use tracing_subscriber::{
        Registry,
        fmt::{
            MakeWriter,
            format::{DefaultFields, JsonFields},
            layer,
        },
        layer::SubscriberExt,
    };

    use super::*;
    use crate::{identify_logs, logs::LINES_AT_ONCE, trace};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Page {
        fn lines(&self) -> Vec<String> {
            let bytes = self.0.lock().clone();
            let text = String::from_utf8(bytes).unwrap();
            text.lines().map(str::to_owned).collect()
        }
    }

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Page {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn json(write: impl FnOnce()) -> Vec<String> {
        let page = Page::default();
        let layer = layer()
            .with_writer(page.clone())
            .fmt_fields(JsonFields::new())
            .event_format(JsonLines::new());
        tracing::subscriber::with_default(Registry::default().with(layer), write);
        page.lines()
    }

    fn text(write: impl FnOnce()) -> Vec<String> {
        let page = Page::default();
        let layer = layer()
            .with_writer(page.clone())
            .fmt_fields(DefaultFields::new())
            .event_format(TextLines::new(false));
        tracing::subscriber::with_default(Registry::default().with(layer), write);
        page.lines()
    }

    #[test]
    fn a_json_line_says_what_where_and_who() {
        identify_logs("gateway", "gw-1");
        let trace = TraceContext {
            trace_id: [0xab; 16],
            span_id: [1; 8],
        };
        let lines = json(|| {
            let trace_id = trace::log_id(Some(trace));
            tracing::warn!(
                error = "{disk} \"full\"",
                trace_id,
                count = 3,
                "failed to store {{it}}"
            );
        });
        let [line] = &lines[..] else {
            panic!("{lines:?}")
        };
        assert!(
            line.starts_with("{\"timestamp\":\"") && line.ends_with('}'),
            "{line}"
        );
        for part in [
            r#","level":"WARN","#,
            r#","message":"failed to store {it}","#,
            r#","error":"{disk} \"full\"","#,
            r#","trace_id":"abababababababababababababababab","#,
            r#","count":3,"#,
            r#","target":"heliograph_telemetry::logs::lines::tests","#,
            r#","role":"gateway","instance":"gw-1"}"#,
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    #[test]
    fn without_a_trace_there_is_no_such_field() {
        let lines = json(|| tracing::warn!(trace_id = trace::log_id(None), "no trace"));
        assert!(!lines[0].contains("trace_id"), "{lines:?}");
    }

    #[test]
    fn a_place_that_floods_is_cut_and_others_are_not() {
        let before = crate::rate_limit::suppressed();
        let lines = json(|| {
            for round in 0..10_000 {
                tracing::error!(round, "again");
            }
            tracing::info!("another");
        });
        let cut = lines.iter().filter(|line| line.contains("again")).count();
        // Ten seconds more than it takes would let one more through.
        assert!((LINES_AT_ONCE as usize..30).contains(&cut), "{cut}");
        assert!(lines[lines.len() - 1].contains("another"));
        assert!(crate::rate_limit::suppressed() - before > 9_900);
    }

    #[test]
    fn text_lines_are_cut_likewise_and_debug_lines_are_not() {
        let lines = text(|| {
            for _ in 0..100 {
                tracing::warn!("again");
                tracing::debug!("for developers");
            }
        });
        let count = |part: &str| lines.iter().filter(|line| line.ends_with(part)).count();
        assert_eq!((count("again"), count("for developers")), (20, 100));
    }
}
