//! The wall clock in microseconds, as envelopes carry it and as servers stamp messages.

use async_nats::datetime::{self, DateTime};

/// Microseconds since 1970.
pub(crate) fn micros() -> u64 {
    micros_of(datetime::now())
}

/// The same in seconds.
pub(crate) fn seconds() -> f64 {
    std::time::Duration::from_micros(micros()).as_secs_f64()
}

/// Seconds since 1970.
pub(crate) fn secs_of(time: DateTime) -> u64 {
    u64::try_from(time.unix_timestamp()).unwrap_or(0)
}

/// How old something from another clock is, in seconds; 0 if it is from the future.
pub(crate) fn age_seconds(time: DateTime) -> f64 {
    let age = micros().saturating_sub(micros_of(time));
    std::time::Duration::from_micros(age).as_secs_f64()
}

fn micros_of(time: DateTime) -> u64 {
    u64::try_from(time.unix_timestamp_nanos() / 1_000).unwrap_or(0)
}
