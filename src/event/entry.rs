//! The entry: 118 bytes that are the leaf of the Merkle tree, and the commitments inside it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

use super::Timestamp;
use crate::merkle::{self, Hash};

pub const ENTRY_LEN: usize = 118;
const MAGIC: [u8; 4] = *b"AUE1";
const PAYLOAD_PRESENT: u8 = 1;

/// Sixteen random bytes that keep a commitment from being guessed, and with which it is opened.
pub type Salt = [u8; 16];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    Event = 1,
    Redaction = 2,
    Control = 3,
}

impl EntryKind {
    pub fn from_code(code: i16) -> Option<Self> {
        [Self::Event, Self::Redaction, Self::Control].into_iter().find(|kind| kind.code() == code)
    }

    pub fn code(self) -> i16 {
        self as i16
    }
}

/// What a commitment is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    Envelope,
    Payload,
}

impl Label {
    fn text(self) -> &'static [u8] {
        match self {
            Self::Envelope => b"audit/envelope/v1",
            Self::Payload => b"audit/payload/v1",
        }
    }
}

/// HMAC-SHA256 with the salt as key over `label ‖ 00 ‖ bytes`.
pub fn commitment(label: Label, salt: &Salt, bytes: &[u8]) -> Hash {
    // HMAC pads keys with zeros to its block of 64 bytes; done here it cannot fail.
    let mut key = [0; 64];
    key[..salt.len()].copy_from_slice(salt);
    let mut mac = Hmac::<Sha256>::new(&key.into());
    mac.update(label.text());
    mac.update(&[0]);
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: EntryKind,
    pub log_id: Uuid,
    pub seq: u64,
    pub received_at: Timestamp,
    pub id: Uuid,
    /// The commitment to the envelope.
    pub envelope: Hash,
    /// The commitment to the payload, if there is one.
    pub payload: Option<Hash>,
}

impl Entry {
    pub fn to_bytes(&self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = self.kind as u8;
        bytes[5] = if self.payload.is_some() { PAYLOAD_PRESENT } else { 0 };
        bytes[6..22].copy_from_slice(self.log_id.as_bytes());
        bytes[22..30].copy_from_slice(&self.seq.to_be_bytes());
        bytes[30..38].copy_from_slice(&self.received_at.as_micros().to_be_bytes());
        bytes[38..54].copy_from_slice(self.id.as_bytes());
        bytes[54..86].copy_from_slice(&self.envelope);
        bytes[86..118].copy_from_slice(&self.payload.unwrap_or_default());
        bytes
    }

    /// Reads exactly what [`Self::to_bytes`] writes: any other bytes are no entry.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ENTRY_LEN] = bytes.try_into().ok()?;
        let payload = array(bytes, 86);
        let entry = Self {
            kind: EntryKind::from_code(bytes[4].into())?,
            log_id: Uuid::from_bytes(array(bytes, 6)),
            seq: u64::from_be_bytes(array(bytes, 22)),
            received_at: Timestamp::from_micros(i64::from_be_bytes(array(bytes, 30)))?,
            id: Uuid::from_bytes(array(bytes, 38)),
            envelope: array(bytes, 54),
            payload: (bytes[5] == PAYLOAD_PRESENT).then_some(payload),
        };
        // Covers the magic, unknown flags and bytes of an absent payload.
        (entry.to_bytes() == *bytes).then_some(entry)
    }

    pub fn leaf_hash(&self) -> Hash {
        merkle::leaf_hash(&self.to_bytes())
    }
}

fn array<const N: usize>(bytes: &[u8; ENTRY_LEN], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector() -> serde_json::Value {
        let all: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/merkle.json")).unwrap();
        all["entry_v1"].clone()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn vector_entry() -> Entry {
        let vector = vector();
        let text = |name: &str| vector[name].as_str().unwrap();
        let salt = |first: u8| std::array::from_fn(|i| first + i as u8);
        Entry {
            kind: EntryKind::Event,
            log_id: text("log_uuid").parse().unwrap(),
            seq: vector["seq"].as_u64().unwrap(),
            received_at: Timestamp::from_micros(vector["received_at_micros"].as_i64().unwrap()).unwrap(),
            id: text("event_uuid").parse().unwrap(),
            envelope: commitment(Label::Envelope, &salt(0), text("envelope").as_bytes()),
            payload: Some(commitment(Label::Payload, &salt(0x10), text("payload").as_bytes())),
        }
    }

    #[test]
    fn commitments_and_leaf_hash_are_the_published_ones() {
        let (entry, vector) = (vector_entry(), vector());
        assert_eq!(hex(&entry.envelope), vector["commitment_envelope"]);
        assert_eq!(hex(&entry.payload.unwrap()), vector["commitment_payload"]);
        assert_eq!(hex(&entry.leaf_hash()), vector["leaf_hash"]);
    }

    #[test]
    fn an_entry_parses_back_with_and_without_payload() {
        for kind in [EntryKind::Event, EntryKind::Redaction, EntryKind::Control] {
            for payload in [None, Some([0; 32]), Some([7; 32])] {
                let entry = Entry { kind, payload, seq: 0x0102_0304_0506_0708, ..vector_entry() };
                assert_eq!(Entry::parse(&entry.to_bytes()), Some(entry));
            }
        }
    }

    #[test]
    fn bytes_that_no_entry_has_are_refused() {
        let present = vector_entry().to_bytes();
        let absent = Entry { payload: None, ..vector_entry() }.to_bytes();
        let changed = |mut bytes: [u8; ENTRY_LEN], at: usize, to: u8| {
            bytes[at] = to;
            Entry::parse(&bytes)
        };
        assert_eq!(changed(present, 0, b'B'), None, "magic");
        assert_eq!(changed(present, 4, 0), None, "kind");
        assert_eq!(changed(present, 4, 4), None, "kind");
        assert_eq!(changed(present, 5, 3), None, "unknown flag");
        assert_eq!(changed(present, 5, 0), None, "bytes of an absent payload");
        assert_eq!(changed(present, 30, 0x7f), None, "time out of range");
        assert_eq!(changed(absent, 117, 1), None, "bytes of an absent payload");
        assert_eq!(Entry::parse(&present[..117]), None);
        assert_eq!(Entry::parse(&[&present[..], &[0]].concat()), None);
    }
}
