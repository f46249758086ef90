//! Slows down whoever guesses passwords.
//!
//! Failures are counted by what was presented and by where it came from, never by what is stored: the answer
//! tells nothing about who exists. An account as such is never locked; its owner comes in from elsewhere, and
//! from the same address with a password that was right within a day.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::future::Cache as Moka;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;

use super::AuthError;
use super::cache::{Cache, Fingerprint};
use super::credential::Login;

/// How many failures cost nothing, and how fast they are forgiven: in the long run also how often an attacker
/// may try, however he spreads his attempts.
struct Allowance {
    failures: f64,
    forgiven_every: Duration,
}

/// Guesses at one account from one address.
const PER_ACCOUNT: Allowance = Allowance { failures: 10.0, forgiven_every: Duration::from_mins(5) };
/// All guesses from one address: a whole office may be behind it.
const PER_ADDRESS: Allowance = Allowance { failures: 100.0, forgiven_every: Duration::from_secs(30) };
/// Beyond the allowance each failure doubles the pause, from two seconds up to this.
const PAUSE_MAX: Duration = Duration::from_mins(5);
/// By then all is forgiven.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(1);
/// Accounts and addresses that are remembered, about 8 MB of them; who failed longest ago gives way.
const BUCKETS_MAX: u64 = 20_000;

pub(super) struct Failures {
    buckets: Moka<Fingerprint, Arc<Mutex<Bucket>>>,
    evicted: Arc<AtomicU64>,
}

impl Failures {
    pub(super) fn new() -> Self {
        Self::with_capacity(BUCKETS_MAX)
    }

    fn with_capacity(buckets: u64) -> Self {
        let evicted = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&evicted);
        let buckets = Moka::builder()
            .max_capacity(buckets)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(FORGOTTEN_AFTER)
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build();
        Self { buckets, evicted }
    }

    /// Begins an attempt, which counts as failed until it is taken back: of many at once no more are let
    /// through than of as many in a row. What is refused here was not looked up and is not counted.
    pub(super) async fn begin(
        &self,
        cache: &Cache,
        login: &Login,
        from: Option<IpAddr>,
        now: Instant,
    ) -> Result<Attempt, AuthError> {
        let network = network(from);
        // A Unix socket has no address to count by: all of its clients would answer for each other.
        let address = match from {
            Some(_) => Some(self.bucket(cache.fingerprint(&[b"address", &network])).await),
            None => None,
        };
        // A blocked address makes no new accounts to remember.
        if let Some(address) = &address {
            lock(address).open(now)?;
        }
        let names = [&b"account"[..], login.tenant.as_bytes(), login.name.as_bytes(), &network];
        let account = self.bucket(cache.fingerprint(&names)).await;
        lock(&account).open(now)?;
        let attempt = Attempt { account, address };
        attempt.each(|bucket, allowance| bucket.count(allowance, now));
        Ok(attempt)
    }

    async fn bucket(&self, key: Fingerprint) -> Arc<Mutex<Bucket>> {
        self.buckets.get_with(key, async { Arc::default() }).await
    }

    /// How many accounts and addresses are remembered, roughly.
    pub(super) fn remembered(&self) -> u64 {
        self.buckets.entry_count()
    }

    /// How many had to give way to others.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }
}

/// A login under way.
pub(super) struct Attempt {
    account: Arc<Mutex<Bucket>>,
    address: Option<Arc<Mutex<Bucket>>>,
}

impl Attempt {
    /// It was right, or could not be checked.
    pub(super) fn take_back(self) {
        self.each(Bucket::take_back);
    }

    /// It was wrong: a pause that it began runs from the answer, however long the check took.
    pub(super) fn failed(self, now: Instant) {
        self.each(|bucket, allowance| bucket.pause(allowance, now));
    }

    fn each(&self, change: impl Fn(&mut Bucket, &Allowance)) {
        change(&mut lock(&self.account), &PER_ACCOUNT);
        if let Some(address) = &self.address {
            change(&mut lock(address), &PER_ADDRESS);
        }
    }
}

/// Failures that are not forgiven yet.
#[derive(Debug, Default)]
struct Bucket {
    level: f64,
    counted_at: Option<Instant>,
    closed_until: Option<Instant>,
}

impl Bucket {
    fn open(&self, now: Instant) -> Result<(), AuthError> {
        let wait = self.closed_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        match u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX) {
            0 => Ok(()),
            retry_after => Err(AuthError::TooManyFailures { retry_after }),
        }
    }

    fn count(&mut self, allowance: &Allowance, now: Instant) {
        let since = self.counted_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let forgiven = since.div_duration_f64(allowance.forgiven_every);
        // More than the longest pause makes no difference, and would take longer to forgive.
        let most = allowance.failures + PAUSE_MAX.as_secs_f64().log2();
        self.level = ((self.level - forgiven).max(0.0) + 1.0).min(most);
        self.counted_at = Some(now);
        self.pause(allowance, now);
    }

    fn pause(&mut self, allowance: &Allowance, now: Instant) {
        let excess = self.level - allowance.failures;
        self.closed_until = (excess > 0.0).then(|| now + Duration::from_secs_f64(excess.exp2()));
    }

    fn take_back(&mut self, allowance: &Allowance) {
        self.level = (self.level - 1.0).max(0.0);
        if self.level <= allowance.failures {
            self.closed_until = None;
        }
    }
}

