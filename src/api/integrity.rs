//! `/integrity`: what is needed to check a log, as JSON. The same in the formats of C2SP is under `/tlog`.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use poem::Request;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::{Json, PlainText};
use poem_openapi::{ApiResponse, Object, OpenApi};
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::accounts::page_rows;
use super::caller::{self, AnyRole, Caller};
use super::links;
use super::problem::{Fault, Problem};
use super::query::problems as events_problems;
use crate::auth::Role;
use crate::integrity::{Integrity, ProveError, Refusal, SignedHead};
use crate::merkle::Hash;
use crate::store::{checkpoints, events, log_keys};
use crate::tlog::Proof;

pub struct IntegrityApi {
    pub integrity: Arc<Integrity>,
    /// As the reader.
    pub reads: PgPool,
}

/// What a log is called, and the keys that sign it.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct LogKeys {
    /// The name in each of its checkpoints.
    origin: String,
    /// Counts the log's declared recoveries.
    epoch: i32,
    /// The public key of `origin`, as a C2SP verifier key.
    vkey: String,
    /// The same as a C2SP policy, for the file that `eventlogger verify --policy FILE` reads.
    policy: String,
    /// All keys that the log has and had.
    keys: Vec<LogKey>,
}

#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct LogKey {
    epoch: i32,
    vkey: String,
    /// The size of the log when the key began to sign.
    from_size: u64,
    /// The size of the log when it ceased to; absent for a key in use.
    retired_at_size: Option<u64>,
}

/// A signed tree head.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct Checkpoint {
    origin: String,
    epoch: i32,
    /// Entries in the log.
    size: u64,
    /// The root of the Merkle tree over them, base64.
    root: String,
    /// The signed note: of all this the only part to believe.
    checkpoint: String,
    /// When it was stored; absent for the current one.
    stored_at: Option<OffsetDateTime>,
}

#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct CheckpointPage {
    checkpoints: Vec<Checkpoint>,
    /// The address of the next page; absent at the end.
    next: Option<String>,
}

