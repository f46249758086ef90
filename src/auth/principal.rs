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
    /// Where it acts: its own tenant, unless a superadmin named another.
    pub tenant: Arc<Tenant>,
    /// Whose user it is.
    pub home: Arc<Tenant>,
    /// The user, or the owner of the token: idempotency keys outlive the rotation of tokens.
    pub user_id: i64,
    pub user: String,
    pub token_prefix: Option<String>,
    pub roles: Roles,
}

impl Principal {
    /// How the log of a tenant names the user: `ann`, or `default/ann` where it comes from another tenant.
    /// User names hold no `/`.
    pub fn name_in(&self, tenant: &str) -> String {
        match self.home.name == tenant {
            true => self.user.clone(),
            false => format!("{}/{}", self.home.name, self.user),
        }
    }

    /// Whether figures of the whole instance may be shown: they tell of other tenants' logs, too.
    pub fn is_operator(&self) -> bool {
        self.tenant.name == DEFAULT_TENANT || self.roles.contains(Role::Superadmin)
    }

    /// How events name whoever recorded them.
    pub fn recorded_by(&self) -> String {
        let name = self.name_in(&self.tenant.name);
        match &self.token_prefix {
            None => format!("user:{name}"),
            Some(prefix) => format!("token:{name}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: i32, name: &str) -> Arc<Tenant> {
        Arc::new(Tenant { id, name: name.to_owned(), log_id: Uuid::nil() })
    }

    fn ann() -> Principal {
        let home = tenant(1, "default");
        Principal {
            tenant: Arc::clone(&home),
            home,
            user_id: 7,
            user: "ann".to_owned(),
            token_prefix: None,
            roles: Roles::ALL,
        }
    }

    #[test]
    fn a_guest_is_not_taken_for_a_user_of_the_tenant() {
        let guest = Principal { tenant: tenant(2, "acme"), ..ann() };
        let token = Principal { token_prefix: Some("Ab3dEf6h".to_owned()), ..guest.clone() };
        assert_eq!(guest.recorded_by(), "user:default/ann");
        assert_eq!(token.recorded_by(), "token:default/ann/Ab3dEf6h");
        assert_eq!(guest.name_in("default"), "ann");
    }

    #[test]
    fn events_tell_a_user_from_a_token_of_the_same_user() {
        let user = ann();
        let token = Principal { token_prefix: Some("Ab3dEf6h".to_owned()), ..user.clone() };
        assert_eq!(user.recorded_by(), "user:ann");
        assert_eq!(token.recorded_by(), "token:ann/Ab3dEf6h");
    }
}
