//! Which messages a proxy changes, and how.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::Value;

use super::messages::{Subscription, What};

/// What becomes of a message of the relay.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// It never comes.
    Drop,
    /// It comes twice.
    Repeat,
    /// It comes late; others may overtake it.
    Delay(Duration),
    /// It says something else.
    Edit(fn(&mut Value)),
    /// Another comes before it.
    Precede(fn(&Value, Option<&Subscription>) -> Value),
}

/// What becomes of a handshake.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// 503.
    Refuse,
    /// It takes that long.
    Wait(Duration),
}

/// One way to break a promise.
pub(crate) struct Rule {
    on: On,
    /// It lets so many pass that it is for,
    after: usize,
    /// and is then for the first of each so many.
    one_in: usize,
    seen: AtomicUsize,
}

enum On {
    Upgrade(Way),
    Message(What, fn(&Value, Option<&Subscription>) -> bool, Act),
}

impl Rule {
    /// For handshakes.
    pub(crate) fn upgrade_is(way: Way) -> Self {
        Self::of(On::Upgrade(way))
    }

    /// For messages of this sort.
    pub(crate) fn on(what: What, act: Act) -> Self {
        Self::only(what, |_, _| true, act)
    }

    /// For some messages of this sort, by what they say and the subscription that they belong to.
    pub(crate) fn only(
        what: What,
        is_meant: fn(&Value, Option<&Subscription>) -> bool,
        act: Act,
    ) -> Self {
        Self::of(On::Message(what, is_meant, act))
    }

    fn of(on: On) -> Self {
        Self {
            on,
            after: 0,
            one_in: 1,
            seen: AtomicUsize::new(0),
        }
    }

    /// Not for the first so many.
    pub(crate) fn after(mut self, count: usize) -> Self {
        self.after = count;
        self
    }

    /// For the first of each so many only.
    pub(crate) fn one_in(mut self, count: usize) -> Self {
        self.one_in = count;
        self
    }

    /// What becomes of a handshake.
    pub(super) fn upgrade(&self) -> Option<Way> {
        match self.on {
            On::Upgrade(way) => self.is_its_turn().then_some(way),
            On::Message(..) => None,
        }
    }

    /// What becomes of a message.
    pub(super) fn message(
        &self,
        what: What,
        message: &Value,
        subscription: Option<&Subscription>,
    ) -> Option<Act> {
        match self.on {
            On::Message(meant, is_meant, act)
                if meant == what && is_meant(message, subscription) =>
            {
                self.is_its_turn().then_some(act)
            }
            _ => None,
        }
    }

    fn is_its_turn(&self) -> bool {
        let seen = self.seen.fetch_add(1, Ordering::Relaxed);
        let since = seen.checked_sub(self.after);
        since.is_some_and(|since| since.is_multiple_of(self.one_in))
    }
}
