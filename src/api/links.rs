//! Addresses in answers: where a new thing is, and where a list goes on. Below the prefix if that is where the
//! request went.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use poem::Request;

use super::API_PREFIX;
use super::problem::Problem;

/// What RFC 3986 leaves alone, and `:`, which stands in times and before operators.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// The path of `segments`, relative to the server.
pub(super) fn location(request: &Request, segments: &[&str]) -> String {
    let is_prefixed = request.original_uri().path().starts_with(API_PREFIX);
    let mut path = if is_prefixed { API_PREFIX.to_owned() } else { String::new() };
    for segment in segments {
        path.push('/');
        path.extend(utf8_percent_encode(segment, ESCAPED));
    }
    path
}

/// The same request with `name` set to `value`.
pub(super) fn with_parameter(path: &str, pairs: &[(String, String)], name: &str, value: &str) -> String {
    let others = pairs.iter().filter(|(other, _)| other != name).map(|(name, value)| (&**name, &**value));
    let mut url = format!("{path}?");
    for (index, (name, value)) in others.chain([(name, value)]).enumerate() {
        if index > 0 {
            url.push('&');
        }
        url.extend(utf8_percent_encode(name, ESCAPED));
        url.push('=');
        url.extend(utf8_percent_encode(value, ESCAPED));
    }
    url
}

/// As a `Link` header says it.
pub(super) fn next(url: &str) -> String {
    format!("<{url}>; rel=\"next\"")
}

/// A page of a list that is ordered by a key: read one row more than `limit`, and the page has an address to
/// go on from if there is that row.
pub(super) fn page<T>(
    request: &Request,
    mut rows: Vec<T>,
    limit: u16,
    key: impl Fn(&T) -> &str,
) -> Result<(Vec<T>, Option<String>), Problem> {
    if rows.len() <= usize::from(limit) {
        return Ok((rows, None));
    }
    rows.truncate(usize::from(limit));
    let pairs: Vec<(String, String)> = request.params().map_err(|_| Problem::unexplained())?;
    let path = request.original_uri().path();
    let next = rows.last().map(|last| with_parameter(path, &pairs, "after", key(last)));
    Ok((rows, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str) -> Request {
        Request::builder().uri(uri.parse().unwrap()).finish()
    }

    #[test]
    fn a_name_is_escaped_and_the_prefix_stays() {
        assert_eq!(location(&request("/users"), &["users", "Jane Doe?"]), "/users/Jane%20Doe%3F");
        assert_eq!(location(&request("/api/v1/users"), &["users", "Ж"]), "/api/v1/users/%D0%96");
    }

    #[test]
    fn a_page_goes_on_after_its_last_row_and_ends_with_the_list() {
        let uri = request("/tokens?owner=a%26b&after=x&limit=2");
        let (rows, next) = page(&uri, vec!["a", "b c", "d"], 2, |row| row).unwrap();
        assert_eq!(rows, ["a", "b c"]);
        assert_eq!(next.as_deref(), Some("/tokens?owner=a%26b&limit=2&after=b%20c"));
        assert_eq!(page(&uri, vec!["a", "b"], 2, |row| row).unwrap(), (vec!["a", "b"], None));
        let (_, next) = page(&request("/users"), vec!["a", "b"], 1, |row| row).unwrap();
        assert_eq!(next.as_deref(), Some("/users?after=a"));
    }
}
