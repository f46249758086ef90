//! Whom a request comes from when proxies stand between.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::{HeaderMap, HeaderName};
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Proxies that a request may have passed; what lies behind them is not looked at.
const HOPS_MAX: usize = 16;

/// A proxy whose word is taken.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum TrustedProxy {
    Network(IpNetwork),
    /// Whoever may connect to the service's Unix sockets.
    Unix,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no proxy; expected {form}", form = TrustedProxy::FORM)]
pub struct NotAProxy(String);

impl TrustedProxy {
    /// What [`str::parse`] takes.
    pub const FORM: &str = "an address such as 10.0.0.7, a network such as 10.0.0.0/8, or unix";
}

impl FromStr for TrustedProxy {
    type Err = NotAProxy;

    fn from_str(text: &str) -> Result<Self, NotAProxy> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        text.parse().map(Self::Network).map_err(|_| NotAProxy(text.to_owned()))
    }
}

impl TryFrom<String> for TrustedProxy {
    type Error = NotAProxy;

    fn try_from(text: String) -> Result<Self, NotAProxy> {
        text.parse()
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix => f.write_str("unix"),
            Self::Network(network) => network.fmt(f),
        }
    }
}

impl From<TrustedProxy> for String {
    fn from(proxy: TrustedProxy) -> Self {
        proxy.to_string()
    }
}

/// The proxies that may say whom they speak for. Nobody else is listened to: anyone can write a header.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<IpNetwork>,
    unix: bool,
}

impl FromIterator<TrustedProxy> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = TrustedProxy>>(proxies: I) -> Self {
        let mut trusted = Self::default();
        for proxy in proxies {
            match proxy {
                TrustedProxy::Network(network) => trusted.networks.push(network),
                TrustedProxy::Unix => trusted.unix = true,
            }
        }
        trusted
    }
}

