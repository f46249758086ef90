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
    beside(request.original_uri().path(), segments)
}

fn beside(path: &str, segments: &[&str]) -> String {
    let mut path = if path.starts_with(API_PREFIX) { API_PREFIX.to_owned() } else { String::new() };
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
    rows: Vec<T>,
    limit: u16,
    key: impl Fn(&T) -> &str,
) -> Result<(Vec<T>, Option<String>), Problem> {
    let pairs: Vec<(String, String)> = request.params().map_err(|_| Problem::unexplained())?;
    Ok(cut(rows, limit, |last| with_parameter(request.original_uri().path(), &pairs, "after", key(last))))
}

fn cut<T>(mut rows: Vec<T>, limit: u16, next: impl FnOnce(&T) -> String) -> (Vec<T>, Option<String>) {
    let is_last = rows.len() <= usize::from(limit);
    rows.truncate(usize::from(limit));
    let next = rows.last().filter(|_| !is_last).map(next);
    (rows, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_escaped_and_the_prefix_stays() {
        assert_eq!(beside("/users", &["users", "Jane Doe?"]), "/users/Jane%20Doe%3F");
        assert_eq!(beside("/api/v1/users", &["users", "Ж"]), "/api/v1/users/%D0%96");
    }

    #[test]
    fn a_parameter_replaces_the_one_of_its_name() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let pairs = [pair("owner", "a&b"), pair("after", "x"), pair("limit", "2")];
        let next = with_parameter("/tokens", &pairs, "after", "b c");
        assert_eq!(next, "/tokens?owner=a%26b&limit=2&after=b%20c");
        assert_eq!(with_parameter("/users", &[], "after", "a"), "/users?after=a");
    }

    #[test]
    fn a_page_goes_on_after_its_last_row_and_ends_with_the_list() {
        let next = |last: &&str| format!("after {last}");
        assert_eq!(cut(vec!["a", "b", "c"], 2, next), (vec!["a", "b"], Some("after b".to_owned())));
        assert_eq!(cut(vec!["a", "b"], 2, next), (vec!["a", "b"], None));
        assert_eq!(cut(Vec::new(), 2, next), (Vec::new(), None));
    }
}
