//! Members in network namespaces of their own, where the machine allows it (root, `ip`, `nsenter`).
//!
//! A network has two bridges in the namespace of this process: one that the members and what they
//! need are on, and one that clients and operators reach them by. A member has a foot on each, so
//! that its machine can be cut off from the cluster while its clients stay.
//!
//! Its number is held by a lock, and everything is named after the number: whoever takes a number
//! next removes what a killed process left, and so does everybody who looks.

use std::{
    ffi::OsString,
    fs::{self, File, TryLockError},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use crate::{Error, directory, process::Launch};

/// Networks are 198.18.0 to 198.18.255 and 198.19.0 to 198.19.255, which no real network uses
/// (RFC 2544).
const BACK: [u8; 2] = [198, 18];
const FRONT: [u8; 2] = [198, 19];

/// The end of the bridges' own addresses.
const BRIDGE: u8 = 1;

/// A member that only tries whether all this works.
const PROBE: u8 = 2;

/// Time for the answer of the probe, which is on this machine.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);

/// A network that is removed on drop, or by the next one after this process has died.
#[derive(Debug)]
pub struct Network {
    number: u8,
    members: Mutex<Vec<u8>>,
    /// Holds the number.
    _lock: File,
}

impl Network {
    /// Makes a network without members. `None` where the machine doesn't allow it.
    ///
    /// # Errors
    ///
    /// The directory of the locks can't be written, or every number is taken.
    pub fn create() -> Result<Option<Self>, Error> {
        if !rustix::process::getuid().is_root() {
            return Ok(None);
        }
        sweep();
        let network = Self::take()?;
        // Named in the answer of the one who asks, if at all: a reason helps nobody here.
        Ok(network.build().is_ok().then_some(network))
    }

    fn take() -> Result<Self, Error> {
        static TAKEN: AtomicU8 = AtomicU8::new(0);
        let [first, ..] = process::id().wrapping_mul(97).to_le_bytes();
        for _ in 0..=u8::MAX {
            let number = first.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
            if let Some(lock) = lock(number)? {
                return Ok(Self {
                    number,
                    members: Mutex::default(),
                    _lock: lock,
                });
            }
        }
        Err(Error::Options("256 networks are in use".to_owned()))
    }

    /// Both bridges, and a try whether a member can be reached.
    fn build(&self) -> Result<(), Error> {
        for foot in Foot::BOTH {
            let (bridge, address) = (foot.bridge(self.number), foot.ip(self.number, BRIDGE));
            // Its own: it would take one of its members', and change it when that one leaves.
            let mac = foot.mac(self.number);
            ip(&["link", "add", &bridge, "address", &mac, "type", "bridge"])?;
            ip(&["addr", "add", &format!("{address}/24"), "dev", &bridge])?;
            ip(&["link", "set", &bridge, "up"])?;
        }
        self.join(PROBE)?;
        for foot in Foot::BOTH {
            // Nobody listens there, which only the member itself can know.
            let address = SocketAddr::new(foot.ip(self.number, PROBE), 9);
            let answer = TcpStream::connect_timeout(&address, PROBE_PATIENCE);
            if !answer.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused) {
                return Err(Error::Options(format!("no way to {address}")));
            }
        }
        self.leave(PROBE);
        Ok(())
    }

    /// Makes the namespace of the member whose addresses end with `host`, from 2 on.
    ///
    /// # Errors
    ///
    /// It is there already, or the system refuses it.
    pub fn join(&self, host: u8) -> Result<(), Error> {
        self.members().push(host);
        let name = self.name(host);
        ip(&["netns", "add", &name])?;
        ip(&["-n", &name, "link", "set", "lo", "up"])?;
        for foot in Foot::BOTH {
            let (port, inside) = (foot.port(self.number, host), foot.inside());
            let address = format!("{}/24", foot.ip(self.number, host));
            let peer = ["peer", "name", inside, "netns", &name];
            ip(&[&["link", "add", &port, "type", "veth"], &peer[..]].concat())?;
            ip(&["link", "set", &port, "master", &foot.bridge(self.number)])?;
            ip(&["link", "set", &port, "up"])?;
            ip(&["-n", &name, "addr", "add", &address, "dev", inside])?;
            ip(&["-n", &name, "link", "set", inside, "up"])?;
        }
        Ok(())
    }

    /// Leads what a member sends to a loopback address to this process's namespace: for servers that
    /// tell everybody that they are there.
    ///
    /// # Errors
    ///
    /// There is no such member, or the system refuses it.
    pub fn lead_to(&self, host: u8, address: IpAddr) -> Result<(), Error> {
        let (name, inside) = (self.name(host), Foot::Back.inside());
        let (address, way) = (address.to_string(), self.back(BRIDGE).to_string());
        // Addresses of 127.0.0.0/8 are not taken from a network unless this is set.
        let localnet =
            |interface: &str| format!("/proc/sys/net/ipv4/conf/{interface}/route_localnet");
        let here = localnet(&Foot::Back.bridge(self.number));
        fs::write(&here, "1").map_err(Error::path("can't write", Path::new(&here)))?;
        let there = format!("echo 1 > {}", localnet(inside));
        ip(&["netns", "exec", &name, "sh", "-c", &there])?;
        // Before the rule that all of them are local, in the same table.
        let route = ["table", "local", "unicast", &address, "via", &way];
        ip(&[
            &["-n", &name, "route", "replace"],
            &route[..],
            &["dev", inside],
        ]
        .concat())
    }

    /// Removes a namespace, and with it both of its feet.
    pub fn leave(&self, host: u8) {
        self.members().retain(|member| *member != host);
        for foot in Foot::BOTH {
            // The system takes its time to remove a namespace, and what was in it.
            drop(ip(&["link", "del", &foot.port(self.number, host)]));
        }
        // What can't be removed now is swept later.
        drop(ip(&["netns", "del", &self.name(host)]));
    }

    /// Pulls the plug: the member reaches nobody of the cluster and nobody reaches it, and no one is
    /// told. Clients still do.
    ///
    /// # Errors
    ///
    /// There is no such member.
    pub fn unplug(&self, host: u8) -> Result<(), Error> {
        let port = Foot::Back.port(self.number, host);
        ip(&["link", "set", &port, "down"])
    }

    /// Puts the plug back.
    ///
    /// # Errors
    ///
    /// There is no such member.
    pub fn plug(&self, host: u8) -> Result<(), Error> {
        let port = Foot::Back.port(self.number, host);
        ip(&["link", "set", &port, "up"])
    }

    /// The address of a member, or of this process for [`host()`](Self::host), among the members.
    #[must_use]
    pub fn back(&self, host: u8) -> IpAddr {
        Foot::Back.ip(self.number, host)
    }

    /// The address of a member for clients and operators.
    #[must_use]
    pub fn front(&self, host: u8) -> IpAddr {
        Foot::Front.ip(self.number, host)
    }

    /// The end of this process's own addresses.
    #[must_use]
    pub fn host() -> u8 {
        BRIDGE
    }

    /// Has `launch` start in the namespace of this member.
    #[must_use]
    pub fn inside(&self, host: u8, launch: Launch) -> Launch {
        let namespace = Path::new("/run/netns").join(self.name(host));
        let mut enter = OsString::from("--net=");
        enter.push(namespace);
        let mut arguments = vec![enter, "--".into(), launch.program.into()];
        arguments.extend(launch.arguments);
        Launch {
            program: "nsenter".into(),
            arguments,
            ..launch
        }
    }

    fn name(&self, host: u8) -> String {
        format!("{}{host}", prefix(self.number))
    }

    fn members(&self) -> MutexGuard<'_, Vec<u8>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let members: Vec<u8> = self.members().drain(..).collect();
        for host in members {
            self.leave(host);
        }
        remove_bridges(self.number);
    }
}

