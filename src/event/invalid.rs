//! Why a submission was refused, in words that say what to do.

use crate::json::SyntaxError;

/// Decides the status of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InvalidKind {
    /// Valid JSON that is no event.
    Invalid,
    /// Over the size limit of the payload.
    TooLarge,
    /// Not JSON.
    Malformed,
}

/// Where in the input a syntax error stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// In bytes, from 0.
    pub offset: u32,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
}

/// One fault of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub kind: InvalidKind,
    /// Stable, for programs.
    pub code: &'static str,
    /// A JSON pointer to the member at fault; empty for the whole document.
    pub pointer: String,
    pub detail: String,
    pub hint: Option<String>,
    /// Where malformed input breaks off.
    pub position: Option<Position>,
}

impl Invalid {
    pub(super) fn new(code: &'static str, pointer: String, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { kind: InvalidKind::Invalid, code, pointer, detail, hint: None, position: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<SyntaxError> for Invalid {
    fn from(error: SyntaxError) -> Self {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let position =
            Position { offset: count(error.offset), line: count(error.line), column: count(error.column) };
        Self {
            kind: InvalidKind::Malformed,
            code: "malformed_json",
            pointer: String::new(),
            detail: error.to_string(),
            hint: error.hint.map(str::to_owned),
            position: Some(position),
        }
    }
}

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pointer.as_str() {
            "" => f.write_str(&self.detail),
            pointer => write!(f, "{pointer}: {}", self.detail),
        }
    }
}

impl std::error::Error for Invalid {}

/// Longest part of a client's text that a message repeats.
const QUOTED_MAX_CHARS: usize = 64;

/// A client's text for a message: cut, and without control characters.
pub(super) fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(QUOTED_MAX_CHARS).flat_map(char::escape_debug).collect();
    let more = if text.chars().nth(QUOTED_MAX_CHARS).is_some() { "…" } else { "" };
    format!("`{cut}{more}`")
}

/// The pointer to a member of the document; to the document itself if the name is too long to repeat.
pub(super) fn pointer_to(key: &str) -> String {
    if key.chars().nth(QUOTED_MAX_CHARS).is_some() {
        return String::new();
    }
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}
