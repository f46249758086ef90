//! What a user is given to log in with.

use super::Cost;
use super::password::{Hasher, PasswordError};
use super::secret::{Secret, generate_machine_secret, generate_password};
use crate::store::principals::users::StoredCredential;

/// A password that was given has been checked (`name::check_new_password`).
#[derive(Clone, Debug)]
pub enum NewLogin {
    Password(Secret),
    GeneratedPassword,
    /// For programs: 256 random bits, so it is checked without the cost of a password.
    MachineSecret,
}

pub struct IssuedLogin {
    pub stored: StoredCredential,
    /// What nobody knows yet: to be shown, once.
    pub generated: Option<Secret>,
}

impl NewLogin {
    /// Takes as long as a login. A server asks `Auth::issue`.
    pub fn issue(self, cost: Cost) -> Result<IssuedLogin, PasswordError> {
        self.issue_with(cost, &mut Hasher::default())
    }

    pub(super) fn issue_with(self, cost: Cost, hasher: &mut Hasher) -> Result<IssuedLogin, PasswordError> {
        let (password, is_generated) = match self {
            NewLogin::Password(password) => (password, false),
            NewLogin::GeneratedPassword => (generate_password().map_err(PasswordError::Random)?, true),
            NewLogin::MachineSecret => {
                let secret = generate_machine_secret().map_err(PasswordError::Random)?;
                let stored = StoredCredential::MachineSecret(secret.sha256());
                return Ok(IssuedLogin { stored, generated: Some(secret) });
            }
        };
        let stored = StoredCredential::Password(hasher.hash(cost, password.reveal())?);
        Ok(IssuedLogin { stored, generated: is_generated.then_some(password) })
    }
}
