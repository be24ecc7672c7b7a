//! Until when certificates are good.

use rustls_pki_types::{
    CertificateDer,
    pem::{self, PemObject},
};
use x509_cert::{
    Certificate,
    der::{self, Decode},
};

/// A certificate that this process shows to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateEnd {
    /// What it is shown for; a word of a closed set.
    pub purpose: &'static str,
    /// When it ends, in Unix seconds.
    pub not_after_secs: u64,
}

/// Not a certificate, so nobody knows when it ends.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file holds none.
    #[error("no certificate in it")]
    Empty,
    /// Damaged text.
    #[error("not PEM: {0}")]
    Pem(#[from] pem::Error),
    /// Something else, or damaged.
    #[error("not a certificate: {0}")]
    Malformed(#[from] der::Error),
}

/// When the first certificate of a PEM file ends that does, in Unix seconds: a chain is as good as
/// its parts.
///
/// # Errors
///
/// [`CertificateError`].
pub fn certificate_not_after(pem: &[u8]) -> Result<u64, CertificateError> {
    let mut first = None;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = Certificate::from_der(&certificate?)?;
        let end = certificate.tbs_certificate.validity.not_after;
        let end = end.to_unix_duration().as_secs();
        first = Some(first.map_or(end, |first: u64| first.min(end)));
    }
    first.ok_or(CertificateError::Empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHORITY: &[u8] = include_bytes!("../tests/traces/tls/authority.pem");
    const COLLECTOR: &[u8] = include_bytes!("../tests/traces/tls/collector.pem");

    #[test]
    fn a_chain_ends_with_the_first_of_its_certificates() {
        // As `openssl x509 -enddate` says.
        let (authority, collector) = (4_949_019_897, 2_486_619_897);
        assert_eq!(certificate_not_after(AUTHORITY).unwrap(), authority);
        assert_eq!(certificate_not_after(COLLECTOR).unwrap(), collector);
        let chain = [AUTHORITY, COLLECTOR].concat();
        assert_eq!(certificate_not_after(&chain).unwrap(), collector);
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let key = include_bytes!("../tests/traces/tls/collector.key.pem");
        for text in [&b""[..], b"hello", key, &COLLECTOR[..200]] {
            assert!(certificate_not_after(text).is_err());
        }
    }
}
