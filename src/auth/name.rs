//! Which names users and tenants may have, and which passwords can be presented at all.

use super::secret::TOKEN_PREFIX_LEN;

/// In Unicode scalar values, as the schema has it.
pub const USER_NAME_MAX_CHARS: usize = 128;
/// Bounds what a login may present before anything is looked up.
pub const USER_NAME_MAX_BYTES: usize = 256;
pub const TENANT_NAME_MAX: usize = 63;
pub const PASSWORD_MAX_BYTES: usize = 1024;
/// Of passwords that people choose, in characters, as NIST SP 800-63B asks.
pub const PASSWORD_MIN_CHARS: usize = 8;
pub const LABEL_MAX_CHARS: usize = 128;

/// A user name must survive `tenant/name:password` and `token:owner/prefix` unambiguously.
pub fn check_user_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        Err("a user name must not be empty")
    } else if name.chars().count() > USER_NAME_MAX_CHARS || name.len() > USER_NAME_MAX_BYTES {
        Err("a user name has at most 128 characters and 256 bytes")
    } else if name.contains('/') {
        Err("a user name must not contain '/': it separates tenant and name at login")
    } else if name.contains(':') {
        Err("a user name must not contain ':': it separates name and password at login")
    } else if name.chars().any(char::is_control) {
        Err("a user name must not contain control characters")
    } else if name.trim() != name {
        Err("a user name must not begin or end with white space")
    } else if name == "." || name == ".." {
        Err("a user name must not be '.' or '..': clients drop those from the path of a URL")
    } else {
        Ok(())
    }
}

pub fn check_tenant_name(name: &str) -> Result<(), &'static str> {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if (1..=TENANT_NAME_MAX).contains(&name.len()) && name.bytes().all(allowed) {
        Ok(())
    } else {
        Err("a tenant name has 1 to 63 of the characters a-z, 0-9 and '-'")
    }
}

/// A password that the login would refuse to read must not be set.
pub fn check_password(password: &str) -> Result<(), &'static str> {
    if password.is_empty() {
        Err("the password must not be empty")
    } else if password.len() > PASSWORD_MAX_BYTES {
        Err("the password is longer than 1024 bytes")
    } else if password.chars().any(char::is_control) {
        Err("the password must not contain control characters")
    } else if password.starts_with(super::secret::MACHINE_SECRET_START) {
        Err("a password must not begin with 'evls_': that form is kept for generated machine secrets")
    } else {
        Ok(())
    }
}

/// For a password that is to be set from now on; the first user's may be what its installer likes.
pub fn check_new_password(password: &str) -> Result<(), &'static str> {
    check_password(password)?;
    match password.chars().count() < PASSWORD_MIN_CHARS {
        true => Err("a password has at least 8 characters"),
        false => Ok(()),
    }
}

/// What names a token; never the token itself.
pub fn check_token_prefix(prefix: &str) -> Result<(), &'static str> {
    match prefix.len() == TOKEN_PREFIX_LEN && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        true => Ok(()),
        false => Err("a token is named by the first eight characters of its secret"),
    }
}

/// What a token is for, as its lists show it.
pub fn check_label(label: &str) -> Result<(), &'static str> {
    match label.chars().count() > LABEL_MAX_CHARS || label.chars().any(char::is_control) {
        true => Err("a label has at most 128 characters and no control characters"),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_name_that_would_be_ambiguous_is_refused_with_the_reason() {
        for (name, reason) in [
            ("", "empty"),
            ("a/b", "'/'"),
            ("a:b", "':'"),
            ("a\nb", "control"),
            ("a\u{85}b", "control"),
            (" a", "white space"),
            ("a\u{a0}", "white space"),
            (".", "path"),
            ("..", "path"),
        ] {
            let error = check_user_name(name).unwrap_err();
            assert!(error.contains(reason), "{name:?}: {error}");
        }
        assert!(check_user_name(&"x".repeat(129)).is_err());
        assert!(check_user_name(&"語".repeat(100)).is_err());
    }

    #[test]
    fn ordinary_names_in_any_script_are_allowed() {
        for name in ["admin", "Jane Doe", "svc@billing", "Жанна", &"x".repeat(128)] {
            assert_eq!(check_user_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_tenant_name_has_no_character_that_a_token_or_a_path_would_split_at() {
        for name in ["default", "a", "team-7", &"t".repeat(63)] {
            assert_eq!(check_tenant_name(name), Ok(()), "{name}");
        }
        for name in ["", "A", "a_b", "a/b", "é", &"t".repeat(64)] {
            assert!(check_tenant_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_password_with_the_form_of_a_machine_secret_cannot_be_set() {
        assert!(check_password("evls_anything").is_err());
        assert!(check_password("").is_err());
        assert!(check_password("tab\tinside").is_err());
        assert!(check_password(&"x".repeat(1025)).is_err());
        assert_eq!(check_password("secret"), Ok(()));
    }

    #[test]
    fn a_new_password_has_eight_characters_of_any_script() {
        assert!(check_new_password("1234567").is_err());
        assert!(check_new_password("пароль").is_err(), "bytes do not count");
        assert_eq!(check_new_password("паролище"), Ok(()));
        assert!(check_new_password("evls_anything").is_err());
    }
}
