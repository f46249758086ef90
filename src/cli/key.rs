//! `eventlogger key`: another key to sign with.

use std::path::Path;

use anyhow::anyhow;
use clap::{Args, Subcommand};

use super::arguments::{author, reason};
use super::table::write_table;
use super::{Failure, on_the_store};
use crate::app;
use crate::config::Config;
use crate::ingest::{Declaration, KeyChange, change_key};
use crate::store::Store;

const EXAMPLES: &str = "\
Examples:
  eventlogger key change --reason 'yearly'
  eventlogger key change --reason 'the backup with the key was stolen on 2026-11-21'";

/// Change the key that signs the logs
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    /// Make a new signing key, and let every log go on with it
    ///
    /// For a key that was stolen or lost, or is old. Each log goes on as its next epoch, under another name; the first
    /// entry has the reason, both public keys and the last checkpoint by the old one. Where the old key is at hand it
    /// signs that beginning too. Then the old key is gone: what it signed is still verified by its public half.
    ///
    /// Run it on the machine of an instance, as the service's user. Running instances refuse to record until they have
    /// the new key and are restarted. If it breaks off, run it again: it goes on from there.
    #[command(after_help = EXAMPLES)]
    Change(Change),
}

#[derive(Debug, Args)]
pub struct Change {
    /// Why, for everybody who reads the logs
    #[arg(long, value_parser = reason)]
    reason: String,
    /// Go on even where the database is older than what was signed last, and put that on record
    #[arg(long)]
    declare_loss: bool,
}

impl Command {
    pub fn run(self, file: Option<&Path>) -> Result<(), Failure> {
        let Self::Change(change) = self;
        on_the_store(file, async |store, config| change.run(store, config).await)
    }
}

impl Change {
    async fn run(self, store: &Store, config: &Config) -> Result<String, Failure> {
        let integrity = app::open_integrity(store, config).await?;
        let declaration = Declaration { reason: self.reason, user_identity: author().user_identity };
        let changed = change_key(store, &integrity, &declaration, self.declare_loss).await;
        let changed = changed.map_err(|error| anyhow!(error.to_string()))?;
        Ok(told(&changed, !config.integrity.signing_key.is_empty())?)
    }
}

fn told(changed: &KeyChange, is_configured: bool) -> anyhow::Result<String> {
    let mut text = Vec::new();
    let file = changed.file.display();
    if changed.logs.is_empty() {
        text.extend(b"The logs have this key already, from a change that broke off.\n");
    } else {
        text.extend(b"The signing key is changed. The logs go on as:\n\n");
        let row = |(origin, opened): &(String, crate::ingest::Opened)| {
            let signed = opened.last.as_ref().map_or_else(|| "?".to_owned(), |last| last.size.to_string());
            [origin.clone(), opened.restored_size.to_string(), signed]
        };
        let rows: Vec<_> = changed.logs.iter().map(row).collect();
        write_table(&mut text, ["LOG", "ENTRIES", "SIGNED HERE BEFORE"], &rows)?;
        text.push(b'\n');
    }
    let next = match is_configured {
        true => format!(
            "The new key is in {file}. Put it in the place of integrity.signing_key, remove the file, and restart every \
             instance.\n"
        ),
        false => {
            format!("The new key is {file}. Copy it to every other instance, and restart all of them.\n")
        }
    };
    text.extend(next.into_bytes());
    text.extend(b"Until then nothing is recorded. Take a new backup of the key; whoever verifies pins the new public keys.\n");
    Ok(String::from_utf8(text)?)
}
