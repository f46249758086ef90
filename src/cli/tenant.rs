//! `eventlogger tenant`: the owners of logs.

use std::io::Write;

use clap::{Subcommand, ValueEnum};
use serde_json::json;
use sqlx::PgPool;

use super::arguments::{author, explain, tenant_name};
use super::table::{second, write_table};
use crate::store::principals::{create_tenant, list_tenants, set_public_proofs};

const EXAMPLES: &str = "\
Examples:
  eventlogger tenant add acme
  eventlogger tenant proofs acme public
  eventlogger user add ann --tenant acme --role admin,reader,writer
  curl -u acme/ann:PASSWORD http://localhost:5000/events";

/// Manage tenants: each has a log, users and tokens of its own
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    /// Add a tenant with an empty log
    ///
    /// The name is part of logins, tokens and checkpoints: it cannot be changed, and a tenant cannot be
    /// removed.
    #[command(after_help = EXAMPLES)]
    Add {
        /// 1 to 63 of the characters a-z, 0-9 and '-'
        #[arg(value_parser = tenant_name)]
        name: String,
    },
    /// Open the proofs of a tenant's log to everybody, or close them again
    ///
    /// They are under /tlog/NAME and hold commitments, never content. Whoever may read them can watch that the log
    /// only grows.
    #[command(after_help = EXAMPLES)]
    Proofs {
        /// The tenant
        #[arg(value_parser = tenant_name)]
        name: String,
        /// Who may read them
        #[arg(value_enum)]
        readers: Readers,
    },
    /// List tenants
    List {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Readers {
    /// Whoever asks
    Public,
    /// The tenant's own users and tokens
    Private,
}

pub async fn run(command: Command, pool: &PgPool, out: &mut impl Write) -> anyhow::Result<()> {
    match command {
        Command::Add { name } => match create_tenant(pool, &author(), &name).await {
            Ok(_) => writeln!(
                out,
                "Added tenant {name}. Give it an admin: eventlogger user add NAME --tenant {name} --role admin,reader,writer"
            )?,
            Err(error) => return Err(explain(pool, &name, error).await),
        },
        Command::Proofs { name, readers } => {
            let public = readers == Readers::Public;
            if let Err(error) = set_public_proofs(pool, &author(), &name, public).await {
                return Err(explain(pool, &name, error).await);
            }
            let who = if public { "everybody" } else { "its own users and tokens" };
            writeln!(out, "The proofs of tenant {name} are for {who}.")?;
        }
        Command::List { json } => list(pool, json, out).await?,
    }
    Ok(())
}

async fn list(pool: &PgPool, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let tenants = list_tenants(pool).await?;
    if json {
        let tenants: Vec<_> = tenants
            .iter()
            .map(|t| {
                json!({
                    "name": t.name,
                    "log_id": t.log_id,
                    "created_at": second(t.created_at),
                    "public_proofs": t.public_proofs,
                })
            })
            .collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&tenants)?)?;
    } else {
        let rows: Vec<_> =
            tenants.into_iter().map(|t| [t.name, t.log_id.to_string(), second(t.created_at)]).collect();
        write_table(out, ["TENANT", "LOG", "CREATED"], &rows)?;
    }
    Ok(())
}
