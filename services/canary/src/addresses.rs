//! Every address behind a name, so that each gateway of a cluster is read by itself.

use crate::{CanaryError, READERS_MAX, Reader, target::Target};

/// Makes a reader of each address that the name in a URL has, of 16 at most in all, in order.
///
/// # Errors
///
/// [`CanaryError`]: a URL is none, or its name has no address.
pub async fn each_address(readers: Vec<Reader>) -> Result<Vec<Reader>, CanaryError> {
    let mut all = Vec::new();
    for reader in readers {
        let target = Target::parse("canary.read", &reader.url)?.at(reader.address);
        let wrong = |problem: String| CanaryError::Address {
            url: reader.url.clone(),
            problem,
        };
        let found = target.addresses().await;
        let mut found = found.map_err(|error| wrong(error.to_string()))?;
        if found.is_empty() {
            return Err(wrong("the name is known, without any".to_owned()));
        }
        found.sort_unstable();
        found.dedup();
        all.extend(found.into_iter().map(|address| Reader {
            url: reader.url.clone(),
            address: Some(address),
        }));
    }
    all.truncate(READERS_MAX);
    Ok(all)
}
