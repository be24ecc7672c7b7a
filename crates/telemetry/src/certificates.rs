//! Until when certificates are good.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use rustls_pki_types::{
    CertificateDer,
    pem::{self, PemObject},
};
use x509_cert::{
    Certificate,
    der::{self, Decode},
};

/// A certificate that this process shows to others.
#[derive(Debug)]
pub struct ShownCertificate {
    /// What it is shown for; a word of a closed set.
    purpose: &'static str,
    /// Where to look again, if who uses it does so too.
    file: Option<PathBuf>,
    /// When it ends, in Unix seconds; 0 where nobody knows.
    not_after_secs: Arc<AtomicU64>,
    /// Whether the last attempt to read it failed.
    failed: AtomicBool,
}

impl ShownCertificate {
    /// A certificate that ends at a known time.
    #[must_use]
    pub fn ending(purpose: &'static str, not_after_secs: u64) -> Self {
        Self {
            purpose,
            file: None,
            not_after_secs: Arc::new(AtomicU64::new(not_after_secs)),
            failed: AtomicBool::new(false),
        }
    }

    /// A certificate whose end, in Unix seconds, is told by who shows it, and changes with it.
    #[must_use]
    pub fn told(purpose: &'static str, not_after_secs: Arc<AtomicU64>) -> Self {
        Self {
            not_after_secs,
            ..Self::ending(purpose, 0)
        }
    }

    /// A certificate that is read at the start and stays in use until the process ends, whatever becomes
    /// of the file.
    #[must_use]
    pub fn read_once(purpose: &'static str, file: &Path) -> Self {
        let certificate = Self::ending(purpose, 0);
        certificate.read(file);
        certificate
    }

    /// A certificate that is read each time that it is needed: a new file is in use without a restart.
    #[must_use]
    pub fn read_each_time(purpose: &'static str, file: &Path) -> Self {
        Self {
            file: Some(file.to_owned()),
            ..Self::read_once(purpose, file)
        }
    }

    /// What it is shown for.
    pub(crate) fn purpose(&self) -> &'static str {
        self.purpose
    }

    /// When the one in use ends, in Unix seconds: the last that could be read. `None` if none ever could.
    pub(crate) fn not_after_secs(&self) -> Option<u64> {
        if let Some(file) = &self.file {
            self.read(file);
        }
        let secs = self.not_after_secs.load(Relaxed);
        (secs > 0).then_some(secs)
    }

    fn read(&self, file: &Path) {
        let pem = fs::read(file).map_err(CertificateError::from);
        match pem.and_then(|pem| certificate_not_after(&pem)) {
            Ok(secs) => {
                self.not_after_secs.store(secs, Relaxed);
                self.failed.store(false, Relaxed);
            }
            Err(error) => {
                // Whoever needs it refuses it; here only its end isn't known. Said once, not at each look.
                if !self.failed.swap(true, Relaxed) {
                    let (purpose, file) = (self.purpose, file.display());
                    tracing::warn!(%error, purpose, %file, "can't tell when a certificate ends");
                }
            }
        }
    }
}

/// Not a certificate, so nobody knows when it ends.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file can't be read.
    #[error("{0}")]
    Unread(#[from] io::Error),
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
    fn a_new_file_counts_where_it_is_read_again() {
        let path =
            std::env::temp_dir().join(format!("heliograph-certificate-{}", std::process::id()));
        fs::write(&path, COLLECTOR).unwrap();
        let once = ShownCertificate::read_once("scylla", &path);
        let each_time = ShownCertificate::read_each_time("nats", &path);
        let ends = || (once.not_after_secs(), each_time.not_after_secs());
        let (authority, collector) = (Some(4_949_019_897), Some(2_486_619_897));
        assert_eq!(ends(), (collector, collector));
        fs::write(&path, AUTHORITY).unwrap();
        assert_eq!(ends(), (collector, authority));
        // What was seen last stays: without it nobody would be warned of its end.
        fs::remove_file(&path).unwrap();
        assert_eq!(ends(), (collector, authority));
        fs::write(&path, COLLECTOR).unwrap();
        assert_eq!(ends(), (collector, collector));
        fs::remove_file(&path).unwrap();
        let missing = ShownCertificate::read_each_time("nats", &path);
        assert_eq!(missing.not_after_secs(), None);
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let key = include_bytes!("../tests/traces/tls/collector.key.pem");
        for text in [&b""[..], b"hello", key, &COLLECTOR[..200]] {
            assert!(certificate_not_after(text).is_err());
        }
    }
}
