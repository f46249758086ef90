//! Passwords under argon2id. Everything here takes tens of milliseconds of CPU: a server runs it in
//! `slots`.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use subtle::ConstantTimeEq as _;

const HASH_LEN: usize = 32;
const SALT_LEN: usize = 16;
/// glibc keeps freed memory for later, except for blocks above 32 MiB: those it always takes from the
/// kernel and gives back at once. Reserving this much costs address space only: what is never touched is
/// never resident. Without it, 19 MiB per thread stay with the process after the first logins.
const RESERVED_BLOCKS: usize = 33 * 1024;

/// The parameters of argon2id for new hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    pub memory_kib: u32,
    pub iterations: u32,
    pub lanes: u32,
}

impl Default for Cost {
    /// OWASP's minimum.
    fn default() -> Cost {
        Cost { memory_kib: 19 * 1024, iterations: 2, lanes: 1 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("argon2id cannot run with these parameters: {0}")]
    Cost(argon2::Error),
    #[error("the stored text is not an argon2id hash")]
    NotArgon2id,
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// Makes the PHC string that the database keeps, in memory of its own.
pub fn hash(cost: Cost, password: &str) -> Result<String, PasswordError> {
    Hasher::default().hash(cost, password)
}

/// The memory of argon2id, which a busy server uses again: to get 19 MiB of fresh pages from the kernel
/// takes more than half as long as the computation itself.
#[derive(Default)]
pub(super) struct Hasher {
    memory: Vec<Block>,
}

impl Hasher {
    pub(super) fn hash(&mut self, cost: Cost, password: &str) -> Result<String, PasswordError> {
        let params = params(cost)?;
        let salt = random::<SALT_LEN>()?;
        let mut output = [0; HASH_LEN];
        self.fill(&params, password, &salt, &mut output)?;
        phc(&params, &salt, &output)
    }

    /// Takes as long as the parameters in the hash ask for.
    pub(super) fn verify(&mut self, stored: &str, password: &str) -> Result<bool, PasswordError> {
        let stored = PasswordHash::new(stored).map_err(|_| PasswordError::NotArgon2id)?;
        let (Some(salt), Some(expected)) = (&stored.salt, &stored.hash) else {
            return Err(PasswordError::NotArgon2id);
        };
        if stored.algorithm != Algorithm::Argon2id.ident() || stored.version != Some(Version::V0x13.into()) {
            return Err(PasswordError::NotArgon2id);
        }
        let params = Params::try_from(&stored).map_err(|_| PasswordError::NotArgon2id)?;
        let mut output = vec![0; expected.len()];
        self.fill(&params, password, salt, &mut output)?;
        Ok(output.ct_eq(expected.as_bytes()).into())
    }

    /// What an earlier computation left in the memory does not matter: the first pass overwrites all of it.
    fn fill(
        &mut self,
        params: &Params,
        password: &str,
        salt: &[u8],
        output: &mut [u8],
    ) -> Result<(), PasswordError> {
        let blocks = params.block_count();
        if self.memory.len() < blocks {
            self.memory = Vec::with_capacity(blocks.max(RESERVED_BLOCKS));
            self.memory.resize(blocks, Block::new());
        }
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
            .hash_password_into_with_memory(password.as_bytes(), salt, output, &mut self.memory)
            .map_err(PasswordError::Cost)
    }
}

/// Whether the hash was made with less than `cost` asks for. A hash that is stronger stays.
pub fn needs_rehash(cost: Cost, stored: &str) -> bool {
    let params = PasswordHash::new(stored).ok().and_then(|hash| Params::try_from(&hash).ok());
    params.is_some_and(|params| {
        params.m_cost() < cost.memory_kib || params.t_cost() < cost.iterations || params.p_cost() < cost.lanes
    })
}

/// A hash that no password matches, and whose check takes as long as that of a real one.
pub fn dummy(cost: Cost) -> Result<String, PasswordError> {
    phc(&params(cost)?, &random::<SALT_LEN>()?, &random::<HASH_LEN>()?)
}

fn params(cost: Cost) -> Result<Params, PasswordError> {
    Params::new(cost.memory_kib, cost.iterations, cost.lanes, Some(HASH_LEN)).map_err(PasswordError::Cost)
}

fn phc(params: &Params, salt: &[u8], output: &[u8]) -> Result<String, PasswordError> {
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params).map_err(|_| PasswordError::NotArgon2id)?,
        salt: Some(Salt::new(salt).map_err(|_| PasswordError::NotArgon2id)?),
        hash: Some(Output::new(output).map_err(|_| PasswordError::NotArgon2id)?),
    };
    Ok(hash.to_string())
}

fn random<const N: usize>() -> Result<[u8; N], PasswordError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(PasswordError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(stored: &str, password: &str) -> Result<bool, PasswordError> {
        Hasher::default().verify(stored, password)
    }

    const SMALL: Cost = Cost { memory_kib: 64, iterations: 1, lanes: 1 };

    #[test]
    fn a_hash_accepts_its_password_and_no_other() {
        let stored = hash(Cost::default(), "correct horse").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(verify(&stored, "correct horse").unwrap());
        assert!(!verify(&stored, "correct horsf").unwrap());
        assert!(!verify(&stored, "").unwrap());
    }

    #[test]
    fn a_hash_made_by_the_reference_implementation_is_understood() {
        // A vector from the test suite of the C implementation: "password" with the salt "somesalt".
        let stored = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(verify(stored, "password").unwrap());
        assert!(!verify(stored, "differentpassword").unwrap());
    }

    #[test]
    fn two_hashes_of_one_password_differ() {
        assert_ne!(hash(SMALL, "x").unwrap(), hash(SMALL, "x").unwrap());
    }

    #[test]
    fn memory_that_was_used_before_gives_the_same_hash() {
        let mut hasher = Hasher::default();
        let stored = hasher.hash(SMALL, "x").unwrap();
        let larger = hasher.hash(Cost { memory_kib: 256, ..SMALL }, "y").unwrap();
        assert!(hasher.verify(&stored, "x").unwrap());
        assert!(!hasher.verify(&stored, "y").unwrap());
        assert!(hasher.verify(&larger, "y").unwrap());
        assert!(verify(&stored, "x").unwrap() && verify(&larger, "y").unwrap());
    }

    #[test]
    fn only_a_weaker_hash_is_made_again() {
        let stored = hash(SMALL, "x").unwrap();
        assert!(!needs_rehash(SMALL, &stored));
        assert!(needs_rehash(Cost { memory_kib: 65, ..SMALL }, &stored));
        assert!(needs_rehash(Cost { iterations: 2, ..SMALL }, &stored));
        assert!(!needs_rehash(Cost { memory_kib: 32, ..SMALL }, &stored));
        assert!(!needs_rehash(SMALL, "not a hash"));
    }

    #[test]
    fn the_dummy_has_the_parameters_of_a_real_hash_and_matches_nothing() {
        let (real, dummy) = (hash(SMALL, "x").unwrap(), dummy(SMALL).unwrap());
        let shape = |phc: &str| phc.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(shape(&real), shape(&dummy));
        assert_eq!(real.len(), dummy.len());
        assert!(!verify(&dummy, "x").unwrap());
    }

    #[test]
    fn what_is_not_an_argon2id_hash_is_an_error_rather_than_a_match() {
        for stored in ["", "x", "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ", "$2b$10$abcdefghijklmnopqrstuv"] {
            assert!(verify(stored, "x").is_err(), "{stored}");
        }
        let other = hash(SMALL, "x").unwrap().replace("argon2id", "argon2i");
        assert!(verify(&other, "x").is_err());
    }
}
