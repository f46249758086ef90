//! What the service's own events say.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::KEY_PREFIX;
use crate::auth::{DEFAULT_TENANT, Denial, FailedLogin, Occurrences, Times, Wanted};
use crate::event::{Field, Invalid, Level, NewEvent, Outcome, Payload, Timestamp};
use crate::store::service_events::ServiceEvent;
use crate::walk::{Report, Verdict};

pub(super) const SOURCE: &str = "eventlogger";
/// Whoever has no name, and whoever is several.
const ANONYMOUS: &str = "anonymous";
/// Findings that an event about a check repeats.
const FINDINGS_TOLD: usize = 20;
pub(super) const SYSTEM: &str = "system";

pub(super) type Refused = (Vec<Occurrences<FailedLogin>>, Vec<Occurrences<Denial>>);

/// This process, as its events tell of it.
#[derive(Clone, Debug)]
pub struct Instance {
    id: Uuid,
    host: String,
    listen: Vec<String>,
}

impl Instance {
    pub fn new(listen: &[SocketAddr]) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { id: Uuid::now_v7(), host, listen: listen.iter().map(ToString::to_string).collect() }
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    pub(super) fn started(&self) -> NewEvent {
        self.event("eventlogger.started", "started")
    }

    pub(super) fn stopped(&self) -> NewEvent {
        self.event("eventlogger.stopped", "stopped")
    }

    fn event(&self, event_type: &str, what: &str) -> NewEvent {
        let version = env!("CARGO_PKG_VERSION");
        let data = json!({
            "instance": self.id.to_string(),
            "version": version,
            "host": self.host,
            "pid": std::process::id(),
            "listen": self.listen,
        });
        NewEvent {
            level: Some(Level::Notice),
            outcome: Some(Outcome::Success),
            message: Some(text(Field::Message, format!("EventLogger {version} {what} on {}.", self.host))),
            payload: payload(&data),
            ..event(event_type, SYSTEM, OffsetDateTime::now_utc())
        }
    }
}

/// A row of `service_events`. The same row gives the same event, whoever makes it.
pub(super) fn change(row: ServiceEvent) -> Result<NewEvent, Invalid> {
    let payload = row.event_data.map(|data| Payload::parse(data.into_bytes())).transpose()?;
    Ok(NewEvent {
        level: Some(Level::Notice),
        outcome: Some(Outcome::Success),
        target: row.target.map(|target| text(Field::Target, target)),
        message: Some(text(Field::Message, row.message)),
        ip: row.ip.map(|network| network.ip().to_canonical()),
        payload,
        idempotency_key: Some(format!("{KEY_PREFIX}{}", row.service_event_id)),
        ..event(&row.event_type, &row.user_identity, row.at)
    })
}

pub(super) fn login_failed(failed: &Occurrences<FailedLogin>) -> NewEvent {
    let times = &failed.times;
    let mut data = times_data(times);
    let Some(login) = &failed.what else {
        let message = format!(
            "{} more logins failed, of too many names or from too many addresses to record each.",
            times.count
        );
        return refused("eventlogger.login_failed", ANONYMOUS, None, message, data, times);
    };
    data["credential"] = login.credential.into();
    let name = login.name.as_deref().unwrap_or(ANONYMOUS);
    let who = match (&login.name, login.tenant.as_str()) {
        (None, tenant) => format!("with a token of tenant `{tenant}`"),
        (Some(name), DEFAULT_TENANT) => format!("as `{name}`"),
        (Some(name), tenant) => format!("as `{tenant}/{name}`"),
    };
    let message = format!("{} {who}{} failed.", count(times.count, "login"), from(login.from));
    refused("eventlogger.login_failed", name, login.from, message, data, times)
}

pub(super) fn access_denied(denied: &Occurrences<Denial>) -> NewEvent {
    let times = &denied.times;
    let mut data = times_data(times);
    let Some(Denial { user, token_prefix, from: address, wanted, .. }) = &denied.what else {
        let message = format!("{} more requests were denied, too various to record each.", times.count);
        return refused("eventlogger.access_denied", ANONYMOUS, None, message, data, times);
    };
    if let Some(prefix) = token_prefix {
        data["token"] = prefix.as_str().into();
    }
    let why = match wanted {
        Wanted::Operation { operation, role } => {
            let role = role.map_or("any", |role| role.name());
            data["operation"] = operation.as_str().into();
            data["role"] = role.into();
            format!("{operation} needs the role {role}")
        }
        Wanted::Tenant(tenant) => {
            data["tenant"] = tenant.as_str().into();
            format!("only a superadmin may act in the tenant `{tenant}`")
        }
    };
    let message = format!("{} of `{user}`{} denied: {why}.", count(times.count, "request"), from(*address));
    refused("eventlogger.access_denied", user, *address, message, data, times)
}

