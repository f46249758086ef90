//! JSON as bytes: a strict RFC 8259 scanner that keeps what was sent.
//!
//! An audit log records what a client wrote, so nothing here goes through numbers or maps: tokens are ranges
//! of the input. Accepted is every valid document, also those that many parsers choke on: lone surrogate
//! escapes, `\u0000`, `1e400`, duplicate keys, any depth. Nothing recurses.

mod error;
mod scan;
mod shape;
mod text;

pub use error::SyntaxError;
pub use scan::{Kind, Scanner, Text, Token};
pub use shape::{Member, elements, members, minify};
pub use text::{decode, quote, quote_into};

/// What the value that starts with this byte is called in messages.
pub fn kind_name(raw: &[u8]) -> &'static str {
    match raw.first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

#[cfg(test)]
pub(crate) mod tests;
