//! The certificate that clients see. A new one in the files is shown to whoever connects next.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use heliograph_telemetry::{CertificateError, certificate_not_after};
use parking_lot::Mutex;
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Where a certificate and its key are, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate and those between it and an authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Why a certificate can't be shown.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file can't be read.
    #[error("{} can't be read: {error}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {what} in PEM: {error}", .path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What is looked for.
        what: &'static str,
        /// Why it isn't found.
        error: pem::Error,
    },
    /// It can't be told until when it is good.
    #[error("the certificate's end can't be read: {0}")]
    End(#[source] CertificateError),
    /// The key isn't the certificate's, or of a sort that isn't known.
    #[error("the certificate and its key can't be used together: {0}")]
    Unusable(#[from] rustls::Error),
}

/// The certificate in force and the files that it came from.
pub(super) struct Identity {
    files: CertificateFiles,
    /// What was in the files when they were last looked at.
    seen: Mutex<Contents>,
    shown: ArcSwap<CertifiedKey>,
    /// When the one that is shown ends, in Unix seconds.
    ends: Arc<AtomicU64>,
}

/// Both files as they are.
#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// See [`IdentityError`].
    pub(super) fn read(files: CertificateFiles) -> Result<Self, IdentityError> {
        let contents = Contents::read(&files)?;
        let (shown, ends) = contents.parse(&files)?;
        Ok(Self {
            shown: ArcSwap::from_pointee(shown),
            ends: Arc::new(AtomicU64::new(ends)),
            seen: Mutex::new(contents),
            files,
        })
    }

    /// Looks at the files again, and shows from now on what is new in them; says whether something was.
    ///
    /// # Errors
    ///
    /// What is new can't be used. The old certificate stays in force, and the same contents aren't tried again.
    pub(super) fn refresh(&self) -> Result<bool, IdentityError> {
        let contents = Contents::read(&self.files)?;
        let mut seen = self.seen.lock();
        if *seen == contents {
            return Ok(false);
        }
        let parsed = contents.parse(&self.files);
        *seen = contents;
        let (shown, ends) = parsed?;
        self.shown.store(Arc::new(shown));
        self.ends.store(ends, Relaxed);
        Ok(true)
    }

    /// When the certificate that is shown ends, in Unix seconds; changes with it.
    pub(super) fn ends(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.ends)
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.load_full())
    }
}

impl Contents {
    fn read(files: &CertificateFiles) -> Result<Self, IdentityError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|error| IdentityError::Read {
                path: path.to_owned(),
                error,
            })
        };
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
        })
    }

    /// The certificate with its key, and when it ends.
    fn parse(&self, files: &CertificateFiles) -> Result<(CertifiedKey, u64), IdentityError> {
        let wrong = |path: &Path, what, error| IdentityError::Pem {
            path: path.to_owned(),
            what,
            error,
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .and_then(|chain: Vec<_>| match chain.is_empty() {
                true => Err(pem::Error::NoItemsFound),
                false => Ok(chain),
            })
            .map_err(|error| wrong(&files.certificate, "certificate", error))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| wrong(&files.key, "private key", error))?;
        let shown = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?;
        let ends = certificate_not_after(&self.certificate).map_err(IdentityError::End)?;
        Ok((shown, ends))
    }
}
