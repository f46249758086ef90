//! `eventlogger epoch`: going on after a loss that cannot be undone.

use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use clap::{Args, Subcommand};

use super::arguments::{author, explain, reason, tenant_name};
use super::{Failure, on_the_store};
use crate::app;
use crate::auth::{DEFAULT_TENANT, Tenant};
use crate::config::Config;
use crate::ingest::{Declaration, Opened, open_epoch};
use crate::store::principals::{ChangeError, find_tenant};

const EXAMPLES: &str = "\
Examples:
  eventlogger epoch open --reason 'disk lost on 2026-11-21; restored the backup of the night before'
  eventlogger epoch open --tenant acme --reason 'the standby that was promoted lagged behind'";

/// Go on with a database that is older than its last signed state
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    /// Declare the loss, and begin the next epoch of a log
    ///
    /// For a log that the service refuses to write to, because the database was set back: an old backup, a standby
    /// that lagged behind. What is lost stays lost, and this puts it on record: the first entry of the new epoch has
    /// the reason and the last checkpoint of the old one. Receipts of lost events go on proving that they were
    /// recorded. Run it on the machine of an instance, which has the key and the latch; the service may run.
    #[command(after_help = EXAMPLES)]
    Open(Open),
}

#[derive(Debug, Args)]
pub struct Open {
    /// What happened, for everybody who reads the log
    #[arg(long, value_parser = reason)]
    reason: String,
    /// Whose log
    #[arg(long, default_value = DEFAULT_TENANT, value_parser = tenant_name)]
    tenant: String,
}

impl Command {
    pub fn run(self, file: Option<&Path>) -> Result<(), Failure> {
        let Self::Open(open) = self;
        on_the_store(file, async |store, config| open.run(store, config).await)
    }
}

impl Open {
    async fn run(self, store: &crate::store::Store, config: &Config) -> Result<String, Failure> {
        let found = find_tenant(&store.control, &self.tenant).await.map_err(anyhow::Error::from)?;
        let Some(found) = found else {
            let error = ChangeError::NoTenant(self.tenant.clone());
            return Err(explain(&store.control, &self.tenant, error).await.into());
        };
        let integrity = app::open_integrity(store, config).await?;
        let declaration = Declaration { reason: self.reason, user_identity: author().user_identity };
        let tenant = Arc::new(Tenant::from(found));
        let opened = open_epoch(store, &integrity, &tenant, declaration).await;
        let opened = opened.map_err(|error| anyhow!(error.to_string()))?;
        Ok(told(&integrity.origin(&tenant.name, opened.head.epoch), &opened))
    }
}

fn told(origin: &str, opened: &Opened) -> String {
    let lost = match &opened.last {
        Some(last) => format!("{} entries had been signed.", last.size),
        None => "What had been signed is not known here.".to_owned(),
    };
    format!(
        "Epoch {} begins: the log goes on as {origin}, with the {} entries that the database has. {lost}\n",
        opened.head.epoch, opened.restored_size
    )
}
