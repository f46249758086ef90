//! Where tiles lie below a log's prefix, and what an entry bundle is made of.

use std::fmt;
use std::num::NonZeroU8;
use std::str::FromStr;

use super::decimal;

/// Hashes in a full tile, entries in a full bundle.
const FULL_WIDTH: usize = 256;
const MAX_LEVEL: u8 = 63;

/// `tile/<level>/<index>[.p/<width>]` or `tile/entries/<index>[.p/<width>]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TilePath {
    pub kind: TileKind,
    pub index: u64,
    /// The width of a partial tile. None: the tile is full.
    pub partial: Option<NonZeroU8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TileKind {
    /// Hashes of the tree at a level from 0 to 63.
    Hashes { level: u8 },
    /// The entries that hash to the tile of level 0.
    Entries,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tile is tile/<level 0 to 63> or tile/entries, then /<index> such as /x001/x234/067, then nothing or \
     .p/<width 1 to 255>"
)]
pub struct TilePathError;

impl TilePath {
    /// How many hashes or entries the tile has.
    pub fn width(&self) -> usize {
        self.partial.map_or(FULL_WIDTH, |width| usize::from(width.get()))
    }
}

impl FromStr for TilePath {
    type Err = TilePathError;

    fn from_str(text: &str) -> Result<Self, TilePathError> {
        let path = parse(text).ok_or(TilePathError)?;
        // Covers the other spellings: `x000/001`, `1`, a plus sign.
        if path.to_string() == text { Ok(path) } else { Err(TilePathError) }
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes { level } => write!(f, "tile/{level}/")?,
            TileKind::Entries => write!(f, "tile/entries/")?,
        }
        // 2^64 has seven groups of three digits.
        for power in (1..7).rev().map(|group| 1000_u64.pow(group)).filter(|power| *power <= self.index) {
            write!(f, "x{:03}/", self.index / power % 1000)?;
        }
        write!(f, "{:03}", self.index % 1000)?;
        self.partial.map_or(Ok(()), |width| write!(f, ".p/{width}"))
    }
}

fn parse(text: &str) -> Option<TilePath> {
    let (kind, rest) = text.strip_prefix("tile/")?.split_once('/')?;
    let kind = match kind {
        "entries" => TileKind::Entries,
        level => TileKind::Hashes { level: level.parse().ok().filter(|level| *level <= MAX_LEVEL)? },
    };
    let (index, partial) = match rest.split_once(".p/") {
        Some((index, width)) => (index, Some(width.parse().ok()?)),
        None => (rest, None),
    };
    let digits = index.replace(['x', '/'], "");
    let significant = digits.trim_start_matches('0');
    let index = if significant.is_empty() { 0 } else { decimal(significant)? };
    Some(TilePath { kind, index, partial })
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    #[error("entry {position} has {length} bytes; a bundle holds entries of at most 65535")]
    TooLong { position: usize, length: usize },
    #[error("the bundle ends within entry {position}")]
    Truncated { position: usize },
    #[error("the bundle goes on for {bytes} bytes after its last entry")]
    Trailing { bytes: usize },
}

/// The entries one after another, each behind its length in two bytes, big-endian.
pub fn bundle(entries: &[impl AsRef<[u8]>]) -> Result<Vec<u8>, BundleError> {
    let mut bytes = Vec::new();
    for (position, entry) in entries.iter().map(AsRef::as_ref).enumerate() {
        let length = entry.len();
        let prefix = u16::try_from(length).map_err(|_| BundleError::TooLong { position, length })?;
        bytes.extend_from_slice(&prefix.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Ok(bytes)
}

/// Reads a bundle of exactly `count` entries.
pub fn parse_bundle(bytes: &[u8], count: usize) -> Result<Vec<&[u8]>, BundleError> {
    let mut rest = bytes;
    let mut entries = Vec::new();
    for position in 0..count {
        let (entry, after) = split_entry(rest).ok_or(BundleError::Truncated { position })?;
        entries.push(entry);
        rest = after;
    }
    if rest.is_empty() { Ok(entries) } else { Err(BundleError::Trailing { bytes: rest.len() }) }
}

fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

#[cfg(test)]
mod tests;
