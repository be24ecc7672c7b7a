//! Authentication, once a relay asks for it (NIP-42).
//!
//! Nobody authenticates unasked: what a canary measures without is what most users get.

use heliograph_protocol::EventId;

/// How far it has come on one connection.
#[derive(Debug, Default)]
pub struct Auth {
    challenge: Option<String>,
    state: State,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// Nobody has asked.
    #[default]
    Idle,
    /// The relay wants it, and its challenge hasn't come yet.
    Wanted,
    /// This event answers the challenge.
    Sent(EventId),
    Accepted,
    Refused,
}

/// What to do about a refusal for want of authentication.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Answer this challenge.
    Answer(String),
    /// Wait: what was refused will be sent again.
    Wait,
    /// Take it as any other refusal.
    TakeIt,
}

impl Auth {
    /// A challenge came; the one to answer now, if the relay has asked for that.
    pub fn challenged(&mut self, challenge: String) -> Option<String> {
        let is_wanted = self.state == State::Wanted;
        self.challenge = Some(challenge.clone());
        is_wanted.then_some(challenge)
    }

    /// Something was refused with `auth-required:`.
    pub fn required(&mut self) -> Next {
        match (&self.state, &self.challenge) {
            (State::Idle | State::Wanted, Some(challenge)) => Next::Answer(challenge.clone()),
            (State::Idle | State::Wanted, None) => {
                self.state = State::Wanted;
                Next::Wait
            }
            (State::Sent(_), _) => Next::Wait,
            (State::Accepted | State::Refused, _) => Next::TakeIt,
        }
    }

    /// The answer is sent.
    pub fn sent(&mut self, id: EventId) {
        self.state = State::Sent(id);
    }

    /// OK came for this event; whether the relay is satisfied, if it was about authentication.
    pub fn settled(&mut self, id: &EventId, accepted: bool) -> Option<bool> {
        if self.state != State::Sent(*id) {
            return None;
        }
        self.state = if accepted {
            State::Accepted
        } else {
            State::Refused
        };
        Some(accepted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: EventId = EventId::new([1; 32]);

    #[test]
    fn a_challenge_is_answered_when_the_relay_insists() {
        let mut auth = Auth::default();
        assert_eq!(auth.challenged("c".to_owned()), None);
        assert_eq!(auth.required(), Next::Answer("c".to_owned()));
        auth.sent(ID);
        assert_eq!(auth.required(), Next::Wait, "sent before the answer was");
        assert_eq!(auth.settled(&EventId::new([2; 32]), true), None);
        assert_eq!(auth.settled(&ID, true), Some(true));
        assert_eq!(auth.settled(&ID, true), None);
    }

    #[test]
    fn a_challenge_may_come_behind_the_refusal() {
        let mut auth = Auth::default();
        assert_eq!(auth.required(), Next::Wait);
        assert_eq!(auth.challenged("c".to_owned()), Some("c".to_owned()));
    }

    #[test]
    fn who_is_refused_doesn_t_try_again() {
        let mut auth = Auth::default();
        auth.challenged("c".to_owned());
        auth.required();
        auth.sent(ID);
        assert_eq!(auth.settled(&ID, false), Some(false));
        assert_eq!(auth.required(), Next::TakeIt);
    }
}
