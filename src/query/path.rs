//! Field names: `user_identity`, `account_id`, `event_data.items.0.sku`, `"odd key".x`.
//!
//! A single bare name is a column or alias if it is one; everything else is a path from the root of
//! `event_data`. Keys that are not plain words are written as JSON strings.

use super::Complaint;
use super::ast::{Path, Seg};
use super::operand::{leading_string, searchable};
use crate::event::{Field, nearest_name};

/// Later columns are reached as `event.<name>` only, so that no bare name ever changes its meaning.
const COLUMN_NAMESPACE: &str = "event";

/// A segment as written: only a bare one can be a column or an index.
#[derive(Debug)]
struct Written {
    text: String,
    bare: bool,
}

/// Parses a name that may be followed by `:` and an operator.
pub(super) fn parse_with_operator(text: &str) -> Result<(Path, Option<&str>), Complaint> {
    let (segments, rest) = segments(text)?;
    let operator = match rest.strip_prefix(':') {
        Some(operator) => Some(operator),
        None if rest.is_empty() => None,
        None => return Err(unexpected(text, rest)),
    };
    Ok((resolve(segments)?, operator))
}

pub(super) fn parse(text: &str) -> Result<Path, Complaint> {
    match parse_with_operator(text)? {
        (path, None) => Ok(path),
        (_, Some(operator)) => Err(unexpected(text, &text[text.len() - operator.len() - 1..])
            .hint("the operator has a member of its own: \"op\"")),
    }
}

/// How many bytes the name has that `text` begins with.
pub(super) fn length(text: &str) -> Option<usize> {
    segments(text).ok().map(|(_, rest)| text.len() - rest.len())
}

fn segments(text: &str) -> Result<(Vec<Written>, &str), Complaint> {
    let mut segments = Vec::new();
    let mut rest = text;
    loop {
        let (segment, after) = if rest.starts_with('"') { quoted(text, rest)? } else { bare(text, rest)? };
        segments.push(segment);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None => return Ok((segments, after)),
        }
    }
}

fn bare<'a>(text: &str, rest: &'a str) -> Result<(Written, &'a str), Complaint> {
    let end = rest.find(|c: char| !is_plain(c)).unwrap_or(rest.len());
    match rest.split_at(end) {
        ("", _) => Err(unexpected(text, rest)),
        (word, after) => Ok((Written { text: word.to_owned(), bare: true }, after)),
    }
}

fn quoted<'a>(text: &str, rest: &'a str) -> Result<(Written, &'a str), Complaint> {
    match leading_string(rest) {
        Some((key, after)) => Ok((Written { text: searchable(&key), bare: false }, after)),
        None => {
            Err(Complaint::new("this quoted key is not a JSON string")
                .span(text.len() - rest.len(), rest.len()))
        }
    }
}

fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | '$' | '/')
}

fn resolve(mut segments: Vec<Written>) -> Result<Path, Complaint> {
    let bare = |i: usize| segments.get(i).filter(|segment| segment.bare).map(|segment| segment.text.as_str());
    match (bare(0).and_then(Field::parse), segments.len()) {
        _ if bare(0) == Some(COLUMN_NAMESPACE) && segments.len() == 2 => return namespaced(bare(1)),
        _ if bare(0) == Some(COLUMN_NAMESPACE) && segments.len() > 2 => return namespaced(None),
        (Some(Field::EventData), _) => drop(segments.remove(0)),
        (Some(field), 1) => return Ok(Path::Column(field)),
        _ => {}
    }
    segments.into_iter().map(segment).collect::<Result<_, _>>().map(Path::Data)
}

fn namespaced(name: Option<&str>) -> Result<Path, Complaint> {
    match name.and_then(Field::parse) {
        Some(Field::EventData) => Ok(Path::Data(Vec::new())),
        Some(field) => Ok(Path::Column(field)),
        None => {
            let near = name.and_then(|name| nearest_name(name, Field::all().map(Field::name)));
            let near = near.map(|near| format!("event.{near}? ")).unwrap_or_default();
            Err(Complaint::new("`event.` stands before the name of a column, and this is none")
                .hint(format!("{near}a key of the data is event_data.event.…")))
        }
    }
}

