//! `/tenants`: the owners of logs. They can be added, never renamed or removed.

use std::sync::Arc;

use http::StatusCode;
use poem::Request;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use time::OffsetDateTime;
use uuid::Uuid;

use super::accounts::{author, named, page_rows, problem_of};
use super::body::RawJson;
use super::caller::{Caller, Superadmin};
use super::links;
use super::members::{Members, checked, flag};
use super::problem::{Fault, Problem};
use crate::auth::name::check_tenant_name;
use crate::auth::{AccountError, Auth, DEFAULT_TENANT};
use crate::store::principals::{
    ChangeError, TenantRow, create_tenant, find_tenant, page_of_tenants, set_public_proofs,
};

pub struct TenantsApi {
    pub auth: Arc<Auth>,
}

/// A tenant to add.
#[derive(Object)]
#[oai(example)]
struct NewTenant {
    /// It cannot be changed: it is part of logins, tokens and checkpoints.
    #[oai(validator(pattern = "^[a-z0-9-]{1,63}$"))]
    name: String,
}

impl Example for NewTenant {
    fn example() -> Self {
        Self { name: "acme".to_owned() }
    }
}

/// The owner of a log.
#[derive(Object)]
struct Tenant {
    name: String,
    /// Part of every entry of its log.
    log_id: Uuid,
    created_at: OffsetDateTime,
    /// Whether `/tlog` of the tenant needs no login. It holds commitments, never content.
    public_proofs: bool,
}

/// What can be changed of a tenant.
#[derive(Object)]
#[oai(example)]
struct TenantChange {
    public_proofs: bool,
}

impl Example for TenantChange {
    fn example() -> Self {
        Self { public_proofs: true }
    }
}

impl From<TenantRow> for Tenant {
    fn from(TenantRow { name, log_id, created_at, public_proofs, .. }: TenantRow) -> Self {
        Self { name, log_id, created_at, public_proofs }
    }
}

#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct TenantPage {
    tenants: Vec<Tenant>,
    /// The address of the next page; absent at the end.
    next: Option<String>,
}

#[derive(ApiResponse)]
enum TenantsAnswer {
    /// A page of tenants, by name.
    #[oai(status = 200)]
    Page(
        Json<TenantPage>,
        /// The next page as `<URL>; rel="next"`; absent at the end.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

#[derive(ApiResponse)]
enum AddedAnswer {
    /// The tenant is there, with an empty log and no user.
    #[oai(status = 201)]
    Added(
        Json<Tenant>,
        /// Where the tenant is.
        #[oai(header = "Location")]
        String,
    ),
}

#[OpenApi(tag = "super::Tag::Accounts")]
impl TenantsApi {
    /// List tenants
    #[oai(path = "/tenants", method = "get", operation_id = "list_tenants")]
    async fn list(
        &self,
        request: &Request,
        _caller: Caller<Superadmin>,
        /// Tenants per page.
        #[oai(default = "page_rows", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u16>,
        /// Only tenants whose names come after this one: the last of the page before.
        #[oai(validator(max_length = 256))]
        after: Query<Option<String>>,
    ) -> Result<TenantsAnswer, Problem> {
        let after = named("after", after.0, check_tenant_name)?.unwrap_or_default();
        let rows = page_of_tenants(self.auth.control(), &after, i64::from(limit.0) + 1).await;
        let rows = rows.map_err(|error| Problem::database(&error))?;
        let (rows, next) = links::page(request, rows, limit.0, |row| &row.name)?;
        let link = next.as_deref().map(links::next);
        let tenants = rows.into_iter().map(Tenant::from).collect();
        Ok(TenantsAnswer::Page(Json(TenantPage { tenants, next }), link))
    }

    /// Add a tenant
    ///
    /// Give it an admin next: `POST /users` with the header `X-Tenant`. The log of the tenant `default` tells
    /// of it.
    #[oai(path = "/tenants", method = "post", operation_id = "add_tenant")]
    async fn add(
        &self,
        request: &Request,
        caller: Caller<Superadmin>,
        body: RawJson<NewTenant>,
    ) -> Result<AddedAnswer, Problem> {
        let mut members = Members::of(&body.bytes, &["name"])?;
        let name = members.required("name", checked(check_tenant_name));
        members.finish()?;
        let author = author(request, &caller, DEFAULT_TENANT);
        let change = self.auth.change(move |pool| async move { create_tenant(&pool, &author, &name).await });
        let tenant = Tenant::from(change.await.map_err(exists)?);
        let location = links::location(request, &["tenants", &tenant.name]);
        Ok(AddedAnswer::Added(Json(tenant), location))
    }

    /// Read a tenant
    #[oai(path = "/tenants/:name", method = "get", operation_id = "get_tenant")]
    async fn read(
        &self,
        _caller: Caller<Superadmin>,
        /// The tenant's name.
        name: Path<String>,
    ) -> Result<Json<Tenant>, Problem> {
        // What cannot be a name is no tenant's, and not all of it can be asked for.
        let found = match check_tenant_name(&name) {
            Ok(()) => find_tenant(self.auth.control(), &name).await,
            Err(_) => Ok(None),
        };
        let found = found.map_err(|error| Problem::database(&error))?;
        found.map(|tenant| Json(tenant.into())).ok_or_else(unknown)
    }

    /// Open or close the proofs of a tenant
    ///
    /// With `public_proofs`, everybody may read the tree of its log under `/tlog`, to watch that it only grows. The
    /// log of the tenant tells of the change.
    #[oai(path = "/tenants/:name", method = "patch", operation_id = "update_tenant")]
    async fn update(
        &self,
        request: &Request,
        caller: Caller<Superadmin>,
        /// The tenant's name.
        name: Path<String>,
        body: RawJson<TenantChange>,
    ) -> Result<Json<Tenant>, Problem> {
        let mut members = Members::of(&body.bytes, &["public_proofs"])?;
        let public = members.required("public_proofs", flag);
        members.finish()?;
        check_tenant_name(&name).map_err(|_| unknown())?;
        let author = author(request, &caller, &name);
        let changed = name.0.clone();
        let change = self
            .auth
            .change(move |pool| async move { set_public_proofs(&pool, &author, &changed, public).await });
        Ok(Json(change.await.map_err(not_there)?.into()))
    }
}

fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_tenant", "There is no tenant of this name.")
        .with_fault(Fault::parameter("name", "no such tenant"))
}

fn not_there(error: AccountError) -> Problem {
    match error {
        AccountError::Change(ChangeError::NoTenant(_)) => unknown(),
        error => problem_of(error),
    }
}

fn exists(error: AccountError) -> Problem {
    match error {
        AccountError::Change(ChangeError::NameTaken(_)) => Problem::new(
            StatusCode::CONFLICT,
            "tenant_exists",
            "There is a tenant of this name already. Names are never used again.",
        )
        .with_fault(Fault::at("/name", "taken")),
        error => problem_of(error),
    }
}
