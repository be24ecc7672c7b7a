//! As much of the native protocol as it takes to see whether somebody speaks CQL, and to run one
//! statement (native protocol v4).

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Time for the connection and for its first answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Time for a statement: schema changes take their time on a busy machine.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest answer that is read, in bytes; those to be expected are some hundred long.
const ANSWER_BYTES_MAX: u32 = 1 << 20;

/// Opcodes (§2.4).
const READY: u8 = 0x02;
const STARTUP: u8 = 0x01;
const OPTIONS: u8 = 0x05;
const SUPPORTED: u8 = 0x06;
const QUERY: u8 = 0x07;
const RESULT: u8 = 0x08;

/// Whether OPTIONS is answered by SUPPORTED; no connection is a no.
#[must_use]
pub fn answers_options(address: SocketAddr) -> bool {
    let ask = || ask(&mut connect(address)?, OPTIONS, &[]);
    ask().is_ok_and(|(opcode, _)| opcode == SUPPORTED)
}

/// Runs one statement at consistency ONE and ignores its rows.
///
/// # Errors
///
/// There is no server, it wants a login, or it refuses the statement.
pub fn execute(address: SocketAddr, statement: &str) -> io::Result<()> {
    let mut socket = connect(address)?;
    // A string map with one entry.
    let mut startup = vec![0, 1];
    for text in ["CQL_VERSION", "3.0.0"] {
        startup.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        startup.extend(text.as_bytes());
    }
    expect(ask(&mut socket, STARTUP, &startup)?, READY)?;
    socket.set_read_timeout(Some(STATEMENT_TIMEOUT))?;
    let length = u32::try_from(statement.len()).map_err(io::Error::other)?;
    let mut query = length.to_be_bytes().to_vec();
    query.extend(statement.as_bytes());
    // Consistency ONE, no flags.
    query.extend([0, 1, 0]);
    expect(ask(&mut socket, QUERY, &query)?, RESULT)
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, TIMEOUT)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    Ok(socket)
}

/// Sends a frame and returns opcode and body of the next one.
fn ask(socket: &mut TcpStream, opcode: u8, body: &[u8]) -> io::Result<(u8, Vec<u8>)> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    // Version 4, no flags, stream 0.
    let mut frame = vec![0x04, 0, 0, 0, opcode];
    frame.extend(length.to_be_bytes());
    frame.extend(body);
    socket.write_all(&frame)?;
    let mut head = [0; 9];
    socket.read_exact(&mut head)?;
    let [version, _, _, _, opcode, length @ ..] = head;
    let length = u32::from_be_bytes(length);
    if version != 0x84 || length > ANSWER_BYTES_MAX {
        return Err(io::Error::other("not an answer in CQL's protocol"));
    }
    let mut body = Vec::new();
    socket.take(u64::from(length)).read_to_end(&mut body)?;
    Ok((opcode, body))
}

fn expect((opcode, body): (u8, Vec<u8>), expected: u8) -> io::Result<()> {
    if opcode == expected {
        return Ok(());
    }
    // An ERROR holds a code, a length and a message.
    let message = String::from_utf8_lossy(body.get(6..).unwrap_or_default()).into_owned();
    Err(io::Error::other(format!("opcode {opcode}: {message}")))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    #[track_caller]
    fn check(answer: &'static [u8], expected: bool) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = [0; 9];
            socket.read_exact(&mut request).unwrap();
            socket.write_all(answer).unwrap();
            request
        });
        assert_eq!(answers_options(address), expected);
        assert_eq!(server.join().unwrap(), [4, 0, 0, 0, 5, 0, 0, 0, 0]);
    }

    #[test]
    fn supported_is_a_yes() {
        check(&[0x84, 0, 0, 0, 0x06, 0, 0, 0, 2, 0, 0], true);
    }

    #[test]
    fn an_error_is_a_no() {
        check(&[0x84, 0, 0, 0, 0x00, 0, 0, 0, 0], false);
    }

    #[test]
    fn silence_is_a_no() {
        check(&[], false);
    }

    #[test]
    fn another_protocol_is_a_no() {
        check(b"HTTP/1.1 400 Bad Request\r\n\r\n", false);
    }
}
