//! Keys of signed notes: a name, an Ed25519 key, and the id that both give.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer as _, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{from_base64, to_base64};

/// How a private key begins in Go's `sumdb/note` and the tools built on it.
const PRIVATE_START: &str = "PRIVATE+KEY+";
const SEED_LEN: usize = 32;
const PUBLIC_KEY_LEN: usize = 32;
const SIGNATURE_LEN: usize = 64;
/// A cosignature is the time, eight bytes, and the signature.
const TIME_LEN: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the key name {0:?} is not one: it must have no space, plus sign or control character")]
    Name(String),
    #[error("a verifier key is <name>+<key id, 8 hex digits in lower case>+<base64>")]
    Form,
    #[error("this is a private key; its verifier key belongs here")]
    Private,
    #[error("a private key is PRIVATE+KEY+<name>+<key id, 8 hex digits in lower case>+<base64>")]
    PrivateForm,
    #[error("keys of type {0:02x} are not supported; 01 (Ed25519) and 04 (Ed25519 cosignature) are")]
    Type(u8),
    #[error("the last part is not the padded base64 of one byte of type and 32 bytes of key")]
    Base64,
    #[error("the key is not an Ed25519 public key")]
    PublicKey,
    #[error("the key id is {found}, but name and key give {expected}; one of them was changed")]
    Id { found: KeyId, expected: KeyId },
}

/// What names a key in a signature line, together with its name. Too short to prove anything.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub(super) [u8; 4]);

impl KeyId {
    fn of(name: &str, kind: KeyKind, public: &VerifyingKey) -> Self {
        let hash = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', kind as u8])
            .chain_update(public.as_bytes())
            .finalize();
        Self([hash[0], hash[1], hash[2], hash[3]])
    }

