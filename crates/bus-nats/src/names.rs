//! Names on the server: every stream, subject, bucket and consumer of one cluster, told apart from
//! those of other clusters by its prefix.

use crate::OptionsError;

/// What may stand in a prefix; longer names make every subject longer.
const PREFIX_LENGTH_MAX: usize = 64;

/// The names of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    prefix: String,
    partitions: u16,
}

impl Names {
    /// # Errors
    ///
    /// [`OptionsError::Prefix`] unless `prefix` is 1 to 64 of `A-Z a-z 0-9 - _`;
    /// [`OptionsError::Partitions`] if there are none.
    pub(crate) fn new(prefix: &str, partitions: u16) -> Result<Self, OptionsError> {
        let length = (1..=PREFIX_LENGTH_MAX).contains(&prefix.len());
        if !length || token(prefix) != prefix {
            return Err(OptionsError::Prefix(prefix.to_owned()));
        }
        if partitions == 0 {
            return Err(OptionsError::Partitions);
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            partitions,
        })
    }

    pub(crate) fn events_stream(&self) -> String {
        format!("{}_events", self.prefix)
    }

    /// All partitions.
    pub(crate) fn events_subjects(&self) -> String {
        format!("{}.events.*", self.prefix)
    }

    /// The partition of a gateway, chosen by its name so that its events keep their order.
    pub(crate) fn events_subject(&self, node: &str) -> String {
        let partition = fnv1a(node.as_bytes()) % u64::from(self.partitions);
        format!("{}.events.{partition}", self.prefix)
    }

    pub(crate) fn ingest_consumer(&self) -> String {
        format!("{}_ingest", self.prefix)
    }

    pub(crate) fn committed_stream(&self) -> String {
        format!("{}_committed", self.prefix)
    }

    pub(crate) fn committed_subject(&self) -> String {
        format!("{}.committed", self.prefix)
    }

    pub(crate) fn dead_stream(&self) -> String {
        format!("{}_dead", self.prefix)
    }

    pub(crate) fn dead_subject(&self) -> String {
        format!("{}.dead", self.prefix)
    }

    pub(crate) fn leases_bucket(&self) -> String {
        format!("{}_leases", self.prefix)
    }

    pub(crate) fn ephemeral_subject(&self) -> String {
        format!("{}.ephemeral", self.prefix)
    }

    /// Where a gateway gets its receipts.
    pub(crate) fn receipts_subject(&self, node: &str) -> String {
        format!("{}.receipts.{}", self.prefix, token(node))
    }
}

/// A name as one token of a subject or key: what may not stand there becomes `_`.
pub(crate) fn token(name: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let token: String = name
        .chars()
        .map(|c| if legal(c) { c } else { '_' })
        .collect();
    if token.is_empty() {
        "_".to_owned()
    } else {
        token
    }
}

/// FNV-1a, 64 bits: the same in every process and version, unlike the standard hasher.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_one_token() {
        for bad in ["", "a.b", "a b", "a*", "ä", &"x".repeat(65)] {
            assert!(Names::new(bad, 1).is_err(), "{bad:?}");
        }
        assert!(Names::new("relay-1_a", 1).is_ok());
        assert!(Names::new("relay", 0).is_err());
    }

    #[test]
    fn a_node_name_of_any_shape_is_one_token() {
        let names = Names::new("relay", 16).unwrap();
        assert_eq!(
            names.receipts_subject("gateway-0.eu *>"),
            "relay.receipts.gateway-0_eu___"
        );
        assert_eq!(token(""), "_");
    }

    #[test]
    fn a_gateway_keeps_its_partition() {
        let names = Names::new("relay", 16).unwrap();
        assert_eq!(
            names.events_subject("gateway-0"),
            names.events_subject("gateway-0")
        );
        assert_eq!(
            fnv1a(b"a"),
            0xaf63_dc4c_8601_ec8c,
            "the published test vector"
        );
    }
}
