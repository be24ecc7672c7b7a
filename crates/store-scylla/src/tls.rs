//! TLS towards the database: rustls with aws-lc-rs.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::{ConnectError, TlsOptions};

/// Builds what the driver needs.
pub(crate) fn client_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, ConnectError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectError::Tls(error.to_string()))?
        .with_root_certificates(roots(options)?);
    let config = match &options.client {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = certificates(&own.certificate_file)?;
            let key = PrivateKeyDer::from_pem_file(&own.key_file)
                .map_err(|error| file(&own.key_file, error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| file(&own.certificate_file, error))?
        }
    };
    Ok(Arc::new(config))
}

fn roots(options: &TlsOptions) -> Result<RootCertStore, ConnectError> {
    let mut roots = RootCertStore::empty();
    match &options.ca_file {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| file(path, error))?;
            }
        }
        None => {
            // One unreadable certificate of many is no reason to stop.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(ConnectError::Tls("no authorities to trust".to_owned()));
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| file(path, error))?;
    let certificates: Result<Vec<_>, _> = read.collect();
    let certificates = certificates.map_err(|error| file(path, error))?;
    if certificates.is_empty() {
        return Err(file(path, "holds no certificate"));
    }
    Ok(certificates)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "shaped for errors and texts alike"
)]
fn file(path: &Path, reason: impl ToString) -> ConnectError {
    ConnectError::TlsFile {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_missing_file_is_named() {
        let options = TlsOptions {
            ca_file: Some(PathBuf::from("/nowhere/ca.pem")),
            client: None,
        };
        let error = client_config(&options).unwrap_err().to_string();
        assert!(error.contains("/nowhere/ca.pem"), "{error}");
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let options = TlsOptions {
            ca_file: Some(PathBuf::from("/dev/null")),
            client: None,
        };
        let error = client_config(&options).unwrap_err().to_string();
        assert!(error.contains("holds no certificate"), "{error}");
    }
}
