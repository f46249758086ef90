//! `eventlogger user`: who may log in, and what they may do.

mod secret;

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::json;
use sqlx::PgPool;

use super::arguments::{author, explain, require_tenant, roles, tenant_name, union, user_name};
use super::table::{second, write_table};
use crate::auth::secret::Secret;
use crate::auth::{DEFAULT_TENANT, IssuedLogin, Roles};
use crate::store::principals::users::{
    LoginKind, UserRow, UserUpdate, create_user, list_users, remove_user, set_credential, update_user,
};
use secret::NewSecret;

const EXAMPLES: &str = "\
Roles:
  writer      records events
  reader      reads and queries events
  auditor     runs verification and reconciliation
  admin       manages users and tokens of its tenant, and redacts
  superadmin  manages tenants and acts in all of them
  None implies another: an admin who should also read needs both.

Examples:
  eventlogger user add ann --role reader,auditor
  eventlogger user add billing --role writer --machine-secret
  eventlogger user add ann --tenant acme --role admin --password-file /run/secrets/ann
  eventlogger user password ann --generate
  eventlogger user roles ann --role reader";

/// Manage users
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    /// Add a user
    #[command(after_help = EXAMPLES)]
    Add(Add),
    /// List users
    List {
        /// Only the users of this tenant [default: all tenants]
        #[arg(long, value_parser = tenant_name)]
        tenant: Option<String>,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Set a new password; the old one ends within a second
    Password {
        #[command(flatten)]
        user: User,
        #[command(flatten)]
        secret: NewSecret,
    },
    /// Set the roles of a user, in place of those it has
    #[command(after_help = EXAMPLES)]
    Roles {
        #[command(flatten)]
        user: User,
        /// The roles it is to have; may be given several times
        #[arg(long = "role", required = true, value_name = "ROLE,…", value_parser = roles)]
        roles: Vec<Roles>,
    },
    /// Refuse the logins and tokens of a user, until it is enabled again
    Disable(User),
    /// Admit a disabled user again
    Enable(User),
    /// Remove a user and its tokens; what it recorded stays
    Remove(User),
}

#[derive(Debug, Args)]
pub struct User {
    /// The name of the user
    #[arg(value_parser = user_name)]
    name: String,
    /// The tenant it belongs to
    #[arg(long, default_value = DEFAULT_TENANT, value_parser = tenant_name)]
    tenant: String,
}

#[derive(Debug, Args)]
pub struct Add {
    #[command(flatten)]
    user: User,
    /// What it may do; may be given several times
    #[arg(long = "role", required = true, value_name = "ROLE,…", value_parser = roles)]
    roles: Vec<Roles>,
    #[command(flatten)]
    secret: NewSecret,
}

pub async fn run(command: Command, pool: &PgPool, out: &mut impl Write) -> anyhow::Result<()> {
    let author = author();
    let update = async |user: &User, update| {
        update_user(pool, &author, &user.tenant, &user.name, update).await.map(|_row| ())
    };
    let disable = |disabled| UserUpdate { disabled: Some(disabled), ..UserUpdate::default() };
    let (user, changed, done) = match command {
        Command::Add(Add { user, roles, secret }) => {
            return add(pool, &user, union(&roles), &secret, out).await;
        }
        Command::List { tenant, json } => return list(pool, tenant.as_deref(), json, out).await,
        Command::Password { user, secret } => return password(pool, &user, &secret, out).await,
        Command::Roles { user, roles } => {
            let roles = union(&roles);
            let wanted = UserUpdate { roles: Some(&roles.names()), ..UserUpdate::default() };
            let changed = update(&user, wanted).await;
            (user, changed, format!("now has the roles {roles}"))
        }
        Command::Disable(user) => {
            let changed = update(&user, disable(true)).await;
            (user, changed, "is disabled".to_owned())
        }
        Command::Enable(user) => {
            let changed = update(&user, disable(false)).await;
            (user, changed, "is enabled".to_owned())
        }
        Command::Remove(user) => {
            let changed = remove_user(pool, &author, &user.tenant, &user.name).await;
            (user, changed, "is removed".to_owned())
        }
    };
    match changed {
        Ok(()) => Ok(writeln!(out, "User {}/{} {done}.", user.tenant, user.name)?),
        Err(error) => Err(explain(pool, &user.tenant, error).await),
    }
}

async fn add(
    pool: &PgPool,
    user: &User,
    roles: Roles,
    secret: &NewSecret,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let IssuedLogin { stored, generated } = secret.obtain()?;
    if let Err(error) = create_user(pool, &author(), &user.tenant, &user.name, &stored, &roles.names()).await
    {
        return Err(explain(pool, &user.tenant, error).await);
    }
    writeln!(out, "Added user {}/{} with the roles {roles}.", user.tenant, user.name)?;
    show_once(generated, out)
}

async fn password(
    pool: &PgPool,
    user: &User,
    secret: &NewSecret,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let IssuedLogin { stored, generated } = secret.obtain()?;
    if let Err(error) = set_credential(pool, &author(), &user.tenant, &user.name, &stored).await {
        return Err(explain(pool, &user.tenant, error).await);
    }
    writeln!(out, "User {}/{} has a new password.", user.tenant, user.name)?;
    show_once(generated, out)
}

/// On a line of its own, the last one, so that a script can take it.
fn show_once(generated: Option<Secret>, out: &mut impl Write) -> anyhow::Result<()> {
    if let Some(secret) = generated {
        writeln!(out, "The password is shown only now:\n{}", secret.reveal())?;
    }
    Ok(())
}

async fn list(pool: &PgPool, tenant: Option<&str>, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if let Some(tenant) = tenant {
        require_tenant(pool, tenant).await?;
    }
    let users = list_users(pool, tenant).await?;
    if json {
        let users: Vec<_> = users.iter().map(as_json).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&users)?)?;
    } else {
        let rows: Vec<_> = users.into_iter().map(as_row).collect();
        write_table(out, ["NAME", "TENANT", "ROLES", "STATE", "LOGIN", "CREATED"], &rows)?;
    }
    Ok(())
}

fn state(user: &UserRow) -> &'static str {
    if user.disabled { "disabled" } else { "enabled" }
}

fn login(user: &UserRow) -> &'static str {
    match user.login() {
        LoginKind::Password => "password",
        LoginKind::MachineSecret => "machine secret",
        LoginKind::None => "none",
    }
}

fn as_row(user: UserRow) -> [String; 6] {
    let (state, login) = (state(&user).to_owned(), login(&user).to_owned());
    [user.name, user.tenant, user.roles.join(","), state, login, second(user.created_at)]
}

fn as_json(user: &UserRow) -> serde_json::Value {
    json!({
        "name": user.name,
        "tenant": user.tenant,
        "roles": user.roles,
        "state": state(user),
        "login": login(user),
        "created_at": second(user.created_at),
        "updated_at": second(user.updated_at),
    })
}
