//! What a request presents: one `Authorization` header, read strictly, without looking anything up.
//!
//! The form of the presented secret alone decides which check runs, never the stored record; so nobody
//! learns from the behaviour what kind of credential a user has.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header::AUTHORIZATION};

use super::AuthError;
use super::name::{PASSWORD_MAX_BYTES, TENANT_NAME_MAX, USER_NAME_MAX_BYTES, check_tenant_name};
use super::secret::{MACHINE_SECRET_START, Secret, TOKEN_START};
pub use crate::store::principals::DEFAULT_TENANT;

/// Longest `tenant/name:password`, and what base64 makes of it.
const BASIC_MAX: usize = TENANT_NAME_MAX + 1 + USER_NAME_MAX_BYTES + 1 + PASSWORD_MAX_BYTES;
const BASIC_MAX_ENCODED: usize = BASIC_MAX.div_ceil(3) * 4;
const TOKEN_MAX: usize = 256;

/// A user name in a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub tenant: String,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    Password { login: Login, password: Secret },
    MachineSecret { login: Login, secret: Secret },
    Token { tenant: String, token: Secret },
}

impl Credential {
    pub fn from_headers(headers: &HeaderMap) -> Result<Credential, AuthError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(AuthError::Missing)?;
        if values.next().is_some() {
            return Err(AuthError::Several);
        }
        let value = value.to_str().map_err(|_| AuthError::Malformed("it holds bytes outside ASCII"))?;
        Credential::parse(value).map_err(AuthError::Malformed)
    }

    fn parse(value: &str) -> Result<Credential, &'static str> {
        let (scheme, rest) = value.trim().split_once(' ').ok_or("expected `Basic …` or `Bearer …`")?;
        let rest = rest.trim_start();
        if scheme.eq_ignore_ascii_case("basic") {
            basic(rest)
        } else if scheme.eq_ignore_ascii_case("bearer") {
            bearer(rest)
        } else {
            Err("the scheme must be Basic or Bearer")
        }
    }
}

fn basic(encoded: &str) -> Result<Credential, &'static str> {
    if encoded.len() > BASIC_MAX_ENCODED {
        return Err("the Basic credentials are too long (name ≤ 256 bytes, password ≤ 1024 bytes)");
    }
    let bytes =
        STANDARD.decode(encoded).map_err(|_| "the Basic credentials are not base64 of `name:password`")?;
    let text = String::from_utf8(bytes).map_err(|_| "the Basic credentials are not UTF-8")?;
    let (login, password) = text.split_once(':').ok_or("the Basic credentials have no `:` after the name")?;
    if text.chars().any(char::is_control) {
        return Err("the Basic credentials hold a control character (a line end after the password?)");
    }
    if password.len() > PASSWORD_MAX_BYTES {
        return Err("the password is longer than 1024 bytes");
    }
    let login = login_name(login)?;
    let secret = Secret::new(password.to_owned());
    Ok(match password.starts_with(MACHINE_SECRET_START) {
        true => Credential::MachineSecret { login, secret },
        false => Credential::Password { login, password: secret },
    })
}

fn login_name(login: &str) -> Result<Login, &'static str> {
    let (tenant, name) = login.split_once('/').unwrap_or((DEFAULT_TENANT, login));
    // It would be written down as the name of whoever failed to log in.
    if [TOKEN_START, MACHINE_SECRET_START]
        .iter()
        .any(|start| login.starts_with(start) || name.starts_with(start))
    {
        return Err("a token stands in the place of the name; send it as `Authorization: Bearer …`");
    }
    if name.is_empty() || tenant.is_empty() {
        return Err("the user name is empty");
    }
    if name.len() > USER_NAME_MAX_BYTES || tenant.len() > TENANT_NAME_MAX {
        return Err("the user name is longer than 256 bytes, or the tenant longer than 63");
    }
    Ok(Login { tenant: tenant.to_owned(), name: name.to_owned() })
}

