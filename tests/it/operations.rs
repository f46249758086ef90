//! The operations that the served document lists.

use http::Method;
use serde_json::Value;

use crate::harness::Server;

/// Well-formed, and nobody's.
const UNKNOWN: [(&str, &str); 6] = [
    ("{id}", "019aa5b2-3f00-7c4e-8a11-5d0c2b9e7f10"),
    ("{name}", "nobody-there"),
    ("{prefix}", "Zz9Zz9Zz"),
    ("{tenant}", "nowhere"),
    ("{epoch}", "e7"),
    ("{path}", "0/000"),
];

#[derive(Clone)]
pub struct Operation {
    pub id: String,
    pub method: Method,
    /// With its parameters in braces.
    pub template: String,
    pub object: Value,
}

impl Operation {
    /// `None`: it needs no login.
    pub fn role(&self) -> Option<&str> {
        self.object["x-role"].as_str()
    }

    /// With something that does not exist in the place of each parameter.
    pub fn path(&self) -> String {
        self.path_to(&UNKNOWN)
    }

    /// With these things, and for other parameters something that does not exist.
    pub fn path_to(&self, things: &[(&str, &str)]) -> String {
        let fill = |path: String, (name, value): &(&str, &str)| path.replace(name, value);
        let path = things.iter().chain(&UNKNOWN).fold(self.template.clone(), fill);
        assert!(!path.contains('{'), "no value for a parameter of {path}");
        path
    }

    pub fn takes(&self, parameter: &str) -> bool {
        let parameters = self.object["parameters"].as_array().into_iter().flatten();
        parameters.into_iter().any(|known| known["name"] == parameter)
    }
}

pub async fn operations(server: &Server) -> Vec<Operation> {
    let document = server.client.get("/openapi.json").anonymous().send().await.json(200);
    let mut operations = Vec::new();
    for (template, item) in document["paths"].as_object().unwrap() {
        for (method, object) in item.as_object().unwrap() {
            operations.push(Operation {
                id: object["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase().parse().unwrap(),
                template: template.clone(),
                object: object.clone(),
            });
        }
    }
    assert!(operations.len() >= 37, "the document lists the operations");
    operations
}
