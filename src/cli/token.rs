//! `eventlogger token`: credentials for programs.

use std::io::Write;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};

use super::arguments::{author, explain, require_tenant, roles, tenant_name, union, user_name};
use super::table::{second, second_or, write_table};
use crate::auth::name::check_label;
use crate::auth::secret::{TOKEN_PREFIX_LEN, Token};
use crate::auth::{DEFAULT_TENANT, Roles, parse_lifetime};
use crate::store::principals::tokens::{
    NewToken, TokenRow, TokenState, create_token, list_tokens, revoke_token,
};

const EXAMPLES: &str = "\
Examples:
  eventlogger token create --owner billing --role writer --expires 90d --label 'invoice service'
  eventlogger token list
  eventlogger token revoke Ab3dEf6h
  curl -H \"Authorization: Bearer $TOKEN\" http://localhost:5000/events";

/// Manage API tokens: each acts for a user, with at most that user's roles
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    /// Create a token and print it, once
    #[command(after_help = EXAMPLES)]
    Create(Create),
    /// List tokens by prefix, with expiry and last use
    List {
        /// Only the tokens of this tenant [default: all tenants]
        #[arg(long, value_parser = tenant_name)]
        tenant: Option<String>,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token for good
    Revoke {
        /// The eight characters that `token list` shows, never the token itself
        prefix: String,
        /// The tenant it belongs to
        #[arg(long, default_value = DEFAULT_TENANT, value_parser = tenant_name)]
        tenant: String,
    },
}

#[derive(Debug, Args)]
pub struct Create {
    /// The user that the token acts for
    #[arg(long, value_parser = user_name)]
    owner: String,
    /// The tenant it belongs to
    #[arg(long, default_value = DEFAULT_TENANT, value_parser = tenant_name)]
    tenant: String,
    /// Roles of the token, out of those of its owner; may be given several times
    #[arg(long = "role", required = true, value_name = "ROLE,…", value_parser = roles)]
    roles: Vec<Roles>,
    /// How long it is valid: 12h, 90d, 8w, 1y [default: until it is revoked]
    #[arg(long, value_name = "TIME", value_parser = parse_lifetime)]
    expires: Option<Duration>,
    /// What it is for
    #[arg(long, default_value = "", hide_default_value = true)]
    label: String,
}

pub async fn run(command: Command, pool: &PgPool, out: &mut impl Write) -> anyhow::Result<()> {
    match command {
        Command::Create(create) => create.run(pool, out).await,
        Command::List { tenant, json } => list(pool, tenant.as_deref(), json, out).await,
        Command::Revoke { prefix, tenant } => revoke(pool, &tenant, &prefix, out).await,
    }
}

impl Create {
    async fn run(self, pool: &PgPool, out: &mut impl Write) -> anyhow::Result<()> {
        check_label(&self.label).map_err(|problem| anyhow!(problem))?;
        let token = Token::generate(&self.tenant)?;
        let roles = union(&self.roles);
        let expires_at = self.expires.map(|lifetime| OffsetDateTime::now_utc() + lifetime);
        let row = NewToken {
            owner: &self.owner,
            prefix: &token.prefix,
            sha256: token.text.sha256(),
            label: &self.label,
            roles: &roles.names(),
            expires_at,
        };
        if let Err(error) = create_token(pool, &author(), &self.tenant, &row).await {
            return Err(explain(pool, &self.tenant, error).await);
        }
        let until =
            expires_at.map_or_else(|| "until it is revoked".to_owned(), |at| format!("until {}", second(at)));
        writeln!(
            out,
            "Created token {} for {}/{} with roles {roles}, valid {until}. It is shown only now:",
            token.prefix, self.tenant, self.owner
        )?;
        writeln!(out, "{}", token.text.reveal())?;
        Ok(())
    }
}

async fn list(pool: &PgPool, tenant: Option<&str>, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if let Some(tenant) = tenant {
        require_tenant(pool, tenant).await?;
    }
    let tokens = list_tokens(pool, tenant).await?;
    if json {
        let tokens: Vec<_> = tokens.iter().map(as_json).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&tokens)?)?;
    } else {
        let rows: Vec<_> = tokens.into_iter().map(as_row).collect();
        let header = ["PREFIX", "TENANT", "OWNER", "ROLES", "STATE", "EXPIRES", "LAST USED", "LABEL"];
        write_table(out, header, &rows)?;
    }
    Ok(())
}

fn state(token: &TokenRow) -> &'static str {
    match token.state() {
        TokenState::Valid => "valid",
        TokenState::Expired => "expired",
        TokenState::Revoked => "revoked",
    }
}

fn as_row(token: TokenRow) -> [String; 8] {
    let state = state(&token).to_owned();
    [
        token.prefix,
        token.tenant,
        token.owner,
        token.roles.join(","),
        state,
        second_or(token.expires_at, "never"),
        second_or(token.last_used_at, "never"),
        token.label,
    ]
}

fn as_json(token: &TokenRow) -> serde_json::Value {
    json!({
        "prefix": token.prefix,
        "tenant": token.tenant,
        "owner": token.owner,
        "roles": token.roles,
        "label": token.label,
        "state": state(token),
        "created_at": second(token.created_at),
        "expires_at": token.expires_at.map(second),
        "revoked_at": token.revoked_at.map(second),
        "last_used_at": token.last_used_at.map(second),
    })
}

async fn revoke(pool: &PgPool, tenant: &str, prefix: &str, out: &mut impl Write) -> anyhow::Result<()> {
    // Not echoed: it may be a whole token that was pasted.
    if prefix.len() != TOKEN_PREFIX_LEN {
        bail!("expected the {TOKEN_PREFIX_LEN} characters of the PREFIX column of `eventlogger token list`");
    }
    match revoke_token(pool, &author(), tenant, prefix).await {
        Ok(()) => Ok(writeln!(out, "Revoked token {prefix} of tenant {tenant}.")?),
        Err(error) => Err(explain(pool, tenant, error).await),
    }
}
