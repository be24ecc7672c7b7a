//! Networks in CIDR notation, for `gateway.trusted_proxies`.

use std::{fmt, net::IpAddr, str::FromStr};

/// A range of addresses: `10.0.0.0/8`, `fd00::/8`, or one address. Bits past the prefix are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IpNetwork {
    address: IpAddr,
    prefix: u8,
}

impl IpNetwork {
    /// Whether `address` lies within. An IPv4 address mapped into IPv6 counts as the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                u32::from(address) & mask_v4(self.prefix) == u32::from(network)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                u128::from(address) & mask_v6(self.prefix) == u128::from(network)
            }
            _ => false,
        }
    }
}

fn mask_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn mask_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

/// Reads CIDR notation; without a slash the network is that one address.
///
/// # Errors
///
/// A text for the operator.
impl FromStr for IpNetwork {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_syntax| "is not an IP address")?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(text) => text
                .parse()
                .map_err(|_syntax| "has no number after the slash")?,
            None => bits,
        };
        if prefix > bits {
            return Err("has a prefix longer than the address");
        }
        let clean = match address {
            IpAddr::V4(address) => u32::from(address) & !mask_v4(prefix) == 0,
            IpAddr::V6(address) => u128::from(address) & !mask_v6(prefix) == 0,
        };
        if clean {
            Ok(Self { address, prefix })
        } else {
            Err("has bits set past its prefix")
        }
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(network: &str, address: &str, inside: bool) {
        let network: IpNetwork = network.parse().unwrap();
        assert_eq!(
            network.contains(address.parse().unwrap()),
            inside,
            "{network} {address}"
        );
    }

    #[test]
    fn a_network_contains_the_addresses_under_its_prefix() {
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.0", false);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("fd00::/8", "fdff::1", true);
        check("fd00::/8", "fe00::1", false);
        check("::/0", "2001:db8::1", true);
    }

    #[test]
    fn one_address_is_a_network_of_its_own() {
        check("192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
    }

    #[test]
    fn a_mapped_ipv4_address_is_the_ipv4_address() {
        check("10.0.0.0/8", "::ffff:10.0.0.1", true);
    }

    #[test]
    fn malformed_networks_are_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "fd00::/129",
            "10.0.0.0/",
            "host/8",
        ] {
            assert!(text.parse::<IpNetwork>().is_err(), "{text}");
        }
    }
}
