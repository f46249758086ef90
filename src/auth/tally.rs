//! What happens often, told seldom: occurrences of the same thing are counted and handed out together.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use time::OffsetDateTime;

/// Things that are told apart. When there are as many, others are only counted.
const KEYS_MAX: usize = 1_000;
/// How often the same thing is told.
const TELL_EVERY: Duration = Duration::from_mins(1);
/// Things that are told one by one in that time; the rest is told as one.
const TOLD_MAX: u32 = 60;

/// Something that happened, perhaps more than once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrences<K> {
    /// `None`: various things, too many to be told one by one.
    pub what: Option<K>,
    pub times: Times,
}

/// How often, since it was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub count: u64,
    pub first_at: OffsetDateTime,
    pub last_at: OffsetDateTime,
    /// Why, the last time.
    pub reason: &'static str,
}

/// Noting costs a look-up in memory that is bounded, so a request may do it.
pub(super) struct Tally<K>(Mutex<State<K>>);

struct State<K> {
    by_key: HashMap<K, Thing>,
    others: Thing,
    /// When the current minute began, and how much was told in it.
    minute: Option<Instant>,
    told: u32,
}

#[derive(Default)]
struct Thing {
    untold: Option<Times>,
    told_at: Option<Instant>,
}

impl<K: Eq + Hash + Clone> Tally<K> {
    pub(super) fn new() -> Self {
        let state = State { by_key: HashMap::new(), others: Thing::default(), minute: None, told: 0 };
        Self(Mutex::new(state))
    }

    pub(super) fn note(&self, what: K, reason: &'static str, at: OffsetDateTime) {
        let mut state = self.lock();
        let times = Times { count: 1, first_at: at, last_at: at, reason };
        if state.by_key.len() < KEYS_MAX || state.by_key.contains_key(&what) {
            state.by_key.entry(what).or_default().add(times);
        } else {
            state.others.add(times);
        }
    }

    /// Takes what is to be told now: what is new at once, the same again a minute later.
    pub(super) fn take_due(&self, now: Instant) -> Vec<Occurrences<K>> {
        self.take(now, |thing| thing.is_due(now))
    }

    /// Takes all that was not told yet, before the process ends.
    pub(super) fn take_all(&self, now: Instant) -> Vec<Occurrences<K>> {
        self.take(now, |_| true)
    }

    fn take(&self, now: Instant, is_due: impl Fn(&Thing) -> bool) -> Vec<Occurrences<K>> {
        let mut state = self.lock();
        let State { by_key, others, minute, told } = &mut *state;
        if minute.is_none_or(|began| now.saturating_duration_since(began) >= TELL_EVERY) {
            (*minute, *told) = (Some(now), 0);
        }
        let mut taken = Vec::new();
        by_key.retain(|what, thing| {
            let is_due = is_due(thing);
            match thing.untold.take_if(|_| is_due) {
                Some(times) if *told < TOLD_MAX => {
                    taken.push(Occurrences { what: Some(what.clone()), times });
                    *told += 1;
                    thing.told_at = Some(now);
                    true
                }
                Some(times) => {
                    others.add(times);
                    false
                }
                // What did not happen for a minute is forgotten, which bounds the map.
                None => !is_due,
            }
        });
        let is_due = is_due(others);
        if let Some(times) = others.untold.take_if(|_| is_due) {
            taken.push(Occurrences { what: None, times });
            others.told_at = Some(now);
        }
        taken
    }

    /// A panic cannot leave the map half changed.
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Thing {
    fn add(&mut self, more: Times) {
        self.untold = Some(match self.untold {
            None => more,
            Some(times) => Times {
                count: times.count + more.count,
                first_at: times.first_at.min(more.first_at),
                last_at: times.last_at.max(more.last_at),
                reason: more.reason,
            },
        });
    }

    fn is_due(&self, now: Instant) -> bool {
        self.told_at.is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn told(taken: Vec<Occurrences<u64>>) -> Vec<(Option<u64>, u64)> {
        let mut told: Vec<_> = taken.into_iter().map(|it| (it.what, it.times.count)).collect();
        told.sort_unstable();
        told
    }

    #[test]
    fn what_goes_on_is_told_at_once_and_then_once_a_minute_and_nothing_is_missed() {
        let (tally, start) = (Tally::new(), Instant::now());
        let mut seen = Vec::new();
        for second in 0..150 {
            tally.note(7, "wrong", at(second));
            let now = start + Duration::from_secs(second);
            seen.extend(tally.take_due(now).into_iter().map(|it| (second, it.times)));
        }
        seen.extend(tally.take_all(start + Duration::from_secs(150)).into_iter().map(|it| (150, it.times)));
        let counts: Vec<_> = seen.iter().map(|(second, times)| (*second, times.count)).collect();
        assert_eq!(counts, [(0, 1), (60, 60), (120, 60), (150, 29)]);
        assert_eq!((seen[1].1.first_at, seen[1].1.last_at), (at(1), at(60)));
    }

    #[test]
    fn a_flood_of_different_things_is_told_in_sixty_and_one_a_minute() {
        let (tally, start) = (Tally::new(), Instant::now());
        let (mut one_by_one, mut summed_up, mut summaries) = (0, 0, 0);
        for second in 0..120 {
            for n in 0..5_000 {
                tally.note(second * 5_000 + n, "wrong", at(second));
            }
            assert!(tally.lock().by_key.len() <= KEYS_MAX);
            for (what, count) in told(tally.take_due(start + Duration::from_secs(second))) {
                match what {
                    Some(_) => one_by_one += count,
                    None => (summed_up, summaries) = (summed_up + count, summaries + 1),
                }
            }
        }
        assert_eq!((one_by_one, summaries), (120, 2));
        for (what, count) in told(tally.take_all(start + Duration::from_secs(120))) {
            *(if what.is_some() { &mut one_by_one } else { &mut summed_up }) += count;
        }
        assert_eq!(one_by_one + summed_up, 600_000);
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let (tally, start) = (Tally::new(), Instant::now());
        tally.note(1, "wrong", at(0));
        assert_eq!(told(tally.take_due(start)), [(Some(1), 1)]);
        assert_eq!(tally.lock().by_key.len(), 1);
        tally.take_due(start + TELL_EVERY);
        assert_eq!(tally.lock().by_key.len(), 0);
    }
}
