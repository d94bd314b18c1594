//! The certificate authority of one run: everybody in a federation case trusts it, and nobody else does.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::process::fresh_directory;

static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::create);

/// The authority and the file with its certificate.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
    client: Arc<ClientConfig>,
}

/// The files of one server's certificate.
#[derive(Clone, Debug)]
pub(crate) struct CertificateFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    /// The authority of this run; it is made with the first use.
    pub(crate) fn get() -> &'static Self {
        &AUTHORITY
    }

    fn create() -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Authority of a test run");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("a certificate can be signed");
        let file = fresh_directory("authority").join("ca.pem");
        std::fs::write(&file, certificate.pem()).expect("the certificate can be written");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).expect("our own certificate is well-formed");
        let client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { issuer: Issuer::new(params, key), file, client: Arc::new(client) }
    }

    /// The certificate of the authority, PEM.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// For connections to servers that have a certificate of this authority.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.client.clone()
    }

    /// Writes a certificate for this address, and its key, into a directory.
    pub(crate) fn write_certificate(&self, address: IpAddr, directory: &Path) -> CertificateFiles {
        let (certificate, key) = self.issue(address);
        let files =
            CertificateFiles { certificate: directory.join("tls.crt"), key: directory.join("tls.key") };
        std::fs::write(&files.certificate, certificate.pem()).expect("the certificate can be written");
        std::fs::write(&files.key, key.serialize_pem()).expect("the key can be written");
        files
    }

    /// For a server within this process.
    pub(crate) fn server(&self, address: IpAddr) -> Arc<ServerConfig> {
        let (certificate, key) = self.issue(address);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("our own certificate fits its key");
        Arc::new(config)
    }

    fn issue(&self, address: IpAddr) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::new([address.to_string()]).expect("an address is a valid name");
        params.distinguished_name.push(DnType::CommonName, address.to_string());
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate can be signed");
        (certificate, key)
    }
}
