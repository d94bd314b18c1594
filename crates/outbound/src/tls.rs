//! Whose certificates are believed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem, pem::PemObject},
};

/// Why there is no way to check certificates. The texts are for operators.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file with further authorities cannot be read, or holds something else.
    #[error("{}: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: pem::Error,
    },
    /// The file with further authorities holds none.
    #[error("{}: holds no certificate", .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A certificate in it is none.
    #[error("{}: {error}", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: rustls::Error,
    },
    /// The library refuses its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Unusable(#[from] rustls::Error),
}

/// TLS for clients: trusts what the system trusts, and the certificates in a PEM file beside. HTTP/2 where the other side
/// has it.
pub fn tls_config(extra_ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "a certificate of the system cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    if let Some(path) = extra_ca_file {
        add_file(&mut roots, path)?;
    }
    if roots.is_empty() {
        tracing::warn!("the system trusts no authority: no certificate of another server will be accepted");
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    let file_error = |error| TlsError::File { path: path.to_owned(), error };
    let mut is_empty = true;
    for certificate in CertificateDer::pem_file_iter(path).map_err(file_error)? {
        let certificate = certificate.map_err(file_error)?;
        roots.add(certificate).map_err(|error| TlsError::Certificate { path: path.to_owned(), error })?;
        is_empty = false;
    }
    if is_empty {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(())
}
