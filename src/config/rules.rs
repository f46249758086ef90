//! What a value must be: each key's rule, and the rules that tie keys together.

use std::ops::RangeInclusive;

use config::ValueKind;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::{Config, ConfigError, Fault, Server};
use crate::event::nearest_name;
use crate::server::address::ListenAddress;
use crate::server::forwarded::TrustedProxy;
use crate::tlog::SigningKey;

const KIB: i64 = 1024;
const MIB: i64 = 1024 * KIB;
const GIB: i64 = 1024 * MIB;

enum Rule {
    Integer(RangeInclusive<i64>),
    Boolean,
    Text,
    /// Text that is never shown, and what it must look like.
    Secret(fn(&str) -> bool, &'static str),
    Form(fn(&str) -> bool, &'static str),
    /// A list whose items each have this form.
    List(fn(&str) -> bool, &'static str),
    /// A list of some of these words.
    Words(&'static [&'static str]),
}

use Rule::{Boolean, Form, Integer, List, Secret, Text, Words};

fn rule(key: &str) -> Option<Rule> {
    Some(match key {
        "data_dir" | "database.pg_bin" | "server.tls_certificate" | "server.tls_key" => Text,
        "admin_user" => {
            Form(|text| (1..=256).contains(&text.chars().count()), "a name of 1 to 256 characters")
        }
        "admin_password" => Secret(|text| text.len() <= 1024, "text of at most 1024 bytes"),
        "server.listen" => List(|text| text.parse::<ListenAddress>().is_ok(), ListenAddress::FORM),
        "server.trusted_proxies" => List(|text| text.parse::<TrustedProxy>().is_ok(), TrustedProxy::FORM),
        "server.cors_origins" => List(is_web_origin, "an origin such as https://audit.example.org"),
        "server.head_timeout_seconds"
        | "server.request_timeout_seconds"
        | "server.write_timeout_seconds"
        | "server.idle_timeout_seconds" => Integer(1..=3600),
        "server.connections" | "server.connections_per_address" => Integer(1..=1_000_000),
        "server.shutdown_grace_seconds" => Integer(0..=3600),
        "database.url" => Secret(is_database_url, "empty or a URL beginning with postgres://"),
        "database.password" => Secret(|_| true, "text"),
        "database.cluster_options" => List(is_assignment, "name=value, such as shared_buffers=512MB"),
        "database.ingest_connections" | "database.query_connections" | "database.control_connections" => {
            Integer(1..=1000)
        }
        "database.connect_timeout_seconds" | "database.query_timeout_seconds" => Integer(1..=3600),
        "database.unsafe_allow_volatile" => Boolean,
        "ingest.queue_events_per_tenant" => Integer(1..=10_000_000),
        "ingest.queue_bytes_per_tenant" | "ingest.queue_bytes" => Integer(MIB..=64 * GIB),
        "ingest.answer_timeout_seconds" => Integer(1..=3600),
        "integrity.origin" => Form(
            is_origin,
            "empty, or a name of at most 200 characters without blanks or +, such as example.org/audit",
        ),
        "integrity.signing_key" => Secret(is_signing_key, "empty, or a key that begins with PRIVATE+KEY+"),
        "integrity.second_latch_dir" => Text,
        "integrity.heartbeat_seconds" => Integer(0..=31_536_000),
        "limits.event_body_bytes" => Integer(KIB..=16 * MIB),
        "limits.batch_body_bytes" => Integer(KIB..=GIB),
        "limits.query_body_bytes" => Integer(KIB..=64 * KIB),
        "limits.bodies_bytes" => Integer(MIB..=64 * GIB),
        "limits.body_min_bytes_per_second" => Integer(0..=GIB),
        "limits.batch_events" => Integer(1..=10_000),
        "limits.url_bytes" => Integer(KIB..=8 * KIB),
        // Another instance may change a password; no answer may rest on the old one for longer.
        "auth.cache_seconds" => Integer(0..=60),
        "auth.argon2_slots" => Integer(0..=1024),
        "auth.argon2_queue" => Integer(0..=100_000),
        "access.record" => Words(&["changes", "denials", "failures", "lifecycle"]),
        "log.format" => Form(|text| matches!(text, "auto" | "json" | "pretty"), "auto, json or pretty"),
        "log.filter" => Form(is_log_filter, "a level, or a list such as info,eventlogger::ingest=debug"),
        "partitions.ahead" => Integer(2..=24),
        _ => return None,
    })
}

/// Checks one value against its key's rule; the error says what was found and what is expected.
pub(super) fn check(key: &str, value: &ValueKind) -> Result<(), String> {
    let rule = rule(key).ok_or_else(|| format!("`{key}` has no rule"))?;
    let found = if matches!(rule, Secret(..)) { "not that (and not shown)".to_owned() } else { shown(value) };
    let (right, expected) = match (rule, value) {
        (Integer(range), ValueKind::I64(number)) => (range.contains(number), integer(&range)),
        (Integer(range), _) => (false, integer(&range)),
        (Boolean, value) => (matches!(value, ValueKind::Boolean(_)), "true or false".to_owned()),
        (Text, value) => (matches!(value, ValueKind::String(_)), "text".to_owned()),
        (Secret(is, what) | Form(is, what), ValueKind::String(text)) => (is(text), what.to_owned()),
        (Secret(_, what) | Form(_, what), _) => (false, what.to_owned()),
        (List(is, what), ValueKind::Array(items)) => {
            let right = items.iter().all(|item| matches!(&item.kind, ValueKind::String(text) if is(text)));
            (right, format!("a list, each item {what}"))
        }
        (List(_, what), _) => (false, format!("a list, each item {what}")),
        (Words(known), value) => words(known, value),
    };
    if right { Ok(()) } else { Err(format!("`{key}` is {found}; expected {expected}")) }
}

fn words(known: &[&str], value: &ValueKind) -> (bool, String) {
    let expected = format!("a list of some of {}", known.join(", "));
    let ValueKind::Array(items) = value else { return (false, expected) };
    let texts = items.iter().map(|item| if let ValueKind::String(text) = &item.kind { text } else { "" });
    let Some(wrong) = texts.into_iter().find(|text| !known.contains(text)) else { return (true, expected) };
    match nearest_name(wrong, known.iter().copied()) {
        Some(near) => (false, format!("{expected}; did you mean {near:?}?")),
        None => (false, expected),
    }
}

fn integer(range: &RangeInclusive<i64>) -> String {
    format!("an integer from {} to {}", range.start(), range.end())
}

fn shown(value: &ValueKind) -> String {
    match value {
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| shown(&item.kind)).collect();
            format!("[{}]", items.join(", "))
        }
        ValueKind::Nil => "nothing".to_owned(),
        ValueKind::Table(_) => "a section".to_owned(),
        other => other.to_string(),
    }
}

