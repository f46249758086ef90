//! The paths of the API document, to say of a request that went wrong what would have been right.

use std::collections::HashMap;

use http::Method;
use serde_json::Value;

use super::API_PREFIX;
use crate::event::nearest_name;

/// What paths outside the document take: the document itself and the pages.
const STATIC_ALLOW: &str = "GET, HEAD";

#[derive(Debug, Default)]
pub(super) struct RouteTable {
    routes: Vec<Route>,
}

#[derive(Debug)]
struct Route {
    /// As in the document, `/events/{id}`.
    template: String,
    allow: String,
    /// Each method's query parameters, unless it takes any name.
    queries: HashMap<String, Vec<QueryParameter>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct QueryParameter {
    pub(super) name: String,
    /// What it can be, if that can be listed.
    pub(super) values: Vec<String>,
}

impl RouteTable {
    pub(super) fn of(document: &Value) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        Self { routes: paths.map(|(template, item)| Route::of(document, template, item)).collect() }
    }

    /// The `Allow` of a path.
    pub(super) fn allow(&self, path: &str) -> String {
        self.find(path).map_or(STATIC_ALLOW, |route| &route.allow).to_owned()
    }

    /// The document's name for poem-openapi's `param0` and so on.
    pub(super) fn parameter(&self, path: &str, name: &str) -> Option<&str> {
        let index: usize = name.strip_prefix("param")?.parse().ok()?;
        self.find(path)?.template.split('/').filter_map(parameter_name).nth(index)
    }

    /// The query parameters of an operation; `None` if there is no such operation or it takes any name.
    pub(super) fn query_parameters(&self, path: &str, method: &Method) -> Option<&[QueryParameter]> {
        self.find(path)?.queries.get(method.as_str()).map(Vec::as_slice)
    }

    /// The path that was probably meant.
    pub(super) fn nearest(&self, path: &str) -> Option<&str> {
        nearest_name(unprefixed(path), self.routes.iter().map(|route| route.template.as_str()))
    }

    /// The router's choice: literal segments win over parameters.
    fn find(&self, path: &str) -> Option<&Route> {
        let matching = self.routes.iter().filter(|route| route.matches(unprefixed(path)));
        matching.min_by_key(|route| route.template.split('/').filter_map(parameter_name).count())
    }
}

impl Route {
    fn of(document: &Value, template: &str, item: &Value) -> Self {
        let mut methods: Vec<String> =
            item.as_object().into_iter().flatten().map(|(method, _)| method.to_uppercase()).collect();
        if methods.iter().any(|method| method == Method::GET.as_str()) {
            methods.push(Method::HEAD.to_string());
        }
        methods.sort_unstable();
        let operations = item.as_object().into_iter().flatten();
        let queries = operations.filter_map(|(method, operation)| {
            Some((method.to_uppercase(), query_parameters(document, operation)?))
        });
        Self { template: template.to_owned(), allow: methods.join(", "), queries: queries.collect() }
    }

    fn matches(&self, path: &str) -> bool {
        let mut parts = path.split('/');
        let all = self.template.split('/').all(|expected| {
            parts.next().is_some_and(|part| part == expected || parameter_name(expected).is_some())
        });
        all && parts.next().is_none()
    }
}

/// A parameter that is an object stands for any name: `?account_id=1346`.
fn query_parameters(document: &Value, operation: &Value) -> Option<Vec<QueryParameter>> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let parameters = parameters.filter(|parameter| parameter["in"] == "query");
    let parameter = |parameter: &Value| {
        let schema = resolved(document, &parameter["schema"]);
        let name = parameter["name"].as_str().filter(|_| schema["type"] != "object")?.to_owned();
        let values = schema["enum"].as_array().into_iter().flatten();
        Some(QueryParameter { name, values: values.filter_map(Value::as_str).map(str::to_owned).collect() })
    };
    parameters.map(parameter).collect()
}

fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let path = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    path.and_then(|path| document.pointer(path)).unwrap_or(schema)
}

fn unprefixed(path: &str) -> &str {
    path.strip_prefix(API_PREFIX).unwrap_or(path)
}

fn parameter_name(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table() -> RouteTable {
        RouteTable::of(&json!({"paths": {
            "/events/{id}": {"get": {}, "delete": {}},
            "/events/query": {"get": {}, "post": {}},
            "/events/batch": {"post": {}},
            "/tenants/{tenant}/users/{user}": {"get": {}},
        }}))
    }

    #[test]
    fn allow_lists_the_methods_of_the_route_that_the_router_takes() {
        assert_eq!(table().allow("/events/batch"), "POST");
        assert_eq!(table().allow("/events/query"), "GET, HEAD, POST");
        assert_eq!(table().allow("/api/v1/events/0190"), "DELETE, GET, HEAD");
        assert_eq!(table().allow("/docs"), "GET, HEAD");
    }

    #[test]
    fn path_parameters_get_their_names_back() {
        assert_eq!(table().parameter("/events/x", "param0"), Some("id"));
        assert_eq!(table().parameter("/tenants/a/users/b", "param1"), Some("user"));
        assert_eq!(table().parameter("/events/x", "param1"), None);
    }

    #[test]
    fn query_parameters_are_known_unless_any_name_is_taken() {
        let detail =
            json!({"in": "query", "name": "receipt", "schema": {"$ref": "#/components/schemas/Detail"}});
        let table = RouteTable::of(&json!({
            "paths": {"/events": {
                "post": {"parameters": [detail, {"in": "header", "name": "X"}, {"in": "query", "name": "atomic"}]},
                "get": {"parameters": [{"in": "query", "name": "filter", "schema": {"type": "object"}}]},
                "delete": {},
            }},
            "components": {"schemas": {"Detail": {"type": "string", "enum": ["full", "none"]}}},
        }));
        let known = |method| table.query_parameters("/events", &method);
        let parameter = |name: &str, values: &[&str]| QueryParameter {
            name: name.to_owned(),
            values: values.iter().map(ToString::to_string).collect(),
        };
        let expected = [parameter("receipt", &["full", "none"]), parameter("atomic", &[])];
        assert_eq!(known(Method::POST), Some(&expected[..]));
        assert_eq!(known(Method::DELETE), Some(&[][..]));
        assert_eq!(known(Method::GET), None);
    }

    #[test]
    fn a_misspelt_path_finds_its_neighbour() {
        assert_eq!(table().nearest("/event/batch"), Some("/events/batch"));
        assert_eq!(table().nearest("/wp-login.php"), None);
    }
}
