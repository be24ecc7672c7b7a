//! A plan for people.

use crate::{
    figure::{short, thousands},
    plan::{GB, Mode, Part, Plan},
};

impl Plan {
    /// As Markdown, which reads well in a terminal too.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = self.head();
        text.push_str("\n| part | how many | cores each | memory each, GiB | disk each, GB | busy, % | how many follows from | memory is for |\n");
        text.push_str("| --- | --- | --- | --- | --- | --- | --- | --- |\n");
        for part in &self.parts {
            text.push_str(&line(part));
        }
        text.push_str(&self.totals());
        text.push_str(&self.rates());
        for note in &self.notes {
            text.push_str(&format!("\n- {note}"));
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        text
    }

    fn head(&self) -> String {
        let (load, demand) = (&self.load, &self.demand);
        let mode = match self.mode {
            Mode::Single => "One process",
            Mode::Cluster | Mode::Auto => "A cluster",
        };
        format!(
            "{mode} for {} connections, {} events/s to {} subscriptions each, {} REQ/s; {} events kept at the end of {} days.\n",
            thousands(load.connections),
            short(load.events),
            short(load.fanout),
            short(demand.reqs),
            thousands(demand.events_kept),
            short(load.retention_days),
        )
    }

    fn totals(&self) -> String {
        let sum = |of: fn(&Part) -> f64| -> f64 {
            self.parts
                .iter()
                .map(|part| part.count as f64 * of(part))
                .sum()
        };
        format!(
            "| all | {} | {} | {} | {} | | | |\n",
            self.parts.iter().map(|part| part.count).sum::<u64>(),
            thousands(sum(|part| part.cores)),
            thousands(sum(|part| part.memory_gib)),
            thousands(sum(|part| part.disk_gb)),
        )
    }

    fn rates(&self) -> String {
        let mbit = |bits: f64| format!("{} Mbit/s", short(bits / 1e6));
        let b = &self.bandwidth;
        let mut lines = vec![
            (
                "deliveries to clients",
                format!("{}/s", short(self.demand.deliveries)),
            ),
            ("from clients", mbit(b.clients_in)),
            ("to clients, compressed", mbit(b.clients_out)),
        ];
        if let Some(streams) = &self.streams {
            let gb = |bytes: f64| format!("{} GB", short(bytes / GB));
            lines.push(("out of NATS, all servers", mbit(b.nats_out)));
            lines.push(("from matchers to gateways, at most", mbit(b.link)));
            lines.push((
                "stream of commits, each server",
                gb(streams.committed_bytes),
            ));
            let backlog = "stream of events with the database down, each server";
            lines.push((backlog, gb(streams.events_bytes)));
        }
        let stored = format!("{} GB", thousands(self.stored_bytes / GB));
        lines.push(("stored, all copies", stored));
        let c = &self.cost;
        let cost = format!(
            "{} = cores {} + memory {} + disk {} + bytes to clients {}",
            thousands(c.total),
            thousands(c.cores),
            thousands(c.memory),
            thousands(c.disk),
            thousands(c.egress)
        );
        lines.push(("cost a month, in the currency of the prices", cost));
        let mut text = "\n| beside | |\n| --- | --- |\n".to_owned();
        for (what, value) in lines {
            text.push_str(&format!("| {what} | {value} |\n"));
        }
        text
    }
}

fn line(part: &Part) -> String {
    format!(
        "| {} | {} | {} | {} | {} | {:.0} | {} | {} |\n",
        part.role,
        part.count,
        part.cores,
        part.memory_gib,
        thousands(part.disk_gb),
        part.busy * 100.0,
        part.bound_by,
        part.memory_for
    )
}
