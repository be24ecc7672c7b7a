//! What counts as lag: what this matcher could have had in time.

use heliograph_protocol::Origin;
use heliograph_telemetry::unix_micros;
use prometheus_client::encoding::text::encode;

use super::*;

impl Bed {
    fn lags_counted(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let mut lines = text.lines();
        let count = lines.find_map(|line| line.strip_prefix("matcher_lag_seconds_count "));
        count.unwrap().to_owned()
    }
}

fn received(at: u64, micros: u64) -> Arc<Event> {
    let event = Event::clone(&event(1, at, 1, &[], ""));
    Arc::new(event.with_origin(Origin::new(micros, None)))
}

#[tokio::test]
async fn events_from_before_the_start_are_matched_but_are_no_lag() {
    let before = unix_micros() - 1;
    let bed = Bed::new();
    bed.req(&["{}"], anyone()).await;
    bed.publish(&received(10, before)).await;
    assert_eq!(bed.delivered.lock().len(), 1);
    assert_eq!(bed.lags_counted(), "0");
    bed.publish(&received(11, unix_micros())).await;
    assert_eq!(bed.delivered.lock().len(), 2);
    assert_eq!(bed.lags_counted(), "1");
}
