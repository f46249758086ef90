//! Who is calling. A principal holds no secret, so it may be logged and debugged freely.

use std::sync::Arc;

use uuid::Uuid;

use super::credential::DEFAULT_TENANT;
use super::role::{Role, Roles};
use crate::store::principals::TenantRow;

/// The owner of a log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tenant {
    pub id: i32,
    pub name: String,
    pub log_id: Uuid,
}

impl From<TenantRow> for Tenant {
    fn from(row: TenantRow) -> Self {
        Self { id: row.tenant_id, name: row.name, log_id: row.log_id }
    }
}

/// A user, or a token acting for its owner, in one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub tenant: Arc<Tenant>,
    /// The user, or the owner of the token: idempotency keys outlive the rotation of tokens.
    pub user_id: i64,
    pub user: String,
    pub token_prefix: Option<String>,
    pub roles: Roles,
}

impl Principal {
    /// Whether figures of the whole instance may be shown: they tell of other tenants' logs, too.
    pub fn is_operator(&self) -> bool {
        self.tenant.name == DEFAULT_TENANT || self.roles.contains(Role::Superadmin)
    }

    /// How events name whoever recorded them. User names hold no `/`, so the two forms cannot be confused.
    pub fn recorded_by(&self) -> String {
        match &self.token_prefix {
            None => format!("user:{}", self.user),
            Some(prefix) => format!("token:{}/{prefix}", self.user),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_tell_a_user_from_a_token_of_the_same_user() {
        let tenant = Arc::new(Tenant { id: 1, name: "default".to_owned(), log_id: Uuid::nil() });
        let user =
            Principal { tenant, user_id: 7, user: "ann".to_owned(), token_prefix: None, roles: Roles::ALL };
        let token = Principal { token_prefix: Some("Ab3dEf6h".to_owned()), ..user.clone() };
        assert_eq!(user.recorded_by(), "user:ann");
        assert_eq!(token.recorded_by(), "token:ann/Ab3dEf6h");
    }
}