fn bearer(token: &str) -> Result<Credential, &'static str> {
    const EXPECTED: &str = "a Bearer token has the form `evl_<tenant>_<secret>`";
    if token.len() > TOKEN_MAX {
        return Err(EXPECTED);
    }
    // Tenant names hold no underscore, so the next one ends the tenant.
    let (tenant, secret) =
        token.strip_prefix(TOKEN_START).and_then(|rest| rest.split_once('_')).ok_or(EXPECTED)?;
    let alphanumeric = !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !alphanumeric || check_tenant_name(tenant).is_err() {
        return Err(EXPECTED);
    }
    Ok(Credential::Token { tenant: tenant.to_owned(), token: Secret::new(token.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Result<Credential, AuthError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Credential::from_headers(&headers)
    }

    fn read_basic(text: impl AsRef<[u8]>) -> Result<Credential, AuthError> {
        read(&[&format!("Basic {}", STANDARD.encode(text))])
    }

    fn password(tenant: &str, name: &str, password: &str) -> Result<Credential, AuthError> {
        let login = Login { tenant: tenant.to_owned(), name: name.to_owned() };
        Ok(Credential::Password { login, password: Secret::new(password.to_owned()) })
    }

    #[test]
    fn a_plain_name_belongs_to_the_default_tenant() {
        assert_eq!(read_basic("admin:secret"), password("default", "admin", "secret"));
        assert_eq!(read_basic("acme/ann:secret"), password("acme", "ann", "secret"));
    }

    #[test]
    fn the_password_begins_after_the_first_colon() {
        assert_eq!(read_basic("admin:a:b/c:"), password("default", "admin", "a:b/c:"));
        assert_eq!(read_basic("admin:"), password("default", "admin", ""));
        assert_eq!(read_basic("Жанна:пароль"), password("default", "Жанна", "пароль"));
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        let encoded = STANDARD.encode("a:b");
        for scheme in ["Basic", "basic", "BASIC", "Basic  "] {
            assert_eq!(read(&[&format!("{scheme} {encoded}")]), password("default", "a", "b"));
        }
        assert!(matches!(read(&["bEARER evl_acme_abc"]), Ok(Credential::Token { .. })));
    }

    #[test]
    fn the_form_of_the_presented_secret_decides_the_check() {
        assert!(matches!(read_basic("a:evls_abc"), Ok(Credential::MachineSecret { .. })));
        assert!(matches!(read_basic("a:evl_default_abc"), Ok(Credential::Password { .. })));
        assert!(matches!(read_basic("a:EVLS_abc"), Ok(Credential::Password { .. })));
        let Ok(Credential::Token { tenant, token }) = read(&["Bearer evl_team-7_Abc123"]) else { panic!() };
        assert_eq!((tenant.as_str(), token.reveal()), ("team-7", "evl_team-7_Abc123"));
    }

    #[test]
    fn none_and_several_credentials_are_told_apart() {
        assert_eq!(read(&[]), Err(AuthError::Missing));
        assert_eq!(read(&["Basic YTpi", "Basic YTpi"]), Err(AuthError::Several));
        assert_eq!(read(&["Bearer evl_a_b", "Basic YTpi"]), Err(AuthError::Several));
        assert!(matches!(read(&["Basic YTpi, Bearer evl_a_b"]), Err(AuthError::Malformed(_))));
    }

    #[test]
    fn a_malformed_header_is_explained_without_its_secret() {
        let long = format!("a:{}", "p".repeat(1025));
        let cases = [
            (read(&["Basic"]), "expected"),
            (read(&["Digest hunter2"]), "scheme"),
            (read(&["Basic hunter2!"]), "base64"),
            (read(&["Bearer hunter2"]), "evl_<tenant>_<secret>"),
            (read(&["Bearer evl_hunter2"]), "evl_<tenant>_<secret>"),
            (read(&["Bearer evl_ACME_hunter2"]), "evl_<tenant>_<secret>"),
            (read(&["Bearer evl_acme_hunter2-"]), "evl_<tenant>_<secret>"),
            (read(&[&format!("Bearer evl_acme_hunter2{}", "x".repeat(300))]), "evl_<tenant>_<secret>"),
            (read(&["Basic hünter2"]), "ASCII"),
            (read_basic([0x61, 0x3a, 0xff]), "UTF-8"),
            (read_basic("hunter2"), "no `:`"),
            (read_basic("a:hunter2\n"), "control"),
            (read_basic("a\0:hunter2"), "control"),
            (read_basic(":hunter2"), "empty"),
            (read_basic("/a:hunter2"), "empty"),
            (read_basic("acme/:hunter2"), "empty"),
            (read_basic(long), "1024"),
            (read_basic("x".repeat(5_000)), "too long"),
            (read_basic(format!("{}:hunter2", "n".repeat(257))), "256 bytes"),
        ];
        for (result, expected) in cases {
            let error = result.unwrap_err();
            assert!(matches!(error, AuthError::Malformed(_)), "{error:?}");
            assert!(error.to_string().contains(expected), "{error} lacks {expected:?}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn debug_output_of_a_credential_hides_the_secret() {
        let shown = format!("{:?}", read_basic("admin:hunter2").unwrap());
        assert!(shown.contains("admin") && !shown.contains("hunter2"), "{shown}");
    }
}
