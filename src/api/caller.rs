//! Who may call an operation: an argument of its handler, checked before anything else is read.
//!
//! Written by hand because a derived `SecurityScheme` turns the 403 of one alternative into the 401 of
//! the next, and its `fallback` lets a wrong password through as nobody.

use std::{
    marker::PhantomData,
    net::IpAddr,
    ops::Deref,
    sync::{Arc, OnceLock},
};

use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode, header};
use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};

use super::problem::{Denied, Problem};
use crate::auth::{Auth, AuthError, Principal, Role, Wanted};

/// Turns the credentials of a request into a principal. A seam: the front door is tested without users.
pub trait Authenticate: Send + Sync {
    /// `from` is the client's address, if it has one.
    fn authenticate<'a>(
        &'a self,
        headers: &'a HeaderMap,
        from: Option<IpAddr>,
    ) -> BoxFuture<'a, Result<Arc<Principal>, AuthError>>;

    /// Told when a principal lacks the role. Must not wait for anything.
    fn note_denial(&self, principal: &Principal, from: Option<IpAddr>, wanted: Wanted);
}

impl Authenticate for Arc<Auth> {
    fn authenticate<'a>(
        &'a self,
        headers: &'a HeaderMap,
        from: Option<IpAddr>,
    ) -> BoxFuture<'a, Result<Arc<Principal>, AuthError>> {
        Box::pin(Auth::authenticate(self, headers, from))
    }

    fn note_denial(&self, principal: &Principal, from: Option<IpAddr>, wanted: Wanted) {
        Auth::note_denial(self, principal, from, wanted);
    }
}

/// What [`Caller`] finds in a request's data.
pub type Authenticator = Arc<dyn Authenticate>;

/// Where [`Caller`] leaves the principal, for the access log and for the record of denials.
pub type CallerSlot = Arc<OnceLock<Arc<Principal>>>;

/// The role that a handler's signature asks for.
pub trait RequiredRole: Send + Sync + 'static {
    /// `None`: any role at all.
    const ROLE: Option<Role>;
    /// How the document says so; [`super::openapi`] takes it out of `security` again.
    const MARKER: &'static str;
}

/// What [`RequiredRole::MARKER`] starts with.
pub(super) const ROLE_MARKER: &str = "role:";

