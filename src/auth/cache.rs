//! What this process remembers of credentials that were right. Failures are never remembered.
//!
//! Keys are MACs under a random key of this process: no secret is kept, and nobody outside can aim at an
//! entry. Values hold no secret either.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use moka::Expiry;
use moka::future::Cache as Moka;
use sha2::Sha256;

use super::{Admission, AuthError};

/// The longest that a credential may stay admitted without being checked again.
const ADMITTED_FOR_MAX: Duration = Duration::from_secs(60);
/// How long a credential that was right keeps its place in front of a flood (`Queue::Always`).
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u8; 32]);

/// A password was found to match.
#[derive(Clone, Copy)]
struct Match {
    stored: Fingerprint,
    at: Instant,
}

pub(super) struct Cache {
    key: Hmac<Sha256>,
    admitted_for: Duration,
    /// Presented credential → whom it admits. The fast path of every request.
    admissions: Moka<Fingerprint, Arc<Admission>>,
    /// Presented name and password → which stored hash argon2 last found to match, and when. It outlives the
    /// admissions that a change anywhere drops, so that such a change costs each user a row, not a hash.
    verified: Moka<Fingerprint, Match>,
}

impl Cache {
    pub(super) fn new(entries: u64, admitted_for: Duration) -> Result<Cache, getrandom::Error> {
        let mut key = [0; 64];
        getrandom::fill(&mut key)?;
        let admitted_for = admitted_for.min(ADMITTED_FOR_MAX);
        let until_due = UntilDue { admitted_for };
        Ok(Cache {
            key: Hmac::new(&key.into()),
            admitted_for,
            admissions: Moka::builder().max_capacity(entries).expire_after(until_due).build(),
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

    /// When this password was last found to match this hash, if that still counts.
    pub(super) async fn verified(&self, presented: &Fingerprint, stored: &Fingerprint) -> Option<Instant> {
        let found = self.verified.get(presented).await.filter(|found| found.stored == *stored)?;
        (found.at.elapsed() < self.admitted_for).then_some(found.at)
    }

    /// Whether this name and password were right within [`KNOWN_FOR`], whatever has changed since.
    pub(super) async fn was_right(&self, presented: &Fingerprint) -> bool {
        self.verified.get(presented).await.is_some()
    }

    pub(super) async fn remember_verified(&self, presented: Fingerprint, stored: Fingerprint, at: Instant) {
        self.verified.insert(presented, Match { stored, at }).await;
    }

    /// What was right once is not any more.
    pub(super) async fn forget_verified(&self, presented: &Fingerprint) {
        self.verified.invalidate(presented).await;
    }

    pub(super) fn drop_admissions(&self) {
        self.admissions.invalidate_all();
    }
}

/// The minute begins when the password was checked, however late the row was read.
struct UntilDue {
    admitted_for: Duration,
}

impl Expiry<Fingerprint, Arc<Admission>> for UntilDue {
    fn expire_after_create(
        &self,
        _: &Fingerprint,
        admission: &Arc<Admission>,
        now: Instant,
    ) -> Option<Duration> {
        Some((admission.verified_at + self.admitted_for).saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::{Principal, Roles, Tenant};
    use super::*;

    #[test]
    fn parts_that_join_to_the_same_bytes_have_different_fingerprints() {
        let cache = Cache::new(10, ADMITTED_FOR_MAX).unwrap();
        let of = |parts: &[&[u8]]| cache.fingerprint(parts);
        assert!(of(&[b"ab", b"c"]) == of(&[b"ab", b"c"]));
        assert!(of(&[b"ab", b"c"]) != of(&[b"a", b"bc"]));
        assert!(of(&[b"abc"]) != of(&[b"abc", b""]));
    }

    #[test]
    fn two_processes_have_nothing_in_common() {
        let [one, other] =
            [Cache::new(10, ADMITTED_FOR_MAX).unwrap(), Cache::new(10, ADMITTED_FOR_MAX).unwrap()];
        assert!(one.fingerprint(&[b"a"]) != other.fingerprint(&[b"a"]));
    }

    #[test]
    fn the_minute_begins_when_the_password_was_checked() {
        let now = Instant::now() + Duration::from_secs(10);
        let tenant = Arc::new(Tenant { id: 1, name: "default".to_owned(), log_id: Uuid::nil() });
        let principal = Principal {
            home: Arc::clone(&tenant),
            tenant,
            user_id: 1,
            user: "ann".to_owned(),
            token_prefix: None,
            roles: Roles::ALL,
        };
        let verified_at = now - Duration::from_secs(10);
        let admission = Arc::new(Admission { principal: Arc::new(principal), verified_at, token: None });
        let key = Cache::new(1, ADMITTED_FOR_MAX).unwrap().fingerprint(&[]);
        let until_due = UntilDue { admitted_for: ADMITTED_FOR_MAX };
        let left = until_due.expire_after_create(&key, &admission, now);
        assert_eq!(left, Some(Duration::from_secs(50)));
    }

    #[tokio::test]
    async fn what_was_verified_counts_for_a_minute_at_most() {
        let cache = Cache::new(10, Duration::from_secs(3_600)).unwrap();
        let [key, stored, other] = [&b"a"[..], b"stored", b"other"].map(|part| cache.fingerprint(&[part]));
        assert_eq!(cache.verified(&key, &stored).await, None);
        let now = Instant::now() + Duration::from_secs(61);
        cache.remember_verified(key, stored, now).await;
        assert_eq!(cache.verified(&key, &stored).await, Some(now));
        assert_eq!(cache.verified(&key, &other).await, None, "the password was changed");
        assert!(cache.was_right(&key).await);
        cache.forget_verified(&key).await;
        assert!(!cache.was_right(&key).await);
        assert_eq!(cache.admitted_for, Duration::from_secs(60));

        let cache = Cache::new(10, Duration::ZERO).unwrap();
        cache.remember_verified(key, stored, Instant::now()).await;
        assert_eq!(cache.verified(&key, &stored).await, None, "it must be checked again");
        assert!(cache.was_right(&key).await);
    }

    #[test]
    fn the_fingerprint_is_hmac_sha256() {
        let mut cache = Cache::new(10, ADMITTED_FOR_MAX).unwrap();
        cache.key = Hmac::new_from_slice(b"key").unwrap();
        // python3: hmac.new(b"key", (3).to_bytes(8, "big") + b"abc", "sha256")
        let expected = "1d53d5920fce3f0b311c9f8ecf0fceaba4b4a87d4ae1c9bc98becb0d165135e5";
        let shown: String = cache.fingerprint(&[b"abc"]).0.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(shown, expected);
    }
}
