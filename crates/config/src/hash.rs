//! A short name for what is in force, by which one sees that two processes differ.

use crc32fast::Hasher;

use crate::{KEYS, Loaded};

/// Keys that name a process or its addresses, so that they differ where nothing else does.
const ITS_OWN: [&str; 5] = [
    "cluster.node",
    "gateway.listen",
    "matcher.listen",
    "matcher.advertise",
    "admin.listen",
];

impl Loaded {
    /// A hash of the values in force, with those of keys that no file names. Secrets aren't in it,
    /// and neither is what a process has to have for itself: `cluster.node`, `matcher.advertise` and
    /// the addresses to listen on.
    #[must_use]
    pub fn hash(&self) -> u32 {
        let mut hash = Hasher::new();
        for key in KEYS {
            if !key.is_secret() && !ITS_OWN.contains(&key.name) {
                let (value, _) = self.written.effective(key);
                // No value holds a line break: texts are escaped.
                hash.update(format!("{} = {value}\n", key.name).as_bytes());
            }
        }
        hash.finalize()
    }
}
