//! Recording one event: `POST /events`, `POST /log`.

use poem::Request;
use poem_openapi::param::{Header, Query};
use poem_openapi::{ApiResponse, Enum, OpenApi};

use super::body::{JsonBytes, RawJson};
use super::caller::{Caller, Writer};
use super::links;
use super::problem::Problem;
use super::recorded::{Recording, problem_of};
use super::schemas;
use crate::event::{Invalid, NewEvent, parse_event, parse_flat};
use crate::ingest::Mode;

pub struct EventsApi {
    pub(super) recording: Recording,
}

/// Whether the answer carries the receipt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum ReceiptDetail {
    #[default]
    Full,
    None,
}

#[derive(ApiResponse)]
enum RecordAnswer {
    /// Recorded: committed and ordered.
    #[oai(status = 201)]
    Created(
        JsonBytes<schemas::Recorded>,
        /// Where to read the event.
        #[oai(header = "Location")]
        String,
    ),
    /// The same request had been recorded before; this is that event.
    #[oai(status = 200)]
    Existing(
        JsonBytes<schemas::Recorded>,
        /// Where to read the event.
        #[oai(header = "Location")]
        String,
    ),
}

#[OpenApi(tag = "super::Tag::Recording")]
impl EventsApi {
    /// Record an event
    ///
    /// A 201 is a fact: the event is committed, and nobody can change it unnoticed. Repeat the request with
    /// the same idempotency key if an answer got lost; the event is recorded once.
    #[oai(path = "/events", method = "post", operation_id = "record_event")]
    async fn record_event(
        &self,
        request: &Request,
        caller: Caller<Writer>,
        /// Makes a repetition of this request harmless; the same as the member `idempotency_key`.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 256))]
        idempotency_key: Header<Option<String>>,
        /// `none` leaves out the receipt.
        receipt: Query<Option<ReceiptDetail>>,
        body: RawJson<schemas::NewEvent>,
    ) -> Result<RecordAnswer, Problem> {
        let event = keyed(parse_event(&body.bytes), idempotency_key.0.as_deref())?;
        self.record(request, &caller, event, receipt.0.unwrap_or_default()).await
    }

    /// Record a flat record
    ///
    /// For dynamic log records: unknown members go into `event_data`, a missing `event_type` becomes `log`,
    /// a missing `user_identity` `anonymous`.
    #[oai(path = "/log", method = "post", operation_id = "record_flat")]
    async fn record_flat(
        &self,
        request: &Request,
        caller: Caller<Writer>,
        /// Makes a repetition of this request harmless; the same as the member `idempotency_key`.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 256))]
        idempotency_key: Header<Option<String>>,
        /// `none` leaves out the receipt.
        receipt: Query<Option<ReceiptDetail>>,
        body: RawJson<schemas::FlatRecord>,
    ) -> Result<RecordAnswer, Problem> {
        let event = keyed(parse_flat(&body.bytes), idempotency_key.0.as_deref())?;
        self.record(request, &caller, event, receipt.0.unwrap_or_default()).await
    }
}

impl EventsApi {
    async fn record(
        &self,
        request: &Request,
        caller: &Caller<Writer>,
        event: NewEvent,
        detail: ReceiptDetail,
    ) -> Result<RecordAnswer, Problem> {
        let outcome = self.recording.record(caller, vec![event], Mode::Each, detail).await.pop();
        let recorded = outcome.ok_or_else(Problem::unexplained)?.map_err(|error| problem_of(&error))?;
        let location = links::location(request, &["events", &recorded.id.to_string()]);
        let body = serde_json::to_vec(&recorded).map_err(|error| Problem::internal(&error))?;
        let body = JsonBytes::new(body);
        Ok(if recorded.duplicate {
            RecordAnswer::Existing(body, location)
        } else {
            RecordAnswer::Created(body, location)
        })
    }
}

/// The event with the key of the header, if there is one.
fn keyed(parsed: Result<NewEvent, Vec<Invalid>>, key: Option<&str>) -> Result<NewEvent, Problem> {
    parsed
        .and_then(|mut event| match key {
            Some(key) => event.set_idempotency_key(key).map(|()| event).map_err(|invalid| vec![invalid]),
            None => Ok(event),
        })
        .map_err(Problem::from)
}
