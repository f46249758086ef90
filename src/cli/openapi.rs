//! `eventlogger openapi`

use super::{Failure, print};
use crate::api;

/// Print the OpenAPI document
///
/// The same as GET /openapi.json of a running service; generate clients from it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  eventlogger openapi > openapi.json
  eventlogger openapi | jq '.paths | keys'")]
pub struct Command {}

impl Command {
    pub fn run(self) -> Result<(), Failure> {
        let document = serde_json::to_string_pretty(&api::document()).map_err(anyhow::Error::from)?;
        print(&format!("{document}\n"))?;
        Ok(())
    }
}
