//! One pass over the derived document for each thing that it gets wrong or leaves out in operations.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{errors, schemas};
use crate::api::{caller::ROLE_MARKER, problem::capitalised};

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
    schemas::insert_written(&mut document);
    schemas::close_bodies(&mut document);
    schemas::simplify(&mut document);
    document
}

pub(super) fn operations(document: &mut Value) -> impl Iterator<Item = (String, &mut Map<String, Value>)> {
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

#[cfg(test)]
mod tests {
    use super::{schemas::references, *};

    /// A document with one operation, `POST /things`.
    fn finished(operation: Value, schemas: Value) -> Value {
        let derived = json!({"paths": {"/things": {"post": operation}}, "components": {"schemas": schemas}});
        finish_spec(&derived.to_string())
    }

    fn post(document: &Value) -> &Value {
        &document["paths"]["/things"]["post"]
    }

    #[test]
    fn the_role_moves_from_security_into_words() {
        let security = json!([{"basic": []}, {"bearer": []}, {"role:admin": []}]);
        let document = finished(json!({"security": security, "description": "Makes one."}), json!({}));
        assert_eq!(post(&document)["security"], json!([{"basic": []}, {"bearer": []}]));
        assert_eq!(post(&document)["x-role"], "admin");
        assert_eq!(post(&document)["description"], "Makes one.\n\nNeeds the role `admin`.");
    }

    #[test]
    fn an_operation_without_caller_says_that_it_needs_no_login() {
        let document = finished(json!({}), json!({}));
        assert_eq!(post(&document)["security"], json!([]));
        assert_eq!(post(&document)["responses"].get("401"), None);
    }

    #[test]
    fn media_types_lose_their_charset() {
        let responses =
            json!({"200": {"description": "", "content": {"application/json; charset=utf-8": {}}}});
        let document = finished(json!({"responses": responses}), json!({}));
        assert_eq!(
            post(&document)["responses"]["200"],
            json!({"description": "OK", "content": {"application/json": {}}})
        );
    }

    #[test]
    fn headers_get_their_usual_names() {
        let operation = json!({
            "parameters": [{"in": "header", "name": "IDEMPOTENCY-KEY"}, {"in": "query", "name": "LIMIT"}],
            "responses": {"201": {"headers": {"ETAG": {}, "LOCATION": {}}}},
        });
        let document = finished(operation, json!({}));
        assert_eq!(post(&document)["parameters"][0]["name"], "Idempotency-Key");
        assert_eq!(post(&document)["parameters"][1]["name"], "LIMIT");
        let headers = post(&document)["responses"]["201"]["headers"].as_object().unwrap();
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["ETag", "Location"]);
    }

    #[test]
    fn a_body_refuses_what_it_does_not_know_and_takes_null_for_absent() {
        let body =
            json!({"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}});
        let thing = json!({
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "size": {"type": "integer", "minimum": 1.0, "maximum": 2.5},
                "age": {"type": "integer", "format": "uint64"},
                "part": {"$ref": "#/components/schemas/Part"},
            },
        });
        let part = json!({"type": "object", "properties": {}});
        let answer = json!({"type": "object", "properties": {"size": {"type": "integer"}}});
        let schemas = json!({"Thing": thing, "Part": part, "Answer": answer});
        let document = finished(json!({"requestBody": body}), schemas);

        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["Thing"]["additionalProperties"], false);
        assert_eq!(schemas["Part"]["additionalProperties"], false);
        assert_eq!(schemas["Answer"].get("additionalProperties"), None);
        let properties = &schemas["Thing"]["properties"];
        assert_eq!(properties["name"], json!({"type": "string"}));
        assert_eq!(
            properties["size"],
            json!({"type": "integer", "minimum": 1, "maximum": 2.5, "nullable": true})
        );
        assert_eq!(
            properties["age"],
            json!({"type": "integer", "format": "int64", "minimum": 0, "nullable": true})
        );
        assert_eq!(
            properties["part"],
            json!({"allOf": [{"$ref": "#/components/schemas/Part"}], "nullable": true})
        );
    }

    #[test]
    fn a_described_reference_is_not_described_twice() {
        let part = json!({"$ref": "#/components/schemas/Part"});
        let member = json!({"allOf": [part, {"description": "One."}], "description": "One."});
        let schemas = json!({"Thing": {"properties": {"part": member}}});
        let document = finished(json!({}), schemas);
        assert_eq!(
            document["components"]["schemas"]["Thing"]["properties"]["part"],
            json!({"allOf": [part], "description": "One."})
        );
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        let document = crate::api::document();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for name in references(&document) {
            assert!(schemas.contains_key(&name), "{name} is missing");
        }
    }

    #[test]
    fn every_operation_has_an_id_a_summary_and_a_success() {
        for (path, operation) in operations(&mut crate::api::document()) {
            assert!(operation["operationId"].is_string(), "{path}");
            assert!(operation["summary"].is_string(), "{path}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{path}");
        }
    }
}
