//! The head of an HTTP/1 request, checked more strictly than hyper does: what a proxy before us could
//! read differently is refused, so that no request hides in another one.

use http::{Uri, uri::Authority};
use httparse::{EMPTY_HEADER, Header, Status};

use super::Refusal;

/// A long URL has to fit, so that it can be told that it is too long.
pub(super) const HEAD_MAX_BYTES: usize = 48 << 10;
pub(super) const FIELDS_MAX: usize = 100;

/// What follows the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// So many bytes.
    Length(u64),
    Chunked,
}

/// Checks a complete head, to its empty line.
pub(super) fn check(head: &[u8]) -> Result<Content, Refusal> {
    if has_bare_line_feed(head) {
        return Err(Refusal::Malformed("a line does not end in CR LF"));
    }
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) => {
            return Err(Refusal::Malformed("the request line or a header field breaks off"));
        }
        Err(error) => return Err(refusal_of(error)),
    }
    let target = request.path.unwrap_or_default();
    let uri = Uri::try_from(target).map_err(|_| Refusal::Malformed("the request target is not a URL"))?;
    let is_11 = request.version == Some(1);
    check_host(request.headers, &uri, is_11)?;
    content(request.headers, is_11)
}

fn has_bare_line_feed(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r')
}

fn refusal_of(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::TooManyFields,
        httparse::Error::Version => Refusal::Version,
        httparse::Error::HeaderName => Refusal::Malformed("the name of a header field is not valid"),
        httparse::Error::HeaderValue => Refusal::Malformed("the value of a header field is not valid"),
        _ => Refusal::Malformed("the request line is not valid"),
    }
}

fn values<'a>(fields: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

fn check_host(fields: &[Header<'_>], uri: &Uri, is_11: bool) -> Result<(), Refusal> {
    let mut hosts = values(fields, "host");
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => Err(Refusal::Host("the request has more than one Host")),
        (Some(host), None) => check_authority(host, uri.authority()),
        (None, _) if is_11 => Err(Refusal::Host("the request has no Host")),
        (None, _) => Ok(()),
    }
}

/// Whether `Host` names a host, and the one of the target if that has one.
pub(super) fn check_authority(host: &[u8], target: Option<&Authority>) -> Result<(), Refusal> {
    match Authority::try_from(host) {
        Ok(named) if named.as_str().contains('@') => Err(Refusal::Host("Host names a user")),
        Ok(named) if target.is_some_and(|target| *target != named) => {
            Err(Refusal::Host("Host and the request target name different hosts"))
        }
        Ok(_) => Ok(()),
        Err(_) => Err(Refusal::Host("Host does not name a host")),
    }
}

fn content(fields: &[Header<'_>], is_11: bool) -> Result<Content, Refusal> {
    let mut codings = values(fields, "transfer-encoding");
    let mut lengths = values(fields, "content-length");
    match (codings.next(), lengths.next()) {
        (Some(_), Some(_)) => {
            Err(Refusal::Framing("the request has both a Content-Length and a Transfer-Encoding"))
        }
        (Some(coding), None) => {
            let is_chunked = coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
            match (is_chunked, is_11) {
                (true, true) => Ok(Content::Chunked),
                (false, _) => Err(Refusal::Framing("the only Transfer-Encoding spoken here is `chunked`")),
                (true, false) => Err(Refusal::Framing("HTTP/1.0 knows no Transfer-Encoding")),
            }
        }
        (None, Some(_)) if lengths.next().is_some() => {
            Err(Refusal::Framing("the request has more than one Content-Length"))
        }
        (None, Some(length)) => decimal(length)
            .map(Content::Length)
            .ok_or(Refusal::Framing("the Content-Length is not a number of bytes")),
        (None, None) => Ok(Content::Length(0)),
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(fields: &str) -> Result<Content, Refusal> {
        check(format!("GET /events?a=1 HTTP/1.1\r\n{fields}\r\n").as_bytes())
    }

    #[test]
    fn an_ordinary_head_says_what_follows_it() {
        assert_eq!(get("Host: log:5000\r\n"), Ok(Content::Length(0)));
        assert_eq!(get("Host: [::1]:5000\r\nContent-Length: 17\r\n"), Ok(Content::Length(17)));
        assert_eq!(get("host: log\r\ntransfer-encoding: Chunked\r\n"), Ok(Content::Chunked));
        assert_eq!(check(b"GET / HTTP/1.0\r\n\r\n"), Ok(Content::Length(0)));
        assert_eq!(check(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(Content::Length(0)));
        assert_eq!(check(b"GET http://a/b HTTP/1.1\r\nHost: A\r\n\r\n"), Ok(Content::Length(0)));
    }

    #[test]
    fn a_length_that_two_readers_could_understand_differently_is_refused() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding:\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length:\r\n",
            "Content-Length: 99999999999999999999\r\n",
        ] {
            let refused = get(&format!("Host: log\r\n{fields}"));
            assert!(matches!(refused, Err(Refusal::Framing(_))), "{fields:?}: {refused:?}");
        }
        let old = check(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert!(matches!(old, Err(Refusal::Framing(_))), "{old:?}");
    }

    #[test]
    fn a_request_names_one_host() {
        for fields in
            ["", "Host: a\r\nHost: a\r\n", "Host:\r\n", "Host: a b\r\n", "Host: u@a\r\n", "Host: a/b\r\n"]
        {
            let refused = get(fields);
            assert!(matches!(refused, Err(Refusal::Host(_))), "{fields:?}: {refused:?}");
        }
        let other = check(b"GET http://a/b HTTP/1.1\r\nHost: c\r\n\r\n");
        assert!(matches!(other, Err(Refusal::Host(_))), "{other:?}");
    }

    #[test]
    fn what_is_not_http_is_refused_by_what_is_wrong_with_it() {
        let many = format!("Host: a\r\n{}", "a: b\r\n".repeat(FIELDS_MAX));
        assert_eq!(get(&many), Err(Refusal::TooManyFields));
        assert_eq!(check(b"GET / HTTP/3.0\r\nHost: a\r\n\r\n"), Err(Refusal::Version));
        for head in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nx: a\rb\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nx: a\0b\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n",
            "\u{16}\u{3}\u{1}\r\n\r\n",
        ] {
            let refused = check(head.as_bytes());
            assert!(matches!(refused, Err(Refusal::Malformed(_))), "{head:?}: {refused:?}");
        }
    }
}