impl TrustedProxies {
    /// Whom a request comes from: `peer`, the other end of the connection (`None` for a Unix socket), unless
    /// that is a trusted proxy. Each proxy adds the address that it was called from at the end, so the walk
    /// goes backwards from there, as far as the word of trusted ones reaches. Ports are not told: they are 0.
    pub fn client(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> Option<SocketAddr> {
        let mut client = peer;
        if !self.trusts(client) {
            return client;
        }
        let mut seen = 0;
        for hop in hops(headers) {
            seen += 1;
            let Some(address) = hop else { break };
            client = Some(SocketAddr::new(address, 0));
            if seen == HOPS_MAX || !self.trusts(client) {
                break;
            }
        }
        client
    }

    /// Whether the other end of a connection is one of the proxies.
    pub fn trusts(&self, peer: Option<SocketAddr>) -> bool {
        match peer.map(|peer| peer.ip().to_canonical()) {
            Some(address) => self.networks.iter().any(|network| network.contains(address)),
            None => self.unix,
        }
    }
}

/// The addresses that proxies have noted, the last one first; `None` is one that cannot be understood. Only one
/// header is read: a proxy that writes another passes this one on as the client sent it.
fn hops(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    // Several lines are one list, in their order.
    let lines = headers.get_all(X_FORWARDED_FOR).iter().collect::<Vec<_>>().into_iter().rev();
    lines
        .flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b','))
        .map(|hop| address(str::from_utf8(hop).ok()?))
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(proxies: &[&str]) -> TrustedProxies {
        proxies.iter().map(|proxy| proxy.parse::<TrustedProxy>().unwrap()).collect()
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn connection(address: &str) -> Option<SocketAddr> {
        Some(SocketAddr::new(address.parse().unwrap(), 4000))
    }

    /// Whom a request of `peer` comes from, with 10.0.0.0/8 and ::1 trusted.
    #[track_caller]
    fn client(peer: &str, lines: &[(&'static str, &str)]) -> String {
        let client = trusted(&["10.0.0.0/8", "::1"]).client(connection(peer), &headers(lines));
        client.unwrap().ip().to_canonical().to_string()
    }

    fn usual(peer: &str, value: &str) -> String {
        client(peer, &[("x-forwarded-for", value)])
    }

    #[test]
    fn nobody_is_believed_who_is_not_trusted() {
        assert_eq!(usual("203.0.113.9", "192.0.2.1"), "203.0.113.9");
        assert_eq!(client("203.0.113.9", &[("forwarded", "for=192.0.2.1")]), "203.0.113.9");
        let nobody = TrustedProxies::default();
        let spoofed = headers(&[("x-forwarded-for", "192.0.2.1")]);
        assert_eq!(nobody.client(connection("127.0.0.1"), &spoofed), connection("127.0.0.1"));
        assert_eq!(nobody.client(None, &spoofed), None);
    }

    #[test]
    fn a_trusted_proxy_names_its_client() {
        assert_eq!(usual("10.0.0.1", "192.0.2.1"), "192.0.2.1");
        assert_eq!(usual("::1", "2001:db8::7"), "2001:db8::7");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_the_client_wrote_itself_is_not_believed() {
        // The proxy adds the true address at the end.
        assert_eq!(usual("10.0.0.1", "127.0.0.1, 10.0.0.9, 198.51.100.4"), "198.51.100.4");
        let two_lines = [("x-forwarded-for", "10.0.0.2"), ("x-forwarded-for", "198.51.100.4")];
        assert_eq!(client("10.0.0.1", &two_lines), "198.51.100.4");
        // Nor in the header that this proxy does not write.
        let other = [("x-forwarded-for", "198.51.100.4"), ("forwarded", "for=127.0.0.1")];
        assert_eq!(client("10.0.0.1", &other), "198.51.100.4");
    }

    #[test]
    fn a_chain_of_trusted_proxies_is_walked_to_its_beginning() {
        assert_eq!(usual("10.0.0.1", "6.6.6.6, 192.0.2.1, 10.0.0.3, 10.0.0.2"), "192.0.2.1");
        assert_eq!(usual("10.0.0.1", "10.0.0.4, 10.0.0.3"), "10.0.0.4");
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_understood() {
        assert_eq!(usual("10.0.0.1", "192.0.2.1:4711"), "192.0.2.1");
        assert_eq!(usual("10.0.0.1", "[2001:db8::7]:4711"), "2001:db8::7");
        assert_eq!(usual("10.0.0.1", "[2001:db8::7]"), "2001:db8::7");
        assert_eq!(usual("10.0.0.1", "::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(usual("10.0.0.1", "192.0.2.1, ::ffff:10.0.0.2"), "192.0.2.1");
        assert_eq!(usual("::ffff:10.0.0.1", "\t192.0.2.1 "), "192.0.2.1");
    }

    #[test]
    fn what_cannot_be_understood_ends_the_walk_at_the_last_address() {
        assert_eq!(usual("10.0.0.1", "192.0.2.1, unknown"), "10.0.0.1");
        assert_eq!(usual("10.0.0.1", "192.0.2.1, nonsense, 10.0.0.5"), "10.0.0.5");
        assert_eq!(usual("10.0.0.1", ""), "10.0.0.1");
        assert_eq!(usual("10.0.0.1", "192.0.2.1,"), "10.0.0.1");
        assert_eq!(usual("10.0.0.1", "192.0.2.999"), "10.0.0.1");
        let mut bytes = HeaderMap::new();
        bytes.insert(X_FORWARDED_FOR, http::HeaderValue::from_bytes(b"192.0.2.1, \xff").unwrap());
        let peer = connection("10.0.0.1");
        assert_eq!(trusted(&["10.0.0.0/8"]).client(peer, &bytes), peer);
    }

    #[test]
    fn no_other_header_is_read() {
        assert_eq!(client("10.0.0.1", &[("forwarded", "for=192.0.2.60")]), "10.0.0.1");
    }

    #[test]
    fn a_unix_socket_is_trusted_only_by_its_own_word() {
        let line = headers(&[("x-forwarded-for", "192.0.2.1")]);
        assert_eq!(trusted(&["unix"]).client(None, &line), Some(([192, 0, 2, 1], 0).into()));
        assert_eq!(trusted(&["0.0.0.0/0", "::/0"]).client(None, &line), None);
        assert_eq!(trusted(&["unix"]).client(connection("127.0.0.1"), &line), connection("127.0.0.1"));
    }

    #[test]
    fn a_long_list_is_not_walked_to_its_end() {
        let list = vec!["10.0.0.2"; 1000].join(",");
        assert_eq!(usual("10.0.0.1", &format!("192.0.2.1,{list}")), "10.0.0.2");
    }

    #[test]
    fn a_proxy_is_printed_so_that_it_can_be_read_again() {
        for text in ["10.0.0.0/8", "10.0.0.7/32", "2001:db8::/32", "unix"] {
            assert_eq!(text.parse::<TrustedProxy>().unwrap().to_string(), text);
        }
        assert_eq!("10.0.0.7".parse::<TrustedProxy>().unwrap().to_string(), "10.0.0.7/32");
        let error = "proxy.example.org".parse::<TrustedProxy>().unwrap_err().to_string();
        assert!(error.contains("10.0.0.0/8"), "{error}");
    }
}
