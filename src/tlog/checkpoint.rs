//! Checkpoints: what a log commits to, as the text of a signed note.

use super::key::{KeyKind, SigningKey, VerifierKey};
use super::note::{self, NoteError, Opened};
use super::{decimal, hash_from_base64, to_base64};
use crate::merkle::Hash;

/// The head of a log: which log, how many leaves, and the root over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The identity of the log, and the name of its key.
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error("line {line} of the checkpoint: expected {expected}")]
    Line { line: usize, expected: &'static str },
    #[error("the checkpoint is of {origin:?}, but no key of that name signed it")]
    Origin { origin: String },
}

impl Checkpoint {
    /// The text that is signed. This service writes no extension lines.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, to_base64(self.root))
    }

    /// Reads the text of a note. Extension lines must be accepted and mean nothing, so they are checked for
    /// form and dropped: two checkpoints that differ in them only are equal, and a witness must sign the text
    /// of the note, not [`Self::text`].
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        note::check_text(text)?;
        let mut lines = text.split_terminator('\n');
        let mut line = |line, expected| {
            let text = lines.next().filter(|text| !text.is_empty());
            text.ok_or(CheckpointError::Line { line, expected })
        };
        let origin = line(1, ORIGIN)?.to_owned();
        let size = decimal(line(2, SIZE)?).ok_or(CheckpointError::Line { line: 2, expected: SIZE })?;
        let root =
            hash_from_base64(line(3, ROOT)?).ok_or(CheckpointError::Line { line: 3, expected: ROOT })?;
        match lines.position(str::is_empty) {
            Some(at) => Err(CheckpointError::Line { line: 4 + at, expected: EXTENSION }),
            None => Ok(Self { origin, size, root }),
        }
    }

    /// The checkpoint as a note signed by the log's key, whose name must be the origin.
    pub fn sign(&self, key: &SigningKey) -> Result<String, CheckpointError> {
        if key.name() != self.origin {
            return Err(CheckpointError::Origin { origin: self.origin.clone() });
        }
        Ok(key.sign(&self.text())?)
    }

    /// Verifies and reads a note. One of the keys that signed must be the log's own: type 01, with the origin
    /// as its name. Logs that share a key are told apart by nothing else.
    pub fn open(note: &(impl AsRef<[u8]> + ?Sized), keys: &[VerifierKey]) -> Result<Self, CheckpointError> {
        let opened = note::open(note, keys)?;
        Self::of(&opened).map(|(checkpoint, _)| checkpoint)
    }

    /// The checkpoint that a note holds, and the key of its log.
    pub(super) fn of<'k>(opened: &Opened<'_, 'k>) -> Result<(Self, &'k VerifierKey), CheckpointError> {
        let checkpoint = Self::parse(opened.text)?;
        let mut keys = opened.signers.iter().map(|signer| signer.key);
        let own = |key: &&VerifierKey| key.kind() == KeyKind::Ed25519 && key.name() == checkpoint.origin;
        match keys.find(own) {
            Some(key) => Ok((checkpoint, key)),
            None => Err(CheckpointError::Origin { origin: checkpoint.origin }),
        }
    }
}

const ORIGIN: &str = "the origin of the log";
const SIZE: &str = "the tree size, a decimal number without zeros in front";
const ROOT: &str = "the root hash, 32 bytes in padded base64";
const EXTENSION: &str = "the end or an extension line, which is never empty";

#[cfg(test)]
mod tests;
