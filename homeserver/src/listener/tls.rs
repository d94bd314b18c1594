//! Certificates and keys, which can be read again while they are in use.

use std::{path::PathBuf, sync::Arc};

use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

use crate::config::Tls;

/// Why a certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("{}: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: pem::Error,
    },
    /// The file of the certificate holds none.
    #[error("{}: holds no certificate", .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The two do not fit each other, or one of them is of an unknown kind.
    #[error("certificate and key cannot be used together: {0}")]
    Unusable(#[from] rustls::Error),
}

/// What a TLS listener proves itself with.
#[derive(Clone, Debug)]
pub(super) struct TlsKeys {
    files: Tls,
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

impl TlsKeys {
    pub(super) fn load(files: &Tls) -> Result<Self, TlsError> {
        let config = read(files)?;
        Ok(Self { files: files.clone(), config: Arc::new(RwLock::new(config)) })
    }

    pub(super) fn reload(&self) -> Result<(), TlsError> {
        let config = read(&self.files)?;
        *self.config.write() = config;
        Ok(())
    }

    /// For one handshake: the next may find another certificate.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config.read()))
    }
}

fn read(files: &Tls) -> Result<Arc<ServerConfig>, TlsError> {
    let file_error = |path: &PathBuf| {
        let path = path.clone();
        move |error| TlsError::File { path, error }
    };
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .map_err(file_error(&files.certificate))?
        .collect::<Result<_, _>>()
        .map_err(file_error(&files.certificate))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { path: files.certificate.clone() });
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(file_error(&files.key))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