/// That a whole log was checked, by whom and with what result.
pub fn log_checked(user: &str, report: &Report) -> NewEvent {
    let findings = report.findings_count();
    let (level, outcome, result) = match report.verdict() {
        Verdict::Verified => (Level::Notice, Outcome::Success, "verified".to_owned()),
        Verdict::Incomplete => (Level::Warn, Outcome::Unknown, "not everything could be checked".to_owned()),
        Verdict::Findings => (Level::Critical, Outcome::Failure, count(findings, "finding")),
    };
    let first: Vec<_> = report.findings.iter().take(FINDINGS_TOLD).map(ToString::to_string).collect();
    let data = json!({
        "verdict": report.verdict(),
        "entries_checked": report.entries_checked,
        "root": report.root,
        "findings": findings,
        "first_findings": first,
        "unchecked": report.unchecked,
    });
    NewEvent {
        level: Some(level),
        outcome: Some(outcome),
        message: Some(text(
            Field::Message,
            format!("The log of {} entries was checked: {result}.", report.size),
        )),
        payload: payload(&data),
        ..event("eventlogger.log_checked", user, OffsetDateTime::now_utc())
    }
}

/// How far an export has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exported {
    Begun,
    Whole,
    BrokenOff,
}

/// That events were handed out, to whom and which.
pub fn exported(event_type: &str, user: &str, how: Exported, about: &Value) -> NewEvent {
    let (level, outcome, message) = match how {
        Exported::Begun => (Level::Notice, Outcome::Unknown, "An export began.".to_owned()),
        Exported::Whole => {
            (Level::Notice, Outcome::Success, format!("{} events were exported.", about["count"]))
        }
        Exported::BrokenOff => {
            (Level::Warn, Outcome::Failure, format!("An export broke off after {} events.", about["count"]))
        }
    };
    NewEvent {
        level: Some(level),
        outcome: Some(outcome),
        message: Some(message),
        payload: payload(about),
        ..event(event_type, user, OffsetDateTime::now_utc())
    }
}

/// Whose log there is not is told apart from a namesake in `default`: no name holds a `/`.
pub(super) fn of_unknown_tenant(event: NewEvent, tenant: &str) -> NewEvent {
    let user_identity = text(Field::UserIdentity, format!("{tenant}/{}", event.user_identity));
    NewEvent { user_identity, ..event }
}

fn refused(
    event_type: &str,
    user_identity: &str,
    ip: Option<IpAddr>,
    message: String,
    data: Value,
    times: &Times,
) -> NewEvent {
    NewEvent {
        level: Some(Level::Warn),
        outcome: Some(Outcome::Denied),
        message: Some(text(Field::Message, message)),
        ip,
        payload: payload(&data),
        ..event(event_type, user_identity, times.last_at)
    }
}

fn event(event_type: &str, user_identity: &str, at: OffsetDateTime) -> NewEvent {
    let user_identity = if user_identity.is_empty() { ANONYMOUS } else { user_identity };
    let event_type = text(Field::EventType, event_type.to_owned());
    NewEvent {
        timestamp: Timestamp::try_from(at).ok(),
        source: Some(SOURCE.to_owned()),
        ..NewEvent::bare(event_type, text(Field::UserIdentity, user_identity.to_owned()))
    }
}

/// As the field takes it: cut where a client would be refused, and without what PostgreSQL refuses.
fn text(field: Field, text: String) -> String {
    let max = field.max_chars().unwrap_or(usize::MAX);
    text.chars().take(max).map(|letter| if letter == '\0' { '\u{fffd}' } else { letter }).collect()
}

fn times_data(times: &Times) -> Value {
    json!({
        "count": times.count,
        "first_at": Timestamp::try_from(times.first_at).ok().map(|at| at.to_string()),
        "last_at": Timestamp::try_from(times.last_at).ok().map(|at| at.to_string()),
        "reason": times.reason,
    })
}

/// What is made here is small and JSON.
fn payload(data: &Value) -> Option<Payload> {
    Payload::parse(data.to_string().into_bytes()).ok()
}

fn count(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn from(address: Option<IpAddr>) -> String {
    address.map_or_else(String::new, |address| format!(" from {address}"))
}
