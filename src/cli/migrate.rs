//! `eventlogger migrate`

use std::path::Path;

use super::{Failure, block_on, print};
use crate::app;
use crate::config::Config;
use crate::telemetry;

/// Bring the database's schema up to date, and stop
///
/// `serve` does the same at its start. Useful when the service itself may not change the schema.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  eventlogger migrate
  EVENTLOGGER_DATABASE__URL=postgres://owner@db.example.org/audit eventlogger migrate")]
pub struct Command {}

impl Command {
    pub fn run(self, file: Option<&Path>) -> Result<(), Failure> {
        let config = Config::load(file)?;
        telemetry::init(&config.log)?;
        block_on(async {
            let database = app::open_store(&config).await?;
            let facts = &database.store.facts;
            print(&format!(
                "The schema is up to date (PostgreSQL {}, privileges: {}).\n",
                facts.server_version, facts.privileges
            ))?;
            database.close().await;
            Ok(())
        })
    }
}
