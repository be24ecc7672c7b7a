//! May this event or REQ in, and who may see what: pure functions.
//!
//! Third step of the path: socket → parse → id → **admit** → verify → bus → store → match →
//! deliver. Time, limits, the relay's URLs and the connection's keys are arguments; the answer is
//! a [`Refusal`](heliograph_protocol::Refusal) that goes to the client as it is. What operators
//! decide while the relay runs stands in one place ([`LiveControl`]) that the limits refer to. What always holds:
//! nothing here looks at a signature, blocks, or reads a clock.

mod auth;
mod control;
mod event;
mod filters;
mod limits;
mod rate;
mod reader;
mod relay_url;

pub use auth::{AUTH_SKEW_SECS_MAX, check_auth};
pub use control::{ControlRules, LiveControl, NetworkSet, Reason, RelayTexts};
pub use event::{EventLimit, admit_event, exceeded_limit};
pub use filters::{admit_filters, admit_subscription};
pub use limits::{EventLimits, FilterLimits, GIFT_WRAP_BACKDATING_SECS, WriteRules};
pub use rate::{Rate, TokenBucket};
pub use reader::{Reader, Visibility, check_count_filters, check_filters, restricted};
pub use relay_url::{ALL_RELAYS, RelayUrlError, RelayUrls, vanish_in_force};