/// As a name in a checkpoint, with room for a tenant and an epoch.
fn is_origin(text: &str) -> bool {
    text.len() <= 200
        && text.chars().all(|letter| letter.is_ascii_graphic() && letter != '+')
        && !text.ends_with('/')
}

fn is_signing_key(text: &str) -> bool {
    text.is_empty() || SigningKey::from_private_text(text.trim()).is_ok()
}

fn is_web_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', '?', '#', '@', ' ']))
}

fn is_database_url(text: &str) -> bool {
    text.is_empty() || text.starts_with("postgres://") || text.starts_with("postgresql://")
}

fn is_assignment(text: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c))
    };
    text.split_once('=').is_some_and(|(name, value)| is_name(name) && !value.is_empty())
}

/// `EnvFilter` would take a misspelt level for a target's name and log nothing else.
fn is_log_filter(text: &str) -> bool {
    let is_meant = |item: &str| item.contains('=') || item.parse::<LevelFilter>().is_ok();
    text.split(',').all(is_meant) && EnvFilter::try_new(text).is_ok()
}

fn check_server(server: &Server, require: &mut impl FnMut(bool, &str, String)) {
    let (certificate, key) = (server.tls_certificate.is_some(), server.tls_key.is_some());
    require(!server.listen.is_empty(), "server.listen", "`server.listen` names no address".into());
    require(
        key || !certificate,
        "server.tls_certificate",
        "`server.tls_certificate` needs `server.tls_key`, the file with its private key".into(),
    );
    require(
        certificate || !key,
        "server.tls_key",
        "`server.tls_key` needs `server.tls_certificate`, the file with the certificate".into(),
    );
    for address in server.listen.iter().filter(|address| address.is_https()) {
        require(
            certificate,
            "server.listen",
            format!(
                "{address} in `server.listen` needs a certificate; set `server.tls_certificate` and `server.tls_key`"
            ),
        );
    }
}

