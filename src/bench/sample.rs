//! Events as an application would send them: twenty types, about 400 bytes of `event_data`.
//!
//! Event `n` is always the same one, so what was sent need not be kept to be checked. `pgbench_*.sql` makes
//! rows of the same shape.

use std::net::{IpAddr, Ipv4Addr};

pub(super) const EVENT_TYPES: [&str; 20] = [
    "login",
    "logout",
    "login_failed",
    "password_changed",
    "old_account",
    "account_opened",
    "account_closed",
    "payment_created",
    "payment_refunded",
    "invoice_sent",
    "order_placed",
    "order_shipped",
    "order_cancelled",
    "role_granted",
    "role_revoked",
    "file_uploaded",
    "file_deleted",
    "report_exported",
    "settings_changed",
    "api_key_created",
];
const SOURCES: [&str; 5] = ["billing-api", "web", "mobile", "backoffice", "batch-worker"];
const CITIES: [&str; 8] = ["Paris", "Lyon", "Berlin", "Madrid", "Rome", "Vienna", "Prague", "Lisbon"];

/// The parts of event `n`.
pub(super) struct Sample {
    pub(super) event_type: &'static str,
    pub(super) user_identity: String,
    pub(super) source: &'static str,
    pub(super) outcome: &'static str,
    pub(super) target: String,
    pub(super) message: String,
    pub(super) ip: IpAddr,
    pub(super) correlation_id: String,
    pub(super) payload: String,
}

impl Sample {
    pub(super) fn of(n: u64) -> Self {
        let random = scatter(n);
        let account = random % 50_000;
        let user = (random >> 16) % 5_000;
        let event_type = pick(&EVENT_TYPES, random >> 24);
        let ip = Ipv4Addr::from_bits(0x0a00_0000 | (random >> 40) as u32 & 0x00ff_ffff);
        Self {
            event_type,
            user_identity: format!("user{user}@example.com"),
            source: pick(&SOURCES, random >> 8),
            outcome: if random.is_multiple_of(20) { "failure" } else { "success" },
            target: format!("account/{account}"),
            message: format!("{event_type} of account {account} by user {user}"),
            ip: ip.into(),
            correlation_id: format!("{random:016x}"),
            payload: payload(n, random, account),
        }
    }

    /// The body of `POST /events`.
    pub(super) fn to_json(&self) -> String {
        let Self { event_type, user_identity, source, outcome, target, message, ip, correlation_id, payload } =
            self;
        format!(
            r#"{{"event_type":"{event_type}","user_identity":"{user_identity}","source":"{source}","outcome":"{outcome}","target":"{target}","message":"{message}","ip":"{ip}","correlation_id":"{correlation_id}","event_data":{payload}}}"#
        )
    }
}

fn payload(n: u64, random: u64, account: u64) -> String {
    let (city, cents, millis) = (pick(&CITIES, random >> 12), random % 90 + 10, (random >> 32) % 900);
    format!(
        r#"{{"account_id":{account},"email":"account{account}@example.com","session":"{random:016x}","amount":{millis}.{cents},"currency":"EUR","address":{{"city":"{city}","country":"EU","zip":"{:05}"}},"client":{{"agent":"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101","version":"4.12.0"}},"changes":{{"status":{{"from":"active","to":"closed"}}}},"tags":["billing","{city}"],"request":{{"method":"POST","number":{n},"duration_ms":{millis}}}}}"#,
        random % 100_000
    )
}

fn pick<const N: usize>(words: &[&'static str; N], random: u64) -> &'static str {
    words[(random % N as u64) as usize]
}

/// A number without pattern from one in order (the finaliser of SplitMix64).
pub(super) fn scatter(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::parse_event;

    #[test]
    fn samples_are_valid_events_of_the_promised_size() {
        let sizes: Vec<usize> = (0..1000)
            .map(|n| {
                let sample = Sample::of(n);
                let event = parse_event(sample.to_json().as_bytes()).unwrap();
                let payload = event.payload.unwrap();
                assert!(!payload.projection.lossy);
                assert_eq!(payload.bytes, sample.payload.as_bytes());
                payload.bytes.len()
            })
            .collect();
        let mean = sizes.iter().sum::<usize>() / sizes.len();
        assert!((380..=420).contains(&mean), "{mean}");
    }
}
