//! One pass over the derived document for each thing that it gets wrong or leaves out.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::errors;
use crate::api::{caller::ROLE_MARKER, schemas::written_schemas};

const SCHEMA_PREFIX: &str = "#/components/schemas/";

/// The derived document, finished.
pub fn finish_spec(derived: &str) -> Value {
    let mut document: Value = serde_json::from_str(derived).unwrap_or_default();
    for (path, operation) in operations(&mut document) {
        state_role(operation);
        errors::declare(&path, operation);
        describe_responses(operation);
        restore_header_names(operation);
    }
    drop_charsets(&mut document);
    insert_written_schemas(&mut document);
    close_request_schemas(&mut document);
    write_whole_numbers(&mut document);
    document
}

fn operations(document: &mut Value) -> impl Iterator<Item = (String, &mut Map<String, Value>)> {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let methods = item.as_object_mut().into_iter().flatten();
        methods.filter_map(move |(_, operation)| Some((path.clone(), operation.as_object_mut()?)))
    })
}

/// `Caller<R>` put the role among the security schemes; it belongs beside them. No caller: no login.
fn state_role(operation: &mut Map<String, Value>) {
    let mut role = None;
    let alternatives = operation.entry("security").or_insert_with(|| json!([]));
    if let Some(alternatives) = alternatives.as_array_mut() {
        alternatives.retain(|alternative| {
            let marker = alternative.as_object().and_then(|names| names.keys().next());
            let found = marker.and_then(|name| name.strip_prefix(ROLE_MARKER)).map(str::to_owned);
            let is_scheme = found.is_none();
            role = role.take().or(found);
            is_scheme
        });
    }
    let Some(role) = role else { return };
    let sentence = match role.as_str() {
        "any" => "Needs a login with any role.".to_owned(),
        role => format!("Needs the role `{role}`."),
    };
    let description = match operation.get("description").and_then(Value::as_str) {
        Some(description) => format!("{description}\n\n{sentence}"),
        None => sentence,
    };
    operation.insert("description".to_owned(), description.into());
    operation.insert("x-role".to_owned(), role.into());
}

/// A response must have a description; poem-openapi leaves those of plain payloads empty.
fn describe_responses(operation: &mut Map<String, Value>) {
    for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        if response["description"] == "" {
            let reason = status.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
            response["description"] =
                reason.and_then(|status| status.canonical_reason()).unwrap_or("Answer").into();
        }
    }
}

/// poem-openapi writes header names in capitals.
fn restore_header_names(operation: &mut Map<String, Value>) {
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        if parameter["in"] == "header"
            && let Some(name) = parameter["name"].as_str()
        {
            parameter["name"] = header_name(name).into();
        }
    }
    for (_, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        if let Some(headers) = response.get_mut("headers").and_then(Value::as_object_mut) {
            let named =
                std::mem::take(headers).into_iter().map(|(name, header)| (header_name(&name), header));
            *headers = named.collect();
        }
    }
}

fn header_name(name: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "etag" => "ETag".to_owned(),
        "www-authenticate" => "WWW-Authenticate".to_owned(),
        lower => lower.split('-').map(capitalised).collect::<Vec<_>>().join("-"),
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// Generators match media types as text: `application/json; charset=utf-8` is an unknown one to them.
fn drop_charsets(node: &mut Value) {
    match node {
        Value::Object(members) => {
            if let Some(content) = members.get_mut("content").and_then(Value::as_object_mut) {
                let bare = |name: String| name.split(';').next().unwrap_or_default().to_owned();
                *content = std::mem::take(content).into_iter().map(|(k, v)| (bare(k), v)).collect();
            }
            members.iter_mut().for_each(|(_, member)| drop_charsets(member));
        }
        Value::Array(items) => items.iter_mut().for_each(drop_charsets),
        _ => {}
    }
}

/// Puts the written schemas in the place of their markers, with all that they refer to.
fn insert_written_schemas(document: &mut Value) {
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
fn references(node: &Value) -> BTreeSet<String> {
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
fn close_request_schemas(document: &mut Value) {
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

/// `minimum: 1.0` makes generators compare integers with floats.
fn write_whole_numbers(node: &mut Value) {
    match node {
        Value::Object(members) => {
            for (name, member) in members {
                if matches!(name.as_str(), "minimum" | "maximum" | "multipleOf") {
                    whole(member);
                }
                write_whole_numbers(member);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(write_whole_numbers),
        _ => {}
    }
}

fn whole(number: &mut Value) {
    // Beyond 2^53 a float is no exact limit anyway.
    let is_whole = |float: &f64| float.fract() == 0.0 && float.abs() <= (1_u64 << 53) as f64;
    if let Some(float) = number.as_f64().filter(is_whole) {
        *number = Value::from(float as i64);
    }
}
