//! Signed notes: a text that ends in a newline, a blank line, and a line for each signature.

use super::key::{CosigningKey, KeyId, Signer, SigningKey, VerifierKey, check_name};
use super::{from_base64, to_base64};

/// Signatures in a note. The specification asks for 16 at least; this many cost a few milliseconds.
pub const MAX_SIGNATURES: usize = 100;
const SIGNATURE_START: &str = "\u{2014} ";
const KEY_ID_LEN: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("the note is not UTF-8")]
    Encoding,
    #[error("line {line}: control character U+{code:04X}; a note has none but the newline U+000A")]
    Control { line: usize, code: u32 },
    #[error("the text of a note must end in a newline")]
    Text,
    #[error("a note is a text, a blank line and then signature lines, each ending in a newline")]
    Form,
    #[error("line {line}: expected a signature, \u{2014} <key name> <base64 of key id and signature>")]
    SignatureLine { line: usize },
    #[error("the note has more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    #[error("the signature of {name} (key {id}) is wrong: the note was changed or signed by another key")]
    Signature { name: String, id: KeyId },
    #[error("no signature of the note is by a known key")]
    NoKnownKey,
    #[error("a cosignature cannot have a time past 2^63 - 1 seconds")]
    Time,
}

/// A note of which every signature by a known key holds, and at least one there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened<'n, 'k> {
    /// Everything before the blank line, the last newline included.
    pub text: &'n str,
    /// The keys that signed, in the order of their first signatures.
    pub signers: Vec<Signer<'k>>,
}

/// Reads a note. Signatures by other keys are ignored, even under a known name with another id; one wrong
/// signature by a known key and the note is refused.
pub fn open<'n, 'k>(
    note: &'n (impl AsRef<[u8]> + ?Sized),
    keys: &'k [VerifierKey],
) -> Result<Opened<'n, 'k>, NoteError> {
    open_with(note, keys.iter())
}

/// [`open`], for keys that are not in one slice.
pub(super) fn open_with<'n, 'k>(
    note: &'n (impl AsRef<[u8]> + ?Sized),
    keys: impl Iterator<Item = &'k VerifierKey> + Clone,
) -> Result<Opened<'n, 'k>, NoteError> {
    let note = Note::parse(note.as_ref())?;
    let mut signers: Vec<Signer> = Vec::new();
    for SignatureLine { name, id, signature } in note.signatures {
        let known = keys.clone().find(|key| key.name() == name && key.id() == id);
        let Some(key) = known else { continue };
        let wrong = || NoteError::Signature { name: name.to_owned(), id };
        let signer = key.verify(note.text, &signature).ok_or_else(wrong)?;
        if signers.iter().all(|earlier| earlier.key != signer.key) {
            signers.push(signer);
        }
    }
    if signers.is_empty() { Err(NoteError::NoKnownKey) } else { Ok(Opened { text: note.text, signers }) }
}

/// Adds signature lines, such as a witness returns, to a note. Form is checked, signatures are not.
pub fn append(note: &str, signature_lines: &str) -> Result<String, NoteError> {
    let longer = [note, signature_lines].concat();
    let text = Note::parse(note.as_bytes())?.text;
    // Lines with a blank line among them would move the boundary of the text.
    if Note::parse(longer.as_bytes())?.text.len() != text.len() {
        return Err(NoteError::Form);
    }
    Ok(longer)
}

/// The part of a note that is signed. Nothing in it is to be trusted before [`open`] has said so.
pub fn text(note: &str) -> Result<&str, NoteError> {
    Ok(Note::parse(note.as_bytes())?.text)
}

impl SigningKey {
    /// The whole note: `text`, a blank line and the signature of this key.
    pub fn sign(&self, text: &str) -> Result<String, NoteError> {
        Ok(format!("{text}\n{}", self.signature_line(text)?))
    }

    /// The signature of `text` as a line of a note, for [`append`].
    pub fn signature_line(&self, text: &str) -> Result<String, NoteError> {
        check_text(text)?;
        Ok(signature_line(self.verifier(), &self.sign_bytes(text)))
    }
}

impl CosigningKey {
    /// The cosignature of `text` as of `time`, in Unix seconds, as a line of a note, for [`append`].
    pub fn signature_line(&self, text: &str, time: u64) -> Result<String, NoteError> {
        check_text(text)?;
        let signature = self.sign_bytes(text, time).ok_or(NoteError::Time)?;
        Ok(signature_line(self.verifier(), &signature))
    }
}

fn signature_line(key: &VerifierKey, signature: &[u8]) -> String {
    let encoded = to_base64([&key.id().0, signature].concat());
    format!("{SIGNATURE_START}{} {encoded}\n", key.name())
}

/// A note in its parts, nothing verified.
struct Note<'n> {
    text: &'n str,
    signatures: Vec<SignatureLine<'n>>,
}

struct SignatureLine<'n> {
    name: &'n str,
    id: KeyId,
    signature: Vec<u8>,
}

impl<'n> Note<'n> {
    fn parse(note: &'n [u8]) -> Result<Self, NoteError> {
        let note = str::from_utf8(note).map_err(|_| NoteError::Encoding)?;
        check_characters(note)?;
        // The text may have blank lines of its own: the last one counts.
        let end = note.rfind("\n\n").ok_or(NoteError::Form)? + 1;
        let (text, lines) = (&note[..end], &note[end + 1..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Form)?;
        if lines.split('\n').count() > MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        // Counted from one, and past the blank line.
        let first_line = text.matches('\n').count() + 2;
        let read = |(line, at)| SignatureLine::parse(line).ok_or(NoteError::SignatureLine { line: at });
        let signatures = lines.split('\n').zip(first_line..).map(read).collect::<Result<_, _>>()?;
        Ok(Self { text, signatures })
    }
}

impl<'n> SignatureLine<'n> {
    fn parse(line: &'n str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(SIGNATURE_START)?.split_once(' ')?;
        check_name(name).ok()?;
        let bytes = from_base64(encoded)?;
        let (id, signature) = bytes.split_first_chunk::<KEY_ID_LEN>()?;
        (!signature.is_empty()).then(|| Self { name, id: KeyId(*id), signature: signature.to_vec() })
    }
}

/// What a note says of its text: the last character is a newline, and there is no other control character.
pub(super) fn check_text(text: &str) -> Result<(), NoteError> {
    if !text.ends_with('\n') {
        return Err(NoteError::Text);
    }
    check_characters(text)
}

fn check_characters(text: &str) -> Result<(), NoteError> {
    let control = |c: char| c < ' ' && c != '\n';
    let Some((before, rest)) = text.find(control).map(|at| text.split_at(at)) else { return Ok(()) };
    let line = before.matches('\n').count() + 1;
    Err(NoteError::Control { line, code: rest.chars().next().map_or(0, u32::from) })
}

#[cfg(test)]
mod tests;
