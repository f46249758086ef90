//! What is wrong with a document, and where.

use std::fmt;

/// The first place where the input stops being JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// In bytes, from 0.
    pub offset: usize,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    pub expected: &'static str,
    pub found: String,
    /// How to repair the mistakes that people make most.
    pub hint: Option<&'static str>,
}

impl SyntaxError {
    /// `offset` is a character boundary, and everything before it UTF-8.
    pub(super) fn new(bytes: &[u8], offset: usize, expected: &'static str) -> Self {
        let (before, rest) = bytes.split_at(offset.min(bytes.len()));
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        Self {
            offset,
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            column: 1 + String::from_utf8_lossy(&before[line_start..]).chars().count(),
            expected,
            found: found(rest),
            hint: hint(before, rest, expected),
        }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, expected, found, .. } = self;
        write!(f, "line {line}, column {column}: expected {expected}, found {found}")
    }
}

impl std::error::Error for SyntaxError {}

/// Longest word that is shown.
const WORD_MAX_BYTES: usize = 20;

fn found(rest: &[u8]) -> String {
    let Some(first) = rest.first() else { return "the end of the input".to_owned() };
    let chunk = rest.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    match chunk.chars().next() {
        None => format!("the byte 0x{first:02x}"),
        Some('\u{feff}') => "a byte order mark".to_owned(),
        Some(control) if control.is_control() => format!("the control character U+{:04X}", control as u32),
        Some('\\') => {
            let escape: String = chunk.chars().take(2).filter(|character| !character.is_control()).collect();
            format!("`{escape}`")
        }
        Some(other) => match word(rest) {
            "" => format!("`{other}`"),
            word => format!("`{word}`"),
        },
    }
}

/// The ASCII word that `rest` begins with, cut if it is long.
fn word(rest: &[u8]) -> &str {
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
    let length = rest.iter().take(WORD_MAX_BYTES).take_while(is_part).count();
    std::str::from_utf8(&rest[..length]).unwrap_or_default()
}

fn hint(before: &[u8], rest: &[u8], expected: &str) -> Option<&'static str> {
    let after_comma = before.trim_ascii_end().ends_with(b",");
    let unsigned = rest.strip_prefix(b"-").unwrap_or(rest);
    match (rest.first()?, word(unsigned)) {
        (0xef, _) if rest.starts_with("\u{feff}".as_bytes()) => {
            Some("send the JSON without a byte order mark")
        }
        (0x80.., _) if expected == super::scan::UTF_8 => Some("send the text encoded as UTF-8"),
        (b'}' | b']', _) if after_comma => Some("remove the comma before it"),
        (b'\'', _) => Some("JSON strings stand in double quotes"),
        (b'/' | b'#', _) => Some("JSON has no comments"),
        (b'+' | b'.', _) => Some("a JSON number starts with a digit, or with - and a digit"),
        (_, "NaN" | "nan" | "Infinity" | "inf") => {
            Some("JSON has no NaN and no Infinity; send null or a string")
        }
        (_, "True" | "False" | "None" | "undefined") => Some("JSON writes true, false and null"),
        (letter, _) if letter.is_ascii_alphabetic() && expected.contains("name") => {
            Some("JSON names stand in double quotes")
        }
        _ => None,
    }
}
