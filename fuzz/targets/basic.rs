//! `Authorization` headers: no panic, and what is read is what was written.

#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eventlogger_fuzz::auth::{AuthError, Credential, Login};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = read(bytes);
    let _ = read(&[b"Bearer evl_acme_", bytes].concat());
    if let Some(Ok(credential)) = read(&[b"Basic ", STANDARD.encode(bytes).as_bytes()].concat()) {
        let (Credential::Password { login, password: secret } | Credential::MachineSecret { login, secret }) =
            &credential
        else {
            panic!("Basic is no token");
        };
        let Login { tenant, name } = login;
        assert!(!tenant.is_empty() && !name.is_empty());
        let plain = format!("{name}:{}", secret.reveal());
        let full = format!("{tenant}/{plain}");
        assert!(bytes == full.as_bytes() || bytes == plain.as_bytes());
        assert!(!full.contains(char::is_control));
        assert_eq!(read(format!("basic {}", STANDARD.encode(&full)).as_bytes()), Some(Ok(credential)));
    }
});

/// None if no such header can be sent.
fn read(value: &[u8]) -> Option<Result<Credential, AuthError>> {
    let value = HeaderValue::from_bytes(value).ok()?;
    let mut headers = HeaderMap::from_iter([(AUTHORIZATION, value.clone())]);
    let read = Credential::from_headers(&headers);
    headers.append(AUTHORIZATION, value);
    assert_eq!(Credential::from_headers(&headers), Err(AuthError::Several));
    Some(read)
}
