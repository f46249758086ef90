//! What the derived document gets wrong or leaves out in schemas.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::finish::operations;
use crate::api::schemas::written_schemas;

const SCHEMA_PREFIX: &str = "#/components/schemas/";

/// Puts the written schemas in the place of their markers, with all that they refer to.
pub(super) fn insert_written(document: &mut Value) {
    let mut written = written_schemas();
    let mut wanted = references(document);
    while let Some(name) = wanted.pop_first() {
        if let Some(schema) = written.remove(&name) {
            wanted.extend(references(&schema));
            document["components"]["schemas"][&name] = schema;
        }
    }
}

/// The schemas that a part of the document refers to.
pub(super) fn references(node: &Value) -> BTreeSet<String> {
    match node {
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str);
            let own = own.and_then(|reference| reference.strip_prefix(SCHEMA_PREFIX)).map(str::to_owned);
            own.into_iter().chain(members.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => BTreeSet::new(),
    }
}

/// Bodies refuse members that they do not know and take null for absent. Derived schemas say neither.
pub(super) fn close_bodies(document: &mut Value) {
    let written = written_schemas();
    let bodies = operations(document).filter_map(|(_, operation)| operation.get("requestBody").cloned());
    let mut wanted: BTreeSet<String> = bodies.flat_map(|body| references(&body)).collect();
    let mut closed = BTreeSet::new();
    while let Some(name) = wanted.pop_first() {
        let schema = &mut document["components"]["schemas"][&name];
        if closed.insert(name.clone()) && !written.contains_key(&name) {
            wanted.extend(references(schema));
            close(schema);
        }
    }
}

fn close(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut().filter(|schema| schema.contains_key("properties")) else {
        return;
    };
    schema.entry("additionalProperties").or_insert(false.into());
    let required = schema.get("required").cloned().unwrap_or_default();
    let required: Vec<&str> = required.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in schema["properties"].as_object_mut().into_iter().flatten() {
        if required.contains(&name.as_str()) {
            continue;
        }
        match property.get("$ref") {
            // Whatever stands beside a reference is ignored, hence allOf.
            Some(_) => *property = json!({"allOf": [property.take()], "nullable": true}),
            None => property["nullable"] = true.into(),
        }
    }
}

/// Rewrites every schema in the plainest form that says the same.
pub(super) fn simplify(node: &mut Value) {
    match node {
        Value::Object(schema) => {
            write_whole_numbers(schema);
            name_known_formats(schema);
            merge_descriptions(schema);
            schema.iter_mut().for_each(|(_, member)| simplify(member));
        }
        Value::Array(items) => items.iter_mut().for_each(simplify),
        _ => {}
    }
}

/// `minimum: 1.0` makes generators compare integers with floats.
fn write_whole_numbers(schema: &mut Map<String, Value>) {
    // Beyond 2^53 a float is no exact limit anyway.
    let is_whole = |float: &f64| float.fract() == 0.0 && float.abs() <= (1_u64 << 53) as f64;
    for name in ["minimum", "maximum", "multipleOf"] {
        if let Some(number) = schema.get_mut(name)
            && let Some(float) = number.as_f64().filter(is_whole)
        {
            *number = Value::from(float as i64);
        }
    }
}

/// OpenAPI knows no unsigned formats.
fn name_known_formats(schema: &mut Map<String, Value>) {
    let known = match schema.get("format").and_then(Value::as_str) {
        Some("uint64") => "int64",
        Some("uint8" | "uint16" | "uint32") => "int32",
        _ => return,
    };
    schema.insert("format".to_owned(), known.into());
    schema.entry("minimum").or_insert(0.into());
}

/// poem-openapi says beside a reference's `allOf` once more what it put into it.
fn merge_descriptions(schema: &mut Map<String, Value>) {
    let beside = schema.clone();
    if let Some(parts) = schema.get_mut("allOf").and_then(Value::as_array_mut) {
        let is_said = |part: &Value| {
            let members = part.as_object().filter(|members| !members.contains_key("$ref"));
            members.is_some_and(|members| members.iter().all(|(name, value)| beside.get(name) == Some(value)))
        };
        parts.retain(|part| !is_said(part));
    }
}
