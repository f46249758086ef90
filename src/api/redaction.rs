//! Redaction: `DELETE /events/{id}`.

use poem::Request;
use poem_openapi::param::{Path, Query};
use poem_openapi::{Enum, OpenApi};
use sqlx::PgPool;
use uuid::Uuid;

use super::body::JsonBytes;
use super::caller::{Admin, Caller, address};
use super::problem::Problem;
use super::query::problems as events_problems;
use super::recorded::{Recording, problem_of};
use super::{schemas, wire};
use crate::auth::Role;
use crate::event::{Event, Redaction, RedactionScope};
use crate::store::events::{self, ReadError};

pub struct RedactionApi {
    pub(super) recording: Recording,
    /// As the reader.
    pub(super) reads: PgPool,
}

/// How much of an event is erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
enum Scope {
    #[default]
    Payload,
    All,
}

impl From<Scope> for RedactionScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Payload => Self::Payload,
            Scope::All => Self::All,
        }
    }
}

#[OpenApi(tag = "super::Tag::Recording")]
impl RedactionApi {
    /// Redact an event
    ///
    /// Erases its content for good, and records in the log that this was done, by whom and why. The event keeps its
    /// place, and its proof goes on to hold. What erased it says is itself never erased: give no reason that tells
    /// what was. `payload` can be followed by `all`; redacting once more as far as before is a 409
    /// `already_redacted`. Redactions and other entries of the service about the log cannot be redacted: 409
    /// `not_redactable`. Whoever is reader as well gets what was erased in `former`, for the last time.
    #[oai(path = "/events/:id", method = "delete", operation_id = "redact_event")]
    async fn redact(
        &self,
        request: &Request,
        caller: Caller<Admin>,
        /// The event's id.
        id: Path<String>,
        /// Why; kept in the log.
        #[oai(validator(min_length = 1, max_length = 1000))]
        reason: Query<String>,
        /// `payload` erases `event_data`; `all` the typed fields as well. Default: `payload`.
        scope: Query<Option<Scope>>,
    ) -> Result<JsonBytes<schemas::RedactionResult>, Problem> {
        let id = Uuid::parse_str(&id).map_err(|_| events_problems::bad_id())?;
        let former = self.event(&caller, id).await.map_err(events_problems::read)?;
        let former = former.ok_or_else(events_problems::no_event)?;
        let redaction = Redaction {
            target_seq: former.seq,
            target_id: former.id,
            target_received_at: former.received_at,
            scope: scope.0.unwrap_or_default().into(),
            reason: reason.0,
        };
        let outcome = self.recording.redact(&caller, redaction, address(request)).await;
        let redacted = outcome.map_err(|error| problem_of(&error))?;
        let entry = serde_json::to_string(&redacted).map_err(|error| Problem::internal(&error))?;
        // It is done, whether it can be shown now or not.
        let now = self.event(&caller, id).await.ok().flatten();
        let is_reader = caller.roles.contains(Role::Reader);
        Ok(JsonBytes::new(wire::write_redaction(&entry, now.as_ref(), &former, is_reader)))
    }
}

impl RedactionApi {
    async fn event(&self, caller: &Caller<Admin>, id: Uuid) -> Result<Option<Event>, ReadError> {
        events::by_id(&self.reads, caller.tenant.id, id).await
    }
}
