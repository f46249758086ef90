//! The API document as a reviewer reads it: any change of the surface is a diff of these snapshots.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeSet;
use std::fmt::Write;

use eventlogger::api;
use insta::{Settings, assert_snapshot};
use serde_json::{Value, json};

const ROLES: [&str; 5] = ["writer", "reader", "auditor", "admin", "superadmin"];

fn snapshots(run: impl FnOnce()) {
    let mut settings = Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(run);
}

struct Operation {
    id: String,
    /// Method and path.
    name: String,
    object: Value,
}

impl Operation {
    /// The role it asks for; `None` if it asks for no login.
    fn role(&self) -> Option<&str> {
        self.object["x-role"].as_str()
    }
}

fn operations() -> Vec<Operation> {
    let document = api::document();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, object) in item.as_object().unwrap() {
            operations.push(Operation {
                id: object["operationId"].as_str().unwrap().to_owned(),
                name: format!("{} {path}", method.to_uppercase()),
                object: object.clone(),
            });
        }
    }
    operations
}

#[test]
fn the_document_is_as_reviewed() {
    let mut document = api::document();
    document["info"]["version"] = json!("[version]");
    snapshots(|| assert_snapshot!("openapi", format!("{document:#}")));
}

#[test]
fn the_operations_without_a_login_are_as_reviewed() {
    let open = operations().into_iter().filter(|operation| operation.role().is_none());
    let open: Vec<String> = open.map(|operation| operation.name).collect();
    snapshots(|| assert_snapshot!("operations_without_a_login", open.join("\n")));
}

#[test]
fn the_roles_and_what_they_may_do_are_as_reviewed() {
    let mut matrix = format!("{:32}", "");
    for role in ROLES {
        write!(matrix, " {role:>10}").unwrap();
    }
    for operation in operations() {
        let Some(needed) = operation.role() else { continue };
        write!(matrix, "\n{:32}", operation.name).unwrap();
        for role in ROLES {
            let mark = if needed == "any" || needed == role { "yes" } else { "-" };
            write!(matrix, " {mark:>10}").unwrap();
        }
    }
    snapshots(|| assert_snapshot!("roles", matrix));
}

#[test]
fn every_operation_is_ready_for_generators_and_readers() {
    let mut ids = BTreeSet::new();
    for Operation { id, name, object } in operations() {
        let snake = id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(snake && ids.insert(id.clone()), "{name}: {id} is not unique or not snake_case");
        assert!(object["summary"].as_str().is_some_and(|text| !text.is_empty()), "{name}: no summary");
        assert!(object["tags"].as_array().is_some_and(|tags| tags.len() == 1), "{name}: not one tag");
        let role = object["x-role"].as_str();
        assert_eq!(object["security"].as_array().is_some_and(|all| all.len() == 2), role.is_some(), "{name}");
        assert!(role.is_none_or(|role| role == "any" || ROLES.contains(&role)), "{name}: {role:?}");
        for parameter in object["parameters"].as_array().into_iter().flatten() {
            let said = parameter["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(said, "{name}: {} is not described", parameter["name"]);
        }
        for (status, response) in object["responses"].as_object().unwrap() {
            let said = response["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(said, "{name}: {status} is not described");
            let is_problem = response["content"]["application/problem+json"].is_object();
            let own = response["content"]["application/json"].is_object();
            assert!(status.as_str() < "400" || is_problem || own, "{name}: {status} has no body");
        }
    }
}

/// What stands in `$ref` anywhere below.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    let document = api::document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in &found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        let reference = format!("#/components/schemas/{name}");
        assert!(found.contains(reference.as_str()), "nothing refers to the schema {name}");
    }
}