macro_rules! required_roles {
    ($($(#[$doc:meta])* $name:ident = $role:expr, $marker:literal;)*) => {
        $(
            $(#[$doc])*
            pub struct $name;
            impl RequiredRole for $name {
                const ROLE: Option<Role> = $role;
                const MARKER: &'static str = $marker;
            }
        )*
    };
}

required_roles! {
    /// May record.
    Writer = Some(Role::Writer), "role:writer";
    /// May read.
    Reader = Some(Role::Reader), "role:reader";
    /// May verify and reconcile.
    Auditor = Some(Role::Auditor), "role:auditor";
    /// May manage the tenant's users and redact.
    Admin = Some(Role::Admin), "role:admin";
    /// May manage tenants.
    Superadmin = Some(Role::Superadmin), "role:superadmin";
    /// May do anything at all.
    AnyRole = None, "role:any";
}

/// An authenticated principal that has role `R`.
pub struct Caller<R> {
    principal: Arc<Principal>,
    role: PhantomData<fn() -> R>,
}

impl<R> Caller<R> {
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }
}

impl<R> Deref for Caller<R> {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.principal
    }
}

impl<R: RequiredRole> Caller<R> {
    async fn identify(request: &Request) -> Result<Self, Problem> {
        let Some(authenticator) = request.data::<Authenticator>() else {
            return Err(Problem::internal(&AuthError::Unavailable));
        };
        let from = address(request);
        let principal = authenticator.authenticate(request.headers(), from).await.map_err(refusal)?;
        if let Some(slot) = request.data::<CallerSlot>() {
            // Set once per request; a second extractor would find the same principal.
            let _ = slot.set(Arc::clone(&principal));
        }
        let permitted = R::ROLE.map_or(!principal.roles.is_empty(), |role| principal.roles.contains(role));
        if !permitted {
            return Err(forbidden(R::ROLE));
        }
        Ok(Self { principal, role: PhantomData })
    }
}

/// Where a request comes from; a Unix socket has no address.
pub(super) fn address(request: &Request) -> Option<IpAddr> {
    request.remote_addr().as_socket_addr().map(|address| address.ip().to_canonical())
}

pub(super) fn forbidden(needed: Option<Role>) -> Problem {
    let name = needed.map_or("any", Role::name);
    Problem::new(
        StatusCode::FORBIDDEN,
        "role_missing",
        match needed {
            Some(_) => format!("This needs the role {name}, which you do not have. An admin can grant it."),
            None => "You have no role at all. An admin can grant one.".to_owned(),
        },
    )
    .with("role", name)
    .denying(Denied::Role(needed))
}

pub(super) fn refusal(error: AuthError) -> Problem {
    match error {
        AuthError::Missing => Problem::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "Log in with a user name and password (curl -u NAME:PASSWORD) or with a token \
             (Authorization: Bearer evl_…).",
        ),
        AuthError::Malformed(reason) => Problem::new(
            StatusCode::UNAUTHORIZED,
            "malformed_credentials",
            format!("The Authorization header cannot be read: {reason}."),
        ),
        AuthError::SeveralTenants => Problem::new(
            StatusCode::BAD_REQUEST,
            "several_tenants",
            "Send at most one header X-Tenant.",
        ),
        AuthError::Several => Problem::new(
            StatusCode::BAD_REQUEST,
            "several_credentials",
            "Send exactly one Authorization header with one credential.",
        ),
        AuthError::Rejected => Problem::new(
            StatusCode::UNAUTHORIZED,
            "invalid_credentials",
            "The name or password is wrong, or the token is unknown, expired or revoked.",
        ),
        AuthError::TooManyFailures { retry_after } => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_failures",
            "Too many logins with this name or from this address have failed. Wait as long as Retry-After says, \
             then send the right password; from another address it is accepted at once.",
        )
        .retry_after(retry_after),
        AuthError::OtherTenant => Problem::new(
            StatusCode::FORBIDDEN,
            "tenant_forbidden",
            "Only a superadmin may act in another tenant. Leave out the header X-Tenant.",
        ),
        AuthError::NoSuchTenant => Problem::new(
            StatusCode::NOT_FOUND,
            "no_such_tenant",
            "There is no tenant of the name in the header X-Tenant.",
        ),
        AuthError::Busy { retry_after } => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "login_busy",
            "Too many logins are being checked at once. Try again shortly, or use a token.",
        )
        .retry_after(retry_after),
        AuthError::Unavailable => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "database_unavailable",
            "Credentials cannot be checked because the database does not answer. Try again shortly.",
        )
        .retry_after(2),
    }
}

/// Somebody who is logged in, or nobody: for what a tenant may open to all. Whoever presents a credential must
/// present a right one.
pub struct Visitor(pub Option<Caller<AnyRole>>);

impl<'a> ApiExtractor<'a> for Visitor {
    const TYPES: &'static [ApiExtractorType] = Caller::<AnyRole>::TYPES;

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        Caller::<AnyRole>::register(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        Caller::<AnyRole>::security_schemes()
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let is_nobody = !request.headers().contains_key(header::AUTHORIZATION);
        Ok(Self(if is_nobody { None } else { Some(Caller::identify(request).await?) }))
    }
}

impl<'a, R: RequiredRole> ApiExtractor<'a> for Caller<R> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let http = |scheme, description| MetaSecurityScheme {
            ty: "http",
            description: Some(description),
            name: None,
            key_in: None,
            scheme: Some(scheme),
            bearer_format: None,
            flows: None,
            openid_connect_url: None,
        };
        registry.create_security_scheme(
            "basic",
            http(
                "basic",
                "User name and password. A user of another tenant than `default` is `tenant/name`. A superadmin \
                 acts in another tenant by naming it in the header `X-Tenant`.",
            ),
        );
        registry.create_security_scheme("bearer", http("bearer", "An API token, `evl_<tenant>_<secret>`."));
    }

    /// Alternatives. The marker is not one: it carries the role into the document.
    fn security_schemes() -> Vec<&'static str> {
        vec!["basic", "bearer", R::MARKER]
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(Self::identify(request).await?)
    }
}
