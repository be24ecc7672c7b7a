//! Networks in CIDR notation: whose `X-Forwarded-For` is believed, who is banned.

use std::{fmt, net::IpAddr, str::FromStr};

/// A range of addresses: `10.0.0.0/8`, `fd00::/8`, or one address. Bits past the prefix are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpNetwork {
    address: IpAddr,
    prefix: u8,
}

impl IpNetwork {
    /// The network of `address` with a prefix of so many bits; more bits than the address has are
    /// all it has. An IPv4 address mapped into IPv6 counts as the IPv4 address.
    #[must_use]
    pub fn of(address: IpAddr, prefix: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let prefix = prefix.min(32);
                let address = u32::from(address) & mask_v4(prefix);
                Self {
                    address: IpAddr::V4(address.into()),
                    prefix,
                }
            }
            IpAddr::V6(address) => {
                let prefix = prefix.min(128);
                let address = u128::from(address) & mask_v6(prefix);
                Self {
                    address: IpAddr::V6(address.into()),
                    prefix,
                }
            }
        }
    }

    /// Its first address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Bits that all its addresses share: `0..=32` or `0..=128`.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

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

/// Reads CIDR notation; without a slash the network is that one address. A network of IPv4 addresses
/// mapped into IPv6 is taken as the IPv4 network, since that is how addresses are compared.
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
        if !clean {
            return Err("has bits set past its prefix");
        }
        match (address, address.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(inner)) if prefix >= 96 => {
                Ok(Self::of(inner.into(), prefix - 96))
            }
            _ => Ok(Self { address, prefix }),
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
    fn a_mapped_ipv4_network_is_the_ipv4_network() {
        check("::ffff:10.0.0.0/104", "10.255.0.1", true);
        check("::ffff:192.0.2.1", "192.0.2.1", true);
        check("::ffff:0.0.0.0/96", "::1", false);
    }

    #[test]
    fn the_network_of_an_address_holds_it() {
        for (address, prefix, text) in [
            ("192.0.2.77", 24, "192.0.2.0/24"),
            ("192.0.2.77", 200, "192.0.2.77/32"),
            ("::ffff:192.0.2.77", 0, "0.0.0.0/0"),
            ("2001:db8::77", 64, "2001:db8::/64"),
            ("2001:db8::77", 255, "2001:db8::77/128"),
        ] {
            let network = IpNetwork::of(address.parse().unwrap(), prefix);
            assert_eq!(network.to_string(), text);
            assert!(network.contains(address.parse().unwrap()), "{text}");
            assert_eq!(text.parse(), Ok(network));
        }
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
