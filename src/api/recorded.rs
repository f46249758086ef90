//! What became of a submitted event, as JSON or as a problem.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::Serialize;
use uuid::Uuid;

use super::events::ReceiptDetail;
use super::problem::Problem;
use crate::ingest::{IngestError, Reason, Receipt, Recorded};

/// How long a client should wait before it tries again, in seconds.
const RETRY_SOON: u32 = 1;
const RETRY_LATER: u32 = 5;

#[derive(Serialize)]
pub(super) struct RecordedOut {
    id: Uuid,
    seq: u64,
    timestamp: String,
    received_at: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptOut>,
}

#[derive(Serialize)]
struct ReceiptOut {
    entry: String,
    envelope: String,
    envelope_salt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_salt: Option<String>,
}

impl RecordedOut {
    pub(super) fn new(recorded: &Recorded, detail: ReceiptDetail) -> Self {
        let receipt = recorded.receipt.as_ref().filter(|_| detail == ReceiptDetail::Full);
        Self {
            id: recorded.id,
            seq: recorded.seq,
            timestamp: recorded.timestamp.to_string(),
            received_at: recorded.received_at.to_string(),
            duplicate: recorded.duplicate,
            receipt: receipt.map(ReceiptOut::from),
        }
    }
}

impl From<&Receipt> for ReceiptOut {
    fn from(receipt: &Receipt) -> Self {
        Self {
            entry: STANDARD.encode(receipt.entry),
            envelope: receipt.envelope.clone(),
            envelope_salt: STANDARD.encode(receipt.envelope_salt),
            payload_salt: receipt.payload_salt.map(|salt| STANDARD.encode(salt)),
        }
    }
}

pub(super) fn to_json(recorded: &Recorded, detail: ReceiptDetail) -> Vec<u8> {
    // Strings and numbers only: this cannot fail.
    serde_json::to_vec(&RecordedOut::new(recorded, detail)).unwrap_or_default()
}

/// Why a valid event was not recorded, or is not known to be.
pub(super) fn problem_of(error: &IngestError) -> Problem {
    match error {
        IngestError::KeyConflict { seq, id } => Problem::new(
            StatusCode::CONFLICT,
            error.code(),
            "This idempotency key already stands for an event with other content. Use a new key for a new event.",
        )
        .with("id", id.to_string())
        .with("seq", *seq),
        IngestError::QueueFull => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            error.code(),
            "This tenant has too many events waiting to be recorded. Send them more slowly, or in batches.",
        )
        .retry_after(RETRY_SOON),
        IngestError::Refused(detail) => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            error.code(),
            format!("The database refuses this event: {detail}."),
        ),
        IngestError::Aborted => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            error.code(),
            "Another event of this atomic batch cannot be recorded, so none was.",
        ),
        IngestError::NotRecorded(reason) => not_recorded(*reason),
        IngestError::Unknown { id } => {
            let problem = Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                error.code(),
                "The commit was under way when contact with the database was lost. Retry with the same \
                 idempotency key, or look the id up.",
            )
            .retry_after(RETRY_LATER);
            match id {
                Some(id) => problem.with("id", id.to_string()),
                None => problem,
            }
        }
    }
}

fn not_recorded(reason: Reason) -> Problem {
    let (name, detail, retry_after) = match reason {
        Reason::Database => ("database", "the database does not answer", RETRY_LATER),
        Reason::Clock => (
            "clock",
            "the clocks of the database and of this instance differ by more than five minutes; an operator must set them",
            RETRY_LATER,
        ),
        Reason::Partition => ("partition", "the database has no partition for this month yet", RETRY_LATER),
        Reason::Inconsistent => (
            "inconsistent",
            "the stored log contradicts itself, so nothing is added to it; an operator must look at the service's log",
            RETRY_LATER,
        ),
        Reason::Timeout => ("timeout", "the events before this one took too long", RETRY_SOON),
        Reason::Closing => ("closing", "the service is shutting down", RETRY_SOON),
    };
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "not_recorded",
        format!("This request recorded nothing: {detail}. Try again."),
    )
    .with("reason", name)
    .retry_after(retry_after)
}
