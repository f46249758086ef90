//! `/integrity/verify` and `/integrity/reconcile`: the service checks what is stored. The checks that need not trust it
//! are those of `eventlogger verify`.

use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::body::RawJson;
use super::caller::{Auditor, Caller};
use super::members::{Members, Read};
use super::problem::{Fault, Problem};
use crate::checks::{Check, Checks};
use crate::json;
use crate::merkle::Hash;
use crate::verify::{Culprit as Who, Finding};
use crate::walk::reconcile::{self, reconcile};
use crate::walk::{Report, Verdict as Word};

/// Most events that are held against the log at once.
const LEAVES_MAX: usize = 10_000;
/// Findings that are shown; the rest is counted.
const FINDINGS_MAX: usize = 100;

pub struct CheckingApi {
    pub checks: Arc<Checks>,
    /// As the reader.
    pub reads: PgPool,
}

#[derive(Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
enum CheckState {
    /// It goes on, or waits for the check of another log to end.
    Running,
    Finished,
    /// It was cut off, as the database could not be read on or the service was stopped.
    Failed,
}

#[derive(Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
enum Verdict {
    /// All of it is as it was recorded and signed.
    Verified,
    /// Nothing wrong was found, but not everything could be checked: `unchecked` says what.
    Incomplete,
    /// It is not as it was recorded.
    Findings,
}

#[derive(Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
enum Culprit {
    Presenter,
    DatabaseWriter,
    Server,
    KeyHolder,
}

/// A check of the whole log.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct LogCheck {
    state: CheckState,
    /// Who asked for it.
    started_by: String,
    started_at: OffsetDateTime,
    /// Absent while it goes on.
    finished_at: Option<OffsetDateTime>,
    /// How far it is.
    entries_checked: u64,
    /// Entries in the log; 0 until they were counted.
    entries: u64,
    result: Option<CheckResult>,
}

/// What came of a finished check.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct CheckResult {
    verdict: Verdict,
    /// The root recomputed from all entries, base64; absent if some are missing.
    root: Option<String>,
    /// Up to which size the log is signed and borne out.
    signed_size: Option<u64>,
    /// What is not as it was recorded; the first hundred.
    findings: Vec<LogFinding>,
    /// How many more there were.
    more_findings: u64,
    /// What was not checked, and why.
    unchecked: Vec<String>,
    /// What is worth knowing and changes nothing.
    notes: Vec<String>,
}

#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct LogFinding {
    /// The position in the log, where there is one.
    seq: Option<u64>,
    what: String,
    /// Who could have done it; whoever can do more could as well.
    culprit: Culprit,
}

#[derive(ApiResponse)]
enum StartedAnswer {
    /// The check that was begun, or that goes on already.
    #[oai(status = 202)]
    Started(Json<LogCheck>),
}

/// What was kept of events.
#[derive(Object)]
#[oai(example)]
struct ReconcileRequest {
    /// At most 10,000, each once.
    #[oai(validator(min_items = 1, max_items = 10000))]
    events: Vec<KeptLeaf>,
}

#[derive(Object)]
struct KeptLeaf {
    id: Uuid,
    /// SHA-256 of a zero byte and the receipt's `entry`, base64.
    #[oai(validator(pattern = "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$"))]
    leaf_hash: String,
}

impl Example for ReconcileRequest {
    fn example() -> Self {
        let id = Uuid::from_u128(0x0199_3c5e_7a10_7c31_9d2e_5b8f_4a6c_1e07);
        Self { events: vec![KeptLeaf { id, leaf_hash: STANDARD.encode([7; 32]) }] }
    }
}

/// What became of the events; those that are as they were are not named.
#[derive(Object)]
struct Reconciliation {
    /// How many were looked up.
    checked: u64,
    /// Not in the log.
    missing: Vec<Uuid>,
    /// Another entry than was kept, or content that the entry does not commit to.
    changed: Vec<ChangedEvent>,
    /// The entry is as it was; the content was redacted.
    redacted: Vec<Uuid>,
}

#[derive(Object)]
struct ChangedEvent {
    id: Uuid,
    seq: u64,
    /// What is not as it was.
    what: Vec<String>,
}

#[OpenApi(tag = "super::Tag::Proving")]
impl CheckingApi {
    /// Check the whole log
    ///
    /// In the background, one log at a time: every entry, what it commits to, the searchable copy, redactions, tiles,
    /// head, keys, and the checkpoints that were signed. The result is recorded as `eventlogger.log_checked`. This finds
    /// what was done to the database behind the service's back; whoever does not trust the service runs
    /// `eventlogger verify --url`. While a check goes on, asking for another answers that one.
    #[oai(path = "/integrity/verify", method = "post", operation_id = "start_log_check")]
    async fn start(&self, caller: Caller<Auditor>) -> StartedAnswer {
        let check = self.checks.start(&caller.tenant, &caller.name_in(&caller.tenant.name));
        StartedAnswer::Started(Json(LogCheck::of(&check)))
    }

    /// Read how the check of the log goes
    ///
    /// The one that goes on, or the last one, of the instance that answers. Earlier ones, and those of other
    /// instances, are events of the type `eventlogger.log_checked`.
    #[oai(path = "/integrity/verify", method = "get", operation_id = "get_log_check")]
    async fn last(&self, caller: Caller<Auditor>) -> Result<Json<LogCheck>, Problem> {
        let check = self.checks.last(&caller.tenant).ok_or_else(|| {
            let detail =
                "No check of this log was started here since the service began. Start one with POST.";
            Problem::new(StatusCode::NOT_FOUND, "no_check", detail)
        })?;
        Ok(Json(LogCheck::of(&check)))
    }

