//! Schemas of the bodies and answers that are handled as bytes. They are written as they appear in the
//! document, in `schemas.json`, because no Rust type with those fields exists to derive them from; the
//! markers below let a handler's signature name them.

use std::borrow::Cow;

use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef, Registry},
    types::Type,
};
use serde_json::{Map, Value};

/// By name, as they go into the document's components.
pub(super) fn written_schemas() -> Map<String, Value> {
    // Compiled in; a test reads it.
    serde_json::from_str(include_str!("schemas.json")).unwrap_or_default()
}

macro_rules! written {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            pub struct $name;

            impl Type for $name {
                const IS_REQUIRED: bool = true;
                type RawValueType = Self;
                type RawElementValueType = Self;

                fn name() -> Cow<'static, str> {
                    Cow::Borrowed(stringify!($name))
                }

                fn schema_ref() -> MetaSchemaRef {
                    MetaSchemaRef::Reference(stringify!($name).to_owned())
                }

                /// A placeholder: poem-openapi wants every reference to be known.
                fn register(registry: &mut Registry) {
                    registry.create_schema::<Self, _>(stringify!($name).to_owned(), |_| MetaSchema::new("object"));
                }

                fn as_raw_value(&self) -> Option<&Self> {
                    Some(self)
                }

                fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                    Box::new(std::iter::once(self))
                }
            }
        )*

        #[cfg(test)]
        const MARKERS: &[&str] = &[$(stringify!($name)),*];
    };
}

written! {
    /// One event, as a client submits it.
    NewEvent;
    /// Any object, for `POST /log`.
    FlatRecord;
    /// What a recorded event is answered with.
    Recorded;
    /// What a batch is answered with.
    BatchResult;
    /// One event, as it is read back.
    Event;
    /// What a redaction is answered with.
    RedactionResult;
    /// A page of events.
    EventPage;
    /// A search as JSON.
    EventQuery;
    /// Any JSON value: the exact bytes of a payload.
    EventData;
    /// How grave an event is.
    Level;
    /// How what an event tells of ended.
    Outcome;
    /// What orders a search.
    Sort;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{event, query};

    #[test]
    fn names_are_those_of_the_types() {
        let schemas = written_schemas();
        let names = |schema: &str| schemas[schema]["enum"].clone();
        assert_eq!(names("Level"), json!(event::Level::ALL.map(event::Level::name)));
        assert_eq!(names("Outcome"), json!(event::Outcome::ALL.map(event::Outcome::name)));
        let scopes = &schemas["Redacted"]["properties"]["scope"]["enum"];
        let known = [event::RedactionScope::Payload, event::RedactionScope::All];
        assert_eq!(scopes, &json!(known.map(event::RedactionScope::name)));
        assert_eq!(names("Sort"), json!(query::Sort::NAMES));
    }

    #[test]
    fn every_marker_has_its_schema() {
        let schemas = written_schemas();
        for marker in MARKERS {
            assert!(schemas.contains_key(*marker), "schemas.json lacks {marker}");
        }
    }
}
