//! The real server over real HTTP on a real PostgreSQL.
//!
//! One cluster per run, one database per test, cloned from a migrated template. After each test that
//! passes, the auditor re-reads the log and recomputes everything with its own naive code.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop"
)]

mod agreement;
mod auditor;
mod bounded;
mod changes;
mod checking;
mod evidence;
mod harness;
mod http;
mod journal;
mod key_change;
mod operations;
mod proxy;
mod statistics;

mod access;
mod account_events;
mod accounts;
mod auth;
mod auth_tokens;
mod auth_users;
mod bad_bodies;
mod bad_searches;
mod compressed_bodies;
mod connections;
mod credentials;
mod differential;
mod docs_page;
mod epochs;
mod escalation;
mod exporting;
mod faults;
mod front_door;
mod hostile_text;
mod integrity;
mod login_timing;
mod matrix;
mod offline;
mod operators;
mod pages;
mod query;
mod query_docs;
mod reading;
mod recording;
mod redaction;
mod sample;
mod schema;
mod signing;
mod startup;
mod tampering;
mod tenants;
mod throttling;
mod tls;
mod tokens;
mod unix_socket;
mod users;
mod verifying;
mod verifying_server;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let world = harness::World::start(arguments.list);
    let trials = [
        account_events::trials(&world),
        access::trials(&world),
        agreement::trials(&world),
        accounts::trials(&world),
        auth::trials(&world),
        auth_tokens::trials(&world),
        auth_users::trials(&world),
        bad_bodies::trials(&world),
        bad_searches::trials(&world),
        bounded::trials(&world),
        compressed_bodies::trials(&world),
        connections::trials(&world),
        credentials::trials(&world),
        checking::trials(&world),
        differential::trials(&world),
        docs_page::trials(&world),
        epochs::trials(&world),
        key_change::trials(&world),
        escalation::trials(&world),
        exporting::trials(&world),
        faults::trials(&world),
        front_door::trials(&world),
        hostile_text::trials(&world),
        matrix::trials(&world),
        integrity::trials(&world),
        login_timing::trials(&world),
        offline::trials(&world),
        operators::trials(&world),
        pages::trials(&world),
        query::trials(&world),
        query_docs::trials(&world),
        reading::trials(&world),
        redaction::trials(&world),
        recording::trials(&world),
        sample::trials(&world),
        schema::trials(&world),
        signing::trials(&world),
        startup::trials(&world),
        tampering::trials(&world),
        tenants::trials(&world),
        tls::trials(&world),
        tokens::trials(&world),
        unix_socket::trials(&world),
        users::trials(&world),
        verifying::trials(&world),
        verifying_server::trials(&world),
        throttling::trials(&world),
    ];
    let trials = trials.into_iter().flatten().collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    world.stop();
    conclusion.exit_code()
}
