//! What this process remembers of credentials that were right. Failures are never remembered.
//!
//! Keys are MACs under a random key of this process, so that neither a core dump nor a timing of the
//! look-up tells a secret; values hold no secret.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use moka::Expiry;
use moka::future::Cache as Moka;
use sha2::Sha256;

use super::{Admission, AuthError};

/// How long a credential stays admitted without being checked again.
pub(super) const ADMITTED_FOR: Duration = Duration::from_secs(60);
/// How long a credential that was right keeps its place in front of a flood (`Queue::Always`).
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u8; 32]);

pub(super) struct Cache {
    key: Hmac<Sha256>,
    /// Presented credential → whom it admits. The fast path of every request.
    admissions: Moka<Fingerprint, Arc<Admission>>,
    /// Stored hash and presented password → when argon2 last found that they match. It outlives the
    /// admissions that a change anywhere drops, so that such a change costs each user a row, not a hash.
    verified: Moka<Fingerprint, Instant>,
}

impl Cache {
    pub(super) fn new(entries: u64) -> Result<Cache, getrandom::Error> {
        let mut key = [0; 64];
        getrandom::fill(&mut key)?;
        Ok(Cache {
            key: Hmac::new(&key.into()),
            admissions: Moka::builder().max_capacity(entries).expire_after(UntilDue).build(),
            verified: Moka::builder().max_capacity(entries).time_to_live(KNOWN_FOR).build(),
        })
    }

    /// Each part goes in with its length: no two lists of parts are confused.
    pub(super) fn fingerprint(&self, parts: &[&[u8]]) -> Fingerprint {
        let mut mac = self.key.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Fingerprint(mac.finalize().into_bytes().into())
    }

    pub(super) async fn admission(&self, key: &Fingerprint) -> Option<Arc<Admission>> {
        self.admissions.get(key).await
    }

    /// The cached admission, or the outcome of `decide`, which runs once for all that ask at that time.
    pub(super) async fn admit(
        &self,
        key: Fingerprint,
        decide: impl Future<Output = Result<Arc<Admission>, AuthError>>,
    ) -> Result<Arc<Admission>, AuthError> {
        self.admissions.try_get_with(key, decide).await.map_err(|shared| *shared)
    }

    /// When this password was last found to match; older than `ADMITTED_FOR`, it must be checked again.
    pub(super) async fn verified_at(&self, key: &Fingerprint) -> Option<Instant> {
        self.verified.get(key).await
    }

    pub(super) async fn remember_verified(&self, key: Fingerprint, at: Instant) {
        self.verified.insert(key, at).await;
    }

    pub(super) fn drop_admissions(&self) {
        self.admissions.invalidate_all();
    }
}

/// An admission ends 60 s after its password was checked, however late its row was read.
struct UntilDue;

impl Expiry<Fingerprint, Arc<Admission>> for UntilDue {
    fn expire_after_create(
        &self,
        _: &Fingerprint,
        admission: &Arc<Admission>,
        now: Instant,
    ) -> Option<Duration> {
        Some((admission.verified_at + ADMITTED_FOR).saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_join_to_the_same_bytes_have_different_fingerprints() {
        let cache = Cache::new(10).unwrap();
        let of = |parts: &[&[u8]]| cache.fingerprint(parts);
        assert!(of(&[b"ab", b"c"]) == of(&[b"ab", b"c"]));
        assert!(of(&[b"ab", b"c"]) != of(&[b"a", b"bc"]));
        assert!(of(&[b"abc"]) != of(&[b"abc", b""]));
    }

    #[test]
    fn two_processes_have_nothing_in_common() {
        let [one, other] = [Cache::new(10).unwrap(), Cache::new(10).unwrap()];
        assert!(one.fingerprint(&[b"a"]) != other.fingerprint(&[b"a"]));
    }

    #[test]
    fn the_fingerprint_is_hmac_sha256() {
        let mut cache = Cache::new(10).unwrap();
        cache.key = Hmac::new_from_slice(b"key").unwrap();
        // python3: hmac.new(b"key", (3).to_bytes(8, "big") + b"abc", "sha256")
        let expected = "1d53d5920fce3f0b311c9f8ecf0fceaba4b4a87d4ae1c9bc98becb0d165135e5";
        let shown: String = cache.fingerprint(&[b"abc"]).0.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(shown, expected);
    }
}
