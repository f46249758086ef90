//! A certificate chain with its key, read from files and checked before anybody is shown it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use x509_cert::Certificate as Parsed;
use x509_cert::der::{DateTime, Decode};

/// A chain of some certificates has a few KiB; what is much larger is another file.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// Mode bits of those who are neither the owner nor in the group.
const OTHERS: u32 = 0o007;

/// What is wrong with the files. The texts say what to do.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{} cannot be read: {source}", .file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    #[error(
        "the key {} can be read by every user of this machine (mode {mode:04o}). Run: chmod 0640 '{}'",
        .file.display(), .file.display()
    )]
    Exposed { file: PathBuf, mode: u32 },
    #[error(
        "{} holds no certificate. It must be PEM, beginning with the service's own certificate, \
         followed by the intermediate ones",
        .0.display()
    )]
    NoCertificate(PathBuf),
    #[error("{} holds a certificate that cannot be used: {reason}", .file.display())]
    BadCertificate { file: PathBuf, reason: String },
    #[error(
        "{} holds no private key. It must be PEM without a passphrase: PRIVATE KEY, RSA PRIVATE KEY \
         or EC PRIVATE KEY",
        .0.display()
    )]
    NoKey(PathBuf),
    #[error("{} holds a private key that cannot be used: {reason}", .file.display())]
    BadKey { file: PathBuf, reason: String },
    #[error(
        "the key in {} is not the one of the first certificate in {}. Both must come from the same request, \
         and the service's own certificate must be the first",
        .key.display(), .certificate.display()
    )]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error(
        "the certificate in {} is valid from {from} to {until}, which is not now; the one in use still is",
        .file.display()
    )]
    OutOfDate { file: PathBuf, from: DateTime, until: DateTime },
}

/// Where a certificate is kept.
#[derive(Clone, Debug)]
pub struct Files {
    /// PEM: the service's own certificate, then the intermediate ones.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
}

/// A certificate that parses, with the key that belongs to it.
pub struct Certificate {
    pub key: Arc<CertifiedKey>,
    pub validity: Validity,
    /// Of both files' bytes, to tell whether they have changed.
    pub digest: [u8; 32],
}

#[derive(Clone, Copy, Debug)]
pub struct Validity {
    pub from: DateTime,
    pub until: DateTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    NotYet,
    Good,
    /// Less than a week is left.
    Ending,
    Over,
}

impl Validity {
    const ENDING: Duration = Duration::from_hours(7 * 24);

    pub fn at(&self, now: SystemTime) -> Standing {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let until = self.until.unix_duration();
        match () {
            () if now < self.from.unix_duration() => Standing::NotYet,
            () if now > until => Standing::Over,
            () if now + Self::ENDING > until => Standing::Ending,
            () => Standing::Good,
        }
    }

    pub fn holds(&self) -> bool {
        matches!(self.at(SystemTime::now()), Standing::Good | Standing::Ending)
    }
}

impl Certificate {
    /// Reads and checks everything but the dates, which are the caller's to judge.
    pub fn read(files: &Files, provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let chain_text = read(&files.certificate, |_| Ok(()))?;
        let key_text = read(&files.key, |mode| private(&files.key, mode))?;
        let chain = chain(&chain_text, &files.certificate)?;
        let validity = validity(&chain[0])
            .map_err(|reason| CertificateError::BadCertificate { file: files.certificate.clone(), reason })?;
        let key = PrivateKeyDer::from_pem_slice(&key_text)
            .map_err(|_| CertificateError::NoKey(files.key.clone()))?;
        let key = provider.key_provider.load_private_key(key).map_err(|error| CertificateError::BadKey {
            file: files.key.clone(),
            reason: error.to_string(),
        })?;
        let key = CertifiedKey::new(chain, key);
        key.keys_match().map_err(|error| mismatch(error, files))?;
        let digest = Sha256::new().chain_update(chain_text).chain_update(key_text).finalize().into();
        Ok(Self { key: Arc::new(key), validity, digest })
    }
}

/// The file's bytes, if its mode pleases.
fn read(
    file: &Path,
    check_mode: impl Fn(u32) -> Result<(), CertificateError>,
) -> Result<Vec<u8>, CertificateError> {
    let unreadable = |source| CertificateError::Unreadable { file: file.to_owned(), source };
    let opened = File::open(file).map_err(unreadable)?;
    let metadata = opened.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(io::Error::other("it is no regular file")));
    }
    check_mode(metadata.permissions().mode() & 0o7777)?;
    let mut bytes = Vec::new();
    opened.take(FILE_MAX_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn private(file: &Path, mode: u32) -> Result<(), CertificateError> {
    if mode & OTHERS == 0 { Ok(()) } else { Err(CertificateError::Exposed { file: file.to_owned(), mode }) }
}

/// All certificates of a PEM file; at least one, and each of them parses.
fn chain(pem: &[u8], file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let bad = |reason: String| CertificateError::BadCertificate { file: file.to_owned(), reason };
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| bad(error.to_string()))?;
    for (number, certificate) in chain.iter().enumerate() {
        validity(certificate).map_err(|reason| bad(format!("number {} in it: {reason}", number + 1)))?;
    }
    if chain.is_empty() { Err(CertificateError::NoCertificate(file.to_owned())) } else { Ok(chain) }
}

fn validity(certificate: &CertificateDer<'_>) -> Result<Validity, String> {
    let parsed = Parsed::from_der(certificate).map_err(|error| error.to_string())?;
    let dates = parsed.tbs_certificate().validity();
    Ok(Validity { from: dates.not_before.to_date_time(), until: dates.not_after.to_date_time() })
}

fn mismatch(error: rustls::Error, files: &Files) -> CertificateError {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            CertificateError::Mismatch { certificate: files.certificate.clone(), key: files.key.clone() }
        }
        other => {
            CertificateError::BadCertificate { file: files.certificate.clone(), reason: other.to_string() }
        }
    }
}
