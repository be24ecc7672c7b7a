//! Loopback addresses that no other instance uses, of this process or of another.
//!
//! An instance takes a block 127.x.y.0/24 as its own, by a lock on a file that is named after it.
//! Inside its block it uses the standard ports, so that nobody has to find a free one, and a node
//! that is started again finds its address as it left it.

use std::{
    fs::{self, File, TryLockError},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{Error, directory};

/// Blocks that instances choose from: 127.1.0 to 127.250.255.
const BLOCKS: u32 = 250 * 256;

/// How many blocks are tried before giving up; one try is the rule.
const TRIES: u32 = 1_000;

/// The addresses 127.x.y.1 to 127.x.y.254, until this is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Block {
    second: u8,
    third: u8,
    /// Holds the lock.
    _lock: File,
}

impl Block {
    /// Takes a block that nobody has.
    ///
    /// # Errors
    ///
    /// The directory of the locks can't be written, or addresses in 127.0.0.0/8 aren't local here.
    pub(crate) fn take() -> Result<Self, Error> {
        static TAKEN: AtomicU32 = AtomicU32::new(0);
        let locks = directory::locks("loopback");
        fs::create_dir_all(&locks).map_err(Error::path("can't create", &locks))?;
        for _ in 0..TRIES {
            // Neighbouring processes begin far from each other.
            let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
            let number = process::id().wrapping_mul(97).wrapping_add(taken) % BLOCKS;
            let [.., second, third] = number.to_be_bytes();
            let second = second + 1;
            let path = locks.join(format!("127.{second}.{third}"));
            let file = File::create(&path).map_err(Error::path("can't create", &path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => {
                    return Err(Error::path("can't lock", &path)(error));
                }
            }
            let block = Self {
                second,
                third,
                _lock: file,
            };
            let probe = block.address(1, 0);
            TcpListener::bind(probe).map_err(Error::io(format!(
                "{probe} is not an address of this machine"
            )))?;
            return Ok(block);
        }
        Err(Error::Options(format!(
            "no free block of addresses after {TRIES} tries"
        )))
    }

    /// `127.x.y.host`.
    pub(crate) fn ip(&self, host: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(127, self.second, self.third, host))
    }

    /// `127.x.y.host:port`.
    pub(crate) fn address(&self, host: u8, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(host), port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_blocks_are_the_same() {
        let blocks: Vec<Block> = (0..20).map(|_| Block::take().unwrap()).collect();
        let mut ips: Vec<IpAddr> = blocks.iter().map(|block| block.ip(1)).collect();
        ips.sort();
        ips.dedup();
        assert_eq!(ips.len(), blocks.len());
    }
}
