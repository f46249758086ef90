//! An exported bundle, checked with nothing but itself and a pinned key: line by line, however long it is.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::awaiting::Awaiting;
use super::receipt::{self, open_checkpoint};
use super::row::{Declared, Scope};
use super::{Culprit, Findings, Trust};
use crate::event::{ENTRY_LEN, Entry, EntryKind, Label, Salt, commitment};
use crate::merkle::{Hash, verify_inclusion};
use crate::tlog::Checkpoint;

/// The first line. That a file has it says that it is a bundle.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    bundle: u32,
    filter: String,
    checkpoint: String,
}

/// Nothing in it but what is checked: what nobody vouches for must not look as if somebody did.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    seq: u64,
    entry: String,
    envelope: Option<String>,
    envelope_salt: Option<String>,
    payload: Option<String>,
    payload_salt: Option<String>,
    redacted: Option<Scope>,
    inclusion_path: Vec<String>,
}

/// The last line of a bundle, and of other exports in lines.
#[derive(Deserialize)]
pub struct End {
    pub manifest: Manifest,
}

#[derive(Deserialize)]
pub struct Manifest {
    pub count: u64,
    first_seq: Option<u64>,
    last_seq: Option<u64>,
    /// Of all lines before it, as [`sha256`] writes it.
    pub sha256: String,
    filter: String,
    checkpoint: String,
}

/// A hash as manifests have it.
pub fn sha256(hash: &Sha256) -> String {
    hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file is no bundle, or not all of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("it is a bundle of version {0}, and this program reads version 1")]
    Version(u32),
    #[error("line {line}: {what}")]
    Line { line: u64, what: String },
    #[error(
        "it has no end: after {events} events the manifest is missing, so it was cut short. Export it again"
    )]
    CutShort { events: u64 },
    #[error("line {line}: something comes after the end")]
    AfterTheEnd { line: u64 },
}

/// What is known of a bundle as far as it was read.
pub struct Bundle {
    /// As the exporter states it.
    pub filter: String,
    note: String,
    pub checkpoint: Option<Checkpoint>,
    /// Whether a pinned key has signed the checkpoint.
    pub signed: bool,
    pub findings: Findings,
    pub events: u64,
    lines: u64,
    first: Option<u64>,
    last: Option<u64>,
    hash: Sha256,
    awaiting: Awaiting,
    ended: bool,
}

impl Bundle {
    /// `None` if that is no first line of a bundle.
    pub fn begin(line: &str, trust: Trust<'_>) -> Option<Result<Self, Unreadable>> {
        let header: Header = serde_json::from_str(line).ok()?;
        if header.bundle != 1 {
            return Some(Err(Unreadable::Version(header.bundle)));
        }
        let mut findings = Findings::new("bundle");
        let (checkpoint, signed) = match open_checkpoint(&header.checkpoint, trust) {
            Ok((checkpoint, signed)) => (Some(checkpoint), signed),
            Err(what) => {
                findings.add(None, Culprit::Presenter, what);
                (None, false)
            }
        };
        Some(Ok(Self {
            filter: header.filter,
            note: header.checkpoint,
            checkpoint,
            signed,
            findings,
            events: 0,
            lines: 1,
            first: None,
            last: None,
            hash: Sha256::new_with_prefix(line),
            awaiting: Awaiting::default(),
            ended: false,
        }))
    }

    /// A line, with its end.
    pub fn feed(&mut self, line: &str) -> Result<(), Unreadable> {
        self.lines += 1;
        if self.ended {
            return Err(Unreadable::AfterTheEnd { line: self.lines });
        }
        if let Ok(End { manifest }) = serde_json::from_str(line) {
            self.end(&manifest);
            return Ok(());
        }
        self.hash.update(line);
        let parsed: Line = serde_json::from_str(line).map_err(|error| self.unreadable(error.to_string()))?;
        self.check(&parsed).map_err(|what| self.unreadable(what))
    }

    /// How many redacted events have their redaction outside the bundle.
    pub fn finish(&self) -> Result<usize, Unreadable> {
        match self.ended {
            true => {
                Ok(self.awaiting.left().count()
                    + usize::try_from(self.awaiting.dropped).unwrap_or(usize::MAX))
            }
            false => Err(Unreadable::CutShort { events: self.events }),
        }
    }

    fn unreadable(&self, what: String) -> Unreadable {
        Unreadable::Line { line: self.lines, what }
    }

