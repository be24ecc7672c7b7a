//! Stands in for `heliograph` in the tests of this crate: `migrate` ends well, a role prints what it
//! was told and is ready until it is stopped.
#![expect(clippy::print_stdout, reason = "its output is its log")]

use std::{
    env,
    io::{self, Read, Write},
    net::TcpListener,
};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    for argument in &arguments {
        println!("{argument}");
    }
    let mut keys = arguments
        .iter()
        .filter_map(|argument| argument.strip_prefix("--set="));
    // As the program does, it refuses to start on what it doesn't like.
    if keys.clone().any(|key| key == "relay.name=broken") {
        return Err(io::Error::other("relay.name is broken"));
    }
    let Some(admin) = keys.find_map(|key| key.strip_prefix("admin.listen=")) else {
        return Ok(());
    };
    for socket in TcpListener::bind(admin)?.incoming() {
        let mut socket = socket?;
        let mut request = [0; 1_024];
        let length = socket.read(&mut request)?;
        let ready = request[..length].starts_with(b"GET /readyz ");
        let status = if ready { "200 OK" } else { "404 Not Found" };
        socket.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes())?;
    }
    Ok(())
}