/// A panic cannot leave a bucket half changed.
fn lock(bucket: &Mutex<Bucket>) -> MutexGuard<'_, Bucket> {
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What of an address is one client's: all of an IPv4 address, the first half of an IPv6 address.
pub(super) fn network(from: Option<IpAddr>) -> Vec<u8> {
    match from.map(|address| address.to_canonical()) {
        None => Vec::new(),
        Some(IpAddr::V4(address)) => address.octets().to_vec(),
        Some(IpAddr::V6(address)) => address.octets()[..8].to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> Cache {
        Cache::new(1, Duration::ZERO).unwrap()
    }

    fn login(name: &str) -> Login {
        Login { tenant: "acme".to_owned(), name: name.to_owned() }
    }

    struct Clock {
        failures: Failures,
        cache: Cache,
        now: Instant,
    }

    impl Clock {
        fn new() -> Self {
            Self { failures: Failures::new(), cache: cache(), now: Instant::now() }
        }

        async fn begin(&self, name: &str, from: &str) -> Result<Attempt, u32> {
            let from = from.parse().ok();
            match self.failures.begin(&self.cache, &login(name), from, self.now).await {
                Err(AuthError::TooManyFailures { retry_after }) => Err(retry_after),
                other => Ok(other.unwrap()),
            }
        }

        async fn fail(&self, name: &str, from: &str, times: usize) {
            for n in 0..times {
                assert!(self.begin(name, from).await.is_ok(), "{name} from {from}: {n}");
            }
        }

        /// Fails whenever that is possible again; returns how often.
        async fn fail_for(&mut self, name: &str, from: &str, span: Duration) -> u32 {
            let end = self.now + span;
            let mut failed = 0;
            while self.now < end {
                match self.begin(name, from).await {
                    Ok(_) => failed += 1,
                    Err(retry_after) => self.now += Duration::from_secs(retry_after.into()),
                }
            }
            failed
        }
    }

    #[tokio::test]
    async fn pauses_grow_up_to_five_minutes() {
        let mut clock = Clock::new();
        clock.fail("ann", "192.0.2.1", 11).await;
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let pause = clock.begin("ann", "192.0.2.1").await.map(|_| ()).unwrap_err();
            pauses.push(pause);
            clock.now += Duration::from_secs(pause.into());
            assert!(clock.begin("ann", "192.0.2.1").await.is_ok());
        }
        assert_eq!(pauses[0], 2);
        assert!(pauses.is_sorted() && *pauses.last().unwrap() > 120, "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= 300), "{pauses:?}");
    }

    #[tokio::test]
    async fn a_day_of_guessing_comes_down_to_one_guess_in_five_minutes() {
        let mut clock = Clock::new();
        let failed = clock.fail_for("ann", "192.0.2.1", Duration::from_hours(24)).await;
        assert!((200..=320).contains(&failed), "{failed}");
    }

    #[tokio::test]
    async fn an_account_under_attack_is_open_from_elsewhere() {
        let clock = Clock::new();
        clock.fail("ann", "192.0.2.1", 11).await;
        assert!(clock.begin("ann", "192.0.2.1").await.is_err());
        assert!(clock.begin("ann", "::ffff:192.0.2.1").await.is_err(), "the same in other words");
        for elsewhere in ["192.0.2.2", "2001:db8::1", ""] {
            assert!(clock.begin("ann", elsewhere).await.is_ok(), "{elsewhere}");
        }
        assert!(clock.begin("bob", "192.0.2.1").await.is_ok());
    }

    #[tokio::test]
    async fn an_address_that_tries_many_names_is_stopped_too() {
        let clock = Clock::new();
        for n in 0..101 {
            clock.fail(&format!("nobody{n}"), "2001:db8:0:1::1", 1).await;
        }
        assert!(clock.begin("somebody", "2001:db8:0:1:ffff::2").await.is_err(), "the same network");
        assert!(clock.begin("somebody", "2001:db8:0:2::1").await.is_ok());
        clock.failures.buckets.run_pending_tasks().await;
        let remembered = clock.failures.remembered();
        for n in 0..1_000 {
            assert!(clock.begin(&format!("new{n}"), "2001:db8:0:1::1").await.is_err());
        }
        clock.failures.buckets.run_pending_tasks().await;
        assert_eq!(clock.failures.remembered(), remembered, "a blocked address makes nothing to remember");
    }

    #[tokio::test]
    async fn clients_without_an_address_do_not_answer_for_each_other() {
        let clock = Clock::new();
        for n in 0..300 {
            clock.fail(&format!("nobody{n}"), "", 1).await;
        }
        clock.fail("ann", "", 11).await;
        assert!(clock.begin("ann", "").await.is_err());
        assert!(clock.begin("bob", "").await.is_ok());
    }

    #[tokio::test]
    async fn of_many_at_once_no_more_pass_than_of_as_many_in_a_row() {
        let clock = Clock::new();
        let at_once: Vec<_> =
            futures_util::future::join_all((0..50).map(|_| clock.begin("ann", "192.0.2.1"))).await;
        assert_eq!(at_once.iter().filter(|attempt| attempt.is_ok()).count(), 11);
    }

    #[tokio::test]
    async fn a_right_password_is_no_failure() {
        let clock = Clock::new();
        for _ in 0..300 {
            clock.begin("ann", "192.0.2.1").await.unwrap().take_back();
        }
        clock.fail("ann", "192.0.2.1", 10).await;
        clock.begin("ann", "192.0.2.1").await.unwrap().take_back();
        assert!(clock.begin("ann", "192.0.2.1").await.is_ok(), "the pause that it began is over");
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded_and_the_oldest_gives_way() {
        let mut clock = Clock::new();
        clock.failures = Failures::with_capacity(100);
        for n in 0..5_000 {
            clock.fail(&format!("nobody{n}"), "", 1).await;
        }
        clock.fail("ann", "", 11).await;
        clock.failures.buckets.run_pending_tasks().await;
        assert!(clock.failures.remembered() <= 100);
        assert!(clock.failures.evicted() >= 4_900);
        assert!(clock.begin("ann", "").await.is_err());
    }
}