    fn end(&mut self, manifest: &Manifest) {
        self.ended = true;
        let told = (manifest.count, manifest.first_seq, manifest.last_seq);
        if told != (self.events, self.first, self.last) {
            self.found(
                None,
                format!("the manifest tells of {} events, and there are {}", told.0, self.events),
            );
        }
        if (&manifest.filter, &manifest.checkpoint) != (&self.filter, &self.note) {
            self.found(None, "the manifest has another filter or checkpoint than the first line".to_owned());
        }
        if manifest.sha256 != sha256(&self.hash) {
            self.found(None, "the manifest has another SHA-256 than what comes before it".to_owned());
        }
    }

    fn found(&mut self, seq: Option<u64>, what: String) {
        self.findings.add(seq, Culprit::Presenter, what);
    }

    /// The error is of a line that is none.
    fn check(&mut self, line: &Line) -> Result<(), String> {
        let bytes = bytes::<ENTRY_LEN>("entry", &line.entry)?;
        let entry = Entry::parse(&bytes).ok_or("`entry` is not an entry of version 1")?;
        let seq = Some(line.seq);
        if entry.seq != line.seq {
            self.found(seq, format!("its entry is that of seq {}", entry.seq));
        }
        if self.last.is_some_and(|last| last >= line.seq) {
            self.found(seq, "it comes after one with a larger seq, or twice".to_owned());
        }
        self.events += 1;
        self.first = self.first.or(seq);
        self.last = seq;
        self.check_inclusion(&entry, line)?;
        self.check_content(&entry, line)
    }

    fn check_inclusion(&mut self, entry: &Entry, line: &Line) -> Result<(), String> {
        let path: Result<Vec<Hash>, _> =
            line.inclusion_path.iter().map(|hash| bytes::<32>("inclusion_path", hash)).collect();
        let path = path?;
        let Some(Checkpoint { size, root, .. }) = &self.checkpoint else { return Ok(()) };
        if let Err(error) = verify_inclusion(&entry.leaf_hash(), entry.seq, *size, &path, root) {
            self.found(Some(line.seq), format!("the entry is not in the tree of the checkpoint: {error}"));
        }
        Ok(())
    }

    fn check_content(&mut self, entry: &Entry, line: &Line) -> Result<(), String> {
        let seq = Some(line.seq);
        let envelope = opened(Label::Envelope, line.envelope.as_deref(), line.envelope_salt.as_deref())?;
        let payload = opened(Label::Payload, line.payload.as_deref(), line.payload_salt.as_deref())?;
        match envelope {
            Some(commitment) if commitment != entry.envelope => {
                self.found(seq, "the entry does not commit to the envelope".to_owned());
            }
            Some(_) => {}
            None => self.missing(entry, line, Scope::All, "the envelope"),
        }
        match (entry.payload, payload) {
            (Some(committed), Some(commitment)) if committed != commitment => {
                self.found(seq, "the entry does not commit to the payload".to_owned());
            }
            (None, Some(_)) => {
                self.found(seq, "the event was recorded without a payload, and it has one".to_owned())
            }
            (Some(_), None) if envelope.is_some() => self.missing(entry, line, Scope::Payload, "the payload"),
            _ => {}
        }
        if entry.kind == EntryKind::Redaction
            && let Some(declared) =
                line.payload.as_deref().and_then(|text| serde_json::from_str::<Declared>(text).ok())
        {
            self.awaiting.account_for(&declared);
        }
        Ok(())
    }

    fn missing(&mut self, entry: &Entry, line: &Line, scope: Scope, what: &str) {
        match line.redacted {
            Some(redacted) if redacted >= scope => self.awaiting.add(line.seq, entry.id, scope),
            _ => self
                .found(Some(line.seq), format!("{what} is missing, and nothing says that it was redacted")),
        }
    }
}

/// The commitment that a content and its salt make; `None` if it is not there.
fn opened(label: Label, content: Option<&str>, salt: Option<&str>) -> Result<Option<[u8; 32]>, String> {
    match (content, salt) {
        (Some(content), Some(salt)) => {
            let member = if label == Label::Envelope { "envelope_salt" } else { "payload_salt" };
            let salt: Salt = bytes(member, salt)?;
            Ok(Some(commitment(label, &salt, content.as_bytes())))
        }
        (None, None) => Ok(None),
        _ => Err("a content and its salt go together".to_owned()),
    }
}

fn bytes<const N: usize>(member: &'static str, text: &str) -> Result<[u8; N], String> {
    receipt::bytes(member, text).map_err(|error| error.to_string())
}