/// Where a member stands.
#[derive(Debug, Clone, Copy)]
enum Foot {
    /// Among the members.
    Back,
    /// Where clients are.
    Front,
}

impl Foot {
    const BOTH: [Self; 2] = [Self::Back, Self::Front];

    fn letter(self) -> char {
        match self {
            Self::Back => 'b',
            Self::Front => 'f',
        }
    }

    /// Names of interfaces have 15 letters at most.
    fn bridge(self, network: u8) -> String {
        format!("hg{network}{}", self.letter())
    }

    /// The bridge's hardware address, of those that anybody may use.
    fn mac(self, network: u8) -> String {
        let last = match self {
            Self::Back => 0,
            Self::Front => 1,
        };
        format!("02:68:67:00:{network:02x}:{last:02x}")
    }

    /// The end of a member's cable at the bridge.
    fn port(self, network: u8, host: u8) -> String {
        format!("{}{host}", self.bridge(network))
    }

    /// The end of the cable at the member.
    fn inside(self) -> &'static str {
        match self {
            Self::Back => "back",
            Self::Front => "front",
        }
    }

    fn ip(self, network: u8, host: u8) -> IpAddr {
        let [first, second] = match self {
            Self::Back => BACK,
            Self::Front => FRONT,
        };
        IpAddr::V4(Ipv4Addr::new(first, second, network, host))
    }
}

