#[path = "../../src/auth/credential.rs"]
mod credential;
#[path = "../../src/auth/error.rs"]
mod error;
#[path = "../../src/auth/name.rs"]
pub mod name;
#[path = "../../src/auth/secret.rs"]
pub mod secret;

pub use credential::{Credential, DEFAULT_TENANT, Login};
pub use error::AuthError;
