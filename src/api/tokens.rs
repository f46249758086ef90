//! `/tokens`: credentials for programs. Each acts for a user, with at most that user's roles.

use std::sync::Arc;

use http::StatusCode;
use poem::Request;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use super::accounts::{
    RoleName, author, hinted, named, nearest_user, no_such_token, page_rows, problem_of, role_names,
};
use super::body::RawJson;
use super::caller::{Admin, Caller};
use super::links;
use super::members::{Members, Read, checked, roles, text};
use super::problem::{Fault, Problem};
use crate::auth::name::{check_label, check_token_prefix, check_user_name};
use crate::auth::secret::Token;
use crate::auth::{AccountError, Auth, Roles, parse_lifetime};
use crate::store::principals::ChangeError;
use crate::store::principals::tokens::{
    self as store, TokenRow, create_token, page_of_tokens, revoke_token, token_by_prefix,
};

pub struct TokensApi {
    pub auth: Arc<Auth>,
}

/// A token to create.
#[derive(Object)]
#[oai(example, skip_serializing_if_is_none)]
struct NewToken {
    /// The user that the token acts for. Default: the caller.
    #[oai(validator(max_length = 128))]
    owner: Option<String>,
    /// Out of those of its owner, at least one. A role that the owner loses, the token loses.
    #[oai(validator(min_items = 1))]
    roles: Vec<RoleName>,
    /// How long it is valid: `12h`, `90d`, `8w`, `1y`. Default: until it is revoked.
    expires_in: Option<String>,
    /// Until when it is valid; in place of `expires_in`.
    expires_at: Option<OffsetDateTime>,
    /// What it is for.
    #[oai(validator(max_length = 128))]
    label: Option<String>,
}

impl Example for NewToken {
    fn example() -> Self {
        Self {
            owner: Some("billing".to_owned()),
            roles: vec![RoleName::Writer],
            expires_in: Some("90d".to_owned()),
            expires_at: None,
            label: Some("invoice service".to_owned()),
        }
    }
}

/// Whether a token can be used.
#[derive(Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
enum TokenState {
    Valid,
    Expired,
    Revoked,
}

/// A token, as far as it may be shown.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct ApiToken {
    /// The first eight characters of its secret, which name it.
    prefix: String,
    tenant: String,
    /// The user that it acts for.
    owner: String,
    label: String,
    /// As it was created; it can use those of them that its owner has.
    roles: Vec<RoleName>,
    state: TokenState,
    created_at: OffsetDateTime,
    /// Absent: it does not expire.
    expires_at: Option<OffsetDateTime>,
    /// Absent: it was not revoked.
    revoked_at: Option<OffsetDateTime>,
    /// To the minute. Absent: it was never used.
    last_used_at: Option<OffsetDateTime>,
}

impl From<TokenRow> for ApiToken {
    fn from(row: TokenRow) -> Self {
        Self {
            state: match row.state() {
                store::TokenState::Valid => TokenState::Valid,
                store::TokenState::Expired => TokenState::Expired,
                store::TokenState::Revoked => TokenState::Revoked,
            },
            roles: role_names(Roles::from_names(&row.roles)),
            prefix: row.prefix,
            tenant: row.tenant,
            owner: row.owner,
            label: row.label,
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_at: row.last_used_at,
        }
    }
}

/// A new token with its secret.
#[derive(Object)]
struct CreatedToken {
    #[oai(flatten)]
    shown: ApiToken,
    /// To be sent as `Authorization: Bearer …`. It is shown only here.
    token: String,
}

#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct TokenPage {
    tokens: Vec<ApiToken>,
    /// The address of the next page; absent at the end.
    next: Option<String>,
}

