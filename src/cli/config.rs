use std::path::Path;

use clap::Args;

use super::{Failure, print};
use crate::config::{Config, DEFAULTS};

const EXAMPLES: &str = "\
Examples:
  eventlogger config
  eventlogger config --config /etc/eventlogger.toml
  eventlogger config --defaults > eventlogger.toml";

/// Print the configuration in effect, secrets masked, and where each value came from
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Command {
    /// Print the defaults instead, with the explanation of every key
    #[arg(long)]
    defaults: bool,
}

impl Command {
    pub(super) fn run(self, file: Option<&Path>) -> Result<(), Failure> {
        let text = if self.defaults {
            DEFAULTS.to_owned()
        } else {
            Config::load(file)?.to_toml().map_err(anyhow::Error::from)?
        };
        Ok(print(&text)?)
    }
}
