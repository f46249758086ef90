//! `eventlogger serve`

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, block_on};
use crate::app;
use crate::config::Config;
use crate::telemetry;

/// Run the service
///
/// Starts its own PostgreSQL unless database.url is set, brings the schema up to date, and serves until
/// SIGTERM or SIGINT; then it finishes what it accepted. A second signal ends it at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  eventlogger serve
  EVENTLOGGER_DATA_DIR=./data EVENTLOGGER_SERVER__LISTEN=127.0.0.1:8080 eventlogger serve
  EVENTLOGGER_DATABASE__URL=postgres://audit@db.example.org/audit?sslmode=verify-full eventlogger serve")]
pub struct Command {}

impl Command {
    pub fn run(self, file: Option<&Path>) -> Result<(), Failure> {
        let config = Config::load(file)?;
        telemetry::init(&config.log)?;
        block_on(async {
            let stop = stop_signal()?;
            let app = app::build(config).await?;
            app.run(stop).await?;
            Ok(())
        })
    }
}

/// Completes with the first signal to stop; the second ends the process.
fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("stopping at once, as asked a second time");
            std::process::exit(1);
        });
    })
}
