//! EventLogger: an authenticated, provable audit log on PostgreSQL. See ARCHITECTURE.md for the map.

// Pure: no tokio, sqlx or poem.
pub mod event;
pub mod json;
pub mod merkle;
pub mod query;
pub mod sample;
pub mod tlog;
pub mod verify;

// PostgreSQL.
pub mod postgres;
pub mod store;

// What the service does.
pub mod access;
pub mod auth;
pub mod checks;
pub mod ingest;
pub mod integrity;
pub mod lifecycle;
pub mod metrics;
pub mod walk;

// HTTP, without knowing what is served.
pub mod server;

// What is served over HTTP; the only module that knows poem.
pub mod api;

// Composition.
pub mod app;
pub mod bench;
pub mod cli;
pub mod config;
pub mod telemetry;
