//! How many copies there are of each row, as CQL says it.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::ConnectError;

/// How often each row is kept, and where. Used only when the keyspace is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replication {
    /// So many copies, wherever: one datacenter, for tests and small installations.
    Simple(u8),
    /// So many copies in each datacenter that there is when the keyspace is made.
    EachDatacenter(u8),
    /// So many copies in each of these datacenters.
    Datacenters(BTreeMap<String, u8>),
}

impl Replication {
    pub(crate) fn cql(&self) -> Result<String, ConnectError> {
        let mut text = String::from("{'class': '");
        match self {
            Self::Simple(0) | Self::EachDatacenter(0) => return Err(no_copies()),
            Self::Simple(factor) => {
                write!(text, "SimpleStrategy', 'replication_factor': {factor}")
                    .expect("writing to a string can't fail");
            }
            // Both databases make a number for each datacenter of it.
            Self::EachDatacenter(factor) => {
                write!(
                    text,
                    "NetworkTopologyStrategy', 'replication_factor': {factor}"
                )
                .expect("writing to a string can't fail");
            }
            Self::Datacenters(copies) => {
                if copies.is_empty() || copies.values().any(|factor| *factor == 0) {
                    return Err(no_copies());
                }
                text.push_str("NetworkTopologyStrategy'");
                for (datacenter, factor) in copies {
                    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
                    if datacenter.is_empty() || !datacenter.bytes().all(plain) {
                        return Err(ConnectError::Option(format!(
                            "datacenter {datacenter:?}: letters, digits, `.`, `_` and `-` only"
                        )));
                    }
                    write!(text, ", '{datacenter}': {factor}")
                        .expect("writing to a string can't fail");
                }
            }
        }
        text.push('}');
        Ok(text)
    }

    /// As the database describes a keyspace: its class and its numbers.
    pub(crate) fn matches(&self, found: &BTreeMap<String, String>) -> bool {
        let class = found.get("class").map_or("", String::as_str);
        let class = class.rsplit('.').next().unwrap_or_default();
        let copies = |name: &str| found.get(name).and_then(|copies| copies.parse::<u8>().ok());
        match self {
            Self::Simple(factor) => {
                class == "SimpleStrategy" && copies("replication_factor") == Some(*factor)
            }
            Self::EachDatacenter(factor) => {
                let datacenters = found.keys().filter(|name| *name != "class");
                class == "NetworkTopologyStrategy"
                    && datacenters
                        .into_iter()
                        .all(|name| copies(name) == Some(*factor))
            }
            Self::Datacenters(wanted) => {
                class == "NetworkTopologyStrategy"
                    && found.len() == wanted.len() + 1
                    && wanted
                        .iter()
                        .all(|(datacenter, factor)| copies(datacenter) == Some(*factor))
            }
        }
    }
}

/// In how many datacenters a keyspace has copies, as the database describes it; 1 where it doesn't
/// tell them apart.
pub(crate) fn datacenters(found: &BTreeMap<String, String>) -> usize {
    let names = found
        .iter()
        .filter(|(name, copies)| *name != "class" && copies.as_str() != "0");
    names.count()
}

fn no_copies() -> ConnectError {
    ConnectError::Option("replication needs at least one copy in each datacenter".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replication_is_written_as_cql() {
        let simple = Replication::Simple(3).cql().unwrap();
        assert_eq!(
            simple,
            "{'class': 'SimpleStrategy', 'replication_factor': 3}"
        );
        let each = Replication::EachDatacenter(3).cql().unwrap();
        assert_eq!(
            each,
            "{'class': 'NetworkTopologyStrategy', 'replication_factor': 3}"
        );
        let copies = [("dc1".to_owned(), 3), ("dc2".to_owned(), 2)];
        let many = Replication::Datacenters(copies.into()).cql().unwrap();
        assert_eq!(
            many,
            "{'class': 'NetworkTopologyStrategy', 'dc1': 3, 'dc2': 2}"
        );
    }

    #[test]
    fn replication_without_copies_or_with_quotes_is_refused() {
        let of = |name: &str, factor| Replication::Datacenters([(name.to_owned(), factor)].into());
        for bad in [
            Replication::Simple(0),
            Replication::EachDatacenter(0),
            Replication::Datacenters(BTreeMap::new()),
            of("dc1", 0),
            of("dc1'}; DROP", 1),
            of("", 1),
        ] {
            assert!(bad.cql().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn datacenters_with_copies_are_counted() {
        let found = |pairs: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            datacenters(&pairs.iter().map(owned).collect())
        };
        assert_eq!(
            found(&[("class", "SimpleStrategy"), ("replication_factor", "3")]),
            1
        );
        let class = (
            "class",
            "org.apache.cassandra.locator.NetworkTopologyStrategy",
        );
        assert_eq!(found(&[class, ("dc1", "3")]), 1);
        assert_eq!(found(&[class, ("dc1", "3"), ("dc2", "0")]), 1);
        assert_eq!(found(&[class, ("dc1", "3"), ("dc2", "1")]), 2);
    }

    #[test]
    fn other_replication_is_noticed() {
        let found = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            pairs.iter().map(owned).collect()
        };
        let simple = found(&[
            ("class", "org.apache.cassandra.locator.SimpleStrategy"),
            ("replication_factor", "3"),
        ]);
        assert!(Replication::Simple(3).matches(&simple));
        assert!(!Replication::Simple(2).matches(&simple));
        let wanted = Replication::Datacenters([("dc1".to_owned(), 3)].into());
        let class = (
            "class",
            "org.apache.cassandra.locator.NetworkTopologyStrategy",
        );
        assert!(wanted.matches(&found(&[class, ("dc1", "3")])));
        assert!(!wanted.matches(&found(&[class, ("dc1", "3"), ("dc2", "3")])));
        assert!(!wanted.matches(&simple));
        let each = Replication::EachDatacenter(3);
        assert!(each.matches(&found(&[class, ("dc1", "3"), ("dc2", "3")])));
        assert!(!each.matches(&found(&[class, ("dc1", "3"), ("dc2", "1")])));
        assert!(!each.matches(&simple));
    }
}
