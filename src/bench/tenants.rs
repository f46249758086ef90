//! Whose events are recorded: the first user's, or those of many tenants at once.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context;
use http::HeaderValue;
use sqlx::PgPool;
use uuid::Uuid;

use super::load::basic;
use super::server::{Installation, USER};
use crate::auth::secret::generate_machine_secret;
use crate::auth::{DEFAULT_TENANT, Role};
use crate::store::principals::users::{StoredCredential, create_user};
use crate::store::principals::{Author, create_tenant, find_tenant};

/// Credentials, and the logs that they record to.
pub(super) struct Recorders {
    pub(super) authorizations: Arc<[HeaderValue]>,
    pub(super) recorded_by: String,
    /// Tenant ids by log id.
    pub(super) logs: HashMap<Uuid, i32>,
}

impl Recorders {
    pub(super) async fn one(pool: &PgPool, installation: &Installation) -> anyhow::Result<Self> {
        let tenant = find_tenant(pool, DEFAULT_TENANT).await?.context("there is no first tenant")?;
        Ok(Self {
            authorizations: Arc::new([basic(USER, installation.password.reveal())?]),
            recorded_by: format!("user:{USER}"),
            logs: HashMap::from([(tenant.log_id, tenant.tenant_id)]),
        })
    }

    /// Programs have machine secrets: that many passwords would measure argon2.
    pub(super) async fn many(pool: &PgPool, count: usize) -> anyhow::Result<Self> {
        const PROGRAM: &str = "program";
        let author = Author::operator("system");
        let mut authorizations = Vec::with_capacity(count);
        let mut logs = HashMap::with_capacity(count);
        for n in 0..count {
            let tenant = create_tenant(pool, &author, &format!("tenant-{n}")).await?;
            let secret = generate_machine_secret()?;
            let credential = StoredCredential::MachineSecret(secret.sha256());
            create_user(pool, &author, &tenant.name, PROGRAM, &credential, &[Role::Writer.name()]).await?;
            authorizations.push(basic(&format!("{}/{PROGRAM}", tenant.name), secret.reveal())?);
            logs.insert(tenant.log_id, tenant.tenant_id);
        }
        Ok(Self { authorizations: authorizations.into(), recorded_by: format!("user:{PROGRAM}"), logs })
    }
}
