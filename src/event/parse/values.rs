//! Values of the typed fields, and what is said when they are wrong.

use std::net::IpAddr;

use crate::event::fields::{Field, nearest_name};
use crate::event::invalid::{Invalid, pointer_to, quoted};
use crate::event::{Level, Outcome, Timestamp};
use crate::json;

/// Types with this prefix are the service's own.
const RESERVED_PREFIX: &str = "eventlogger.";

/// The text of a string field, within the field's length.
pub(super) fn text(field: Field, key: &str, raw: &[u8]) -> Result<String, Invalid> {
    let raw_text = str::from_utf8(raw).ok().filter(|raw| raw.starts_with('"'));
    let Some(text) = raw_text.map(json::decode) else {
        return Err(wrong_type(field, key, raw));
    };
    check_length(field, key, &text)?;
    Ok(text.into_owned())
}

fn wrong_type(field: Field, key: &str, raw: &[u8]) -> Invalid {
    let found = json::kind_name(raw);
    let invalid = Invalid::new("wrong_type", pointer_to(key), format!("expected a string, found {found}"));
    match (field, raw) {
        (Field::Timestamp, _) => invalid.hint(TIMESTAMP_HINT),
        (Field::Level, _) => invalid.hint(level_names()),
        (_, [b'-' | b'0'..=b'9', ..]) => invalid.hint("write the number in double quotes"),
        (_, [b'{' | b'[', ..]) => invalid.hint("structured values belong into event_data"),
        _ => invalid,
    }
}

fn check_length(field: Field, key: &str, text: &str) -> Result<(), Invalid> {
    let required = matches!(field, Field::EventType | Field::UserIdentity | Field::IdempotencyKey);
    if required && text.is_empty() {
        return Err(Invalid::new("empty", pointer_to(key), "expected a string that is not empty"));
    }
    let max = field.max_chars().unwrap_or(usize::MAX);
    // Counting characters is needed only where the bytes alone do not decide.
    if text.len() > max && text.chars().count() > max {
        let detail = format!("{} characters; the limit is {max}", text.chars().count());
        return Err(
            Invalid::new("too_long", pointer_to(key), detail).hint("longer texts belong into event_data")
        );
    }
    Ok(())
}

pub(super) fn event_type(key: &str, text: String) -> Result<String, Invalid> {
    if text.starts_with(RESERVED_PREFIX) {
        let detail = format!("types that start with `{RESERVED_PREFIX}` are the service's own");
        return Err(
            Invalid::new("reserved_event_type", pointer_to(key), detail).hint("choose another prefix")
        );
    }
    Ok(text)
}

const TIMESTAMP_HINT: &str = "write RFC 3339, such as \"2026-11-21T08:30:00Z\", or leave it out for now";

pub(super) fn timestamp(key: &str, text: &str) -> Result<Timestamp, Invalid> {
    Timestamp::parse(text).map_err(|expected| {
        let detail = format!("{expected}, found {}", quoted(text));
        Invalid::new("invalid_timestamp", pointer_to(key), detail).hint(TIMESTAMP_HINT)
    })
}

pub(super) fn level(key: &str, text: &str) -> Result<Level, Invalid> {
    Level::parse(text).ok_or_else(|| {
        let detail = format!("unknown level {}", quoted(text));
        Invalid::new("invalid_level", pointer_to(key), detail).hint(level_names())
    })
}

fn level_names() -> String {
    format!("levels are {}", Level::ALL.map(Level::name).join(", "))
}

pub(super) fn outcome(key: &str, text: &str) -> Result<Outcome, Invalid> {
    Outcome::parse(text).ok_or_else(|| {
        let names = Outcome::ALL.map(Outcome::name);
        let hint = match nearest_name(text, names) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("outcomes are {}", names.join(", ")),
        };
        let detail = format!("unknown outcome {}", quoted(text));
        Invalid::new("invalid_outcome", pointer_to(key), detail).hint(hint)
    })
}

pub(super) fn ip(key: &str, text: &str) -> Result<IpAddr, Invalid> {
    let parsed: Result<IpAddr, _> = text.parse();
    parsed.map(|ip| ip.to_canonical()).map_err(|_| {
        let detail = format!("expected an IPv4 or IPv6 address, found {}", quoted(text));
        let hint = "write the address alone, without mask, zone, port or brackets";
        Invalid::new("invalid_ip", pointer_to(key), detail).hint(hint)
    })
}

pub(super) fn missing(field: Field) -> Invalid {
    let name = field.name();
    let hint = match field {
        Field::UserIdentity => "say who did it; \"system\" or \"anonymous\" where there is nobody",
        _ => "say what happened, such as \"login\"",
    };
    Invalid::new("missing_field", pointer_to(name), format!("`{name}` is required")).hint(hint)
}

pub(super) fn given_twice(field: Field, before: &str, key: &str) -> Invalid {
    let detail = match before == key {
        true => format!("`{key}` is given twice"),
        false => format!("`{before}` and `{key}` are two names of `{}`", field.name()),
    };
    Invalid::new("duplicate_field", pointer_to(key), detail).hint("keep one of them")
}

/// The key of a header, beside the one of the body if there is one.
pub(in crate::event) fn idempotency_key(in_body: Option<&str>, key: &str) -> Result<String, Invalid> {
    let field = Field::IdempotencyKey;
    check_length(field, field.name(), key)?;
    match in_body {
        Some(in_body) if in_body != key => {
            let detail = "the Idempotency-Key header and the body's `idempotency_key` differ";
            Err(Invalid::new("duplicate_field", pointer_to(field.name()), detail).hint("keep one of them"))
        }
        _ => Ok(key.to_owned()),
    }
}
