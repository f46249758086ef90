//! The flat door: dynamic records, whose unknown members become the payload.

use std::borrow::Cow;

use super::draft::Draft;
use super::{Field, Invalid, NewEvent, object_members};
use crate::json::Member;

const DEFAULT_EVENT_TYPE: &str = "log";
const DEFAULT_USER_IDENTITY: &str = "anonymous";

/// Parses a record as `POST /log` takes it. Members that are no fields of a submission, also those called
/// like fields that the service sets, go into `event_data`. A typed field with a value that it cannot have is
/// an error all the same: moved aside silently, nobody would find it.
pub fn parse_flat(body: &[u8]) -> Result<NewEvent, Vec<Invalid>> {
    let members = object_members(body, "send one record at a time")?;
    let mut draft = Draft::default();
    for member in &members {
        if let Some(field) = field_of(member).filter(|field| *field != Field::EventData) {
            draft.set(field, &member.key, &body[member.value.clone()]);
        }
    }
    set_event_data(&mut draft, body, &members);
    draft.event_type.get_or_insert_with(|| DEFAULT_EVENT_TYPE.to_owned());
    draft.user_identity.get_or_insert_with(|| DEFAULT_USER_IDENTITY.to_owned());
    draft.finish()
}

fn field_of(member: &Member<'_>) -> Option<Field> {
    Field::parse(&member.key).filter(|field| !field.set_by_service())
}

/// `event_data` as it was given if nothing is to be added to it; otherwise an object of the unknown members
/// and those of a given object, in the order and the bytes in which they came.
fn set_event_data(draft: &mut Draft, body: &[u8], members: &[Member<'_>]) {
    let mut object = b"{".to_vec();
    let mut has_unknown = false;
    for member in members {
        let raw = &body[member.value.clone()];
        let added = match field_of(member) {
            None => {
                has_unknown = true;
                named(member.raw_key, raw)
            }
            Some(Field::EventData) => {
                draft.set(Field::EventData, &member.key, raw);
                inner_members(raw).map_or_else(|| named("\"event_data\"", raw), Cow::Borrowed)
            }
            Some(_) => continue,
        };
        if object.len() > 1 && !added.is_empty() {
            object.push(b',');
        }
        object.extend_from_slice(&added);
    }
    object.push(b'}');
    if has_unknown {
        draft.payload = Some(object);
    }
}

fn named(raw_key: &str, raw: &[u8]) -> Cow<'static, [u8]> {
    [raw_key.as_bytes(), b":", raw].concat().into()
}

/// What stands between the braces of an object.
fn inner_members(raw: &[u8]) -> Option<&[u8]> {
    raw.strip_prefix(b"{")?.strip_suffix(b"}").map(<[u8]>::trim_ascii)
}
