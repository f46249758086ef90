//! The payload: `event_data` exactly as it was sent, beside a projection for searching.

use super::invalid::{Invalid, InvalidKind};
use super::projection::{self, Survey};
use crate::json;

/// Largest payload that is stored.
pub const PAYLOAD_MAX_BYTES: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// What the client sent, and what the log commits to.
    pub bytes: Vec<u8>,
    pub projection: Projection,
}

/// What is searched: JSON that PostgreSQL's `jsonb` and every stock parser accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projection {
    pub json: String,
    /// Whether something of the payload is not in it as it was sent.
    pub lossy: bool,
}

impl Payload {
    /// Takes any JSON of at most [`PAYLOAD_MAX_BYTES`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Invalid> {
        if bytes.len() > PAYLOAD_MAX_BYTES {
            return Err(too_large(bytes.len()));
        }
        let survey = Survey::of(&bytes)?;
        let projection = if survey.fits() {
            Projection { json: survey.minify()?, lossy: false }
        } else {
            Projection { json: projection::project(&bytes)?, lossy: true }
        };
        Ok(Self { bytes, projection })
    }

    /// How lists show a stored payload: its tokens, or the projection if a stock parser could choke on them.
    /// Bytes that are no JSON (somebody changed the database) become a string, so that the page stays readable.
    pub fn shown(bytes: &[u8]) -> String {
        let shown = Survey::of(bytes).and_then(|survey| {
            if survey.chokes_parsers() { projection::project(bytes) } else { survey.minify() }
        });
        shown.unwrap_or_else(|_| json::quote(&String::from_utf8_lossy(bytes)))
    }
}

fn too_large(bytes: usize) -> Invalid {
    let detail = format!("event_data has {bytes} bytes; the limit is {PAYLOAD_MAX_BYTES}");
    Invalid {
        kind: InvalidKind::TooLarge,
        ..Invalid::new("payload_too_large", "/event_data".to_owned(), detail)
    }
    .hint("store large documents elsewhere and record their address and SHA-256")
}

#[cfg(test)]
mod tests;
