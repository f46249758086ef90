//! What the operations on users, tokens and tenants share: roles as clients write them, who makes a change,
//! and what goes wrong with it.

use http::StatusCode;
use poem::Request;
use poem_openapi::Enum;

use super::caller::{address, refusal};
use super::problem::{Denied, Fault, Problem, capitalised, is_outage};
use crate::auth::{AccountError, Auth, Principal, Role, Roles};
use crate::event::nearest_name;
use crate::store::principals::users::page_of_users;
use crate::store::principals::{Author, ChangeError};

/// Rows of a list that are read for a hint.
const NEAREST_OF_MAX: i64 = 1_000;
/// Rows of a page, unless the request says.
pub(super) const PAGE_ROWS: u16 = 100;

pub(super) fn page_rows() -> u16 {
    PAGE_ROWS
}

/// A parameter that names something, if it could be a name at all: not all texts can be asked for.
pub(super) fn named(
    parameter: &'static str,
    value: Option<String>,
    check: fn(&str) -> Result<(), &'static str>,
) -> Result<Option<String>, Problem> {
    let Some(reason) = value.as_deref().and_then(|name| check(name).err()) else { return Ok(value) };
    let detail = format!("{parameter}: {reason}.");
    let problem = Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", detail);
    Err(problem.with_fault(Fault::parameter(parameter, reason)))
}

/// What somebody may do. None implies another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum RoleName {
    Writer,
    Reader,
    Auditor,
    Admin,
    Superadmin,
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Writer => Self::Writer,
            Role::Reader => Self::Reader,
            Role::Auditor => Self::Auditor,
            Role::Admin => Self::Admin,
            Role::Superadmin => Self::Superadmin,
        }
    }
}

pub(super) fn role_names(roles: Roles) -> Vec<RoleName> {
    roles.iter().map(RoleName::from).collect()
}

/// Who changes something of the tenant whose log will tell of it.
pub(super) fn author(request: &Request, caller: &Principal, tenant: &str) -> Author {
    Author {
        user_identity: caller.name_in(tenant),
        token: caller.token_prefix.clone(),
        ip: address(request),
        is_superadmin: caller.roles.contains(Role::Superadmin),
    }
}

pub(super) fn problem_of(error: AccountError) -> Problem {
    match error {
        AccountError::Change(error) => refused(&error),
        AccountError::Auth(error) => refusal(error),
        AccountError::Password(error) => Problem::internal(&error),
        AccountError::InDoubt => in_doubt(),
    }
}

fn refused(error: &ChangeError) -> Problem {
    let problem = |status, code| Problem::new(status, code, sentence(error));
    match error {
        ChangeError::NoTenant(_) => {
            Problem::new(StatusCode::NOT_FOUND, "no_such_tenant", "There is no tenant of this name.")
        }
        ChangeError::NoUser { .. } => no_such_user(),
        ChangeError::NoToken(_) => no_such_token(),
        ChangeError::OwnerLacks { .. } => problem(StatusCode::UNPROCESSABLE_ENTITY, "owner_lacks_role")
            .with_fault(Fault::at("/roles", "a role that the owner does not have")),
        ChangeError::NameTaken(_) => problem(StatusCode::CONFLICT, "name_taken"),
        ChangeError::LastAdmin(_) => problem(StatusCode::CONFLICT, "last_admin"),
        ChangeError::LastSuperadmin(_) => problem(StatusCode::CONFLICT, "last_superadmin"),
        ChangeError::NeedsSuperadmin => {
            let needed = Denied::Role(Some(Role::Superadmin));
            problem(StatusCode::FORBIDDEN, "superadmin_needed").with("role", "superadmin").denying(needed)
        }
        ChangeError::SuperadminElsewhere => problem(StatusCode::UNPROCESSABLE_ENTITY, "superadmin_elsewhere")
            .with_fault(Fault::at("/roles", "`superadmin` is for users of the tenant `default`")),
        ChangeError::CredentialChanged => problem(StatusCode::CONFLICT, "password_changed"),
        ChangeError::Database(error) => failed(error),
    }
}

/// Errors begin small and have no full stop; details are sentences.
fn sentence(error: &ChangeError) -> String {
    format!("{}.", capitalised(&error.to_string()))
}

/// Who never got a session changed nothing; whoever lost one may have.
fn failed(error: &sqlx::Error) -> Problem {
    match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => Problem::database(error),
        error if is_given_up(error) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "changes_busy",
            "Other changes of users, tokens or tenants take too long. Nothing was changed; try again.",
        )
        .retry_after(2),
        error if is_outage(error) => {
            tracing::warn!(%error, "the database went away during a change of users or tokens");
            in_doubt()
        }
        error => Problem::internal(error),
    }
}

/// A wait for the changes before it, or a statement, took too long: PostgreSQL has undone all of it.
fn is_given_up(error: &sqlx::Error) -> bool {
    const LOCK_NOT_AVAILABLE: &str = "55P03";
    const QUERY_CANCELED: &str = "57014";
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| [LOCK_NOT_AVAILABLE, QUERY_CANCELED].contains(&code.as_ref()))
}

fn in_doubt() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "change_in_doubt",
        "The database went away during the change, which may have been made or not. See how things are before \
         you repeat it.",
    )
    .retry_after(5)
}

pub(super) fn no_such_user() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_user", "The tenant has no user of this name.")
}

pub(super) fn no_such_token() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no_such_token",
        "The tenant has no token with this prefix. A prefix is the first eight characters of a token's secret, \
         as the list shows them; never send a token itself.",
    )
}

/// The user of the tenant that was probably meant.
pub(super) async fn nearest_user(auth: &Auth, tenant: &str, name: &str) -> Option<String> {
    let users = page_of_users(auth.control(), Some(tenant), "", NEAREST_OF_MAX).await.ok()?;
    nearest_name(name, users.iter().map(|user| user.name.as_str())).map(str::to_owned)
}

pub(super) fn hinted(fault: Fault, near: Option<String>) -> Fault {
    match near {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None => fault,
    }
}
