//! What clients felt of a fault, and for how long.

use std::{collections::BTreeMap, fmt, time::Duration};

use heliograph_testkit::history::{Entry, What};

/// Counts and times over a part of a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// When the part begins.
    start: Duration,
    /// By gateway.
    gateways: BTreeMap<usize, AtGateway>,
}

/// What clients of one gateway felt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct AtGateway {
    /// OK true.
    accepted: usize,
    /// OK false with `error:`.
    errors: usize,
    /// CLOSED with `error:`.
    closed: usize,
    /// Connections that broke.
    disconnected: usize,
    /// The longest time without any OK true.
    ok_gap: Gap,
    /// The longest time in which no subscription got anything.
    event_gap: Gap,
    /// The longest time without any EOSE.
    eose_gap: Gap,
}

/// The longest time between two of a kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Gap {
    last: Duration,
    longest: Duration,
}

impl Gap {
    fn note(&mut self, at: Duration) {
        self.longest = self.longest.max(at.saturating_sub(self.last));
        self.last = at;
    }
}

impl Effects {
    /// Of these entries.
    #[must_use]
    pub fn of(entries: &[Entry]) -> Self {
        let mut effects = Self {
            start: entries.first().map_or(Duration::ZERO, |entry| entry.at),
            ..Self::default()
        };
        for entry in entries {
            effects.note(entry);
        }
        effects
    }

    fn note(&mut self, entry: &Entry) {
        if entry.connection == 0 {
            return;
        }
        let start = self.start;
        let gateway = self.gateways.entry(entry.gateway).or_insert_with(|| {
            let mut gateway = AtGateway::default();
            let gaps = [
                &mut gateway.ok_gap,
                &mut gateway.event_gap,
                &mut gateway.eose_gap,
            ];
            gaps.into_iter().for_each(|gap| gap.last = start);
            gateway
        });
        match &entry.what {
            What::Ok { accepted: true, .. } => {
                gateway.accepted += 1;
                gateway.ok_gap.note(entry.at);
            }
            What::Ok { text, .. } => gateway.errors += usize::from(text.starts_with("error:")),
            What::Closed { text, .. } => {
                gateway.closed += usize::from(text.starts_with("error:"));
            }
            What::Disconnected { .. } => gateway.disconnected += 1,
            What::Event { .. } => gateway.event_gap.note(entry.at),
            What::Eose { .. } => gateway.eose_gap.note(entry.at),
            _ => {}
        }
    }
}

impl fmt::Display for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, at) in &self.gateways {
            let seconds = |gap: Gap| gap.longest.as_secs_f64();
            write!(
                f,
                "\n    gateway {number}: no OK true for {:.1} s, no EVENT for {:.1} s, no EOSE for \
                 {:.1} s; {} OK true, {} OK error:, {} CLOSED error:, {} disconnected",
                seconds(at.ok_gap),
                seconds(at.event_gap),
                seconds(at.eose_gap),
                at.accepted,
                at.errors,
                at.closed,
                at.disconnected,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use heliograph_testkit::{history::History, keys::Key};

    use super::*;

    #[test]
    fn gaps_and_counts_are_those_of_each_gateway() {
        let history = History::new();
        let id = *Key::nth(0).note(1, "x").id();
        let ok = |accepted, text: &str| What::Ok {
            id,
            accepted,
            text: Arc::from(text),
        };
        let at = |seconds, gateway, what| Entry {
            at: Duration::from_secs(seconds),
            intended: None,
            connection: 1,
            gateway,
            what,
        };
        history.append(at(1, 0, ok(true, "")));
        history.append(at(2, 1, ok(true, "")));
        history.append(at(3, 0, ok(false, "error: no receipt")));
        history.append(at(6, 0, ok(true, "")));
        history.append(at(7, 0, ok(true, "")));
        history.mark("not a client's");
        let effects = Effects::of(&history.entries());
        assert_eq!(effects.gateways.len(), 2);
        let first = &effects.gateways[&0];
        assert_eq!((first.accepted, first.errors), (3, 1));
        assert_eq!(first.ok_gap.longest, Duration::from_secs(5));
        // Until the first one counts too.
        assert_eq!(effects.gateways[&1].ok_gap.longest, Duration::from_secs(1));
    }
}
