//! The service's own figures, in Prometheus' text format. Label values come from fixed sets: never a
//! tenant, a user or a path as it was requested.

use std::sync::atomic::Ordering;

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// One label set of [`Metrics::http_requests`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpRequest {
    pub method: &'static str,
    /// The operation id of the API document, or `other`.
    pub operation: &'static str,
    /// `2xx` and so on; `gone` if the client left before the answer.
    pub status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Operation {
    pub operation: &'static str,
}

/// Why an event was not recorded, as a problem code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    pub code: &'static str,
}

/// `accepted`, `rejected`, `throttled`, `busy` or `unavailable`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LoginOutcome {
    pub outcome: &'static str,
}

/// `replaced` or `refused`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReloadOutcome {
    pub outcome: &'static str,
}

/// `recorded`, or `lost` for good.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AccessOutcome {
    pub outcome: &'static str,
}

/// `ingest`, `query` or `control`; `idle` or `in_use`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PoolState {
    pub pool: &'static str,
    pub state: &'static str,
}

/// Most is counted where it happens. What other parts count themselves is mirrored before each scrape.
pub struct Metrics {
    registry: Registry,
    pub http_requests: Family<HttpRequest, Counter>,
    pub http_duration: Family<Operation, Histogram>,
    pub events_recorded: Counter,
    pub events_rejected: Family<Reason, Counter>,
    pub batches: Counter,
    pub batch_events: Histogram,
    pub commit_duration: Histogram,
    pub queue_events: Gauge,
    pub queue_bytes: Gauge,
    pub logins: Family<LoginOutcome, Counter>,
    pub argon2_runs: Counter,
    pub connections: Gauge,
    pub connections_turned_away: Counter,
    pub login_failures_remembered: Gauge,
    pub login_failures_evicted: Counter,
    pub access_events: Family<AccessOutcome, Counter>,
    pub pool_connections: Family<PoolState, Gauge>,
    /// Seconds since 1970; 0 without a certificate.
    pub certificate_not_after: Gauge,
    pub certificate_reloads: Family<ReloadOutcome, Counter>,
}

/// From half a millisecond to about sixteen seconds.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 16))
}

/// 1, 2, 4 … 16,384 events: a batch has at most 10,000.
fn batch_sizes() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 15))
}

impl Metrics {
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("eventlogger"),
            http_requests: Family::default(),
            http_duration: Family::new_with_constructor(durations),
            events_recorded: Counter::default(),
            events_rejected: Family::default(),
            batches: Counter::default(),
            batch_events: batch_sizes(),
            commit_duration: durations(),
            queue_events: Gauge::default(),
            queue_bytes: Gauge::default(),
            logins: Family::default(),
            argon2_runs: Counter::default(),
            connections: Gauge::default(),
            connections_turned_away: Counter::default(),
            login_failures_remembered: Gauge::default(),
            login_failures_evicted: Counter::default(),
            access_events: Family::default(),
            pool_connections: Family::default(),
            certificate_not_after: Gauge::default(),
            certificate_reloads: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("http_requests", "Requests answered", self.http_requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "Time to the head of the answer",
            Unit::Seconds,
            self.http_duration.clone(),
        );
        registry.register("events_recorded", "Events committed", self.events_recorded.clone());
        registry.register("events_rejected", "Events refused", self.events_rejected.clone());
        registry.register("commits", "Transactions that recorded events", self.batches.clone());
        registry.register("commit_events", "Events in one transaction", self.batch_events.clone());
        registry.register_with_unit(
            "commit_duration",
            "Time from the head lock to COMMIT",
            Unit::Seconds,
            self.commit_duration.clone(),
        );
        registry.register("queue_events", "Events waiting to be recorded", self.queue_events.clone());
        registry.register_with_unit(
            "queue",
            "Size of what waits to be recorded",
            Unit::Bytes,
            self.queue_bytes.clone(),
        );
        registry.register("logins", "Credentials checked", self.logins.clone());
        registry.register("argon2_runs", "Passwords hashed", self.argon2_runs.clone());
        registry.register("connections", "Connections of clients", self.connections.clone());
        registry.register(
            "connections_turned_away",
            "Connections for which there was no place",
            self.connections_turned_away.clone(),
        );
        registry.register(
            "login_failures_remembered",
            "Accounts and addresses whose failed logins are counted",
            self.login_failures_remembered.clone(),
        );
        registry.register(
            "login_failures_evicted",
            "Accounts and addresses that gave way to others",
            self.login_failures_evicted.clone(),
        );
        registry.register("access_events", "Events of the service itself", self.access_events.clone());
        registry.register("pool_connections", "Database connections", self.pool_connections.clone());
        registry.register_with_unit(
            "tls_certificate_not_after",
            "When the certificate in use expires, as a Unix time",
            Unit::Seconds,
            self.certificate_not_after.clone(),
        );
        registry.register(
            "tls_certificate_reloads",
            "Certificates taken into use, and attempts at it that were refused",
            self.certificate_reloads.clone(),
        );
    }

    /// The text of a scrape.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail; half a scrape would still be valid lines.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

/// Brings a counter up to a total that somebody else keeps.
pub fn mirror(counter: &Counter, total: u64) {
    counter.inner().store(total, Ordering::Relaxed);
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_shows_what_was_counted_with_units_in_the_names() {
        let metrics = Metrics::new();
        metrics.events_recorded.inc_by(3);
        mirror(&metrics.argon2_runs, 8);
        metrics.commit_duration.observe(0.004);
        metrics.queue_bytes.set(512);
        let request = HttpRequest { method: "POST", operation: "record_event", status: "2xx" };
        metrics.http_requests.get_or_create(&request).inc();

        let text = metrics.encode();
        for line in [
            "eventlogger_events_recorded_total 3",
            "eventlogger_argon2_runs_total 8",
            "eventlogger_commit_duration_seconds_count 1",
            "eventlogger_queue_bytes 512",
            "eventlogger_http_requests_total{method=\"POST\",operation=\"record_event\",status=\"2xx\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
