//! Where the service listens, as an operator writes it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Whether an address speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// `127.0.0.1:5000`, `https://[::]:5443` or `unix:/run/eventlogger/http.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum ListenAddress {
    /// Without a scheme, TLS is spoken if there is a certificate.
    Tcp(Option<Scheme>, SocketAddr),
    /// An absolute path; never TLS.
    Unix(PathBuf),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address to listen on; expected {form}", form = ListenAddress::FORM)]
pub struct NotAnAddress(String);

/// What fits into the kernel's `sockaddr_un` beside the final zero.
const SOCKET_PATH_MAX_BYTES: usize = 107;

impl ListenAddress {
    /// What [`str::parse`] takes.
    pub const FORM: &str = "an IP:port such as 127.0.0.1:5000 or [::1]:5000, with http:// or https:// before it \
         if it shall not follow server.tls_certificate, or unix: and an absolute path of at most 107 bytes";

    /// The same address with what it speaks spelt out.
    #[must_use]
    pub fn resolved(&self, has_certificate: bool) -> Self {
        let usual = if has_certificate { Scheme::Https } else { Scheme::Http };
        match self {
            Self::Tcp(scheme, address) => Self::Tcp(scheme.or(Some(usual)), *address),
            Self::Unix(path) => Self::Unix(path.clone()),
        }
    }

    /// Whether it says so itself.
    pub fn is_https(&self) -> bool {
        matches!(self, Self::Tcp(Some(Scheme::Https), _))
    }

    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            let fits = path.len() <= SOCKET_PATH_MAX_BYTES && !path.contains('\0') && !path.ends_with('/');
            let right = path.starts_with('/') && fits;
            return if right { Ok(Self::Unix(path.into())) } else { Err(NotAnAddress(text.to_owned())) };
        }
        let (scheme, address) = match text.split_once("://") {
            Some(("http", address)) => (Some(Scheme::Http), address),
            Some(("https", address)) => (Some(Scheme::Https), address),
            _ => (None, text),
        };
        let address = address.parse().map_err(|_| NotAnAddress(text.to_owned()))?;
        Ok(Self::Tcp(scheme, address))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(None, address) => write!(f, "{address}"),
            Self::Tcp(Some(Scheme::Http), address) => write!(f, "http://{address}"),
            Self::Tcp(Some(Scheme::Https), address) => write!(f, "https://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = NotAnAddress;

    fn try_from(text: String) -> Result<Self, NotAnAddress> {
        text.parse()
    }
}

impl From<ListenAddress> for String {
    fn from(address: ListenAddress) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ListenAddress {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_printed_as_it_was_written() {
        for text in [
            "127.0.0.1:5000",
            "[::1]:0",
            "http://127.0.0.1:5000",
            "https://[::]:5443",
            "unix:/run/eventlogger/http.sock",
        ] {
            assert_eq!(parse(text).to_string(), text);
            let printed = serde_json::to_string(&parse(text)).unwrap();
            assert_eq!(serde_json::from_str::<ListenAddress>(&printed).unwrap(), parse(text));
        }
    }

    #[test]
    fn a_plain_address_speaks_tls_if_there_is_a_certificate_and_others_do_as_they_say() {
        assert_eq!(parse("127.0.0.1:1").resolved(true).to_string(), "https://127.0.0.1:1");
        assert_eq!(parse("127.0.0.1:1").resolved(false).to_string(), "http://127.0.0.1:1");
        assert_eq!(parse("http://127.0.0.1:1").resolved(true).to_string(), "http://127.0.0.1:1");
        assert_eq!(parse("https://127.0.0.1:1").resolved(true).to_string(), "https://127.0.0.1:1");
        assert_eq!(parse("unix:/a").resolved(true).to_string(), "unix:/a");
    }

    #[test]
    fn what_is_no_address_is_refused_with_examples() {
        let long = format!("unix:/{}", "x".repeat(107));
        for text in [
            "",
            "localhost",
            "localhost:5000",
            "127.0.0.1",
            "::1:5000",
            "https://example.org",
            "https://127.0.0.1:1/",
            "ftp://127.0.0.1:1",
            "unix:",
            "unix:relative.sock",
            "unix:/folder/",
            "unix:/a\0b",
            &long,
        ] {
            let error = text.parse::<ListenAddress>().unwrap_err().to_string();
            assert!(error.contains("127.0.0.1:5000") && error.contains("absolute path"), "{error}");
        }
    }
}
