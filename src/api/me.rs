//! `/me`: who am I here, and what may I do?

use std::sync::Arc;

use http::StatusCode;
use poem::Request;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use time::OffsetDateTime;

use super::accounts::{RoleName, author, problem_of, role_names};
use super::body::RawJson;
use super::caller::{AnyRole, Caller, refusal};
use super::members::{Members, checked};
use super::problem::{Fault, Problem};
use crate::auth::name::{check_new_password, check_password};
use crate::auth::secret::Secret;
use crate::auth::{AccountError, Auth, AuthError, Credential, Login};
use crate::store::principals::tokens::token_by_prefix;

pub struct MeApi {
    pub auth: Arc<Auth>,
}

/// The caller of this request.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct Me {
    /// The user, or the owner of the token.
    user: String,
    /// Whose user it is.
    user_tenant: String,
    /// Where this request acts: `user_tenant`, unless the header `X-Tenant` names another.
    tenant: String,
    /// What it may do: for a token, those of its roles that its owner has.
    roles: Vec<RoleName>,
    via: Via,
    /// The token that was used, if one was.
    token: Option<OwnToken>,
}

/// What the request was authenticated by.
#[derive(Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
enum Via {
    Password,
    MachineSecret,
    Token,
}

#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct OwnToken {
    prefix: String,
    label: String,
    /// Absent: it does not expire.
    expires_at: Option<OffsetDateTime>,
}

/// A new password for the caller.
#[derive(Object)]
#[oai(example)]
struct OwnPassword {
    #[oai(validator(max_length = 1024))]
    current_password: String,
    /// At least 8 characters.
    #[oai(validator(min_length = 8, max_length = 1024))]
    new_password: String,
}

impl Example for OwnPassword {
    fn example() -> Self {
        Self {
            current_password: "the one of today".to_owned(),
            new_password: "correct horse battery staple".to_owned(),
        }
    }
}

#[derive(ApiResponse)]
enum PasswordAnswer {
    /// The new password counts from now on.
    #[oai(status = 204)]
    Changed,
}

#[OpenApi(tag = "super::Tag::Accounts")]
impl MeApi {
    /// Who am I?
    #[oai(path = "/me", method = "get", operation_id = "get_me")]
    async fn me(&self, request: &Request, caller: Caller<AnyRole>) -> Result<Json<Me>, Problem> {
        let (via, token) = match Credential::from_headers(request.headers()).map_err(refusal)? {
            Credential::Password { .. } => (Via::Password, None),
            Credential::MachineSecret { .. } => (Via::MachineSecret, None),
            Credential::Token { .. } => (Via::Token, self.own_token(&caller).await?),
        };
        Ok(Json(Me {
            user: caller.user.clone(),
            user_tenant: caller.home.name.clone(),
            tenant: caller.tenant.name.clone(),
            roles: role_names(caller.roles),
            via,
            token,
        }))
    }

    /// Change my password
    ///
    /// For who is logged in by password. The new one counts at once, and within a second in other instances;
    /// tokens stay.
    #[oai(path = "/me/password", method = "put", operation_id = "set_own_password")]
    async fn set_password(
        &self,
        request: &Request,
        caller: Caller<AnyRole>,
        body: RawJson<OwnPassword>,
    ) -> Result<PasswordAnswer, Problem> {
        let login = own_login(request)?;
        let mut members = Members::of(&body.bytes, &["current_password", "new_password"])?;
        let current = Secret::new(members.required("current_password", checked(check_password)));
        let new = Secret::new(members.required("new_password", checked(check_new_password)));
        members.finish()?;
        let author = author(request, &caller, &caller.home.name);
        let changed = self.auth.change_own_password(&author, &login, &current, new).await;
        changed.map_err(|error| match error {
            AccountError::Auth(AuthError::Rejected) => wrong_password(),
            error => problem_of(error),
        })?;
        Ok(PasswordAnswer::Changed)
    }
}

impl MeApi {
    async fn own_token(&self, caller: &Caller<AnyRole>) -> Result<Option<OwnToken>, Problem> {
        let prefix = caller.token_prefix.as_deref().unwrap_or_default();
        let token = token_by_prefix(self.auth.control(), &caller.home.name, prefix).await;
        let token = token.map_err(|error| Problem::database(&error))?;
        Ok(token.map(|row| OwnToken { prefix: row.prefix, label: row.label, expires_at: row.expires_at }))
    }
}

/// A token that could change the password of its owner could outlive itself.
fn own_login(request: &Request) -> Result<Login, Problem> {
    match Credential::from_headers(request.headers()).map_err(refusal)? {
        Credential::Password { login, .. } => Ok(login),
        Credential::MachineSecret { .. } | Credential::Token { .. } => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "password_login_needed",
            "Only who is logged in by name and password changes that password. An admin can give a program a new \
             secret: PUT /users/{name}/password.",
        )),
    }
}

fn wrong_password() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "wrong_password",
        "`current_password` is not the password of today. Nothing was changed.",
    )
    .with_fault(Fault::at("/current_password", "wrong"))
}
