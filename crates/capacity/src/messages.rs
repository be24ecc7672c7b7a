//! How many messages one event makes in a cluster, and how many bytes of it they carry: by the design,
//! and exactly what the simulated clusters of `simulation/` count.

/// A cluster, and how far an event reaches in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// All gateways.
    pub gateways: u64,
    /// All matchers.
    pub matchers: u64,
    /// Gateways with at least one subscription that wants the event.
    pub matching: u64,
    /// Subscriptions that want it, at all gateways together.
    pub subscriptions: u64,
}

/// Messages that one event makes if it travels in a batch of its own. Of a batch of several, what is
/// counted by batch is shared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Messages {
    /// From the gateway to the stream of events; by batch.
    pub published: u64,
    /// From there to an ingest worker; by batch.
    pub fetched: u64,
    /// From the worker to the stream of commits; by batch.
    pub committed: u64,
    /// From there to matchers: each follows the whole stream; by batch.
    pub followed: u64,
    /// From the worker back to the gateway; by batch.
    pub receipts: u64,
    /// From the worker to the stream of events: done; by batch.
    pub acknowledged: u64,
    /// From a matcher to a gateway, with the event and all its receivers there; by event.
    pub delivered: u64,
    /// From a matcher to each gateway that it serves: the number of the newest commit, no event; by
    /// batch.
    pub places: u64,
    /// From gateways to subscribers; by event.
    pub received: u64,
}

impl Messages {
    /// What the design says.
    #[must_use]
    pub const fn of(reach: Reach) -> Self {
        Self {
            published: 1,
            fetched: 1,
            committed: 1,
            followed: reach.matchers,
            receipts: 1,
            acknowledged: 1,
            delivered: reach.matching,
            places: reach.gateways,
            received: reach.subscriptions,
        }
    }

    /// Over NATS.
    #[must_use]
    pub const fn on_bus(&self) -> u64 {
        self.published
            + self.fetched
            + self.committed
            + self.followed
            + self.receipts
            + self.acknowledged
    }

    /// Of these, those that carry the event.
    #[must_use]
    pub const fn copies_on_bus(&self) -> u64 {
        self.published + self.fetched + self.committed + self.followed
    }

    /// Each of these carries the event, over NATS or from matcher to gateway.
    #[must_use]
    pub const fn copies(&self) -> u64 {
        self.copies_on_bus() + self.delivered
    }

    /// As many times over.
    #[must_use]
    pub const fn times(&self, events: u64) -> Self {
        Self {
            published: self.published * events,
            fetched: self.fetched * events,
            committed: self.committed * events,
            followed: self.followed * events,
            receipts: self.receipts * events,
            acknowledged: self.acknowledged * events,
            delivered: self.delivered * events,
            places: self.places * events,
            received: self.received * events,
        }
    }
}

/// The clusters that are simulated and stand in the document: gateways, matchers, gateways with a match,
/// and subscriptions at each of these.
pub const SIMULATED: [[u64; 4]; 12] = [
    [1, 1, 1, 3],
    [2, 1, 1, 3],
    [4, 1, 1, 3],
    [10, 1, 1, 3],
    [40, 1, 1, 3],
    [40, 1, 0, 0],
    [40, 1, 4, 3],
    [40, 1, 40, 1],
    [40, 1, 40, 3],
    [40, 2, 4, 3],
    [40, 4, 4, 3],
    [40, 4, 40, 3],
];

/// One of [`SIMULATED`].
#[must_use]
pub const fn reach([gateways, matchers, matching, each]: [u64; 4]) -> Reach {
    Reach {
        gateways,
        matchers,
        matching,
        subscriptions: matching * each,
    }
}

/// The table of [`SIMULATED`].
#[must_use]
pub fn markdown() -> String {
    let mut text = "| gateways | matchers | gateways with a match | subscriptions that want it | NATS: messages | of these with the event | matcher → gateway: deliveries | places told | gateway → client |\n".to_owned();
    text.push_str(&format!("|{}\n", " --- |".repeat(9)));
    for cluster in SIMULATED {
        let reach = reach(cluster);
        let messages = Messages::of(reach);
        let cells = [
            reach.gateways,
            reach.matchers,
            reach.matching,
            reach.subscriptions,
            messages.on_bus(),
            messages.copies_on_bus(),
            messages.delivered,
            messages.places,
            messages.received,
        ];
        let cells = cells.map(|cell| cell.to_string());
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_crosses_once_to_each_gateway_with_a_match() {
        let few = Messages::of(reach([40, 1, 1, 3]));
        let many = Messages::of(reach([40, 1, 1, 3_000]));
        assert_eq!((few.delivered, many.delivered), (1, 1));
        assert_eq!(few.copies(), 5);
        assert_eq!(Messages::of(reach([1, 1, 1, 3])).copies(), few.copies());
    }

    #[test]
    fn every_matcher_adds_one_copy() {
        let one = Messages::of(reach([40, 1, 4, 3]));
        let four = Messages::of(reach([40, 4, 4, 3]));
        assert_eq!(four.copies() - one.copies(), 3);
        assert_eq!((one.on_bus(), four.on_bus()), (6, 9));
    }
}
