//! Searches in the OpenAPI document: poem-openapi sees one free-form parameter, readers of the document
//! see the columns and settings by name as well.

use poem_openapi::registry::{
    MetaApi, MetaOperation, MetaOperationParam, MetaParamIn, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::Type as _;
use serde_json::Value;

use crate::api::schemas::{Level, Outcome, Sort};
use crate::event::Field;
use crate::query::search::{DEFAULT_LIMIT, MAX_LIMIT};

/// Puts the named parameters before the free-form one of each operation that has it.
pub(super) fn with_columns(mut apis: Vec<MetaApi>) -> Vec<MetaApi> {
    for operation in apis.iter_mut().flat_map(|api| &mut api.paths).flat_map(|path| &mut path.operations) {
        describe(operation);
    }
    apis
}

/// What the named parameters refer to.
pub(super) fn register(registry: &mut Registry) {
    Level::register(registry);
    Outcome::register(registry);
    Sort::register(registry);
}

fn describe(operation: &mut MetaOperation) {
    if operation.params.iter().any(|param| param.name == "conditions") {
        let columns = Field::all().filter(|field| *field != Field::EventData).map(column);
        operation.params.splice(0..0, columns.chain(settings()));
    }
}

fn column(field: Field) -> MetaOperationParam {
    let schema = match field {
        Field::Level => Level::schema_ref(),
        Field::Outcome => Outcome::schema_ref(),
        Field::Timestamp | Field::ReceivedAt => string("date-time"),
        Field::Id => uuid::Uuid::schema_ref(),
        Field::Seq => {
            inline(MetaSchema { minimum: Some(0.0), ..MetaSchema::new_with_format("integer", "int64") })
        }
        Field::Ip => string("ip-or-network"),
        _ => String::schema_ref(),
    };
    let meaning = match field {
        Field::Ip => "Equals this address, or lies in this network (`10.0.0.0/8`).",
        _ => "Equals this.",
    };
    match field.aliases() {
        [] => param(field.name(), schema, meaning.to_owned()),
        aliases => param(field.name(), schema, format!("{meaning} Aliases: `{}`.", aliases.join("`, `"))),
    }
}

fn settings() -> impl Iterator<Item = MetaOperationParam> {
    let limit = MetaSchema {
        minimum: Some(1.0),
        maximum: Some(MAX_LIMIT.into()),
        default: Some(Value::from(DEFAULT_LIMIT)),
        ..MetaSchema::new("integer")
    };
    [
        (
            "q",
            String::schema_ref(),
            "A filter as people write it: `type:login -source:api amount:>100 (city:Paris OR city:Lyon) \"free text\"`.",
        ),
        ("from", string("date-time"), "`timestamp` at or after this. Alias: `start_time`."),
        ("to", string("date-time"), "`timestamp` before this. Alias: `end_time`."),
        ("received_from", string("date-time"), "`received_at` at or after this."),
        ("received_to", string("date-time"), "`received_at` before this."),
        ("sort", Sort::schema_ref(), "The time that orders the answer, newest first."),
        ("limit", inline(limit), "Events per page."),
        ("cursor", string("cursor"), "Where the page starts: from `next` of the page before."),
    ]
    .into_iter()
    .map(|(name, schema, description)| param(name, schema, description.to_owned()))
}

fn param(name: &str, schema: MetaSchemaRef, description: String) -> MetaOperationParam {
    MetaOperationParam {
        name: name.to_owned(),
        schema,
        in_type: MetaParamIn::Query,
        description: Some(description),
        required: false,
        deprecated: false,
        explode: true,
        style: None,
    }
}

fn string(format: &'static str) -> MetaSchemaRef {
    inline(MetaSchema::new_with_format("string", format))
}

fn inline(schema: MetaSchema) -> MetaSchemaRef {
    MetaSchemaRef::Inline(Box::new(schema))
}
