//! The direct link between a gateway and its matcher: gRPC over HTTP/2 (`proto/heliograph/v1/link.proto`).
//!
//! Questions go to the matcher, pages of stored events come back at the pace of whoever reads them,
//! and live events come down one stream per gateway, each once with the list of its receivers.
//! On both ends the link is the seam [`heliograph_bus::Requests`]: a matcher is served by [`serve`], a
//! gateway asks its [`Client`], and neither can tell that the other is elsewhere.
//!
//! What always holds:
//!
//! - A gateway has one session at one matcher. A new one ends the old one, and nothing that was
//!   decided in an old one is delivered after that.
//! - What a matcher hands out is delivered in that order. Before the last page of an answer is given
//!   out, every live event that was decided before has been.
//! - A matcher never waits for a gateway: past a bound in bytes the session is cut off, and the
//!   gateway goes on from the last batch of which it has everything.
//! - A slot is released only when nothing more can come for it.
//!
//! | part | does |
//! |---|---|
//! | `server/` | sessions, their slots in the matcher's numbers, the queue to each gateway |
//! | `client/` | the table of subscriptions, the session at the matcher of the hour, resuming |
//! | `queue` | what waits to be sent, bounded in bytes |
//! | `status` | errors of the seam as gRPC says them |
//! | `rendezvous` | which matcher serves which gateway |
//! | `transport` | what it runs over, if not TCP |

mod client;
mod metrics;
mod options;
mod queue;
mod rendezvous;
mod server;
mod status;
mod transport;

pub use client::{Client, Link};
pub use metrics::{ClientMetrics, ServerMetrics};
pub use options::{ClientOptions, ClientTls, Identity, ServerOptions, ServerTls};
pub use rendezvous::{Target, rendezvous};
pub use server::{Sessions, serve, serve_incoming};
pub use transport::{Conduit, Dial};

/// Bytes of one message at most, either way: more than the largest event that can be allowed
/// (`gateway.event_bytes_max`), far more than a page or a part of a resumption has.
const MESSAGE_BYTES_MAX: usize = 80 << 20;

/// Bytes that a page or a part of a resumption should not exceed.
const PART_BYTES: usize = 1 << 20;

/// The link can't be set up. Trying again doesn't help.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A certificate or key can't be used.
    #[error("TLS of the link: {0}")]
    Tls(#[source] tonic::transport::Error),
    /// The listener can't be served.
    #[error("serving the link: {0}")]
    Serve(#[source] tonic::transport::Error),
}
