//! Strings, both ways.

use std::borrow::Cow;

/// The text of a string token (with its quotes). What text cannot hold, U+0000 and halves of surrogate pairs,
/// becomes U+FFFD.
pub fn decode(raw: &str) -> Cow<'_, str> {
    let inner = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')).unwrap_or(raw);
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let (character, length) = unescape(escape.as_bytes());
        text.push(character);
        rest = escape.get(length..).unwrap_or_default();
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// The character of the escape that goes on with `after` its backslash, and how many bytes it uses.
fn unescape(after: &[u8]) -> (char, usize) {
    match after {
        [b'b', ..] => ('\u{8}', 1),
        [b'f', ..] => ('\u{c}', 1),
        [b'n', ..] => ('\n', 1),
        [b'r', ..] => ('\r', 1),
        [b't', ..] => ('\t', 1),
        [b'u', digits @ ..] => {
            let (character, length) = unicode_escape(digits).unwrap_or_default();
            (character.unwrap_or(char::REPLACEMENT_CHARACTER), 1 + length)
        }
        [other, ..] => (char::from(*other), 1),
        [] => (char::REPLACEMENT_CHARACTER, 0),
    }
}

/// What `after` a `\u` comes: the character, unless it is U+0000 or half a surrogate pair, and how many bytes
/// it uses. `None` if there are no four hexadecimal digits.
pub(super) fn unicode_escape(after: &[u8]) -> Option<(Option<char>, usize)> {
    let unit = hex4(after)?;
    let low = after[4..].strip_prefix(br"\u").and_then(hex4).filter(|low| (0xdc00..=0xdfff).contains(low));
    match low {
        Some(low) if (0xd800..=0xdbff).contains(&unit) => {
            let code = 0x10000 + ((unit & 0x3ff) << 10) + (low & 0x3ff);
            Some((char::from_u32(code), 10))
        }
        _ => Some((char::from_u32(unit).filter(|character| *character != '\0'), 4)),
    }
}

fn hex4(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit, byte| Some(unit << 4 | char::from(*byte).to_digit(16)?))
}

/// Writes `text` as a JSON string, as RFC 8785 does: what must be escaped and nothing else.
pub fn quote(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    quote_into(&mut json, text);
    json
}

pub fn quote_into(json: &mut String, text: &str) {
    json.push('"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| matches!(byte, ..0x20 | b'"' | b'\\')) {
        let (plain, special) = rest.split_at(at);
        json.push_str(plain);
        push_escape(json, special.as_bytes()[0]);
        rest = &special[1..];
    }
    json.push_str(rest);
    json.push('"');
}

fn push_escape(json: &mut String, byte: u8) {
    match byte {
        b'"' => json.push_str("\\\""),
        b'\\' => json.push_str("\\\\"),
        0x08 => json.push_str("\\b"),
        0x0c => json.push_str("\\f"),
        b'\n' => json.push_str("\\n"),
        b'\r' => json.push_str("\\r"),
        b'\t' => json.push_str("\\t"),
        _ => {
            let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value & 0xf)]);
            json.push_str("\\u00");
            json.extend([digit(byte >> 4), digit(byte)]);
        }
    }
}
