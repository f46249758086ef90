//! Recording many events with one request: `POST /events/batch`.

use bytes::Bytes;
use http::StatusCode;
use poem_openapi::param::{Header, Query};
use poem_openapi::{ApiResponse, OpenApi};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::body::{BatchFormat, JsonBytes, RawBatch};
use super::caller::{Caller, Writer};
use super::events::ReceiptDetail;
use super::problem::{Fault, Problem};
use super::recorded::{RecordedOut, Recording, problem_of};
use super::schemas;
use crate::event::{Invalid, NewEvent, parse_event};
use crate::ingest::{IngestError, Mode, UNKNOWN};
use crate::json;

pub struct BatchApi {
    pub(super) recording: Recording,
    pub max_events: usize,
}

/// An atomic batch is one transaction, which holds up its tenant's log for as long as it takes.
const ATOMIC_MAX_BYTES: usize = 16 << 20;
/// Most faults that the problem of a whole batch names; its `results` have all.
const MAX_FAULTS: usize = 100;
/// Parsing more than this keeps a thread busy for too long to do it among the other requests.
const PARSE_INLINE_MAX_BYTES: usize = 256 << 10;

#[derive(ApiResponse)]
enum BatchAnswer {
    /// All items are recorded.
    #[oai(status = 201)]
    Stored(JsonBytes<schemas::BatchResult>),
    /// Some items are recorded; `results` says which.
    #[oai(status = 207)]
    Mixed(JsonBytes<schemas::BatchResult>),
}

#[derive(Serialize)]
struct BatchOut {
    stored: usize,
    rejected: usize,
    /// Items whose commit is in doubt.
    #[serde(skip_serializing_if = "is_zero")]
    unknown: usize,
    results: Vec<ItemOut>,
}

#[derive(Serialize)]
struct ItemOut {
    index: usize,
    status: u16,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    recorded: Option<RecordedOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Box<RawValue>>,
}

/// An item of a batch, as far as it got.
type Item<T> = Result<T, Problem>;

#[OpenApi(tag = "super::Tag::Recording")]
impl BatchApi {
    /// Record a batch
    ///
    /// A JSON array, or one JSON object per line (`application/x-ndjson`), of at most 10,000 events. Each item
    /// stands for itself: what is wrong with one does not keep out the others. With `atomic=true` all are
    /// recorded in one transaction, or none.
    #[oai(path = "/events/batch", method = "post", operation_id = "record_batch")]
    async fn record_batch(
        &self,
        caller: Caller<Writer>,
        /// With the key `K`, item `i` gets the idempotency key `K/i`, unless it has one of its own.
        // Shorter than a key may be, as `/i` follows.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 250))]
        idempotency_key: Header<Option<String>>,
        /// All or none.
        #[oai(default)]
        atomic: Query<bool>,
        /// `none` leaves out the receipts.
        receipt: Query<Option<ReceiptDetail>>,
        body: RawBatch<schemas::NewEvent>,
    ) -> Result<BatchAnswer, Problem> {
        if atomic.0 && body.bytes.len() > ATOMIC_MAX_BYTES {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "atomic_too_large",
                format!(
                    "An atomic batch has at most {ATOMIC_MAX_BYTES} bytes. Send it in parts, or without atomic=true."
                ),
            ));
        }
        let items = parse(body.bytes, body.format, idempotency_key.0, self.max_events).await?;
        let detail = receipt.0.unwrap_or_default();
        let results = if atomic.0 {
            self.record_atomic(&caller, items, detail).await
        } else {
            self.record_each(&caller, items, detail).await
        };
        answer(results)
    }
}

impl BatchApi {
    async fn record_each(
        &self,
        caller: &Caller<Writer>,
        items: Vec<Item<NewEvent>>,
        detail: ReceiptDetail,
    ) -> Vec<Item<RecordedOut>> {
        let mut valid = Vec::with_capacity(items.len());
        let parsed: Vec<Item<()>> =
            items.into_iter().map(|item| item.map(|event| valid.push(event))).collect();
        let mut outcomes = self.recording.record(caller, valid, Mode::Each, detail).await.into_iter();
        let mut next = || outcomes.next().map_or_else(|| Err(Problem::unexplained()), outcome_of);
        parsed.into_iter().map(|item| item.and_then(|()| next())).collect()
    }

    /// One invalid item, and nothing is recorded; the answer then names every invalid item.
    async fn record_atomic(
        &self,
        caller: &Caller<Writer>,
        items: Vec<Item<NewEvent>>,
        detail: ReceiptDetail,
    ) -> Vec<Item<RecordedOut>> {
        if items.iter().any(Result::is_err) {
            let aborted = |_| Err(problem_of(&IngestError::Aborted));
            return items.into_iter().map(|item| item.and_then(aborted)).collect();
        }
        let events = items.into_iter().flatten().collect();
        let outcomes = self.recording.record(caller, events, Mode::Atomic, detail).await;
        outcomes.into_iter().map(outcome_of).collect()
    }
}

fn outcome_of(outcome: Result<RecordedOut, IngestError>) -> Item<RecordedOut> {
    outcome.map_err(|error| problem_of(&error))
}

