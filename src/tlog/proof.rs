//! Inclusion proofs that stand alone: index, hashes and checkpoint in one text.

use std::fmt;
use std::str::FromStr;

use super::{decimal, from_base64, hash_from_base64, to_base64};
use crate::merkle::Hash;

/// Hashes in a proof: enough for 2^63 leaves.
pub const MAX_HASHES: usize = 63;

const HEADER: &str = "c2sp.org/tlog-proof@v1";
const EXTRA: &str = "extra ";
const INDEX: &str = "index ";

/// What a `.tlog-proof` file holds. Parsing verifies nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Opaque bytes that no signature covers. Empty: the file has no such line.
    pub extra: Vec<u8>,
    pub index: u64,
    /// From the sibling of the leaf upwards.
    pub hashes: Vec<Hash>,
    /// The signed note, verbatim.
    pub checkpoint: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the proof: expected {expected}")]
pub struct ProofError {
    pub line: usize,
    pub expected: &'static str,
}

impl FromStr for Proof {
    type Err = ProofError;

    fn from_str(text: &str) -> Result<Self, ProofError> {
        let mut lines = Lines { rest: text, line: 0 };
        lines.read(HEADER, |line| (line == HEADER).then_some(()))?;
        let extra = match lines.rest.starts_with(EXTRA) {
            true => lines.read("`extra ` and at least one byte in padded base64", parse_extra)?,
            false => Vec::new(),
        };
        let index = lines.read("`index ` and a decimal number", |line| decimal(line.strip_prefix(INDEX)?))?;
        let mut hashes = Vec::new();
        while let Some(hash) = lines.read("32 bytes in padded base64, or a blank line", parse_hash)? {
            hashes.push(hash);
            if hashes.len() > MAX_HASHES {
                return Err(lines.error("a blank line after at most 63 hashes"));
            }
        }
        if lines.rest.is_empty() {
            lines.line += 1;
            return Err(lines.error("the checkpoint"));
        }
        Ok(Self { extra, index, hashes, checkpoint: lines.rest.to_owned() })
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if !self.extra.is_empty() {
            writeln!(f, "{EXTRA}{}", to_base64(&self.extra))?;
        }
        writeln!(f, "{INDEX}{}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", to_base64(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

/// What is left to read, and the number of the last line that was read.
struct Lines<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Lines<'a> {
    /// Takes a line, its newline left out.
    fn read<T>(
        &mut self,
        expected: &'static str,
        parse: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<T, ProofError> {
        self.line += 1;
        let split = self.rest.split_once('\n');
        let (line, rest) = split.ok_or_else(|| self.error(expected))?;
        self.rest = rest;
        parse(line).ok_or_else(|| self.error(expected))
    }

    fn error(&self, expected: &'static str) -> ProofError {
        ProofError { line: self.line, expected }
    }
}

fn parse_extra(line: &str) -> Option<Vec<u8>> {
    from_base64(line.strip_prefix(EXTRA)?).filter(|extra| !extra.is_empty())
}

/// A hash, or the blank line after the last one.
fn parse_hash(line: &str) -> Option<Option<Hash>> {
    if line.is_empty() { Some(None) } else { hash_from_base64(line).map(Some) }
}

#[cfg(test)]
mod tests;