/// The rules between keys, and those that need the machine.
pub(super) fn check_together(config: &Config) -> Result<(), ConfigError> {
    let mut faults = Vec::new();
    let mut require = |right: bool, key: &str, detail: String| {
        if !right {
            faults.push(Fault { origin: config.origin(key).cloned(), detail });
        }
    };
    let (ingest, limits) = (&config.ingest, &config.limits);
    check_server(&config.server, &mut require);
    require(
        limits.bodies_bytes >= limits.batch_body_bytes,
        "limits.bodies_bytes",
        format!("`limits.bodies_bytes` cannot hold one batch; it needs at least {}", limits.batch_body_bytes),
    );
    require(
        ingest.queue_events_per_tenant >= limits.batch_events,
        "ingest.queue_events_per_tenant",
        format!(
            "`ingest.queue_events_per_tenant` cannot hold one batch; it needs at least {}",
            limits.batch_events
        ),
    );
    require(
        ingest.queue_bytes_per_tenant >= limits.batch_body_bytes,
        "ingest.queue_bytes_per_tenant",
        format!(
            "`ingest.queue_bytes_per_tenant` cannot hold one batch; it needs at least {}",
            limits.batch_body_bytes
        ),
    );
    require(
        ingest.queue_bytes >= ingest.queue_bytes_per_tenant,
        "ingest.queue_bytes",
        "`ingest.queue_bytes` is less than `ingest.queue_bytes_per_tenant`".into(),
    );
    if let Some(folder) = &config.database.pg_bin {
        let missing = ["postgres", "initdb"].into_iter().find(|name| !folder.join(name).is_file());
        let missing = missing.unwrap_or_default();
        require(
            missing.is_empty(),
            "database.pg_bin",
            format!(
                "{} has no `{missing}`; name the folder that holds PostgreSQL's server programs",
                folder.display()
            ),
        );
    }
    if faults.is_empty() { Ok(()) } else { Err(ConfigError(faults)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_key_has_a_rule_that_its_default_meets() {
        for (key, default) in super::super::layers::known().unwrap() {
            assert_eq!(check(&key, &default), Ok(()), "{key}");
        }
    }

    #[test]
    fn a_secret_is_not_shown_when_it_is_refused() {
        let error = check("database.url", &"mysql://root:hunter2@db".into()).unwrap_err();
        assert!(error.contains("postgres://") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_misspelt_word_of_a_list_is_brought_back() {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>().into();
        assert_eq!(check("access.record", &list(&[])), Ok(()));
        assert_eq!(check("access.record", &list(&["denials", "failures"])), Ok(()));
        let error = check("access.record", &list(&["denials", "failure"])).unwrap_err();
        assert!(error.contains("changes, denials, failures, lifecycle"), "{error}");
        assert!(error.contains("did you mean \"failures\"?"), "{error}");
        assert!(check("access.record", &"denials".into()).is_err());
    }

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        assert!(is_web_origin("https://audit.example.org") && is_web_origin("http://localhost:3000"));
        for wrong in ["*", "audit.example.org", "https://a.example/path", "https://*.example"] {
            assert!(!is_web_origin(wrong), "{wrong}");
        }
    }
}
