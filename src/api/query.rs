//! Reading events: `GET /events`, `/events/query` in both spellings, `/events/{id}` and its payload.

mod document;
pub(super) mod problems;
mod url;

use std::collections::HashMap;

use http::Method;
use poem::endpoint::BoxEndpoint;
use poem_openapi::param::{Header, Path};
use poem_openapi::registry::{MetaApi, Registry};
use poem_openapi::{ApiResponse, OpenApi};
use sqlx::PgPool;
use uuid::Uuid;

pub(super) use self::url::AnyNames;
use super::body::{JsonBytes, RawJson};
use super::caller::{Caller, Reader};
use super::links;
use super::problem::Problem;
use super::schemas::{Event, EventData, EventPage, EventQuery};
use super::wire::{self, PageEnd};
use crate::event::Timestamp;
use crate::query::cursor::{CursorKey, Scope};
use crate::query::{MAX_BODY_BYTES, Origin, Search, json};
use crate::store::events::{self, FoundPayload, Page};

/// The operations under `/events` that read.
pub struct QueryApi(Operations);

impl QueryApi {
    /// `pool` is that of the reader, whose sessions have a statement timeout.
    pub fn new(pool: PgPool, cursors: CursorKey) -> Self {
        Self(Operations { pool, cursors })
    }
}

/// As derived for the operations, with the columns documented as parameters of their own.
impl OpenApi for QueryApi {
    fn meta() -> Vec<MetaApi> {
        document::with_columns(Operations::meta())
    }

    fn register(registry: &mut Registry) {
        document::register(registry);
        Operations::register(registry);
    }

