//! A client that costs little: one thread, many connections, one read for many messages, and no more
//! looked at of a message than what counts.

mod answer;
mod connection;
mod frame;
mod tls;

pub(crate) use self::{
    answer::{Answer, id_key, key_of_event},
    connection::{Connection, Origin},
    tls::TlsConnection,
};
