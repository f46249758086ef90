//! The incident: an account is guessed, made an admin, used to carry data away, and locked.

use serde_json::json;

use super::draft::Draft;
use super::people::{ADMIN, VICTIM};
use super::random::Random;
use super::{DAY, DAYS, HOUR, MINUTE, SECOND, Story};
use crate::event::Timestamp;

/// Nobody else of the story comes from there.
pub(super) const NETWORK: &str = "203.0.113.0/24";
pub(super) const GUESSES: usize = 32;
/// All events, from the first guess to the end.
pub(super) const EVENTS: usize = GUESSES + 11;
const AGENT: &str = "python-requests/2.32.3";

pub(super) struct Incident {
    /// When it begins, in microseconds since 1970.
    at: i64,
    /// What its events have in common.
    pub(super) correlation_id: String,
}

/// The event that a story begins with, which says what all of it is.
pub(super) fn opening(story: &Story) -> Draft {
    let message = "The events of this log are made up, by `eventlogger sample`, for trying queries.";
    Draft::new(story.begin.as_micros(), "sample_begins", "system", "eventlogger", message)
        .level("NOTICE")
        .outcome("success")
        .data(json!({ "seed": story.seed, "days": DAYS }))
}

impl Incident {
    /// In the night before yesterday, at the end of the story.
    pub(super) fn new(seed: u64, end: Timestamp) -> Self {
        let midnight = end.as_micros().div_euclid(DAY) * DAY;
        let number = Random::new(seed, u64::MAX).next();
        let correlation_id = format!("inc-{:06x}", number & 0xff_ffff);
        Self { at: midnight - 2 * DAY + 2 * HOUR + 13 * MINUTE, correlation_id }
    }

    /// From when to when it was, in whole hours.
    pub(super) fn span(&self) -> (Timestamp, Timestamp) {
        let hour = self.at / HOUR * HOUR;
        let at = |micros| Timestamp::from_micros(micros).unwrap_or(Timestamp::MIN);
        (at(hour), at(hour + 6 * HOUR))
    }

    pub(super) fn drafts(&self) -> Vec<Draft> {
        let mut drafts: Vec<_> = (0..GUESSES).map(|n| self.guess(n)).collect();
        drafts.extend(self.break_in());
        drafts.extend(self.response());
        drafts
    }

    fn draft(&self, after: i64, event_type: &str, user: &str, source: &str, message: &str) -> Draft {
        Draft::new(self.at + after, event_type, user, source, message).correlation(&self.correlation_id)
    }

    fn guess(&self, n: usize) -> Draft {
        let attempt = n as i64;
        let message = format!("{} could not log in: wrong password", VICTIM.name);
        self.draft(attempt * 2 * SECOND + attempt * 37_000, "login", VICTIM.login, "web", &message)
            .level("WARN")
            .outcome("failure")
            .target(format!("user/{}", VICTIM.login))
            .ip(format!("203.0.113.{}", 10 + n % 5))
            .data(json!({
                "reason": "wrong_password",
                "attempt": n + 1,
                "client": { "agent": AGENT },
                "tags": ["login", "guessing"],
            }))
    }

    /// As the one whose account it is, from the attacker's network.
    fn break_in(&self) -> [Draft; 4] {
        let by = |after, event_type, source, message| {
            self.draft(after, event_type, VICTIM.login, source, message).ip("203.0.113.14")
        };
        let user = format!("user/{}", VICTIM.login);
        [
            by(71 * SECOND, "login", "web", "Emma Larsen logged in from a network never seen before")
                .level("NOTICE")
                .outcome("success")
                .target(&*user)
                .data(json!({ "client": { "agent": AGENT }, "new_network": true, "tags": ["login"] })),
            by(4 * MINUTE, "role_granted", "admin", "Emma Larsen was made an admin by Emma Larsen")
                .level("WARN")
                .outcome("success")
                .target(&*user)
                .data(
                    json!({ "changes": { "role": { "from": "support", "to": "admin" } }, "tags": ["roles"] }),
                ),
            by(9 * MINUTE, "export", "api", "Emma Larsen exported all 48210 customers as CSV")
                .level("WARN")
                .outcome("success")
                .target("customers")
                .data(json!({
                    "rows": 48_210, "bytes": 31_842_907, "format": "csv", "tags": ["export", "personal-data"],
                })),
            by(13 * MINUTE, "access_denied", "billing", "Emma Larsen may not read the payout accounts")
                .level("ERROR")
                .outcome("denied")
                .target("payout-accounts")
                .data(json!({ "needed_role": "finance", "had_roles": ["support", "admin"] })),
        ]
    }

    fn response(&self) -> [Draft; 7] {
        let by_system =
            |after, event_type, message| self.draft(after, event_type, "system", "admin", message);
        let by_admin = |after, event_type, message| {
            self.draft(after, event_type, ADMIN.login, "admin", message)
                .level("NOTICE")
                .outcome("success")
                .ip(ADMIN.ip)
        };
        let user = format!("user/{}", VICTIM.login);
        let attack = json!({ "network": NETWORK, "tags": ["alert"] });
        let role = json!({ "changes": { "role": { "from": "admin", "to": "support" } }, "tags": ["roles"] });
        [
            by_system(
                13 * MINUTE + SECOND,
                "alert_raised",
                "An account may have been taken over: emma.larsen",
            )
            .level("CRITICAL")
            .outcome("unknown")
            .target(&*user)
            .data(attack),
            by_system(13 * MINUTE + 3 * SECOND, "account_locked", "Emma Larsen was locked out")
                .level("ERROR")
                .outcome("success")
                .target(&*user)
                .data(json!({ "reason": "suspicious_activity", "sessions_ended": 1 })),
            by_admin(3 * HOUR, "role_revoked", "Emma Larsen is no admin any more").target(&*user).data(role),
            by_admin(3 * HOUR + 2 * MINUTE, "sessions_revoked", "All sessions of Emma Larsen were ended")
                .target(&*user)
                .data(json!({ "sessions_ended": 2 })),
            by_admin(3 * HOUR + 5 * MINUTE, "network_blocked", "The attacker's network was blocked")
                .target(format!("network/{NETWORK}"))
                .data(json!({ "network": NETWORK })),
            by_admin(3 * HOUR + 20 * MINUTE, "password_reset", "Emma Larsen got a new password, by phone")
                .target(&*user),
            by_admin(3 * HOUR + 40 * MINUTE, "incident_closed", "Customers and the authority are informed")
                .target(format!("incident/{}", self.correlation_id))
                .data(json!({ "records_exposed": 48_210, "tags": ["personal-data"] })),
        ]
    }
}
