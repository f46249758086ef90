//! JSON to [`NewEvent`]: every fault is found and reported at once.

mod draft;
mod flat;
mod values;

use super::NewEvent;
use super::fields::{Field, nearest_name};
use super::invalid::{Invalid, pointer_to, quoted};
use crate::json::{self, Member};
use draft::Draft;
pub use flat::parse_flat;
pub(super) use values::idempotency_key;

/// Parses an event as `POST /events` takes it.
pub fn parse_event(body: &[u8]) -> Result<NewEvent, Vec<Invalid>> {
    let mut draft = Draft::default();
    for member in object_members(body, "send a list of events to /events/batch")? {
        let raw = &body[member.value.clone()];
        match Field::parse(&member.key) {
            Some(field) if field.set_by_service() => draft.fault(|| set_by_service(&member.key)),
            Some(field) => draft.set(field, &member.key, raw),
            None => draft.fault(|| unknown(&member.key)),
        }
    }
    draft.finish()
}

/// The members of the body, which is to be an object.
fn object_members<'a>(body: &'a [u8], array_hint: &str) -> Result<Vec<Member<'a>>, Vec<Invalid>> {
    json::members(body).map_err(|error| {
        let start = body.trim_ascii_start();
        if start.starts_with(b"{") || json::Scanner::check(body).is_err() {
            return vec![error.into()];
        }
        let found = json::kind_name(start);
        let invalid = Invalid::new("wrong_type", String::new(), format!("expected an object, found {found}"));
        vec![if start.starts_with(b"[") { invalid.hint(array_hint) } else { invalid }]
    })
}

fn set_by_service(key: &str) -> Invalid {
    let detail = format!("`{key}` is set by the service");
    Invalid::new("set_by_service", pointer_to(key), detail)
        .hint("leave it out; put an identifier of your own into event_data or correlation_id")
}

fn unknown(key: &str) -> Invalid {
    let client_fields = || Field::all().filter(|field| !field.set_by_service());
    let known =
        client_fields().flat_map(|field| [field.name()].into_iter().chain(field.aliases().iter().copied()));
    let hint = match nearest_name(key, known) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "put it into event_data, or send the record to /log, which does that".to_owned(),
    };
    Invalid::new("unknown_field", pointer_to(key), format!("unknown field {}", quoted(key))).hint(hint)
}

#[cfg(test)]
mod tests;