fn segment(written: Written) -> Result<Seg, Complaint> {
    let digits = written.bare && written.text.bytes().all(|b| b.is_ascii_digit());
    // Like numbers: 007 is not how an index is written, so it is a key.
    if !digits || (written.text.len() > 1 && written.text.starts_with('0')) {
        return Ok(Seg::Key(written.text));
    }
    // PostgreSQL's own bound on array elements.
    match written.text.parse() {
        Ok(index) if index <= 0x0fff_ffff => Ok(Seg::Index(index)),
        _ => Err(Complaint::new(format!("no array has an element {}", written.text))
            .hint("if it is a key, quote it")),
    }
}

/// `rest` is the tail of `text` that starts at the fault.
fn unexpected(text: &str, rest: &str) -> Complaint {
    let at = text.len() - rest.len();
    match rest.chars().next() {
        Some(c) => Complaint::new(format!("unexpected {c:?} in a field name"))
            .span(at, c.len_utf8())
            .hint("keys with other characters are written as JSON strings: \"odd key\".name"),
        None if text.is_empty() => Complaint::new("a field name is missing").span(0, 0),
        None => Complaint::new("the field name ends where a key was expected").span(at, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse_with_operator(text) {
            Ok((path, operator)) => {
                let path = match path {
                    Path::Column(field) => field.name().to_owned(),
                    Path::Data(path) => {
                        path.iter().fold("event_data".to_owned(), |all, s| format!("{all}{s}"))
                    }
                };
                operator.map_or(path.clone(), |operator| format!("{path} : {operator}"))
            }
            Err(Complaint { span, detail, .. }) => {
                let at = span.map(|s| format!("{}+{} ", s.start, s.length)).unwrap_or_default();
                format!("error {at}{detail}")
            }
        }
    }

    #[test]
    fn a_single_bare_name_is_a_column_if_it_is_one() {
        assert_eq!(shown("user_identity"), "user_identity");
        assert_eq!(shown("actor"), "user_identity");
        assert_eq!(shown("received_at"), "received_at");
        assert_eq!(shown("event.level"), "level");
        assert_eq!(shown("account_id"), r#"event_data."account_id""#);
        assert_eq!(shown("source.ip"), r#"event_data."source"."ip""#);
        assert_eq!(shown(r#""level""#), r#"event_data."level""#);
    }

    #[test]
    fn event_data_and_its_aliases_always_start_a_path() {
        assert_eq!(shown("event_data.limit"), r#"event_data."limit""#);
        assert_eq!(shown("data.level"), r#"event_data."level""#);
        assert_eq!(shown("event_data.event.name"), r#"event_data."event"."name""#);
        assert_eq!(shown("event_data"), "event_data");
        assert_eq!(shown("event_data.0.x"), r#"event_data.0."x""#);
    }

    #[test]
    fn canonical_digits_are_an_index_and_quoted_ones_a_key() {
        assert_eq!(shown("items.0.sku"), r#"event_data."items".0."sku""#);
        assert_eq!(shown(r#"items."0""#), r#"event_data."items"."0""#);
        assert_eq!(shown("items.007"), r#"event_data."items"."007""#);
        assert_eq!(shown("items.99999999999"), "error no array has an element 99999999999");
    }

    #[test]
    fn odd_keys_are_json_strings() {
        assert_eq!(shown(r#""a.b"."c\"d".größe"#), r#"event_data."a.b"."c\"d"."größe""#);
        assert_eq!(shown(r#"x."".y"#), r#"event_data."x"."".y"#.replace(".y", r#"."y""#));
        assert_eq!(shown(r#""a:b":gte"#), r#"event_data."a:b" : gte"#);
        assert_eq!(shown("amount:gte"), r#"event_data."amount" : gte"#);
    }

    #[test]
    fn faults_say_where_in_the_name_they_are() {
        assert_eq!(shown(""), "error 0+0 a field name is missing");
        assert_eq!(shown("a..b"), "error 2+1 unexpected '.' in a field name");
        assert_eq!(shown("ö."), "error 3+0 the field name ends where a key was expected");
        assert_eq!(shown("filters[env]"), "error 7+1 unexpected '[' in a field name");
        assert_eq!(shown(r#"a."b"#), "error 2+2 this quoted key is not a JSON string");
        assert_eq!(shown(r#""a"b"#), "error 3+1 unexpected 'b' in a field name");
    }

    #[test]
    fn the_namespace_of_later_columns_is_closed() {
        assert!(shown("event.levle").starts_with("error `event.`"));
        assert!(shown("event.a.b").starts_with("error `event.`"));
        assert_eq!(shown("event"), r#"event_data."event""#);
    }
}
