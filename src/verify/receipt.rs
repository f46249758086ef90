//! A receipt, checked with nothing but itself, what was submitted, and a pinned key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::{Culprit, Finding, Trust};
use crate::event::{ENTRY_LEN, Entry, Envelope, Label, NewEvent, Salt, commitment};
use crate::merkle::{Hash, verify_inclusion};
use crate::tlog::Checkpoint;

/// What the submitter kept, in the form in which it was answered.
#[derive(Clone, Debug, Deserialize)]
pub struct Receipt {
    entry: String,
    envelope: String,
    envelope_salt: String,
    payload_salt: Option<String>,
    inclusion_path: Vec<String>,
    checkpoint: String,
}

/// The submitter's side of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Submitted<'a> {
    /// The bytes of `event_data`.
    pub payload: Option<&'a [u8]>,
    /// The whole event.
    pub event: Option<&'a NewEvent>,
}

impl<'a> Submitted<'a> {
    /// Whether there was a payload, and which, as far as the submitter tells.
    fn known_payload(&self) -> Option<Option<&'a [u8]>> {
        let of_event = self.event.map(|event| event.payload.as_ref().map(|payload| payload.bytes.as_slice()));
        self.payload.map(Some).or(of_event)
    }
}

/// What a receipt was found to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    pub entry: Entry,
    pub envelope: String,
    pub checkpoint: Checkpoint,
    /// Whether a pinned key has signed it.
    pub signed: bool,
    /// Whether the payload was compared; not if it has one and none was given.
    pub payload_compared: bool,
}

/// The file is no receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("this is no JSON: {0}")]
    Json(String),
    #[error(
        "this is no receipt: {0}. It is the member `receipt` of the answer to a recording: jq .receipt answer.json"
    )]
    Shape(String),
    #[error("`{member}` is not base64 of {length} bytes")]
    Base64 { member: &'static str, length: usize },
    #[error("`entry` is not an entry of version 1")]
    Entry,
}

impl Receipt {
    /// A receipt, or an answer that has one.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let mut value: Value =
            serde_json::from_str(text).map_err(|error| Unreadable::Json(error.to_string()))?;
        if let Some(receipt) = value.get_mut("receipt") {
            value = receipt.take();
        }
        serde_json::from_value(value).map_err(|error| Unreadable::Shape(error.to_string()))
    }

    /// Everything that can be checked. The error has all that does not hold.
    pub fn check(
        &self,
        submitted: Submitted<'_>,
        trust: Trust<'_>,
    ) -> Result<Result<Checked, Vec<Finding>>, Unreadable> {
        let entry = bytes::<ENTRY_LEN>("entry", &self.entry)?;
        let entry = Entry::parse(&entry).ok_or(Unreadable::Entry)?;
        let path: Result<Vec<Hash>, _> =
            self.inclusion_path.iter().map(|hash| bytes::<32>("inclusion_path", hash)).collect();
        let envelope_salt: Salt = bytes("envelope_salt", &self.envelope_salt)?;
        let payload_salt =
            self.payload_salt.as_deref().map(|salt| bytes("payload_salt", salt)).transpose()?;
        let mut findings = Findings { seq: entry.seq, found: Vec::new() };
        findings.check(
            commitment(Label::Envelope, &envelope_salt, self.envelope.as_bytes()) == entry.envelope,
            "the entry does not commit to the envelope: a typed field or the salt is another",
        );
        let payload_compared = findings.check_payload(&entry, payload_salt, submitted.known_payload());
        if let Some(event) = submitted.event {
            findings.check_event(&entry, &self.envelope, event);
        }
        let (checkpoint, signed) = match open_checkpoint(&self.checkpoint, trust) {
            Ok(opened) => opened,
            Err(what) => {
                findings.add(what);
                return Ok(Err(findings.found));
            }
        };
        if let Err(error) =
            verify_inclusion(&entry.leaf_hash(), entry.seq, checkpoint.size, &path?, &checkpoint.root)
        {
            findings.add(format!("the entry is not in the tree of the checkpoint: {error}"));
        }
        if !findings.found.is_empty() {
            return Ok(Err(findings.found));
        }
        let envelope = self.envelope.clone();
        Ok(Ok(Checked { entry, envelope, checkpoint, signed, payload_compared }))
    }
}

/// A checkpoint, and whether a pinned key has signed it; without one, only its text is read.
pub(super) fn open_checkpoint(note: &str, trust: Trust<'_>) -> Result<(Checkpoint, bool), String> {
    match trust {
        Some(policy) => {
            let verified = policy.check(note).map_err(|error| format!("the checkpoint: {error}"))?;
            Ok((verified.checkpoint, true))
        }
        None => {
            let (text, _) = note.split_once("\n\n").ok_or("the checkpoint is no signed note")?;
            let checkpoint = Checkpoint::parse(&format!("{text}\n"));
            Ok((checkpoint.map_err(|error| format!("the checkpoint: {error}"))?, false))
        }
    }
}

struct Findings {
    seq: u64,
    found: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, what: impl Into<String>) {
        self.found.push(Finding {
            log: None,
            seq: Some(self.seq),
            what: what.into(),
            culprit: Culprit::Presenter,
        });
    }

    fn check(&mut self, holds: bool, otherwise: &str) {
        if !holds {
            self.add(otherwise);
        }
    }

    /// Whether the payload was compared.
    fn check_payload(&mut self, entry: &Entry, salt: Option<Salt>, submitted: Option<Option<&[u8]>>) -> bool {
        match (entry.payload, salt) {
            (Some(_), None) => self.add("the entry has a payload, and the receipt has no salt for it"),
            (None, Some(_)) => self.add("the receipt has a salt for a payload, and the entry has no payload"),
            _ => {}
        }
        match (entry.payload, submitted) {
            (Some(_), None) => return false,
            (Some(_), Some(None)) => self.add("the event was recorded with a payload, and it has none"),
            (None, Some(Some(_))) => self.add("the event was recorded without a payload, and it has one"),
            (None, None | Some(None)) => {}
            (Some(committed), Some(Some(payload))) => {
                // A payload is a JSON value, and no blank around it was recorded.
                let opens = |salt| commitment(Label::Payload, &salt, payload.trim_ascii()) == committed;
                self.check(salt.is_some_and(opens), "the payload is not the one that was recorded");
            }
        }
        true
    }

    /// The service adds `received_at`, the defaults and who recorded it; everything else must be the submitter's.
    fn check_event(&mut self, entry: &Entry, envelope: &str, event: &NewEvent) {
        let recorded: Option<Value> = serde_json::from_str(envelope).ok();
        let recorded_by = recorded.as_ref().and_then(|it| it["recorded_by"].as_str()).unwrap_or_default();
        let mut expected = event.clone();
        // With the key of a header, or of its batch.
        if expected.idempotency_key.is_none() {
            let key = recorded.as_ref().and_then(|it| it["idempotency_key"].as_str());
            expected.idempotency_key = key.map(str::to_owned);
        }
        let expected = Envelope::new(&expected, entry.received_at, recorded_by).canonical();
        self.check(expected == envelope, "a typed field of the event is not the one that was recorded");
    }
}

pub(super) fn bytes<const N: usize>(member: &'static str, text: &str) -> Result<[u8; N], Unreadable> {
    let decoded = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    decoded.ok_or(Unreadable::Base64 { member, length: N })
}
