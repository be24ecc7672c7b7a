//! Errors of the seam as gRPC says them. Ours carry a kind in their details; whatever has none comes
//! from the transport, and means that the session is broken.

use bytes::Bytes;
use heliograph_bus::BusError;
use tonic::{Code, Status};

/// Details of [`over`].
const OVER: &[u8] = b"o";

/// An answer that can't be given, as the gateway will see it. `None` if the matcher itself is going:
/// the session is over then.
pub(crate) fn of_error(error: &BusError) -> Option<Status> {
    let (kind, code) = match error {
        BusError::Store(_) => (b's', Code::Internal),
        BusError::TimedOut => (b't', Code::DeadlineExceeded),
        BusError::NoMatcher => (b'n', Code::FailedPrecondition),
        BusError::Unavailable => (b'u', Code::FailedPrecondition),
        BusError::Closed | BusError::Interrupted => return None,
    };
    let details = Bytes::copy_from_slice(&[kind]);
    Some(Status::with_details(code, error.to_string(), details))
}

/// The session is over or was never there. Its live stream ends by itself, perhaps a little later.
pub(crate) fn over() -> Status {
    Status::with_details(
        Code::Unavailable,
        "no such session",
        Bytes::from_static(OVER),
    )
}

/// Whether the session is over by the matcher's word.
pub(crate) fn is_over(status: &Status) -> bool {
    status.details() == OVER
}

/// What a peer sent can't be read. It is asked once and not again: the same bytes stay unreadable.
pub(crate) fn unreadable(error: &heliograph_proto::FormError) -> Status {
    let words = BusError::Store(format!("the matcher can't read the question: {error}"));
    of_error(&words).unwrap_or_else(over)
}

/// The error that a matcher answered with; `None` if it is the transport's.
pub(crate) fn error_of(status: &Status) -> Option<BusError> {
    match status.details() {
        b"s" => Some(BusError::Store(status.message().to_owned())),
        b"t" => Some(BusError::TimedOut),
        b"n" => Some(BusError::NoMatcher),
        b"u" => Some(BusError::Unavailable),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_seam_come_back_and_others_end_the_session() {
        for error in [
            BusError::Store("disk".to_owned()),
            BusError::TimedOut,
            BusError::NoMatcher,
            BusError::Unavailable,
        ] {
            let status = of_error(&error).expect("an answer");
            assert_eq!(error_of(&status), Some(error));
        }
        for error in [BusError::Closed, BusError::Interrupted] {
            assert!(of_error(&error).is_none());
        }
        let lost = Status::unavailable("connection lost");
        assert_eq!((error_of(&over()), error_of(&lost)), (None, None));
        assert_eq!((is_over(&over()), is_over(&lost)), (true, false));
    }
}
