//! Documents taken apart one level deep, and written without white space.

use std::borrow::Cow;
use std::ops::Range;

use super::{Kind, Scanner, SyntaxError, decode};

/// A member of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name as it is written, with its quotes.
    pub raw_key: &'a str,
    pub key: Cow<'a, str>,
    /// Where in the input the value stands, without white space around it.
    pub value: Range<usize>,
}

/// The members of an object, in order, duplicates included. The whole document is checked.
pub fn members(bytes: &[u8]) -> Result<Vec<Member<'_>>, SyntaxError> {
    let mut scanner = Scanner::new(bytes)?;
    open(&mut scanner, Kind::ObjectStart, "an object")?;
    let mut members = Vec::new();
    let mut raw_key = "";
    while let Some(token) = scanner.next_token()? {
        match token.kind {
            Kind::Key(_) => raw_key = scanner.raw(token),
            Kind::ObjectEnd if scanner.depth() == 0 => {}
            _ => {
                let value = token.start..scanner.finish_value(token)?;
                members.push(Member { raw_key, key: decode(raw_key), value });
            }
        }
    }
    Ok(members)
}

/// Where the elements of an array stand in the input. The whole document is checked.
pub fn elements(bytes: &[u8]) -> Result<Vec<Range<usize>>, SyntaxError> {
    let mut scanner = Scanner::new(bytes)?;
    open(&mut scanner, Kind::ArrayStart, "an array")?;
    let mut elements = Vec::new();
    while let Some(token) = scanner.next_token()? {
        if token.kind != Kind::ArrayEnd || scanner.depth() > 0 {
            elements.push(token.start..scanner.finish_value(token)?);
        }
    }
    Ok(elements)
}

fn open(scanner: &mut Scanner<'_>, kind: Kind, expected: &'static str) -> Result<(), SyntaxError> {
    match scanner.next_token()? {
        Some(token) if token.kind == kind => Ok(()),
        token => Err(scanner.error(token.map_or(0, |token| token.start), expected)),
    }
}

/// The document without white space between its tokens, which stay as they are.
pub fn minify(bytes: &[u8]) -> Result<String, SyntaxError> {
    let mut scanner = Scanner::new(bytes)?;
    let mut minified = String::with_capacity(bytes.len());
    let mut needs_comma = false;
    while let Some(token) = scanner.next_token()? {
        if needs_comma && !matches!(token.kind, Kind::ObjectEnd | Kind::ArrayEnd) {
            minified.push(',');
        }
        minified.push_str(scanner.raw(token));
        let is_key = matches!(token.kind, Kind::Key(_));
        if is_key {
            minified.push(':');
        }
        needs_comma = !is_key && !matches!(token.kind, Kind::ObjectStart | Kind::ArrayStart);
    }
    Ok(minified)
}
