//! TLS towards relays: rustls with aws-lc-rs.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::CanaryError;

/// Trusts the authorities in `ca`, or those of the system.
///
/// # Errors
///
/// [`CanaryError::Authorities`]: there is nobody to trust.
pub fn client_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, CanaryError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| CanaryError::Authorities(error.to_string()))?
        .with_root_certificates(roots(ca)?)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, CanaryError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        // One unreadable certificate of many is no reason to stop.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return non_empty(roots, "the system has no authorities to trust");
    };
    let wrong = |reason: String| {
        CanaryError::Authorities(format!("can't use {}: {reason}", path.display()))
    };
    let read = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    for certificate in read {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        let added = roots.add(certificate);
        added.map_err(|error| wrong(error.to_string()))?;
    }
    non_empty(roots, &format!("{} holds no certificate", path.display()))
}

fn non_empty(roots: RootCertStore, otherwise: &str) -> Result<RootCertStore, CanaryError> {
    if roots.is_empty() {
        return Err(CanaryError::Authorities(otherwise.to_owned()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_that_can_not_be_read_are_named() {
        for path in ["/nonexistent/ca.pem", "/dev/null"] {
            let error = client_config(Some(Path::new(path))).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("canary.ca") && text.contains(path), "{text}");
        }
    }
}
