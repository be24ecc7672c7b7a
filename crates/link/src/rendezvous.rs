//! Which matcher serves which gateway: the one with the highest weight for it. When a matcher comes or
//! goes, only the gateways move that go to it or were on it.

/// A matcher that can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its name, as in its lease.
    pub name: String,
    /// `host:port` of its link.
    pub address: String,
}

/// The member that serves `gateway`; `None` if there are none. Depends on names alone, and not on
/// the order of `members`.
#[must_use]
pub fn rendezvous<'a>(gateway: &str, members: &'a [Target]) -> Option<&'a Target> {
    members
        .iter()
        .max_by_key(|member| (weight(gateway, &member.name), &member.name))
}

/// FNV-1a over both names, then a finish that spreads each bit over all others: the same on every
/// machine and in every version, since gateways choose by themselves.
fn weight(gateway: &str, member: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    // No name has a zero byte, so "ab" + "c" isn't "a" + "bc".
    let bytes = gateway.bytes().chain([0]).chain(member.bytes());
    for byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: usize) -> Vec<Target> {
        (0..count)
            .map(|number| Target {
                name: format!("matcher-{number}"),
                address: format!("127.0.0.1:{number}"),
            })
            .collect()
    }

    fn chosen(members: &[Target]) -> Vec<String> {
        (0..1_000)
            .map(|number| format!("gateway-{number}"))
            .map(|gateway| rendezvous(&gateway, members).unwrap().name.clone())
            .collect()
    }

    #[test]
    fn nobody_serves_where_nobody_is() {
        assert_eq!(rendezvous("gateway", &[]), None);
    }

    #[test]
    fn gateways_are_spread_evenly() {
        let chosen = chosen(&members(5));
        for member in members(5) {
            let count = chosen.iter().filter(|name| **name == member.name).count();
            assert!((140..260).contains(&count), "{}: {count}", member.name);
        }
    }

    #[test]
    fn the_order_of_members_does_not_matter() {
        let mut turned = members(7);
        turned.reverse();
        assert_eq!(chosen(&members(7)), chosen(&turned));
    }

    #[test]
    fn only_gateways_of_the_member_that_comes_or_goes_move() {
        let (few, many) = (chosen(&members(5)), chosen(&members(6)));
        let moved: Vec<_> = few.iter().zip(&many).filter(|(a, b)| a != b).collect();
        assert!(moved.iter().all(|(_, to)| *to == "matcher-5"));
        assert!((100..240).contains(&moved.len()), "{}", moved.len());
    }
}
