//! HTTP: the only part that knows poem.

pub mod body;
pub mod caller;
pub mod problem;
pub mod query;
pub mod schemas;
pub mod wire;
