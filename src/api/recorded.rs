//! Recording, and what became of each submitted event: JSON with its receipt, or a problem.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::Serialize;
use uuid::Uuid;

use super::events::ReceiptDetail;
use super::integrity::base64_of;
use super::problem::Problem;
use super::query::problems::no_event;
use crate::auth::Principal;
use crate::event::{NewEvent, Redaction};
use crate::ingest::{Ingest, IngestError, Mode, Reason, Receipt, Recorded, RedactionRefusal};
use crate::integrity::Integrity;
use crate::merkle::Hash;

/// How long a client should wait before it tries again, in seconds.
const RETRY_SOON: u32 = 1;
const RETRY_LATER: u32 = 5;

/// The way into the log, and the evidence out of it.
#[derive(Clone)]
pub(super) struct Recording {
    ingest: Arc<Ingest>,
    integrity: Arc<Integrity>,
}

#[derive(Serialize)]
pub(super) struct RecordedOut {
    pub(super) id: Uuid,
    seq: u64,
    timestamp: String,
    received_at: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) duplicate: bool,
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
    inclusion_path: Vec<String>,
    checkpoint: Arc<str>,
}

/// Where an event is in the log, and who says so.
struct Inclusion {
    path: Vec<Hash>,
    checkpoint: Arc<str>,
}

impl Recording {
    pub(super) fn new(ingest: Arc<Ingest>, integrity: Arc<Integrity>) -> Self {
        Self { ingest, integrity }
    }

    /// Records the events; an outcome for each of them, in order.
    pub(super) async fn record(
        &self,
        principal: &Principal,
        events: Vec<NewEvent>,
        mode: Mode,
        detail: ReceiptDetail,
    ) -> Vec<Result<RecordedOut, IngestError>> {
        // Nobody would ever answer for no event at all.
        if events.is_empty() {
            return Vec::new();
        }
        let outcomes = self.ingest.record(principal, events, mode).await;
        self.answer(principal, outcomes, detail).await
    }

    /// Records a redaction, which erases what it says.
    pub(super) async fn redact(
        &self,
        principal: &Principal,
        redaction: Redaction,
        ip: Option<IpAddr>,
    ) -> Result<RecordedOut, IngestError> {
        let outcome = self.ingest.redact(principal, redaction, ip).await;
        let mut answers = self.answer(principal, vec![outcome], ReceiptDetail::Full).await;
        answers.pop().unwrap_or(Err(IngestError::Unknown { id: None }))
    }

    async fn answer(
        &self,
        principal: &Principal,
        outcomes: Vec<Result<Recorded, IngestError>>,
        detail: ReceiptDetail,
    ) -> Vec<Result<RecordedOut, IngestError>> {
        let mut proofs = match detail {
            ReceiptDetail::Full => self.prove(principal, &outcomes).await,
            ReceiptDetail::None => Vec::new(),
        }
        .into_iter();
        let mut out = |recorded: Recorded| RecordedOut::new(recorded, proofs.next().flatten());
        outcomes.into_iter().map(|outcome| outcome.map(&mut out)).collect()
    }

    /// The proof of each recorded event. What was recorded just now is proven from the transaction that did it;
    /// what was there already, against the current checkpoint.
    async fn prove(
        &self,
        principal: &Principal,
        outcomes: &[Result<Recorded, IngestError>],
    ) -> Vec<Option<Inclusion>> {
        let recorded = || outcomes.iter().flatten();
        let is_earlier = |recorded: &&Recorded| recorded.sealed.is_none() && recorded.receipt.is_some();
        let earlier: Vec<u64> = recorded().filter(is_earlier).map(|recorded| recorded.seq).collect();
        // Boxed, as it is rare and large: without, every request would carry 18 kB about for it.
        let mut earlier = Box::pin(self.prove_earlier(principal, &earlier)).await.into_iter();
        let inclusion = |recorded: &Recorded| match &recorded.sealed {
            Some(sealed) => {
                let checkpoint = Arc::clone(&sealed.head().note);
                sealed.path(recorded.seq).map(|path| Inclusion { path, checkpoint })
            }
            None => recorded.receipt.as_ref().and_then(|_| earlier.next()),
        };
        recorded().map(inclusion).collect()
    }

    /// Nothing if they cannot be proven now: that an event is recorded stays true, and `/events/{id}/proof` has the
    /// proof later.
    async fn prove_earlier(&self, principal: &Principal, seqs: &[u64]) -> Vec<Inclusion> {
        if seqs.is_empty() {
            return Vec::new();
        }
        match self.integrity.prove(&principal.tenant, seqs).await {
            Ok(proved) => {
                let inclusion = |path| Inclusion { path, checkpoint: Arc::clone(&proved.head.note) };
                proved.paths.into_iter().map(inclusion).collect()
            }
            Err(error) => {
                tracing::warn!(%error, "earlier events were answered without receipts");
                Vec::new()
            }
        }
    }
}

impl RecordedOut {
    /// Without a proof there is no receipt: half of the evidence would be taken for all of it.
    fn new(recorded: Recorded, inclusion: Option<Inclusion>) -> Self {
        let receipt = recorded.receipt.zip(inclusion);
        Self {
            id: recorded.id,
            seq: recorded.seq,
            timestamp: recorded.timestamp.to_string(),
            received_at: recorded.received_at.to_string(),
            duplicate: recorded.duplicate,
            receipt: receipt.map(|(receipt, inclusion)| ReceiptOut::new(receipt, inclusion)),
        }
    }
}

impl ReceiptOut {
    fn new(receipt: Receipt, inclusion: Inclusion) -> Self {
        Self {
            entry: STANDARD.encode(receipt.entry),
            envelope: receipt.envelope,
            envelope_salt: STANDARD.encode(receipt.envelope_salt),
            payload_salt: receipt.payload_salt.map(|salt| STANDARD.encode(salt)),
            inclusion_path: base64_of(&inclusion.path),
            checkpoint: inclusion.checkpoint,
        }
    }
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
        IngestError::NotRedactable(refusal) => not_redactable(*refusal),
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

fn not_redactable(refusal: RedactionRefusal) -> Problem {
    match refusal {
        RedactionRefusal::NoSuchEvent => no_event(),
        RedactionRefusal::NotAnEvent => Problem::new(
            StatusCode::CONFLICT,
            refusal.code(),
            "This is what the log says of itself, such as a redaction. It is never erased.",
        ),
        RedactionRefusal::AlreadyRedacted(scope) => Problem::new(
            StatusCode::CONFLICT,
            refusal.code(),
            "This event has been redacted before; GET it to see when and why.",
        )
        .with("scope", scope.name()),
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
        Reason::SigningKey => (
            "signing_key",
            "this instance does not have the key that signs the log; an operator must bring it here",
            RETRY_LATER,
        ),
        Reason::SignedState => (
            "signed_state",
            "the database is not what it was when it was last signed; an operator must look at the service's log",
            RETRY_LATER,
        ),
        Reason::Latch => (
            "latch",
            "this instance cannot keep in mind what it signs; an operator must look at the service's log",
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
