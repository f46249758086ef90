//! `GET /`: where am I, and where to go from here.

use poem_openapi::{Object, OpenApi, payload::Json};

use super::{API_PREFIX, Tag};

#[derive(Object)]
struct Root {
    name: String,
    version: String,
    links: Links,
}

#[derive(Object)]
struct Links {
    /// The interactive documentation.
    docs: String,
    /// The API document.
    openapi: String,
    /// Prefix under which every path is also served, for pinned clients.
    v1: String,
    health: String,
    events: String,
    query: String,
}

pub(super) struct RootApi;

#[OpenApi(tag = "Tag::Operations")]
impl RootApi {
    /// What is this?
    #[oai(path = "/", method = "get", operation_id = "get_root")]
    async fn root(&self) -> Json<Root> {
        Json(Root {
            name: "EventLogger".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            links: Links {
                docs: "/docs".to_owned(),
                openapi: "/openapi.json".to_owned(),
                v1: API_PREFIX.to_owned(),
                health: "/health/ready".to_owned(),
                events: "/events".to_owned(),
                query: "/events/query".to_owned(),
            },
        })
    }
}
