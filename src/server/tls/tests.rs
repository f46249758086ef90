use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use x509_cert::der::asn1::{AnyRef, OctetStringRef};
use x509_cert::der::{Decode, Reader, SliceReader};

use super::*;

const DAY: time::Duration = time::Duration::days(1);

/// A self-signed certificate for localhost.
struct Made {
    pem: String,
    der: CertificateDer<'static>,
    key: KeyPair,
}

fn certificate() -> Made {
    let now = OffsetDateTime::now_utc();
    certificate_for(KeyPair::generate().unwrap(), now - DAY, now + DAY * 90)
}

fn certificate_for(key: KeyPair, from: OffsetDateTime, until: OffsetDateTime) -> Made {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (from, until);
    let certificate = params.self_signed(&key).unwrap();
    Made { pem: certificate.pem(), der: certificate.der().clone(), key }
}

fn expired() -> Made {
    let now = OffsetDateTime::now_utc();
    certificate_for(KeyPair::generate().unwrap(), now - DAY * 90, now - DAY)
}

struct Folder {
    folder: TempDir,
    files: Files,
}

impl Folder {
    fn with(made: &Made) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files =
            Files { certificate: folder.path().join("chain.pem"), key: folder.path().join("key.pem") };
        let new = Self { folder, files };
        new.put(&made.pem, &made.key.serialize_pem());
        new
    }

    fn put(&self, certificate: &str, key: &str) {
        fs::write(&self.files.certificate, certificate).unwrap();
        fs::write(&self.files.key, key).unwrap();
        fs::set_permissions(&self.files.key, Permissions::from_mode(0o600)).unwrap();
    }

    fn load(&self) -> Result<Tls, String> {
        Tls::load(self.files.clone()).map_err(|error| error.to_string())
    }

    /// Why these files are refused, both at the start and in place of a good certificate, which stays.
    #[track_caller]
    fn refusal(&self, certificate: &str, key: &str) -> String {
        let good = self::certificate();
        self.put(&good.pem, &good.key.serialize_pem());
        let tls = self.load().unwrap();
        let before = tls.current();
        self.put(certificate, key);
        let reloaded = tls.reload().unwrap_err().to_string();
        assert!(Arc::ptr_eq(&before, &tls.current()));
        assert_eq!(self.load().err(), Some(reloaded.clone()));
        reloaded
    }
}

