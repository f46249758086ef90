//! `/users`: who may log in, and what they may do.

use std::sync::Arc;

use http::StatusCode;
use poem::Request;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use time::OffsetDateTime;

use super::accounts::{
    RoleName, author, hinted, named, nearest_user, no_such_user, page_rows, problem_of, role_names,
};
use super::body::RawJson;
use super::caller::{Admin, Caller};
use super::links;
use super::members::{Members, checked, flag, roles, word};
use super::problem::{Fault, Problem};
use crate::auth::name::{check_new_password, check_user_name};
use crate::auth::secret::Secret;
use crate::auth::{AccountError, Auth, IssuedLogin, NewLogin, Roles};
use crate::store::principals::ChangeError;
use crate::store::principals::users::{
    self as store, LoginKind as StoredLogin, UserRow, UserUpdate, create_user, find_user, page_of_users,
    remove_user, set_credential,
};

pub struct UsersApi {
    pub auth: Arc<Auth>,
}

/// A user to add.
#[derive(Object)]
#[oai(example, skip_serializing_if_is_none)]
struct NewUser {
    /// At most 128 characters, without `/`, `:` and control characters.
    #[oai(validator(min_length = 1, max_length = 128))]
    name: String,
    /// At least one.
    #[oai(validator(min_items = 1))]
    roles: Vec<RoleName>,
    /// At least 8 characters. Without it a password is generated, and answered once.
    #[oai(validator(min_length = 8, max_length = 1024))]
    password: Option<String>,
    /// `machine_secret` generates a secret for a program, which is sent as Basic password and checked without
    /// the cost of one. Default: `password`.
    login: Option<LoginName>,
}

impl Example for NewUser {
    fn example() -> Self {
        let (name, login) = ("billing".to_owned(), Some(LoginName::MachineSecret));
        Self { name, roles: vec![RoleName::Writer], password: None, login }
    }
}

/// What of a user is to be changed.
#[derive(Object)]
#[oai(example, skip_serializing_if_is_none)]
struct UserChange {
    /// All the roles it is to have, at least one.
    #[oai(validator(min_items = 1))]
    roles: Option<Vec<RoleName>>,
    /// Whether its logins and tokens are refused.
    disabled: Option<bool>,
}

impl Example for UserChange {
    fn example() -> Self {
        Self { roles: Some(vec![RoleName::Reader, RoleName::Auditor]), disabled: Some(false) }
    }
}

/// What a user is to log in with from now on.
#[derive(Object)]
#[oai(example, skip_serializing_if_is_none)]
struct NewPassword {
    /// At least 8 characters. Without it a password is generated, and answered once.
    #[oai(validator(min_length = 8, max_length = 1024))]
    password: Option<String>,
    /// `machine_secret` generates a secret for a program. Default: `password`.
    login: Option<LoginName>,
}

impl Example for NewPassword {
    fn example() -> Self {
        Self { password: None, login: Some(LoginName::Password) }
    }
}

/// What a user can be given to log in with.
#[derive(Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
enum LoginName {
    Password,
    MachineSecret,
}

/// What a user logs in with; tokens apart.
#[derive(Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
enum LoginKind {
    Password,
    MachineSecret,
    None,
}