/// What the names of a network's namespaces begin with.
fn prefix(network: u8) -> String {
    format!("hg{network}-")
}

/// The network that a namespace belongs to.
fn network_of(namespace: &str) -> Option<u8> {
    let (number, _) = namespace.strip_prefix("hg")?.split_once('-')?;
    number.parse().ok()
}

/// Takes a number, if it is free, and removes what whoever had it left.
fn lock(number: u8) -> Result<Option<File>, Error> {
    let locks = directory::locks("namespaces");
    fs::create_dir_all(&locks).map_err(Error::path("can't create", &locks))?;
    let path: PathBuf = locks.join(number.to_string());
    let file = File::create(&path).map_err(Error::path("can't create", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(Error::path("can't lock", &path)(error)),
    }
    for name in namespaces() {
        if network_of(&name) == Some(number) {
            // What can't be removed now shows when it is made again.
            drop(ip(&["netns", "del", &name]));
        }
    }
    remove_bridges(number);
    Ok(Some(file))
}

/// Removes what dead processes left.
fn sweep() {
    let mut left: Vec<u8> = namespaces()
        .iter()
        .filter_map(|name| network_of(name))
        .collect();
    left.dedup();
    for number in left {
        // Taking a number removes what is left of it.
        drop(lock(number));
    }
}

fn namespaces() -> Vec<String> {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn remove_bridges(network: u8) {
    for foot in Foot::BOTH {
        let bridge = foot.bridge(network);
        if Path::new("/sys/class/net").join(&bridge).exists() {
            drop(ip(&["link", "del", &bridge]));
        }
    }
}

/// Runs `ip`.
fn ip(arguments: &[&str]) -> Result<(), Error> {
    let what = format!("ip {}", arguments.join(" "));
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io(what.clone()))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(Error::Options(format!("{what}: {}", why.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_which_network_they_belong_to() {
        assert_eq!(network_of("hg17-150"), Some(17));
        assert_eq!(network_of("hg256-1"), None);
        assert_eq!(network_of("hg17"), None);
        assert_eq!(network_of("other"), None);
        assert_eq!(prefix(17), "hg17-");
    }

    #[test]
    fn names_of_interfaces_are_short_enough() {
        assert_eq!(Foot::Back.bridge(255), "hg255b");
        assert_eq!(Foot::Front.port(255, 199), "hg255f199");
    }
}
