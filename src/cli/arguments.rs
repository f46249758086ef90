//! Arguments that commands share, and what to say when they name nothing.

use anyhow::anyhow;
use nix::unistd::{Uid, User};
use sqlx::PgPool;

use crate::auth::name::{check_tenant_name, check_user_name};
use crate::auth::{Role, Roles};
use crate::event::nearest_name;
use crate::store::principals::tokens::list_tokens;
use crate::store::principals::users::list_users;
use crate::store::principals::{Author, ChangeError, find_tenant, list_tenants};

pub(super) fn user_name(name: &str) -> Result<String, &'static str> {
    check_user_name(name).map(|()| name.to_owned())
}

pub(super) fn tenant_name(name: &str) -> Result<String, &'static str> {
    check_tenant_name(name).map(|()| name.to_owned())
}

/// Why something was done, which stays in the log.
pub(super) fn reason(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("say why: it stays in the log, for everybody who reads it"),
        reason => Ok(reason.to_owned()),
    }
}

/// Reads `writer,reader`.
pub(super) fn roles(list: &str) -> Result<Roles, String> {
    Roles::parse(list).map_err(|word| {
        let known = Role::ALL.map(Role::name);
        let hint = nearest_name(word, known).map(|name| format!(" (did you mean {name:?}?)"));
        format!("{word:?} is no role{}; roles are {}", hint.unwrap_or_default(), known.join(", "))
    })
}

/// Several `--role` options are one set.
pub(super) fn union(sets: &[Roles]) -> Roles {
    sets.iter().flat_map(|set| set.iter()).collect()
}

/// Whoever holds the machine may do anything; events name the account of its operating system.
pub(super) fn author() -> Author {
    let user = Uid::current();
    let name = match User::from_uid(user) {
        Ok(Some(user)) => user.name,
        _ => user.to_string(),
    };
    Author::operator(format!("cli:{name}"))
}

/// Fails with the nearest existing name if there is no such tenant.
pub(super) async fn require_tenant(pool: &PgPool, name: &str) -> anyhow::Result<()> {
    match find_tenant(pool, name).await? {
        Some(_) => Ok(()),
        None => Err(explain(pool, name, ChangeError::NoTenant(name.to_owned())).await),
    }
}

/// Adds to an error what the person at the keyboard may have meant.
pub(super) async fn explain(pool: &PgPool, tenant: &str, error: ChangeError) -> anyhow::Error {
    let (wanted, list, known) = match &error {
        ChangeError::NoTenant(name) => {
            let tenants = list_tenants(pool).await.unwrap_or_default();
            (name, "tenant list", tenants.into_iter().map(|tenant| tenant.name).collect())
        }
        ChangeError::NoUser { name, .. } => {
            let users = list_users(pool, Some(tenant)).await.unwrap_or_default();
            (name, "user list", users.into_iter().map(|user| user.name).collect())
        }
        ChangeError::NoToken(prefix) => {
            let tokens = list_tokens(pool, Some(tenant)).await.unwrap_or_default();
            (prefix, "token list", tokens.into_iter().map(|token| token.prefix).collect())
        }
        _ => return error.into(),
    };
    let known: Vec<String> = known;
    match nearest_name(wanted, known.iter().map(String::as_str)) {
        Some(near) => anyhow!("{error}; did you mean {near:?}?"),
        None => anyhow!("{error}; `eventlogger {list}` shows what there is"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_role_is_answered_with_the_nearest_one() {
        let error = roles("writer,raeder").unwrap_err();
        assert!(error.contains("\"raeder\" is no role (did you mean \"reader\"?)"), "{error}");
        assert_eq!(
            union(&[roles("writer").unwrap(), roles("reader,writer").unwrap()]).names(),
            ["writer", "reader"]
        );
    }
}
