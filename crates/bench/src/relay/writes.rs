//! How often a relay has written to its clients: what it says of that itself. The kernel keeps no count of the
//! system calls that send to a socket.

use std::{fs, net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::time::timeout;

use super::{Relay, software::get};

/// How long the page may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// System calls that wrote frames.
const SERIES: &str = "heliograph_client_writes_total ";

impl Relay {
    /// System calls so far that wrote to clients; nothing where a relay doesn't tell, as those of others and
    /// clusters don't.
    pub(crate) async fn writes(&self) -> Option<u64> {
        let log = fs::read_to_string(&self.log).ok()?;
        let page = timeout(PATIENCE, get(admin(&log)?, "/metrics")).await;
        count(&page.ok()??)
    }
}

/// Where its metrics are, as its log says.
fn admin(log: &str) -> Option<SocketAddr> {
    let mut lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.find(|line| line["message"] == "admin listener started")?;
    line["addr"].as_str()?.parse().ok()
}

fn count(page: &str) -> Option<u64> {
    let mut lines = page.lines();
    let value = lines.find_map(|line| line.strip_prefix(SERIES))?;
    value.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_the_log_and_the_count_on_the_page() {
        let log = "not JSON\n{\"message\":\"starting\",\"addr\":\"127.0.0.1:1\"}\n\
                   {\"message\":\"admin listener started\",\"addr\":\"127.0.0.1:2\"}\n";
        assert_eq!(admin(log), Some(SocketAddr::from(([127, 0, 0, 1], 2))));
        assert_eq!(admin("listening on 127.0.0.1:1"), None);
        let page = "HTTP/1.1 200 OK\r\n\r\n# TYPE heliograph_client_writes counter\n\
                    heliograph_client_writes_total 42\nheliograph_other 1\n";
        assert_eq!(count(page), Some(42));
        assert_eq!(count("HTTP/1.1 404 Not Found\r\n\r\n"), None);
    }
}
