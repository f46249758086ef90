//! The API document: what poem-openapi derives from the handlers, finished where it falls short of what
//! generators and validators need.

mod errors;
mod finish;
mod schemas;

use std::{collections::HashMap, marker::PhantomData};

use http::Method;
use poem::endpoint::BoxEndpoint;
use poem_openapi::{
    LicenseObject, OpenApi, OpenApiService, ServerObject,
    registry::{MetaApi, MetaParamIn, MetaPath, Registry},
    types::Type as _,
};
use serde_json::Value;
use uuid::Uuid;

pub use finish::finish_spec;

use super::API_PREFIX;

pub const TITLE: &str = "EventLogger";

const DESCRIPTION: &str = "An authenticated, provable audit log.\n\n\
    Log in with Basic (user name and password) or Bearer (an API token). Errors are RFC 9457 problems \
    (`application/problem+json`) with a stable `code`. A 201 is a fact: the event is committed before the answer \
    leaves. Every answer carries `X-Request-Id`.";

/// The finished document of the operations `A`.
pub fn document<A: OpenApi>() -> Value {
    let service = OpenApiService::new(Described::<A>(PhantomData), TITLE, env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION)
        .license(LicenseObject::new("Apache-2.0").url("https://www.apache.org/licenses/LICENSE-2.0"))
        .server(ServerObject::new("/"))
        .server(ServerObject::new(API_PREFIX).description("The same, for pinned clients"));
    finish_spec(&service.spec())
}

/// Operations to be described, not run: the document needs no instance of them.
struct Described<A>(PhantomData<A>);

impl<A: OpenApi> OpenApi for Described<A> {
    /// One entry per path: poem-openapi writes a path once for each resource that has it, and of two equal
    /// keys a parser keeps one.
    fn meta() -> Vec<MetaApi> {
        let mut paths: Vec<MetaPath> = Vec::new();
        for path in A::meta().into_iter().flat_map(|api| api.paths) {
            match paths.iter_mut().find(|known| known.path == path.path) {
                Some(known) => known.operations.extend(path.operations),
                None => paths.push(path),
            }
        }
        let operations = paths.iter_mut().flat_map(|path| &mut path.operations);
        for param in operations.flat_map(|operation| &mut operation.params) {
            // Handlers take text, to say what is wrong with it; the document says what is right.
            if param.name == "id" && param.in_type == MetaParamIn::Path {
                param.schema = Uuid::schema_ref();
            }
        }
        vec![MetaApi { paths }]
    }

    fn register(registry: &mut Registry) {
        A::register(registry);
    }

    fn add_routes(self, _: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {}
}
