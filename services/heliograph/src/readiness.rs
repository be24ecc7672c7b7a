//! What makes an edge turn clients away for a while: they do better at another one.

use std::sync::Arc;

use heliograph_bus::Bus;
use heliograph_gateway::Gateway;
use heliograph_telemetry::Health;

/// Not ready while there is no room for another connection, or while the queue of signatures to check,
/// of `queue_max` events, is nine tenths full.
pub(crate) fn of_edge<B: Bus>(health: &Health, gateway: &Arc<Gateway<B>>, queue_max: usize) {
    // Weak: health outlives the edge, which has to end.
    let edge = Arc::downgrade(gateway);
    let asked = std::sync::Weak::clone(&edge);
    health.ready_when("connections", move || match asked.upgrade() {
        Some(gateway) if gateway.is_full() => Err("at their limit".to_owned()),
        _ => Ok(()),
    });
    let nearly_full = (queue_max - queue_max / 10).max(1);
    health.ready_when("verify", move || {
        let waiting = edge.upgrade().map_or(0, |gateway| gateway.checks_waiting());
        if waiting < nearly_full {
            Ok(())
        } else {
            Err(format!("{waiting} events wait for a check"))
        }
    });
}