/// A user of a tenant.
#[derive(Object)]
pub(super) struct User {
    name: String,
    tenant: String,
    roles: Vec<RoleName>,
    /// Whether its logins and tokens are refused.
    disabled: bool,
    login: LoginKind,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self {
            login: match row.login() {
                StoredLogin::Password => LoginKind::Password,
                StoredLogin::MachineSecret => LoginKind::MachineSecret,
                StoredLogin::None => LoginKind::None,
            },
            roles: role_names(Roles::from_names(&row.roles)),
            name: row.name,
            tenant: row.tenant,
            disabled: row.disabled,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A user and what it can log in with, if that was generated.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct UserWithSecret {
    #[oai(flatten)]
    user: User,
    /// The generated password or machine secret. It is shown only here.
    secret: Option<String>,
}

impl UserWithSecret {
    fn new(user: UserRow, generated: Option<Secret>) -> Self {
        Self { user: user.into(), secret: generated.map(|secret| secret.reveal().to_owned()) }
    }
}

#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct UserPage {
    users: Vec<User>,
    /// The address of the next page; absent at the end.
    next: Option<String>,
}

#[derive(ApiResponse)]
enum UsersAnswer {
    /// A page of users, by name.
    #[oai(status = 200)]
    Page(
        Json<UserPage>,
        /// The next page as `<URL>; rel="next"`; absent at the end.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

#[derive(ApiResponse)]
enum AddedAnswer {
    /// The user is there and may log in.
    #[oai(status = 201)]
    Added(
        Json<UserWithSecret>,
        /// Where the user is.
        #[oai(header = "Location")]
        String,
    ),
}

#[derive(ApiResponse)]
enum RemovedAnswer {
    /// The user and its tokens are gone.
    #[oai(status = 204)]
    Removed,
}

#[OpenApi(tag = "super::Tag::Accounts")]
impl UsersApi {
    /// List users
    #[oai(path = "/users", method = "get", operation_id = "list_users")]
    async fn list(
        &self,
        request: &Request,
        caller: Caller<Admin>,
        /// Users per page.
        #[oai(default = "page_rows", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u16>,
        /// Only users whose names come after this one: the last of the page before.
        #[oai(validator(max_length = 256))]
        after: Query<Option<String>>,
    ) -> Result<UsersAnswer, Problem> {
        let after = named("after", after.0, check_user_name)?.unwrap_or_default();
        let rows =
            page_of_users(self.auth.control(), Some(&caller.tenant.name), &after, i64::from(limit.0) + 1);
        let rows = rows.await.map_err(|error| Problem::database(&error))?;
        let (rows, next) = links::page(request, rows, limit.0, |row| &row.name)?;
        let link = next.as_deref().map(links::next);
        let users = rows.into_iter().map(User::from).collect();
        Ok(UsersAnswer::Page(Json(UserPage { users, next }), link))
    }

    /// Add a user
    ///
    /// Without `password` one is generated and answered, once. An admin gives the roles writer, reader,
    /// auditor and admin; only a superadmin gives superadmin, and only in the tenant `default`.
    #[oai(path = "/users", method = "post", operation_id = "add_user")]
    async fn add(
        &self,
        request: &Request,
        caller: Caller<Admin>,
        body: RawJson<NewUser>,
    ) -> Result<AddedAnswer, Problem> {
        let mut members = Members::of(&body.bytes, &["name", "roles", "password", "login"])?;
        let name = members.required("name", checked(check_user_name));
        let roles = members.required("roles", roles);
        let login = new_login(&mut members);
        members.finish()?;
        let IssuedLogin { stored, generated } = self.auth.issue(login).await.map_err(problem_of)?;
        let tenant = caller.tenant.name.clone();
        let author = author(request, &caller, &tenant);
        let added = name.clone();
        let change = self.auth.change(move |pool| async move {
            create_user(&pool, &author, &tenant, &added, &stored, &roles.names()).await
        });
        let user = UserWithSecret::new(change.await.map_err(exists)?, generated);
        Ok(AddedAnswer::Added(Json(user), links::location(request, &["users", &name])))
    }

    /// Read a user
    #[oai(path = "/users/:name", method = "get", operation_id = "get_user")]
    async fn read(
        &self,
        caller: Caller<Admin>,
        /// The user's name.
        name: Path<String>,
    ) -> Result<Json<User>, Problem> {
        self.find(&caller.tenant.name, &name).await.map(Json)
    }

    /// Set a user's roles, disable or enable it
    ///
    /// What is left out stays as it is. It takes effect at once, and within a second in other instances. The
    /// last enabled admin of a tenant and the last superadmin stay what they are. Only a superadmin changes a
    /// user who is superadmin.
    #[oai(path = "/users/:name", method = "patch", operation_id = "update_user")]
    async fn update(
        &self,
        request: &Request,
        caller: Caller<Admin>,
        /// The user's name.
        name: Path<String>,
        body: RawJson<UserChange>,
    ) -> Result<Json<User>, Problem> {
        let mut members = Members::of(&body.bytes, &["roles", "disabled"])?;
        let roles = members.optional("roles", roles);
        let disabled = members.optional("disabled", flag);
        if !members.has("roles") && !members.has("disabled") {
            members.fault(Fault::at("", "nothing to change: give `roles`, `disabled` or both"));
        }
        members.finish()?;
        let tenant = caller.tenant.name.clone();
        self.known(&tenant, &name).await?;
        let author = author(request, &caller, &tenant);
        let (changed, of) = (name.0.clone(), tenant.clone());
        let change = self.auth.change(move |pool| async move {
            let roles = roles.map(Roles::names);
            let update = UserUpdate { roles: roles.as_deref(), disabled };
            store::update_user(&pool, &author, &of, &changed, update).await
        });
        let user = self.explained(&tenant, &name, change.await).await?;
        Ok(Json(user.into()))
    }

    /// Give a user a new password
    ///
    /// Without `password` one is generated and answered, once. The old password or machine secret ends at
    /// once; tokens stay. Only a superadmin changes a user who is superadmin.
    #[oai(path = "/users/:name/password", method = "put", operation_id = "set_user_password")]
    async fn set_password(
        &self,
        request: &Request,
        caller: Caller<Admin>,
        /// The user's name.
        name: Path<String>,
        body: RawJson<NewPassword>,
    ) -> Result<Json<UserWithSecret>, Problem> {
        let mut members = Members::of(&body.bytes, &["password", "login"])?;
        let login = new_login(&mut members);
        members.finish()?;
        let tenant = caller.tenant.name.clone();
        // Before a hash is made for nobody.
        self.known(&tenant, &name).await?;
        let IssuedLogin { stored, generated } = self.auth.issue(login).await.map_err(problem_of)?;
        let author = author(request, &caller, &tenant);
        let (changed, of) = (name.0.clone(), tenant.clone());
        let change = self
            .auth
            .change(move |pool| async move { set_credential(&pool, &author, &of, &changed, &stored).await });
        let user = self.explained(&tenant, &name, change.await).await?;
        Ok(Json(UserWithSecret::new(user, generated)))
    }

    /// Remove a user
    ///
    /// Its tokens go with it; what it recorded stays. The last enabled admin of a tenant and the last
    /// superadmin cannot be removed. Only a superadmin removes a user who is superadmin.
    #[oai(path = "/users/:name", method = "delete", operation_id = "remove_user")]
    async fn remove(
        &self,
        request: &Request,
        caller: Caller<Admin>,
        /// The user's name.
        name: Path<String>,
    ) -> Result<RemovedAnswer, Problem> {
        let tenant = caller.tenant.name.clone();
        self.known(&tenant, &name).await?;
        let author = author(request, &caller, &tenant);
        let (removed, of) = (name.0.clone(), tenant.clone());
        let change =
            self.auth.change(move |pool| async move { remove_user(&pool, &author, &of, &removed).await });
        self.explained(&tenant, &name, change.await).await?;
        Ok(RemovedAnswer::Removed)
    }
}

impl UsersApi {
    async fn find(&self, tenant: &str, name: &str) -> Result<User, Problem> {
        // What cannot be a name is nobody's, and not all of it can be asked for.
        let found = match check_user_name(name) {
            Ok(()) => find_user(self.auth.control(), tenant, name).await,
            Err(_) => Ok(None),
        };
        match found.map_err(|error| Problem::database(&error))? {
            Some(user) => Ok(user.into()),
            None => Err(self.unknown(tenant, name).await),
        }
    }

    async fn known(&self, tenant: &str, name: &str) -> Result<(), Problem> {
        self.find(tenant, name).await.map(|_| ())
    }

    async fn unknown(&self, tenant: &str, name: &str) -> Problem {
        let near = nearest_user(&self.auth, tenant, name).await;
        no_such_user().with_fault(hinted(Fault::parameter("name", "no such user"), near))
    }

    /// The user may have been removed since it was found.
    async fn explained<T>(
        &self,
        tenant: &str,
        name: &str,
        outcome: Result<T, AccountError>,
    ) -> Result<T, Problem> {
        match outcome {
            Err(AccountError::Change(ChangeError::NoUser { .. })) => Err(self.unknown(tenant, name).await),
            outcome => outcome.map_err(problem_of),
        }
    }
}

fn exists(error: AccountError) -> Problem {
    match error {
        AccountError::Change(ChangeError::NameTaken(_)) => Problem::new(
            StatusCode::CONFLICT,
            "user_exists",
            "The tenant has a user of this name already. Choose another, or change that one.",
        )
        .with_fault(Fault::at("/name", "taken")),
        error => problem_of(error),
    }
}

/// What the members `password` and `login` ask for.
fn new_login(members: &mut Members<'_>) -> NewLogin {
    let known = [("password", LoginName::Password), ("machine_secret", LoginName::MachineSecret)];
    let password = members.optional("password", checked(check_new_password));
    let login = members.optional("login", word(&known));
    if members.has("password") && matches!(login, Some(LoginName::MachineSecret)) {
        members.fault(Fault::at("/password", "a machine secret is generated: leave out the password"));
    }
    match (password, login) {
        (_, Some(LoginName::MachineSecret)) => NewLogin::MachineSecret,
        (Some(password), _) => NewLogin::Password(Secret::new(password)),
        (None, _) => NewLogin::GeneratedPassword,
    }
}