fn client(trusted: &Made, alpn: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

/// The protocols that client and server agree on.
async fn shake_hands(tls: &Tls, client: &TlsConnector) -> io::Result<(ProtocolVersion, Option<Vec<u8>>)> {
    let (near, far) = tokio::io::duplex(64 << 10);
    let name = ServerName::try_from("localhost").unwrap();
    let (server, client) = tokio::join!(tls.accept(near, Duration::from_secs(60)), client.connect(name, far));
    let (server, _) = (server?, client?);
    let (_, connection) = server.get_ref();
    Ok((connection.protocol_version().unwrap(), connection.alpn_protocol().map(<[u8]>::to_vec)))
}

#[tokio::test]
async fn clients_get_the_certificate_and_the_protocol_that_they_prefer() {
    let made = certificate();
    let tls = Folder::with(&made).load().unwrap();
    let both = shake_hands(&tls, &client(&made, &[b"h2", b"http/1.1"])).await.unwrap();
    assert_eq!(both, (ProtocolVersion::TLSv1_3, Some(b"h2".to_vec())));
    let (_, old) = shake_hands(&tls, &client(&made, &[b"http/1.1"])).await.unwrap();
    assert_eq!(old, Some(b"http/1.1".to_vec()));
    let (_, none) = shake_hands(&tls, &client(&made, &[])).await.unwrap();
    assert_eq!(none, None);
}

#[tokio::test]
async fn a_renewed_certificate_is_for_those_who_come_after() {
    let (old, new) = (certificate(), certificate());
    let folder = Folder::with(&old);
    let tls = folder.load().unwrap();
    assert!(matches!(tls.reload().unwrap(), Reload::Unchanged));
    folder.put(&new.pem, &new.key.serialize_pem());
    assert!(matches!(tls.reload().unwrap(), Reload::Replaced(_)));
    shake_hands(&tls, &client(&new, &[])).await.unwrap();
    shake_hands(&tls, &client(&old, &[])).await.unwrap_err();
}

#[test]
fn what_is_no_certificate_is_refused_with_what_to_do() {
    let made = certificate();
    let folder = Folder::with(&made);
    let key = made.key.serialize_pem();
    let cases = [
        (String::new(), key.clone(), "holds no certificate"),
        ("\0garbage".to_owned(), key.clone(), "holds no certificate"),
        (key.clone(), key.clone(), "holds no certificate"),
        (made.pem[..made.pem.len() / 2].to_owned(), key.clone(), "cannot be used"),
        (made.pem.replacen("MII", "AAA", 1), key.clone(), "cannot be used"),
        (format!("{}{}", made.pem, made.pem.replacen("MII", "AAA", 1)), key.clone(), "number 2 in it"),
        (made.pem.clone(), String::new(), "without a passphrase"),
        (made.pem.clone(), made.pem.clone(), "holds no private key"),
        (made.pem.clone(), key.replace("MI", "AA"), "holds a private key that cannot be used"),
        (made.pem.clone(), certificate().key.serialize_pem(), "is not the one of the first certificate"),
    ];
    for (certificate, key, complaint) in cases {
        let error = folder.refusal(&certificate, &key);
        assert!(error.contains(complaint) && error.contains(".pem"), "{error}");
        assert!(error.starts_with("server.tls_certificate and server.tls_key: "), "{error}");
    }
}

#[test]
fn files_that_are_missing_or_no_files_are_named() {
    let folder = Folder::with(&certificate());
    fs::remove_file(&folder.files.key).unwrap();
    let error = folder.load().err().unwrap();
    assert!(error.contains("key.pem cannot be read: No such file"), "{error}");
    fs::create_dir(&folder.files.key).unwrap();
    assert!(folder.load().err().unwrap().contains("no regular file"));
}

#[test]
fn a_key_that_everybody_can_read_is_refused_with_the_command_that_helps() {
    let folder = Folder::with(&certificate());
    for mode in [0o644, 0o604, 0o602] {
        fs::set_permissions(&folder.files.key, Permissions::from_mode(mode)).unwrap();
        let error = folder.load().err().unwrap();
        assert!(error.contains("chmod 0640") && error.contains(&format!("{mode:04o}")), "{error}");
    }
    fs::set_permissions(&folder.files.key, Permissions::from_mode(0o640)).unwrap();
    folder.load().unwrap();
}

#[tokio::test]
async fn an_expired_certificate_serves_if_there_is_no_other_and_never_replaces_a_good_one() {
    let (old, good, future) = (expired(), certificate(), {
        let now = OffsetDateTime::now_utc();
        certificate_for(KeyPair::generate().unwrap(), now + DAY, now + DAY * 2)
    });
    let folder = Folder::with(&old);
    let tls = folder.load().unwrap();
    assert_eq!(tls.standing(), Standing::Over);

    folder.put(&good.pem, &good.key.serialize_pem());
    tls.reload().unwrap();
    assert_eq!(tls.standing(), Standing::Good);
    for bad in [&old, &future] {
        folder.put(&bad.pem, &bad.key.serialize_pem());
        let error = tls.reload().unwrap_err().to_string();
        assert!(error.contains("which is not now; the one in use still is"), "{error}");
        shake_hands(&tls, &client(&good, &[])).await.unwrap();
    }
}

#[tokio::test]
async fn the_old_spellings_of_a_key_are_understood() {
    let now = OffsetDateTime::now_utc();
    let spelt = |key: &KeyPair, label: &str| {
        let inner = STANDARD.encode(inside_pkcs8(&key.serialize_der()));
        format!("-----BEGIN {label} PRIVATE KEY-----\n{inner}\n-----END {label} PRIVATE KEY-----\n")
    };
    for (key, label) in
        [(KeyPair::generate().unwrap(), "EC"), (KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap(), "RSA")]
    {
        let made = certificate_for(key, now - DAY, now + DAY);
        let folder = Folder::with(&made);
        folder.put(&made.pem, &spelt(&made.key, label));
        shake_hands(&folder.load().unwrap(), &client(&made, &[])).await.unwrap();
    }
}

/// PKCS#8 is a version, an algorithm, and in an octet string what older formats hold alone.
fn inside_pkcs8(der: &[u8]) -> Vec<u8> {
    let mut reader = SliceReader::new(der).unwrap();
    let inner = reader.sequence(|reader| {
        u8::decode(reader)?;
        AnyRef::decode(reader)?;
        let key = <&OctetStringRef>::decode(reader)?.as_bytes().to_vec();
        reader.read_slice(reader.remaining_len())?;
        Ok::<_, x509_cert::der::Error>(key)
    });
    inner.unwrap()
}

#[test]
fn certificate_and_key_may_share_a_file() {
    let made = certificate();
    let mut folder = Folder::with(&made);
    folder.files.certificate = folder.files.key.clone();
    fs::write(&folder.files.key, format!("{}{}", made.key.serialize_pem(), made.pem)).unwrap();
    folder.load().unwrap();
    assert!(folder.folder.path().exists());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_shake_hands_is_given_up() {
    let tls = Folder::with(&certificate()).load().unwrap();
    let (near, _far) = tokio::io::duplex(1 << 10);
    let error = tls.accept(near, Duration::from_secs(10)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_client_that_speaks_no_tls_is_refused() {
    let tls = Folder::with(&certificate()).load().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut plain = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    tls.accept(stream, Duration::from_secs(60)).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_tells_nobody_is_noticed_and_a_failed_one_does_no_harm() {
    let (old, new) = (certificate(), certificate());
    let folder = Folder::with(&old);
    let tls = Arc::new(folder.load().unwrap());
    let metrics = Arc::new(Metrics::new());
    let (stop, stopped) = oneshot::channel::<()>();
    let hangup = signal(SignalKind::hangup()).unwrap();
    let watching = tokio::spawn(watch(Some(Arc::clone(&tls)), hangup, Arc::clone(&metrics), async {
        drop(stopped.await)
    }));
    let mut changes = tls.current.subscribe();

    folder.put(&new.pem, &old.key.serialize_pem());
    tokio::time::sleep(LOOK_EVERY * 3).await;
    assert!(!changes.has_changed().unwrap());
    let counted = metrics.encode();
    assert!(counted.contains("eventlogger_tls_certificate_reloads_total{outcome=\"refused\"} "), "{counted}");
    folder.put(&new.pem, &new.key.serialize_pem());
    changes.changed().await.unwrap();
    shake_hands(&tls, &client(&new, &[])).await.unwrap();

    stop.send(()).unwrap();
    watching.await.unwrap();
}

#[tokio::test]
async fn a_fault_is_told_once_and_not_while_the_files_are_being_written() {
    let good = certificate();
    let folder = Folder::with(&good);
    let mut watcher = Watcher::new(Arc::new(folder.load().unwrap()), Arc::default());
    let told = |watcher: &Watcher| watcher.fault.as_ref().map(|(_, told)| *told);
    folder.put("", &good.key.serialize_pem());
    watcher.look(false).await;
    assert_eq!(told(&watcher), Some(false));
    watcher.look(false).await;
    assert_eq!(told(&watcher), Some(true));
    folder.put(&good.pem, &good.key.serialize_pem());
    watcher.look(false).await;
    assert_eq!(told(&watcher), None);
    folder.put(&good.pem, "");
    watcher.look(true).await;
    assert_eq!(told(&watcher), Some(true));
}
