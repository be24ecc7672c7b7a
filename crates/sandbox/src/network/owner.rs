//! Which process of this machine holds the other end of a connection.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
};

/// The one of `pids` that connected from `from` to `to`; both in the network of this process.
pub(crate) fn find(from: SocketAddr, to: SocketAddr, pids: &[u32]) -> Option<u32> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = inode(&table, from, to)?;
    let name = format!("socket:[{inode}]");
    pids.iter().copied().find(|pid| holds(*pid, &name))
}

/// The number of the socket with these addresses. A line reads `sl local remote state tx:rx
/// timer:when retransmits uid timeout inode …` (`proc_net_tcp` of the kernel's documentation).
fn inode(table: &str, from: SocketAddr, to: SocketAddr) -> Option<&str> {
    let (from, to) = (hex(from)?, hex(to)?);
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let found = fields.next()? == from && fields.next()? == to;
        found.then(|| fields.nth(6))?
    })
}

/// An address as the kernel writes it: its bytes as a number of this machine, the port as such.
fn hex(address: SocketAddr) -> Option<String> {
    let IpAddr::V4(ip) = address.ip() else {
        return None;
    };
    let number = u32::from_ne_bytes(ip.octets());
    Some(format!("{number:08X}:{:04X}", address.port()))
}

fn holds(pid: u32, socket: &str) -> bool {
    let files = fs::read_dir(format!("/proc/{pid}/fd"));
    files
        .into_iter()
        .flatten()
        .flatten()
        .any(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == socket))
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        process,
    };

    use super::*;

    #[test]
    fn a_connection_is_traced_to_its_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let client = TcpStream::connect(to).unwrap();
        let from = client.local_addr().unwrap();
        let own = process::id();
        assert_eq!(find(from, to, &[1, own]), Some(own));
        assert_eq!(find(from, to, &[]), None);
        drop(client);
        assert_eq!(find(to, from, &[]), None);
    }

    #[test]
    fn a_line_of_the_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:1E61 0200007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 20 4 30 10 -1";
        let (from, to) = ("127.0.0.1:7777", "127.0.0.2:80");
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        let expected = cfg!(target_endian = "little").then_some("4242");
        assert_eq!(inode(table, from, to), expected);
        assert_eq!(inode(table, to, from), None);
    }
}
