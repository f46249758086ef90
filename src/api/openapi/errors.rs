//! Which errors an operation can answer. They follow from its shape, so no handler repeats them and none
//! is forgotten: a login can fail, a body can be too large, what is addressed can be missing.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::api::{body::JSON, problem::PROBLEM_JSON};

/// Each error status and what it means here.
const MEANINGS: [(u16, &str); 14] = [
    (400, "The request cannot be understood; `errors` says where."),
    (401, "No valid credentials."),
    (
        403,
        "The role is missing, only a superadmin may do this, or the request comes from a page of a foreign origin.",
    ),
    (404, "There is no such thing in the tenant, or no tenant of the name in `X-Tenant`."),
    (408, "The body did not arrive in time."),
    (409, "In conflict with what is recorded."),
    (410, "It was recorded, and has been redacted since."),
    (413, "The body is too large; the problem names the limit."),
    (414, "The URL is too long."),
    (415, "The Content-Type or Content-Encoding is not accepted; the problem says what is."),
    (422, "Understood, but not valid; `errors` says where."),
    (429, "Too many logins failed, or your tenant is over its limit; the problem says which."),
    (500, "The service failed; its log has the cause."),
    (
        503,
        "The service cannot do this now. `not_recorded`: definitely absent; `unknown`: retry with the same key; \
         `change_in_doubt`: look before you repeat it.",
    ),
];

/// Documents the errors of one operation, except those that it documents itself.
pub(super) fn declare(path: &str, operation: &mut Map<String, Value>) {
    let statuses = possible(path, operation);
    let Some(responses) = operation.entry("responses").or_insert_with(|| json!({})).as_object_mut() else {
        return;
    };
    for (status, meaning) in MEANINGS.iter().filter(|(status, _)| statuses.contains(status)) {
        responses.entry(status.to_string()).or_insert_with(|| response(*status, meaning));
    }
}

fn possible(path: &str, operation: &Map<String, Value>) -> BTreeSet<u16> {
    let mut statuses = BTreeSet::from([400, 414, 500]);
    if path != "/health/live" {
        statuses.insert(503);
    }
    if operation.get("x-role").is_some() {
        // 404 also where no path asks for a thing: X-Tenant may name no tenant.
        statuses.extend([401, 403, 404, 429]);
    }
    if operation.get("x-role").is_some_and(|role| role == "writer") {
        statuses.insert(409);
    }
    if path == "/events/{id}/payload" {
        statuses.insert(410);
    }
    if operation.get("operationId").is_some_and(|id| id == "redact_event") {
        // It records, though it has no body.
        statuses.extend([409, 422]);
    }
    if operation.get("operationId").is_some_and(|id| id == "start_log_check") {
        // It takes no body, and whoever sends one is told so if it is large.
        statuses.insert(413);
    }
    let manages =
        operation.get("x-role").is_some_and(|role| role != "writer" && role != "reader" && role != "auditor");
    let changes = operation.contains_key("requestBody") || answers_nothing(operation);
    if manages && changes {
        statuses.insert(409);
    }
    let searches = operation.get("x-role").is_some_and(|role| role == "reader");
    if operation.contains_key("requestBody") {
        // What is wrong with a search is 400, in a body as in a URL; and its cursor belongs to an epoch.
        statuses.extend([408, 413, 415, if searches { 409 } else { 422 }]);
    }
    let parameters = operation.get("parameters").and_then(Value::as_array);
    if parameters.into_iter().flatten().any(|parameter| parameter["name"] == "cursor") {
        statuses.insert(409);
    }
    statuses
}

/// A change that succeeds without more to say.
fn answers_nothing(operation: &Map<String, Value>) -> bool {
    operation.get("responses").is_some_and(|responses| responses.get("204").is_some())
}

/// One type of error everywhere, so that generated clients have one as well. It is always sent as a problem,
/// which is JSON; some generators read a type only where it says so by that name.
fn response(status: u16, meaning: &str) -> Value {
    let problem = json!({"schema": {"$ref": "#/components/schemas/Problem"}});
    let mut response = json!({
        "description": meaning,
        "content": {PROBLEM_JSON: problem, JSON: problem},
    });
    let header = match status {
        401 => Some(("WWW-Authenticate", "string", "How to log in.")),
        429 | 503 => Some(("Retry-After", "integer", "Seconds to wait.")),
        _ => None,
    };
    if let Some((name, kind, description)) = header {
        response["headers"] = json!({name: {"description": description, "schema": {"type": kind}}});
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(path: &str, operation: Value) -> Vec<u16> {
        let mut operation = operation.as_object().unwrap().clone();
        declare(path, &mut operation);
        let responses = operation["responses"].as_object().unwrap();
        responses.keys().map(|status| status.parse().unwrap()).collect()
    }

    #[test]
    fn errors_follow_from_the_shape() {
        assert_eq!(declared("/health/live", json!({})), [400, 414, 500]);
        let read = json!({"x-role": "reader", "parameters": [{"name": "id", "in": "path"}]});
        assert_eq!(declared("/events/{id}", read), [400, 401, 403, 404, 414, 429, 500, 503]);
        let manage = json!({"x-role": "admin", "responses": {"204": {}}});
        assert_eq!(declared("/users/{name}", manage), [204, 400, 401, 403, 404, 409, 414, 429, 500, 503]);
        let write = json!({"x-role": "writer", "requestBody": {}});
        assert_eq!(
            declared("/events", write),
            [400, 401, 403, 404, 408, 409, 413, 414, 415, 422, 429, 500, 503]
        );
        let search = json!({"x-role": "reader", "requestBody": {}});
        assert_eq!(
            declared("/events/query", search),
            [400, 401, 403, 404, 408, 409, 413, 414, 415, 429, 500, 503]
        );
    }

    #[test]
    fn what_an_operation_says_itself_stays() {
        let mut operation =
            json!({"responses": {"400": {"description": "own"}}}).as_object().unwrap().clone();
        declare("/", &mut operation);
        assert_eq!(operation["responses"]["400"]["description"], "own");
    }
}
