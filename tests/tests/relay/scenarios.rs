//! The scenarios of the protocol's vectors (`tests/vectors/README.md`): as written, with each step on
//! another connection, and in every order of what is sent.

use heliograph_testkit::{
    client::{Client, End},
    keys::Key,
    process::Relay,
    vectors,
};
use serde_json::Value;

use crate::{
    support::{Connect, array, event, permutations, settle, strings},
    vectors::begins_with_one,
};

/// Which connection a scenario's next step uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The same.
    Here,
    /// Another, once the last step can be read over every connection (R01-57).
    Settled,
    /// Another, at once: in a cluster every REQ sees what got its OK before it.
    Elsewhere,
}

/// One scenario under way.
struct Run<'a> {
    connect: Connect<'a>,
    client: Client,
    name: &'a str,
    keys: Vec<Key>,
}

impl<'a> Run<'a> {
    fn new(connect: Connect<'a>, scenario: &'a Value) -> Self {
        let name = scenario["name"].as_str().unwrap();
        Self {
            connect,
            client: connect(),
            name,
            keys: Vec::new(),
        }
    }

    /// Opens another connection, on which the same keys are authenticated.
    fn move_on(&mut self, next: Step) {
        match next {
            Step::Here => return,
            Step::Settled => settle(&mut self.client),
            Step::Elsewhere => {}
        }
        self.client = (self.connect)();
        for key in &self.keys {
            self.client.authenticate(key);
        }
    }

    #[track_caller]
    fn step(&mut self, number: usize, step: &Value) {
        if let Some(key) = step["auth"].as_u64() {
            let key = Key::nth(usize::try_from(key).unwrap());
            self.client.authenticate(&key);
            self.keys.push(key);
        } else if step["send"].is_object() {
            let (accepted, text) = self.client.publish(&event(&step["send"]));
            let agrees = step["ok"].is_null() || step["ok"] == accepted;
            if !agrees || !begins_with_one(&text, &step["prefix_any"]) {
                self.fail(number, step, &format!("OK {accepted} {text:?}"));
            }
        } else {
            self.req(number, step);
        }
    }

    #[track_caller]
    fn req(&mut self, number: usize, step: &Value) {
        let stored = self.client.query(array(&step["req"]));
        let agrees = match (&stored.end, step["expect_closed"].as_str()) {
            (End::Closed(text), Some(prefix)) => text.starts_with(&format!("{prefix}: ")),
            (End::Eose(_), None) => stored.ids() == strings(&step["expect"]),
            _ => false,
        };
        if !agrees {
            self.fail(
                number,
                step,
                &format!("{:?} {:?}", stored.ids(), stored.end),
            );
        }
    }

    #[track_caller]
    fn fail(&self, number: usize, step: &Value, got: &str) -> ! {
        let why = format!("{}, step {number}: {step}\ngot {got}", self.name);
        self.client.socket.fail(&why)
    }
}

/// Every scenario of the vectors.
pub(crate) fn scenarios() -> Vec<Value> {
    vectors::lines("scenarios.jsonl")
}

/// Replays a scenario on a relay that holds nothing that it could see.
#[track_caller]
pub(crate) fn replay(connect: Connect<'_>, scenario: &Value, next: Step) {
    let mut run = Run::new(connect, scenario);
    for (index, step) in array(&scenario["steps"]).iter().enumerate() {
        run.move_on(next);
        run.step(index + 1, step);
    }
}

/// The sends before the first REQ and the REQs that follow them, if nothing else comes before.
pub(crate) fn permutable(scenario: &Value) -> Option<(&[Value], &[Value])> {
    let steps = array(&scenario["steps"]);
    let sends = steps
        .iter()
        .take_while(|step| step["send"].is_object())
        .count();
    let reqs = steps[sends..]
        .iter()
        .take_while(|step| step["req"].is_array())
        .count();
    let whole = sends > 1 && reqs > 0 && sends <= 5;
    whole.then(|| (&steps[..sends], &steps[sends..sends + reqs]))
}

/// Sends what a [`permutable`] scenario sends in this order, and asks what it asks.
#[track_caller]
pub(crate) fn replay_in_order(
    connect: Connect<'_>,
    scenario: &Value,
    order: &[Value],
    reqs: &[Value],
    next: Step,
) {
    let mut run = Run::new(connect, scenario);
    for step in order {
        run.move_on(next);
        // Which of them is refused depends on the order; what stays doesn't (CL-1).
        run.client.publish(&event(&step["send"]));
    }
    for (index, step) in reqs.iter().enumerate() {
        run.move_on(next);
        run.req(order.len() + index + 1, step);
    }
}

#[test]
fn every_scenario_ends_as_written() {
    for scenario in scenarios() {
        let relay = Relay::start();
        replay(&|| relay.client(), &scenario, Step::Here);
    }
}

#[test]
fn every_scenario_ends_as_written_with_each_step_on_another_connection() {
    for scenario in scenarios() {
        let relay = Relay::start();
        replay(&|| relay.client(), &scenario, Step::Settled);
    }
}

#[test]
fn every_scenario_ends_the_same_in_every_order_of_its_events() {
    let mut orders = 0;
    for scenario in scenarios() {
        let Some((sends, reqs)) = permutable(&scenario) else {
            continue;
        };
        for order in permutations(sends) {
            let relay = Relay::with(&["store.sync=none"]);
            replay_in_order(&|| relay.client(), &scenario, &order, reqs, Step::Here);
            orders += 1;
        }
    }
    assert!(orders > 100, "only {orders} orders were tried");
}