    /// Hold kept receipts against the log
    ///
    /// For each id the leaf hash that the event had when it was recorded. Rows are opened: content that was changed
    /// under an unchanged entry is found, too. Whether a redaction was declared is what the check of the whole log looks
    /// at.
    #[oai(path = "/integrity/reconcile", method = "post", operation_id = "reconcile_events")]
    async fn reconcile(
        &self,
        caller: Caller<Auditor>,
        body: RawJson<ReconcileRequest>,
    ) -> Result<Json<Reconciliation>, Problem> {
        let mut members = Members::of(&body.bytes, &["events"])?;
        let leaves = members.required("events", leaves);
        members.finish()?;
        let found = reconcile(&self.reads, caller.tenant.id, &leaves).await;
        let found = found.map_err(|error| Problem::database(&error))?;
        Ok(Json(Reconciliation {
            checked: leaves.len() as u64,
            missing: found.missing,
            changed: found.changed.into_iter().map(ChangedEvent::from).collect(),
            redacted: found.redacted,
        }))
    }
}

impl LogCheck {
    fn of(check: &Check) -> Self {
        let (entries_checked, entries) = check.progress.get();
        let end = check.end();
        Self {
            state: match end.map(|end| end.report.is_some()) {
                None => CheckState::Running,
                Some(true) => CheckState::Finished,
                Some(false) => CheckState::Failed,
            },
            started_by: check.started_by.clone(),
            started_at: check.started_at,
            finished_at: end.map(|end| end.at),
            entries_checked,
            entries,
            result: end.and_then(|end| end.report.as_ref()).map(CheckResult::from),
        }
    }
}

impl From<&Report> for CheckResult {
    fn from(report: &Report) -> Self {
        let hidden = report.findings.len().saturating_sub(FINDINGS_MAX) as u64;
        Self {
            verdict: match report.verdict() {
                Word::Verified => Verdict::Verified,
                Word::Incomplete => Verdict::Incomplete,
                Word::Findings => Verdict::Findings,
            },
            root: report.root.clone(),
            signed_size: report.signed_size,
            findings: report.findings.iter().take(FINDINGS_MAX).map(LogFinding::from).collect(),
            more_findings: report.more_findings + hidden,
            unchecked: report.unchecked.clone(),
            notes: report.notes.clone(),
        }
    }
}

impl From<&Finding> for LogFinding {
    fn from(finding: &Finding) -> Self {
        let culprit = match finding.culprit {
            Who::Presenter => Culprit::Presenter,
            Who::DatabaseWriter => Culprit::DatabaseWriter,
            Who::Server => Culprit::Server,
            Who::KeyHolder => Culprit::KeyHolder,
        };
        Self { seq: finding.seq, what: finding.what.clone(), culprit }
    }
}

impl From<reconcile::Changed> for ChangedEvent {
    fn from(changed: reconcile::Changed) -> Self {
        let reconcile::Changed { id, seq, what } = changed;
        Self { id, seq, what }
    }
}

/// The events of a request; the fault is the first there is.
fn leaves(raw: &str) -> Read<Vec<(Uuid, Hash)>> {
    let items = json::elements(raw.as_bytes()).map_err(|_| Fault::at("", "expected an array of objects"))?;
    if items.is_empty() || items.len() > LEAVES_MAX {
        let detail = format!("expected 1 to {LEAVES_MAX} events, found {}", items.len());
        return Err(Fault::at("", detail));
    }
    let mut seen = HashSet::with_capacity(items.len());
    let mut leaves = Vec::with_capacity(items.len());
    for (n, range) in items.into_iter().enumerate() {
        let (id, hash) = leaf(raw.get(range).unwrap_or_default()).map_err(|fault| {
            let within = fault.pointer.as_deref().unwrap_or_default();
            Fault { pointer: Some(format!("/{n}{within}")), ..fault }
        })?;
        if !seen.insert(id) {
            return Err(Fault::at(format!("/{n}/id"), "given more than once"));
        }
        leaves.push((id, hash));
    }
    Ok(leaves)
}

fn leaf(raw: &str) -> Read<(Uuid, Hash)> {
    let (mut id, mut hash) = (None, None);
    let members = json::members(raw.as_bytes()).map_err(|_| Fault::at("", "expected an object"))?;
    for member in members {
        let value = raw.get(member.value).unwrap_or_default();
        let text: Option<String> = serde_json::from_str(value).ok();
        match &*member.key {
            "id" if id.is_none() => {
                let read = text.and_then(|text| Uuid::parse_str(&text).ok());
                id = Some(read.ok_or_else(|| Fault::at("/id", "expected the id of an event, a UUID"))?);
            }
            "leaf_hash" if hash.is_none() => {
                let read = text.and_then(|text| Hash::try_from(STANDARD.decode(text).ok()?).ok());
                let expected =
                    "expected 32 bytes as base64: SHA-256 of a zero byte and the receipt's `entry`";
                hash = Some(read.ok_or_else(|| Fault::at("/leaf_hash", expected))?);
            }
            "id" | "leaf_hash" => return Err(Fault::at(format!("/{}", member.key), "given more than once")),
            _ => return Err(Fault::at("", "unknown member: there are `id` and `leaf_hash`")),
        }
    }
    match (id, hash) {
        (Some(id), Some(hash)) => Ok((id, hash)),
        (None, _) => Err(Fault::at("/id", "`id` is required")),
        (_, None) => Err(Fault::at("/leaf_hash", "`leaf_hash` is required")),
    }
}