#[derive(ApiResponse)]
enum TokensAnswer {
    /// A page of tokens, by prefix.
    #[oai(status = 200)]
    Page(
        Json<TokenPage>,
        /// The next page as `<URL>; rel="next"`; absent at the end.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

#[derive(ApiResponse)]
enum CreatedAnswer {
    /// The token can be used.
    #[oai(status = 201)]
    Created(
        Json<CreatedToken>,
        /// Where the token is, without its secret.
        #[oai(header = "Location")]
        String,
    ),
}

#[derive(ApiResponse)]
enum RevokedAnswer {
    /// The token is refused from now on.
    #[oai(status = 204)]
    Revoked,
}

#[OpenApi(tag = "super::Tag::Accounts")]
impl TokensApi {
    /// List tokens
    ///
    /// Those that are expired or revoked stay in the list.
    #[oai(path = "/tokens", method = "get", operation_id = "list_tokens")]
    async fn list(
        &self,
        request: &Request,
        caller: Caller<Admin>,
        /// Only the tokens of this user.
        #[oai(validator(max_length = 256))]
        owner: Query<Option<String>>,
        /// Tokens per page.
        #[oai(default = "page_rows", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u16>,
        /// Only tokens whose prefixes come after this one: the last of the page before.
        #[oai(validator(max_length = 256))]
        after: Query<Option<String>>,
    ) -> Result<TokensAnswer, Problem> {
        let owner = named("owner", owner.0, check_user_name)?;
        let after = named("after", after.0, check_token_prefix)?.unwrap_or_default();
        let (tenant, more) = (&caller.tenant.name, i64::from(limit.0) + 1);
        let rows = page_of_tokens(self.auth.control(), tenant, owner.as_deref(), &after, more).await;
        let rows = rows.map_err(|error| Problem::database(&error))?;
        let (rows, next) = links::page(request, rows, limit.0, |row| &row.prefix)?;
        let link = next.as_deref().map(links::next);
        let tokens = rows.into_iter().map(ApiToken::from).collect();
        Ok(TokensAnswer::Page(Json(TokenPage { tokens, next }), link))
    }

    /// Create a token
    ///
    /// The answer holds the token, once. Only a superadmin creates one for a user who is superadmin.
    #[oai(path = "/tokens", method = "post", operation_id = "create_token")]
    async fn create(
        &self,
        request: &Request,
        caller: Caller<Admin>,
        body: RawJson<NewToken>,
    ) -> Result<CreatedAnswer, Problem> {
        let tenant = caller.tenant.name.clone();
        let wanted = Wanted::read(&body.bytes, || caller.name_in(&tenant))?;
        let token = Token::generate(&tenant).map_err(|error| Problem::internal(&error))?;
        let author = author(request, &caller, &tenant);
        let (of, owner, made) = (tenant.clone(), wanted.owner.clone(), token.clone());
        let change = self.auth.change(move |pool| async move {
            let new = store::NewToken {
                owner: &wanted.owner,
                prefix: &made.prefix,
                sha256: made.text.sha256(),
                label: &wanted.label,
                roles: &wanted.roles.names(),
                expires_at: wanted.expires_at,
            };
            create_token(&pool, &author, &of, &new).await
        });
        let shown = ApiToken::from(self.owned(&tenant, &owner, change.await).await?);
        let location = links::location(request, &["tokens", &token.prefix]);
        let created = CreatedToken { shown, token: token.text.reveal().to_owned() };
        Ok(CreatedAnswer::Created(Json(created), location))
    }

    /// Read a token
    #[oai(path = "/tokens/:prefix", method = "get", operation_id = "get_token")]
    async fn read(
        &self,
        caller: Caller<Admin>,
        /// The first eight characters of the token's secret, never the token itself.
        prefix: Path<String>,
    ) -> Result<Json<ApiToken>, Problem> {
        self.find(&caller.tenant.name, &prefix).await.map(Json)
    }

    /// Revoke a token
    ///
    /// For good, at once, and within a second in other instances. Again is no error. Only a superadmin revokes
    /// a token of a user who is superadmin.
    #[oai(path = "/tokens/:prefix", method = "delete", operation_id = "revoke_token")]
    async fn revoke(
        &self,
        request: &Request,
        caller: Caller<Admin>,
        /// The first eight characters of the token's secret, never the token itself.
        prefix: Path<String>,
    ) -> Result<RevokedAnswer, Problem> {
        let tenant = caller.tenant.name.clone();
        self.find(&tenant, &prefix).await?;
        let author = author(request, &caller, &tenant);
        let change = self
            .auth
            .change(move |pool| async move { revoke_token(&pool, &author, &tenant, &prefix.0).await });
        change.await.map_err(problem_of)?;
        Ok(RevokedAnswer::Revoked)
    }
}

impl TokensApi {
    async fn find(&self, tenant: &str, prefix: &str) -> Result<ApiToken, Problem> {
        // What cannot be a prefix is no token's, and not all of it can be asked for.
        let found = match check_token_prefix(prefix) {
            Ok(()) => token_by_prefix(self.auth.control(), tenant, prefix).await,
            Err(_) => Ok(None),
        };
        let found = found.map_err(|error| Problem::database(&error))?;
        let unknown = || no_such_token().with_fault(Fault::parameter("prefix", "no such token"));
        found.map(ApiToken::from).ok_or_else(unknown)
    }

    /// An owner who is not there is a fault of the body.
    async fn owned(
        &self,
        tenant: &str,
        owner: &str,
        outcome: Result<TokenRow, AccountError>,
    ) -> Result<TokenRow, Problem> {
        match outcome {
            Err(AccountError::Change(ChangeError::NoUser { .. })) => {
                let near = nearest_user(&self.auth, tenant, owner).await;
                let fault = hinted(Fault::at("/owner", "the tenant has no user of this name"), near);
                Err(invalid(fault))
            }
            outcome => outcome.map_err(problem_of),
        }
    }
}

fn invalid(fault: Fault) -> Problem {
    let pointer = fault.pointer.as_deref().unwrap_or_default();
    let detail = format!("{pointer}: {}", fault.detail);
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", detail).with_fault(fault)
}

/// The token that a body asks for.
struct Wanted {
    owner: String,
    roles: Roles,
    expires_at: Option<OffsetDateTime>,
    label: String,
}

impl Wanted {
    fn read(body: &[u8], caller: impl FnOnce() -> String) -> Result<Self, Problem> {
        let mut members = Members::of(body, &["owner", "roles", "expires_in", "expires_at", "label"])?;
        let owner = members.optional("owner", checked(check_user_name));
        let roles = members.required("roles", roles);
        let expires_in = members.optional("expires_in", expiry_in);
        let expires_at = members.optional("expires_at", expiry_at);
        if members.has("expires_in") && members.has("expires_at") {
            members.fault(Fault::at("/expires_at", "give either `expires_in` or `expires_at`"));
        }
        let label = members.optional("label", checked(check_label)).unwrap_or_default();
        members.finish()?;
        Ok(Self { owner: owner.unwrap_or_else(caller), roles, expires_at: expires_in.or(expires_at), label })
    }
}

fn expiry_in(raw: &str) -> Read<OffsetDateTime> {
    let lifetime = parse_lifetime(&text(raw)?);
    lifetime.map(|lifetime| OffsetDateTime::now_utc() + lifetime).map_err(fault)
}

fn expiry_at(raw: &str) -> Read<OffsetDateTime> {
    match OffsetDateTime::parse(&text(raw)?, &Rfc3339) {
        Ok(expiry) if expiry > OffsetDateTime::now_utc() => {
            expiry.checked_to_offset(UtcOffset::UTC).ok_or_else(|| fault("the time is after the year 9999"))
        }
        Ok(_) => Err(fault("the time is past")),
        Err(_) => Err(fault("expected a time such as 2031-01-31T00:00:00Z")),
    }
}

fn fault(detail: &str) -> Fault {
    Fault { detail: detail.to_owned(), ..Fault::default() }
}
