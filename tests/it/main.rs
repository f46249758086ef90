//! The real server over real HTTP on a real PostgreSQL.
//!
//! One cluster per run, one database per test, cloned from a migrated template. After each test that
//! passes, the auditor re-reads the log and recomputes everything with its own naive code.

mod auditor;
mod harness;
mod http;

mod recording;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let world = harness::World::start(arguments.list);
    let trials = [recording::trials(&world)].into_iter().flatten().collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    world.stop();
    conclusion.exit_code()
}
