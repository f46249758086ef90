//! Arguments that `user`, `token` and `tenant` share, and what to say when they name nothing.

use anyhow::anyhow;
use sqlx::PgPool;
use time::Duration;

use crate::auth::name::{check_tenant_name, check_user_name};
use crate::auth::{Role, Roles};
use crate::event::nearest_name;
use crate::store::principals::tokens::list_tokens;
use crate::store::principals::users::list_users;
use crate::store::principals::{ChangeError, find_tenant, list_tenants};

pub(super) fn user_name(name: &str) -> Result<String, &'static str> {
    check_user_name(name).map(|()| name.to_owned())
}

pub(super) fn tenant_name(name: &str) -> Result<String, &'static str> {
    check_tenant_name(name).map(|()| name.to_owned())
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

/// Reads `90d`, `12h`, `30m`, `8w` or `1y`.
pub(super) fn lifetime(text: &str) -> Result<Duration, &'static str> {
    const EXPECTED: &str = "expected a whole number and a unit, such as 12h, 90d, 8w or 1y (at most 100y)";
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or(EXPECTED)?;
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "m" => Duration::MINUTE,
        "h" => Duration::HOUR,
        "d" => Duration::DAY,
        "w" => Duration::WEEK,
        "y" => Duration::days(365),
        _ => return Err(EXPECTED),
    };
    let lifetime = number.parse().ok().and_then(|number: i32| unit.checked_mul(number)).ok_or(EXPECTED)?;
    if lifetime.is_zero() || lifetime > Duration::days(36_500) { Err(EXPECTED) } else { Ok(lifetime) }
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

    #[test]
    fn a_lifetime_is_a_number_and_a_unit() {
        assert_eq!(lifetime("90d"), Ok(Duration::days(90)));
        assert_eq!(lifetime("1y"), Ok(Duration::days(365)));
        assert_eq!(lifetime("30m"), Ok(Duration::minutes(30)));
        for text in
            ["", "d", "90", "90 d", "-1d", "1.5h", "0d", "101y", "99999999999y", "2147483647w", "5x", "1д"]
        {
            assert!(lifetime(text).is_err(), "{text:?}");
        }
    }
}