    fn add_routes(self, routes: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {
        self.0.add_routes(routes);
    }
}

struct Operations {
    pool: PgPool,
    cursors: CursorKey,
}

#[derive(ApiResponse)]
enum PageAnswer {
    /// A page of events.
    #[oai(status = 200)]
    Page(
        JsonBytes<EventPage>,
        /// The next page as `<URL>; rel="next"`; absent at the end.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

#[derive(ApiResponse)]
enum PayloadAnswer {
    /// The bytes that were recorded.
    #[oai(status = 200)]
    Payload(
        JsonBytes<EventData>,
        /// Names these bytes; they never change.
        #[oai(header = "ETag")]
        String,
    ),
    /// The client has them already.
    #[oai(status = 304)]
    NotModified,
}

/// A page before it is written: what to show and how to go on.
struct Found {
    page: Page,
    complete: bool,
    scanned_until: Option<Timestamp>,
    next_cursor: Option<String>,
    interpreted: Option<String>,
}

#[OpenApi(tag = "super::Tag::Reading")]
impl Operations {
    /// List or search events
    ///
    /// Newest first. Every parameter that is not reserved is a condition, and all must hold: a column by
    /// its name or alias, anything else a path into `event_data`. The same as `GET /events/query`.
    #[oai(path = "/events", method = "get", operation_id = "list_events")]
    async fn list(
        &self,
        caller: Caller<Reader>,
        /// Conditions on `event_data`, such as `account_id=1346` or `address.city=Paris`; and operators, which stand on the
        /// name: `amount:gte=100`, `type:not=login`, `city:in=Paris,Lyon`, `message:contains=tls`. They are `not`, `gt`,
        /// `gte`, `lt`, `lte`, `in`, `not-in`, `contains`, `prefix`, `match`, `cidr` and `exists`.
        #[oai(name = "conditions", style = "form")]
        conditions: AnyNames,
    ) -> Result<PageAnswer, Problem> {
        self.by_url(&caller, conditions).await
    }

    /// Search events by URL
    ///
    /// `?user_identity=Asad_Zaman&account_id=1346` finds the events in which both hold. Untyped values
    /// match numbers and strings; a value in double quotes is a string. `next` is the next page, ready.
    #[oai(path = "/events/query", method = "get", operation_id = "query_events")]
    async fn query(
        &self,
        caller: Caller<Reader>,
        /// Conditions on `event_data`, such as `account_id=1346` or `address.city=Paris`; and operators, which stand on the
        /// name: `amount:gte=100`, `type:not=login`, `city:in=Paris,Lyon`, `message:contains=tls`. They are `not`, `gt`,
        /// `gte`, `lt`, `lte`, `in`, `not-in`, `contains`, `prefix`, `match`, `cidr` and `exists`.
        #[oai(name = "conditions", style = "form")]
        conditions: AnyNames,
    ) -> Result<PageAnswer, Problem> {
        self.by_url(&caller, conditions).await
    }

    /// Search events by a JSON filter
    ///
    /// Filters nest: `and`, `or`, `not`. Value types are exact: 100 is not "100". For the next page send the same body with `cursor` set
    /// to the answer's `next_cursor`.
    #[oai(path = "/events/query", method = "post", operation_id = "search_events")]
    async fn search(
        &self,
        caller: Caller<Reader>,
        body: RawJson<EventQuery>,
    ) -> Result<JsonBytes<EventPage>, Problem> {
        if body.bytes.len() > MAX_BODY_BYTES {
            return Err(problems::body_too_large());
        }
        let search = json::parse(&body.bytes).map_err(|faults| problems::invalid_query(&faults))?;
        let cursor = Origin::Pointer("/cursor".to_owned());
        let found = self.find(caller.tenant.id, &search, cursor).await?;
        Ok(found.write(None))
    }

    /// Read one event
    #[oai(path = "/events/:id", method = "get", operation_id = "get_event")]
    async fn event(
        &self,
        caller: Caller<Reader>,
        /// The event's id.
        id: Path<String>,
    ) -> Result<JsonBytes<Event>, Problem> {
        let id = Uuid::parse_str(&id).map_err(|_| problems::bad_id())?;
        let event = events::by_id(&self.pool, caller.tenant.id, id).await.map_err(problems::read)?;
        let mut json = String::new();
        wire::write_event(&mut json, &event.ok_or_else(problems::no_event)?);
        Ok(JsonBytes::new(json))
    }

    /// Read the exact payload of one event
    ///
    /// The bytes of `event_data` as they were sent, and as the log commits to them. 410 `redacted` if they were erased.
    #[oai(path = "/events/:id/payload", method = "get", operation_id = "get_event_payload")]
    async fn payload(
        &self,
        caller: Caller<Reader>,
        /// The event's id.
        id: Path<String>,
        /// An `ETag` that this answered with before.
        #[oai(name = "If-None-Match")]
        if_none_match: Header<Option<String>>,
    ) -> Result<PayloadAnswer, Problem> {
        let id = Uuid::parse_str(&id).map_err(|_| problems::bad_id())?;
        let payload = events::payload(&self.pool, caller.tenant.id, id).await.map_err(problems::read)?;
        let payload = match payload {
            Some(FoundPayload::Bytes(payload)) => payload,
            Some(FoundPayload::Redacted) => return Err(problems::redacted()),
            Some(FoundPayload::Absent) | None => return Err(problems::no_payload()),
        };
        let etag = format!("\"{id}\"");
        if if_none_match.0.is_some_and(|known| known.contains(&etag)) {
            return Ok(PayloadAnswer::NotModified);
        }
        Ok(PayloadAnswer::Payload(JsonBytes::new(payload), etag))
    }
}

impl Operations {
    async fn by_url(&self, caller: &Caller<Reader>, conditions: AnyNames) -> Result<PageAnswer, Problem> {
        let url = conditions.search()?;
        let cursor = Origin::Parameter("cursor".to_owned());
        let found = self.find(caller.tenant.id, &url.search, cursor).await?;
        let next = found.next_cursor.as_deref().map(|cursor| url.with_cursor(cursor));
        let link = next.as_deref().map(links::next);
        Ok(PageAnswer::Page(found.write(next.as_deref()), link))
    }

    /// `origin` is where the search had its cursor from.
    async fn find(&self, tenant_id: i32, search: &Search, origin: Origin) -> Result<Found, Problem> {
        let epoch = events::epoch(&self.pool, tenant_id).await.map_err(problems::read)?;
        let scope = Scope { tenant_id, epoch };
        let opened = search.cursor.as_deref().map(|cursor| self.cursors.open(scope, search, cursor));
        let after = opened.transpose().map_err(|error| problems::bad_cursor(error, origin))?;
        let page = events::page(&self.pool, tenant_id, search, after).await.map_err(problems::read)?;
        let last = page.events.last().and_then(|event| search.sort.position(event));
        let next = page.walked_to.or(last).filter(|_| page.more);
        let complete = !page.more || page.events.len() == usize::from(search.limit);
        Ok(Found {
            complete,
            scanned_until: page.walked_to.filter(|_| !complete).map(|position| position.at),
            next_cursor: next.map(|position| self.cursors.seal(scope, search, position)),
            interpreted: search.is_interpreted.then(|| search.filter.to_string()),
            page,
        })
    }
}

impl Found {
    /// `next` is the URL of the next page, where the search came from a URL.
    fn write(&self, next: Option<&str>) -> JsonBytes<EventPage> {
        let end = PageEnd {
            complete: self.complete,
            next,
            next_cursor: self.next_cursor.as_deref(),
            scanned_until: self.scanned_until,
            interpreted: self.interpreted.as_deref(),
        };
        JsonBytes::new(wire::write_page(&self.page.events, end))
    }
}