/// The items of a batch, on another thread if it is large.
async fn parse(
    body: Bytes,
    format: BatchFormat,
    key: Option<String>,
    max_events: usize,
) -> Result<Vec<Item<NewEvent>>, Problem> {
    let large = body.len() > PARSE_INLINE_MAX_BYTES;
    let parse = move || {
        let items = split(&body, format)?;
        match items.len() {
            0 => {
                Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "empty_batch", "The batch has no events."))
            }
            count if count > max_events => Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "batch_too_long",
                format!("The batch has {count} events; at most {max_events} are taken at once."),
            )),
            _ => Ok(items.iter().enumerate().map(|(n, item)| parse_item(n, item, key.as_deref())).collect()),
        }
    };
    if large {
        tokio::task::spawn_blocking(parse).await.map_err(|error| Problem::internal(&error))?
    } else {
        parse()
    }
}

fn split(body: &[u8], format: BatchFormat) -> Result<Vec<&[u8]>, Problem> {
    match format {
        BatchFormat::Array => {
            let elements = json::elements(body).map_err(|error| {
                let mut problem = Problem::from(vec![Invalid::from(error)]);
                if body.trim_ascii_start().starts_with(b"{") {
                    problem = problem.with_fault(
                        Fault::at("", "expected an array of events")
                            .hint("send one JSON object per line as Content-Type: application/x-ndjson"),
                    );
                }
                problem
            })?;
            Ok(elements.into_iter().map(|range| &body[range]).collect())
        }
        BatchFormat::Lines => Ok(body
            .split(|&byte| byte == b'\n')
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty())
            .collect()),
    }
}

fn parse_item(index: usize, item: &[u8], key: Option<&str>) -> Item<NewEvent> {
    let keyed = |mut event: NewEvent| match key {
        Some(key) if event.idempotency_key.is_none() => event
            .set_idempotency_key(&format!("{key}/{index}"))
            .map(|()| event)
            .map_err(|invalid| vec![invalid]),
        _ => Ok(event),
    };
    parse_event(item).and_then(keyed).map_err(|faults| within_batch(Problem::from(faults), index))
}

/// Pointers of an item's faults start at the item.
fn within_batch(mut problem: Problem, index: usize) -> Problem {
    for pointer in problem.errors.iter_mut().filter_map(|fault| fault.pointer.as_mut()) {
        pointer.insert_str(0, &format!("/{index}"));
    }
    problem
}

/// The answer as a whole. When nothing is known to be recorded, it is a problem.
fn answer(results: Vec<Item<RecordedOut>>) -> Result<BatchAnswer, Problem> {
    let stored = results.iter().filter(|result| result.is_ok()).count();
    let unknown =
        results.iter().filter_map(|result| result.as_ref().err()).filter(|it| it.code == UNKNOWN).count();
    let rejected = results.len() - stored - unknown;
    let problem = (stored == 0).then(|| problem_of_all(&results));
    let results = results.into_iter().enumerate().map(|(index, result)| item_out(index, result)).collect();
    let out = BatchOut { stored, rejected, unknown, results };
    if let Some(problem) = problem {
        return Err(out.told_by(problem));
    }
    let body = JsonBytes::new(serde_json::to_vec(&out).map_err(|error| Problem::internal(&error))?);
    Ok(if out.rejected + out.unknown == 0 { BatchAnswer::Stored(body) } else { BatchAnswer::Mixed(body) })
}

/// Why nothing was recorded: a reason that is not the items' fault, if there is one, as then a repetition helps.
fn problem_of_all(results: &[Item<RecordedOut>]) -> Problem {
    let problems = results.iter().enumerate().filter_map(|(index, it)| Some((index, it.as_ref().err()?)));
    let unavailable = |problem: &&Problem| problem.status.is_server_error() || problem.retry_after.is_some();
    let passing = problems.clone().map(|(_, problem)| problem).filter(unavailable);
    if let Some(problem) = passing.max_by_key(|problem| problem.code == UNKNOWN) {
        return problem.clone();
    }
    let detail =
        "No event of this batch was recorded: `errors` says what is wrong, `results` has every item.";
    let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "batch_rejected", detail);
    let at_fault = problems.filter(|(_, problem)| problem.code != IngestError::Aborted.code());
    at_fault
        .flat_map(|(index, problem)| faults_of(index, problem))
        .take(MAX_FAULTS)
        .fold(problem, Problem::with_fault)
}

/// What is wrong with one item; a conflict, say, is that of the item as a whole.
fn faults_of(index: usize, problem: &Problem) -> Vec<Fault> {
    if problem.errors.is_empty() {
        let fault = Fault::at(format!("/{index}"), problem.detail.clone());
        return vec![Fault { code: Some(problem.code), ..fault }];
    }
    problem.errors.clone()
}

impl BatchOut {
    /// The problem of one item as that of the batch; the id it may carry is only in `results`.
    fn told_by(&self, mut problem: Problem) -> Problem {
        problem.extra.remove("id");
        match serde_json::to_value(self) {
            Ok(Value::Object(members)) => problem.extra.extend(members),
            _ => return Problem::unexplained(),
        }
        problem
    }
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn item_out(index: usize, result: Item<RecordedOut>) -> ItemOut {
    match result {
        Ok(recorded) => {
            let status = if recorded.duplicate { StatusCode::OK } else { StatusCode::CREATED }.as_u16();
            ItemOut { index, status, recorded: Some(recorded), problem: None }
        }
        Err(problem) => ItemOut {
            index,
            status: problem.status.as_u16(),
            recorded: None,
            problem: serde_json::from_slice(&problem.to_bytes()).ok(),
        },
    }
}
