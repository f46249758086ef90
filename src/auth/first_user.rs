//! The first user of an installation, made at start.

use sqlx::PgPool;

use super::name::{check_password, check_user_name};
use super::password::{self, Cost, PasswordError};
use super::secret::{Secret, generate_password};
use super::{DEFAULT_TENANT, Roles};
use crate::store::principals::users::{StoredCredential, any_user, create_first_user};
use crate::store::principals::{Author, ChangeError};

#[derive(Debug)]
pub enum FirstUser {
    /// There are users already; name and password were ignored.
    Exists,
    Created {
        /// The password, if none was given: to be shown once.
        generated: Option<Secret>,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum FirstUserError {
    #[error("the name of the first user cannot be used: {0}")]
    Name(&'static str),
    #[error("the password of the first user cannot be used: {0}")]
    Password(&'static str),
    #[error(transparent)]
    Hash(#[from] PasswordError),
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// Makes the first user, with all roles, if there is no user at all. Of several instances that start at
/// once exactly one makes it. There is never a default password: without one, it is random.
pub async fn ensure_first_user(
    control: &PgPool,
    cost: Cost,
    name: &str,
    password: Option<&str>,
) -> Result<FirstUser, FirstUserError> {
    if any_user(control).await.map_err(ChangeError::from)? {
        return Ok(FirstUser::Exists);
    }
    check_user_name(name).map_err(FirstUserError::Name)?;
    let generated = match password {
        Some(given) => check_password(given).map(|()| None).map_err(FirstUserError::Password)?,
        None => Some(generate_password().map_err(PasswordError::Random)?),
    };
    let presented = generated.as_ref().map(Secret::reveal).or(password).unwrap_or_default();
    let credential = StoredCredential::Password(password::hash(cost, presented)?);
    let roles = Roles::ALL.names();
    let author = Author::operator("system");
    match create_first_user(control, &author, DEFAULT_TENANT, name, &credential, &roles).await? {
        true => Ok(FirstUser::Created { generated }),
        false => Ok(FirstUser::Exists),
    }
}