#[derive(ApiResponse)]
enum CheckpointsAnswer {
    /// A page of checkpoints, newest first.
    #[oai(status = 200)]
    Page(
        Json<CheckpointPage>,
        /// The next page as `<URL>; rel="next"`; absent at the end.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

/// That the log only grew between two sizes.
#[derive(Object)]
struct Consistency {
    first: TreeHead,
    second: TreeHead,
    /// The hashes of the RFC 6962 consistency proof, base64.
    proof: Vec<String>,
    /// The current signed tree head.
    checkpoint: String,
}

#[derive(Object)]
struct TreeHead {
    size: u64,
    /// Base64.
    root: String,
}

#[derive(ApiResponse)]
enum ProofAnswer {
    /// A C2SP tlog-proof; its `extra` line is the entry.
    #[oai(status = 200)]
    Proof(PlainText<String>),
}

#[OpenApi(tag = "super::Tag::Proving")]
impl IntegrityApi {
    /// Read the key of the log
    ///
    /// Pin it once, from a place that you trust: a checker that believes whatever key the server names checks nothing.
    #[oai(path = "/integrity/key", method = "get", operation_id = "get_log_key")]
    async fn key(&self, caller: Caller<AnyRole>) -> Result<Json<LogKeys>, Problem> {
        let epoch = self.epoch(&caller).await?;
        let signer = self.integrity.signer(&caller.tenant, epoch).map_err(refused)?;
        let keys = log_keys::of_log(&self.reads, caller.tenant.id)
            .await
            .map_err(|error| Problem::database(&error))?;
        let vkey = signer.verifier();
        Ok(Json(LogKeys {
            origin: self.integrity.origin(&caller.tenant.name, epoch),
            epoch,
            policy: format!("log {vkey}\nquorum none\n"),
            vkey: vkey.to_string(),
            keys: keys.into_iter().map(LogKey::from).collect(),
        }))
    }

    /// Read the current checkpoint
    #[oai(path = "/integrity/checkpoint", method = "get", operation_id = "get_checkpoint")]
    async fn checkpoint(&self, caller: Caller<AnyRole>) -> Result<Json<Checkpoint>, Problem> {
        let head = self.integrity.checkpoint(&caller.tenant).await.map_err(refused)?;
        Ok(Json(self.checkpoint_of(&caller, head)))
    }

    /// List stored checkpoints
    ///
    /// Newest first, one a minute at most.
    #[oai(path = "/integrity/checkpoints", method = "get", operation_id = "list_checkpoints")]
    async fn checkpoints(
        &self,
        request: &Request,
        caller: Caller<AnyRole>,
        /// Checkpoints per page.
        #[oai(default = "page_rows", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u16>,
        /// Only checkpoints before this one, as `<epoch>:<size>`: the last of the page before.
        #[oai(validator(max_length = 64))]
        after: Query<Option<String>>,
    ) -> Result<CheckpointsAnswer, Problem> {
        let after =
            after.0.as_deref().map(position).transpose()?.unwrap_or((i32::MAX, i64::MAX.unsigned_abs()));
        let rows = checkpoints::page(&self.reads, caller.tenant.id, after, i64::from(limit.0) + 1).await;
        let rows = rows.map_err(|error| Problem::database(&error))?;
        let rows: Vec<_> = rows.into_iter().map(|row| (format!("{}:{}", row.epoch, row.size), row)).collect();
        let (rows, next) = links::page(request, rows, limit.0, |row| &row.0)?;
        let link = next.as_deref().map(links::next);
        let checkpoints = rows.into_iter().map(|(_, row)| self.stored_checkpoint(&caller, row)).collect();
        Ok(CheckpointsAnswer::Page(Json(CheckpointPage { checkpoints, next }), link))
    }

    /// Prove that the log only grew
    ///
    /// The log of `second` entries begins with the log of `first` entries, unchanged.
    #[oai(path = "/integrity/consistency", method = "get", operation_id = "get_consistency")]
    async fn consistency(
        &self,
        caller: Caller<AnyRole>,
        /// The smaller size.
        first: Query<u64>,
        /// The larger size; the current one if it is left out.
        second: Query<Option<u64>>,
    ) -> Result<Json<Consistency>, Problem> {
        let head = self.integrity.checkpoint(&caller.tenant).await.map_err(refused)?;
        let second = second.0.unwrap_or(head.size);
        if first.0 > second {
            return Err(sizes(format!("`first` is {}, more than `second`, {second}", first.0), "first"));
        }
        let proof =
            self.integrity.consistency(&caller.tenant, first.0, second).await.map_err(
                |error| match error {
                    ProveError::Beyond { size } => {
                        sizes(format!("the log has only {size} entries"), "second")
                    }
                    ProveError::Refused(refusal) => refused(refusal),
                },
            )?;
        Ok(Json(Consistency {
            first: TreeHead { size: first.0, root: STANDARD.encode(proof.first_root) },
            second: TreeHead { size: second, root: STANDARD.encode(proof.second_root) },
            proof: base64_of(&proof.hashes),
            checkpoint: head.note.to_string(),
        }))
    }

    /// Prove that an event is in the log
    ///
    /// A C2SP tlog-proof against the current checkpoint. For readers, and for whoever recorded the event.
    #[oai(path = "/events/:id/proof", method = "get", operation_id = "get_event_proof")]
    async fn proof(
        &self,
        caller: Caller<AnyRole>,
        /// The event's id.
        id: Path<String>,
    ) -> Result<ProofAnswer, Problem> {
        let id = Uuid::parse_str(&id).map_err(|_| events_problems::bad_id())?;
        let found = events::entry(&self.reads, caller.tenant.id, id).await.map_err(events_problems::read)?;
        if !caller.roles.contains(Role::Reader) {
            let own = caller.recorded_by();
            let is_own = found.as_ref().is_some_and(|found| found.recorded_by.as_deref() == Some(&own));
            // To others it is the same whether there is such an event.
            if !is_own {
                return Err(caller::forbidden(Some(Role::Reader)));
            }
        }
        let found = found.ok_or_else(events_problems::no_event)?;
        let proved = self.integrity.prove(&caller.tenant, &[found.seq]).await.map_err(unproved)?;
        let proof = Proof {
            extra: found.entry,
            index: found.seq,
            hashes: proved.paths.into_iter().next().unwrap_or_default(),
            checkpoint: proved.head.note.to_string(),
        };
        Ok(ProofAnswer::Proof(PlainText(proof.to_string())))
    }
}

impl IntegrityApi {
    async fn epoch(&self, caller: &Caller<AnyRole>) -> Result<i32, Problem> {
        events::epoch(&self.reads, caller.tenant.id).await.map_err(events_problems::read)
    }

    fn checkpoint_of(&self, caller: &Caller<AnyRole>, head: SignedHead) -> Checkpoint {
        Checkpoint {
            origin: self.integrity.origin(&caller.tenant.name, head.epoch),
            epoch: head.epoch,
            size: head.size,
            root: STANDARD.encode(head.root),
            checkpoint: head.note.to_string(),
            stored_at: None,
        }
    }

    fn stored_checkpoint(&self, caller: &Caller<AnyRole>, row: checkpoints::Stored) -> Checkpoint {
        Checkpoint {
            origin: self.integrity.origin(&caller.tenant.name, row.epoch),
            epoch: row.epoch,
            size: row.size,
            // The third line of a checkpoint.
            root: row.note.lines().nth(2).unwrap_or_default().to_owned(),
            checkpoint: row.note,
            stored_at: Some(row.stored_at.into()),
        }
    }
}

impl From<log_keys::LogKey> for LogKey {
    fn from(key: log_keys::LogKey) -> Self {
        let log_keys::LogKey { epoch, vkey, from_size, retired_at_size } = key;
        Self { epoch, vkey, from_size, retired_at_size }
    }
}

pub(super) fn base64_of(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(|hash| STANDARD.encode(hash)).collect()
}

fn position(text: &str) -> Result<(i32, u64), Problem> {
    let parts = text.split_once(':').and_then(|(epoch, size)| {
        let size = size.parse().ok().filter(|&size: &u64| i64::try_from(size).is_ok())?;
        Some((epoch.parse().ok()?, size))
    });
    parts.ok_or_else(|| sizes("expected <epoch>:<size>, such as 0:1346".to_owned(), "after"))
}

fn sizes(detail: String, parameter: &str) -> Problem {
    let problem = Problem::new(
        StatusCode::BAD_REQUEST,
        "invalid_parameter",
        "The sizes do not fit: `errors` says why.",
    );
    problem.with_fault(Fault::parameter(parameter, detail))
}

pub(super) fn unproved(error: ProveError) -> Problem {
    match error {
        ProveError::Refused(refusal) => refused(refusal),
        ProveError::Beyond { size } => Problem::new(
            StatusCode::NOT_FOUND,
            "beyond_the_log",
            format!("There is no such part of the log, which has {size} entries."),
        ),
    }
}

/// Why there is no proof; what an operator has to do is in the service's log, not in answers.
pub(super) fn refused(refusal: Refusal) -> Problem {
    let code = refusal.code();
    tracing::error!(error = %refusal, "a log cannot be proven: {refusal}");
    let detail = match refusal {
        Refusal::Database(error) => return Problem::database(&error),
        Refusal::Key(_) => "This instance does not have the key that signs the log. Ask another instance.",
        Refusal::Behind { .. } => "The database is older than its last signed state.",
        Refusal::Contradicted { .. } | Refusal::Undeclared(_) => {
            "The database contradicts its last signed state."
        }
        Refusal::Forgetful { .. } | Refusal::Unreadable { .. } => {
            "This instance cannot keep in mind what it signs, so it signs nothing."
        }
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, format!("{detail} An operator must see to it."))
        .retry_after(60)
}
