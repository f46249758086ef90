//! Where argon2 runs.
//!
//! A check costs tens of milliseconds and 19 MiB by design, so whoever sends wrong passwords could
//! otherwise take all of the machine. A fixed number of checks runs at a time, a fixed number waits, the
//! rest are told to come back. Those that run take what the others leave of the processor: recording goes first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::AuthError;
use super::password::Hasher;

const RETRY_AFTER_SECONDS: u32 = 1;
/// A tenth of the weight of other threads, where there is not enough for all.
const NICENESS: i32 = 10;

/// How a check gets its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// Anybody: refused as busy when too many wait.
    Bounded,
    /// A credential that was right not long ago: waits its turn, so that a flood of wrong passwords
    /// cannot turn away those who are already at work.
    Always,
}

/// Leave to be checked.
pub(super) struct Place {
    /// Given back on drop.
    #[expect(dead_code, reason = "held, not read")]
    admitted: Option<OwnedSemaphorePermit>,
}

/// The slots that all checks of this process share.
pub(super) struct Slots {
    /// One permit for each check that runs or waits in the bounded queue.
    admitted: Arc<Semaphore>,
    hashers: Arc<Hashers>,
    runs: AtomicU64,
}

impl Slots {
    pub(super) fn new(slots: usize, queue: usize) -> Slots {
        Slots {
            admitted: Arc::new(Semaphore::new(slots + queue)),
            hashers: Arc::new(Hashers {
                slots,
                running: Arc::new(Semaphore::new(slots)),
                spare: Mutex::default(),
            }),
            runs: AtomicU64::new(0),
        }
    }

    /// How many argon2 computations were started.
    pub(super) fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// A place among those that are checked, to be had before anything is looked up: whoever is turned away
    /// costs the database nothing either.
    pub(super) fn enter(&self, queue: Queue) -> Result<Place, AuthError> {
        let admitted = match queue {
            Queue::Always => None,
            Queue::Bounded => Some(
                Arc::clone(&self.admitted)
                    .try_acquire_owned()
                    .map_err(|_| AuthError::Busy { retry_after: RETRY_AFTER_SECONDS })?,
            ),
        };
        Ok(Place { admitted })
    }

    /// Runs one argon2 computation. The permits travel with it: a caller that goes away cannot free a
    /// slot while its computation still runs.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        place: Place,
        work: impl FnOnce(&mut Hasher) -> T + Send + 'static,
    ) -> Result<T, AuthError> {
        let running = Arc::clone(&self.hashers.running);
        let slot = running.acquire_owned().await.map_err(|_closed| AuthError::Unavailable)?;
        self.runs.fetch_add(1, Ordering::Relaxed);
        let hashers = Arc::clone(&self.hashers);
        let (answer, done) = oneshot::channel();
        // A thread of its own: what was once made nicer can never be made less so.
        std::thread::Builder::new()
            .name("argon2".to_owned())
            .spawn(move || {
                let _place = place;
                // Where that is forbidden, it runs like any other.
                let _ = rustix::process::nice(NICENESS);
                let mut hasher = hashers.take();
                let done = work(&mut hasher);
                hashers.give_back(hasher, slot);
                // Whoever asked may have gone.
                let _ = answer.send(done);
            })
            .map_err(|error| {
                tracing::error!(%error, "no thread to check a password");
                AuthError::Unavailable
            })?;
        done.await.map_err(|_panicked| AuthError::Unavailable)
    }
}

/// Hashers go from check to check while there is work, and are freed when there is none: an idle server
/// keeps nothing of their memory.
struct Hashers {
    slots: usize,
    running: Arc<Semaphore>,
    spare: Mutex<Vec<Hasher>>,
}

impl Hashers {
    fn take(&self) -> Hasher {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, hasher: Hasher, slot: OwnedSemaphorePermit) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.push(hasher);
        // A permit goes straight to whoever waits; so if all are here now, nobody runs and nobody waits.
        drop(slot);
        if self.running.available_permits() == self.slots {
            *spare = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn more_than_the_queue_holds_is_turned_away_at_once() {
        let slots = Arc::new(Slots::new(1, 2));
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let first = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { slots.run(slots.enter(Queue::Bounded)?, move |_| blocked.recv()).await }
        });
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let slots = Arc::clone(&slots);
                tokio::spawn(async move { slots.run(slots.enter(Queue::Bounded)?, |_| ()).await })
            })
            .collect();
        while slots.admitted.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(slots.enter(Queue::Bounded).err(), Some(AuthError::Busy { retry_after: 1 }));
        let known = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { slots.run(slots.enter(Queue::Always)?, |_| ()).await }
        });

        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(Ok(())));
        for check in waiting {
            assert_eq!(check.await.unwrap(), Ok(()));
        }
        assert_eq!(known.await.unwrap(), Ok(()));
        assert_eq!(slots.runs(), 4);
        assert!(slots.hashers.spare.lock().unwrap().is_empty(), "an idle server keeps no memory");
    }
}
