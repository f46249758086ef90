//! When tokens were used last, gathered here so that no request writes to the database.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use time::{Duration, OffsetDateTime};

use crate::store::principals::tokens::TokenUse;

/// A token in steady use is written this often.
const WRITE_EVERY: Duration = Duration::MINUTE;

#[derive(Default)]
pub(super) struct TokenUses(Mutex<HashMap<(i32, i64), Use>>);

struct Use {
    at: OffsetDateTime,
    written_at: Option<OffsetDateTime>,
}

impl Use {
    fn is_unwritten(&self) -> bool {
        self.written_at.is_none_or(|written| self.at > written)
    }
}

impl TokenUses {
    pub(super) fn note(&self, tenant_id: i32, token_id: i64, at: OffsetDateTime) {
        self.lock().entry((tenant_id, token_id)).or_insert(Use { at, written_at: None }).at = at;
    }

    /// Takes what has to be written now: a first use at once, later ones once a minute.
    pub(super) fn take_due(&self, now: OffsetDateTime) -> Vec<TokenUse> {
        self.take(now, |used| used.written_at.is_none_or(|written| now - written >= WRITE_EVERY))
    }

    /// Takes all that is not written yet, before the process ends.
    pub(super) fn take_all(&self, now: OffsetDateTime) -> Vec<TokenUse> {
        self.take(now, |_| true)
    }

    fn take(&self, now: OffsetDateTime, is_due: impl Fn(&Use) -> bool) -> Vec<TokenUse> {
        let mut due = Vec::new();
        self.lock().retain(|(tenant_id, token_id), used| {
            let (is_due, is_unwritten) = (is_due(used), used.is_unwritten());
            if is_due && is_unwritten {
                due.push(TokenUse { tenant_id: *tenant_id, token_id: *token_id, at: used.at });
                used.written_at = Some(now);
            }
            // A token that was idle for the whole minute is forgotten, which bounds the map.
            is_unwritten || !is_due
        });
        due
    }

    /// A panic cannot leave the map half changed, so a poisoned lock is as good as another.
    fn lock(&self) -> MutexGuard<'_, HashMap<(i32, i64), Use>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::seconds(seconds)
    }

    fn taken(uses: &[TokenUse]) -> Vec<i64> {
        uses.iter().map(|used| (used.at - OffsetDateTime::UNIX_EPOCH).whole_seconds()).collect()
    }

    #[test]
    fn a_token_in_steady_use_is_written_at_once_and_then_once_a_minute() {
        let uses = TokenUses::default();
        let mut written = Vec::new();
        for second in 0..150 {
            uses.note(1, 1, at(second));
            written.extend(taken(&uses.take_due(at(second))));
        }
        assert_eq!(written, [0, 60, 120]);
    }

    #[test]
    fn the_last_use_before_a_pause_is_written_too() {
        let uses = TokenUses::default();
        uses.note(1, 1, at(0));
        assert_eq!(taken(&uses.take_due(at(0))), [0]);
        uses.note(1, 1, at(5));
        assert!(uses.take_due(at(6)).is_empty());
        assert_eq!(taken(&uses.take_due(at(60))), [5]);
    }

    #[test]
    fn nothing_is_lost_when_the_process_ends() {
        let uses = TokenUses::default();
        uses.note(1, 1, at(0));
        uses.take_due(at(0));
        uses.note(1, 1, at(5));
        uses.note(2, 9, at(6));
        let mut last = taken(&uses.take_all(at(7)));
        last.sort_unstable();
        assert_eq!(last, [5, 6]);
    }

    #[test]
    fn idle_tokens_are_forgotten() {
        let uses = TokenUses::default();
        uses.note(1, 1, at(0));
        uses.take_due(at(0));
        assert_eq!(uses.lock().len(), 1);
        uses.take_due(at(61));
        assert_eq!(uses.lock().len(), 0);
    }
}
