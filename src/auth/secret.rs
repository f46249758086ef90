//! Generated secrets: API tokens, machine secrets, passwords.
//!
//! Tokens and machine secrets carry 256 random bits, so a plain SHA-256 of them cannot be reversed by
//! guessing; passwords that people choose need argon2id (see `password`).

use std::fmt;

use sha2::{Digest, Sha256};

/// How every machine secret begins; the presented form decides which check runs.
pub const MACHINE_SECRET_START: &str = "evls_";
/// How every API token begins.
pub const TOKEN_START: &str = "evl_";
/// How much of a token is shown in lists and in `recorded_by`; 208 random bits stay hidden.
pub const TOKEN_PREFIX_LEN: usize = 8;

/// Letters and digits only: selected whole by a double click, never taken for an option or a separator.
const BASE62: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// 62^43 > 2^256.
const SECRET_LEN: usize = 43;
/// Without the characters that people confuse when they read them out: 0 O o, 1 I l.
const READABLE: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789";
/// 56^24 > 2^139.
const PASSWORD_LEN: usize = 24;

/// Text that must not be printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the database keeps of a token or a machine secret: the hash of its whole text.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// An API token and the part of it that may be shown.
#[derive(Clone, Debug)]
pub struct Token {
    pub text: Secret,
    pub prefix: String,
}

impl Token {
    pub fn generate(tenant: &str) -> Result<Token, getrandom::Error> {
        let secret = random_text(BASE62, SECRET_LEN)?;
        let prefix = secret.chars().take(TOKEN_PREFIX_LEN).collect();
        Ok(Token { text: Secret(format!("{TOKEN_START}{tenant}_{secret}")), prefix })
    }
}

pub fn generate_machine_secret() -> Result<Secret, getrandom::Error> {
    Ok(Secret(format!("{MACHINE_SECRET_START}{}", random_text(BASE62, SECRET_LEN)?)))
}

pub fn generate_password() -> Result<Secret, getrandom::Error> {
    Ok(Secret(random_text(READABLE, PASSWORD_LEN)?))
}

/// Every character is drawn uniformly: bytes above the largest multiple of the alphabet are discarded.
fn random_text(alphabet: &[u8], len: usize) -> Result<String, getrandom::Error> {
    let limit = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(len);
    let mut bytes = [0u8; 64];
    while text.len() < len {
        getrandom::fill(&mut bytes)?;
        let drawn = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < limit);
        text.extend(drawn.take(len - text.len()).map(|byte| char::from(alphabet[byte % alphabet.len()])));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_token_names_its_tenant_and_shows_only_its_prefix() {
        let token = Token::generate("team-7").unwrap();
        let (tenant, secret) =
            token.text.reveal().strip_prefix(TOKEN_START).unwrap().split_once('_').unwrap();
        assert_eq!(tenant, "team-7");
        assert_eq!(secret.len(), SECRET_LEN);
        assert!(secret.starts_with(&token.prefix));
        assert_eq!(format!("{:?}", token.text), "Secret(…)");
    }

    #[test]
    fn generated_secrets_differ_and_use_the_whole_alphabet() {
        let secrets: HashSet<String> =
            (0..200).map(|_| generate_machine_secret().unwrap().reveal().to_owned()).collect();
        assert_eq!(secrets.len(), 200);
        let used: HashSet<char> = secrets.iter().flat_map(|s| s["evls_".len()..].chars()).collect();
        assert_eq!(used.len(), BASE62.len());
    }

    #[test]
    fn a_generated_password_has_no_character_that_people_confuse() {
        for _ in 0..200 {
            let password = generate_password().unwrap();
            assert_eq!(password.reveal().len(), PASSWORD_LEN);
            assert!(!password.reveal().contains(['0', 'O', 'o', '1', 'I', 'l']));
        }
    }

    #[test]
    fn every_character_is_about_equally_likely() {
        let text = random_text(BASE62, 62 * 1_000).unwrap();
        for letter in BASE62 {
            let count = text.bytes().filter(|byte| byte == letter).count();
            assert!((800..1_200).contains(&count), "{} of {}", count, char::from(*letter));
        }
    }
}
