//! The paths of the API document, to say of a request that went wrong what would have been right.

use http::Method;
use serde_json::Value;

use super::API_PREFIX;
use crate::event::nearest_name;

/// What paths outside the document take: the document itself and the pages.
const STATIC_ALLOW: &str = "GET, HEAD";

#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
}

#[derive(Debug)]
struct Route {
    /// As in the document, `/events/{id}`.
    template: String,
    allow: String,
}

impl RouteTable {
    pub fn of(document: &Value) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        Self { routes: paths.map(|(template, item)| Route::of(template, item)).collect() }
    }

    /// The `Allow` of a path.
    pub fn allow(&self, path: &str) -> String {
        self.find(path).map_or(STATIC_ALLOW, |route| &route.allow).to_owned()
    }

    /// The document's name for poem-openapi's `param0` and so on.
    pub fn parameter(&self, path: &str, name: &str) -> Option<&str> {
        let index: usize = name.strip_prefix("param")?.parse().ok()?;
        self.find(path)?.template.split('/').filter_map(parameter_name).nth(index)
    }

    /// The path that was probably meant.
    pub fn nearest(&self, path: &str) -> Option<&str> {
        nearest_name(unprefixed(path), self.routes.iter().map(|route| route.template.as_str()))
    }

    /// The router's choice: literal segments win over parameters.
    fn find(&self, path: &str) -> Option<&Route> {
        let matching = self.routes.iter().filter(|route| route.matches(unprefixed(path)));
        matching.min_by_key(|route| route.template.split('/').filter_map(parameter_name).count())
    }
}

impl Route {
    fn of(template: &str, item: &Value) -> Self {
        let mut methods: Vec<String> =
            item.as_object().into_iter().flatten().map(|(method, _)| method.to_uppercase()).collect();
        if methods.iter().any(|method| method == Method::GET.as_str()) {
            methods.push(Method::HEAD.to_string());
        }
        methods.sort_unstable();
        Self { template: template.to_owned(), allow: methods.join(", ") }
    }

    fn matches(&self, path: &str) -> bool {
        let mut parts = path.split('/');
        let all = self.template.split('/').all(|expected| {
            parts.next().is_some_and(|part| part == expected || parameter_name(expected).is_some())
        });
        all && parts.next().is_none()
    }
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
    fn a_misspelt_path_finds_its_neighbour() {
        assert_eq!(table().nearest("/event/batch"), Some("/events/batch"));
        assert_eq!(table().nearest("/wp-login.php"), None);
    }
}
