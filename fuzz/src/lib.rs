//! What strangers' bytes meet first: the service's pure modules and its reader of credentials, from their own files.
//! Without the rest of the service they are built in seconds instead of minutes, and only they are instrumented.

pub mod auth;
#[path = "../../src/event/mod.rs"]
pub mod event;
#[path = "../../src/json/mod.rs"]
pub mod json;
#[path = "../../src/merkle/mod.rs"]
pub mod merkle;
#[path = "../../src/query/mod.rs"]
pub mod query;

/// What reading a credential takes of the store: a name.
pub mod store {
    pub mod principals {
        pub const DEFAULT_TENANT: &str = "default";
    }
}
