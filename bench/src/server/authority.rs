//! Certificates for servers that talk to each other, signed by an authority that nobody else knows.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};

/// The port that servers talk to each other on.
const PORT: u16 = 8448;

/// Signs certificates for the time of a run.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// A server's certificate, and whom it is to believe.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// Where the server listens for others.
    pub(super) address: SocketAddr,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) authority: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        // Not the name that certificates have by default: some take what its issuer's name is for signed by itself.
        params.distinguished_name.push(DnType::CommonName, "Authority of a bench");
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// A certificate for an address, in files in `dir`.
    pub(super) fn certify(&self, ip: IpAddr, dir: &Path) -> Result<Certificate> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress(ip)];
        let certificate = params.signed_by(&key, &self.issuer)?;
        let files = Certificate {
            address: SocketAddr::from((ip, PORT)),
            certificate: dir.join("certificate.pem"),
            key: dir.join("key.pem"),
            authority: dir.join("authority.pem"),
        };
        fs::write(&files.certificate, certificate.pem())?;
        fs::write(&files.key, key.serialize_pem())?;
        fs::write(&files.authority, &self.certificate)?;
        Ok(files)
    }
}