    fn parse(hex: &str) -> Option<Self> {
        let id = Self(u32::from_str_radix(hex, 16).ok()?.to_be_bytes());
        // One spelling only: lower case, zeros in front, no sign.
        (id.to_string() == hex).then_some(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The signature types that this service knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum KeyKind {
    /// Signs the text of a note.
    Ed25519 = 0x01,
    /// Signs a time and the text: "seen as of then", the word of a witness.
    Cosignature = 0x04,
}

impl KeyKind {
    fn from_code(code: u8) -> Option<Self> {
        [Self::Ed25519, Self::Cosignature].into_iter().find(|kind| *kind as u8 == code)
    }
}

/// A public key as verifiers write it down: `<name>+<id>+<base64>`, the vkey.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: KeyId,
    kind: KeyKind,
    public: VerifyingKey,
}

impl VerifierKey {
    fn new(name: &str, kind: KeyKind, public: VerifyingKey) -> Self {
        Self { name: name.to_owned(), id: KeyId::of(name, kind, &public), kind, public }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn id(&self) -> KeyId {
        self.id
    }

    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The same key pair, whatever the names and the types are.
    pub fn has_key_of(&self, other: &VerifierKey) -> bool {
        self.public == other.public
    }

    /// Checks a signature of `text`, the key id already taken off.
    pub(super) fn verify(&self, text: &str, signature: &[u8]) -> Option<Signer<'_>> {
        let (time, message, signature) = match self.kind {
            KeyKind::Ed25519 => (None, text.to_owned(), signature),
            KeyKind::Cosignature => {
                let (time, signature) = signature.split_first_chunk::<TIME_LEN>()?;
                let time = u64::from_be_bytes(*time);
                (Some(time), cosigned_message(time, text)?, signature)
            }
        };
        let signature: &[u8; SIGNATURE_LEN] = signature.try_into().ok()?;
        // Strict: no key of small order, under which one signature fits many texts.
        self.public.verify_strict(message.as_bytes(), &Signature::from_bytes(signature)).ok()?;
        Some(Signer { key: self, time })
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.starts_with(PRIVATE_START) {
            return Err(KeyError::Private);
        }
        let (name, id, encoded) = parts(text).ok_or(KeyError::Form)?;
        check_name(name)?;
        let bytes = from_base64(encoded).ok_or(KeyError::Base64)?;
        let (&code, key) = bytes.split_first().ok_or(KeyError::Base64)?;
        // Before the length, which other types have differently.
        let kind = KeyKind::from_code(code).ok_or(KeyError::Type(code))?;
        let key: &[u8; PUBLIC_KEY_LEN] = key.try_into().map_err(|_| KeyError::Base64)?;
        let public = VerifyingKey::from_bytes(key).map_err(|_| KeyError::PublicKey)?;
        if public.is_weak() {
            return Err(KeyError::PublicKey);
        }
        let key = Self::new(name, kind, public);
        check_id(id, key.id)?;
        Ok(key)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed = [&[self.kind as u8], self.public.as_bytes().as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, self.id, to_base64(typed))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

/// A key whose signature held, and the time of it if it is a cosignature: Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signer<'k> {
    pub key: &'k VerifierKey,
    pub time: Option<u64>,
}

/// An Ed25519 key of a log (type 01). The private half is wiped when it is dropped.
#[derive(Clone)]
pub struct SigningKey {
    verifier: VerifierKey,
    private: ed25519_dalek::SigningKey,
}

impl SigningKey {
    pub fn from_seed(name: &str, seed: &[u8; SEED_LEN]) -> Result<Self, KeyError> {
        Self::new(name, ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Reads a private key in Go's form, without a newline after it.
    pub fn from_private_text(text: &str) -> Result<Self, KeyError> {
        let rest = text.strip_prefix(PRIVATE_START).ok_or(KeyError::PrivateForm)?;
        let (name, id, encoded) = parts(rest).ok_or(KeyError::PrivateForm)?;
        let bytes = Zeroizing::new(from_base64(encoded).ok_or(KeyError::Base64)?);
        let (&code, seed) = bytes.split_first().ok_or(KeyError::Base64)?;
        if code != KeyKind::Ed25519 as u8 {
            return Err(KeyError::Type(code));
        }
        let key = Self::from_seed(name, seed.try_into().map_err(|_| KeyError::Base64)?)?;
        // Go takes any id here and then signs under it; such signatures nobody could verify.
        check_id(id, key.verifier.id)?;
        Ok(key)
    }

    /// Prints the private key in Go's form.
    pub fn private_text(&self) -> Zeroizing<String> {
        let mut typed = Zeroizing::new([KeyKind::Ed25519 as u8; 1 + SEED_LEN]);
        typed[1..].copy_from_slice(self.private.as_bytes());
        let encoded = Zeroizing::new(to_base64(typed.as_slice()));
        let id = self.verifier.id.to_string();
        let pieces = [PRIVATE_START, self.name(), "+", &id, "+", &encoded];
        // `concat` allocates once, so no copy of the seed stays behind.
        Zeroizing::new(pieces.concat())
    }

    /// A key for another name, which only who has this one can make. A trust policy may name a public key once, so
    /// logs that are to stand in one policy cannot share a key.
    pub fn derive(&self, name: &str) -> Result<Self, KeyError> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.private.as_bytes())
            .unwrap_or_else(|_| unreachable!("HMAC takes any key"));
        mac.update(b"eventlogger/log-key/v1\0");
        mac.update(name.as_bytes());
        let seed = Zeroizing::new(mac.finalize().into_bytes().into());
        Self::from_seed(name, &seed)
    }

    /// The same key under another name. The id changes with the name.
    pub fn with_name(&self, name: &str) -> Result<Self, KeyError> {
        Self::new(name, self.private.clone())
    }

    pub fn name(&self) -> &str {
        self.verifier.name()
    }

    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    pub(super) fn sign_bytes(&self, text: &str) -> [u8; SIGNATURE_LEN] {
        self.private.sign(text.as_bytes()).to_bytes()
    }

    fn new(name: &str, private: ed25519_dalek::SigningKey) -> Result<Self, KeyError> {
        check_name(name)?;
        let verifier = VerifierKey::new(name, KeyKind::Ed25519, private.verifying_key());
        Ok(Self { verifier, private })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.verifier)
    }
}

/// The key of a witness (type 04). The private half is wiped when it is dropped.
///
/// A type of its own, for a key must not make both kinds of signature: a cosignature does not commit to the
/// name of its key.
pub struct CosigningKey {
    verifier: VerifierKey,
    private: ed25519_dalek::SigningKey,
}

impl CosigningKey {
    pub fn from_seed(name: &str, seed: &[u8; SEED_LEN]) -> Result<Self, KeyError> {
        check_name(name)?;
        let private = ed25519_dalek::SigningKey::from_bytes(seed);
        let verifier = VerifierKey::new(name, KeyKind::Cosignature, private.verifying_key());
        Ok(Self { verifier, private })
    }

    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The time and the signature; nothing if the time is past what cosignatures can say.
    pub(super) fn sign_bytes(&self, text: &str, time: u64) -> Option<[u8; TIME_LEN + SIGNATURE_LEN]> {
        let signature = self.private.sign(cosigned_message(time, text)?.as_bytes());
        let mut bytes = [0; TIME_LEN + SIGNATURE_LEN];
        bytes[..TIME_LEN].copy_from_slice(&time.to_be_bytes());
        bytes[TIME_LEN..].copy_from_slice(&signature.to_bytes());
        Some(bytes)
    }
}

impl fmt::Debug for CosigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CosigningKey({})", self.verifier)
    }
}

/// What a cosignature signs; its time may not exceed 2^63 - 1.
fn cosigned_message(time: u64, text: &str) -> Option<String> {
    (time <= i64::MAX as u64).then(|| format!("cosignature/v1\ntime {time}\n{text}"))
}

/// Names have no spaces and no plus signs, so that a signature line and a vkey fall apart in one way.
pub(super) fn check_name(name: &str) -> Result<(), KeyError> {
    let bad = |c: char| c.is_whitespace() || c < ' ' || c == '+';
    if name.is_empty() || name.contains(bad) {
        return Err(KeyError::Name(name.to_owned()));
    }
    Ok(())
}

/// Splits `<name>+<id>+<base64>`. Base64 may itself have plus signs.
fn parts(text: &str) -> Option<(&str, KeyId, &str)> {
    let (name, rest) = text.split_once('+')?;
    let (id, encoded) = rest.split_once('+')?;
    Some((name, KeyId::parse(id)?, encoded))
}

fn check_id(found: KeyId, expected: KeyId) -> Result<(), KeyError> {
    if found == expected { Ok(()) } else { Err(KeyError::Id { found, expected }) }
}

#[cfg(test)]
mod tests;
