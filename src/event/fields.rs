//! The names of the typed fields and their aliases, the same in bodies, URLs and searches.

use super::{Level, Outcome};

/// A typed field of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    EventType,
    UserIdentity,
    Timestamp,
    Source,
    Level,
    Outcome,
    Target,
    Message,
    Ip,
    CorrelationId,
    EventData,
    IdempotencyKey,
    // Set by the service; clients may ask for them but not send them.
    Id,
    Seq,
    ReceivedAt,
    RecordedBy,
}

/// Every field with its name and aliases. Frozen with v1.
const NAMES: [(Field, &str, &[&str]); 16] = [
    (Field::EventType, "event_type", &["type"]),
    (Field::UserIdentity, "user_identity", &["actor", "user", "user_id"]),
    (Field::Timestamp, "timestamp", &[]),
    (Field::Source, "source", &["service", "app_name", "source_id"]),
    (Field::Level, "level", &[]),
    (Field::Outcome, "outcome", &[]),
    (Field::Target, "target", &[]),
    (Field::Message, "message", &[]),
    (Field::Ip, "ip", &[]),
    (Field::CorrelationId, "correlation_id", &[]),
    (Field::EventData, "event_data", &["data", "payload", "metadata", "metadata_"]),
    (Field::IdempotencyKey, "idempotency_key", &[]),
    (Field::Id, "id", &[]),
    (Field::Seq, "seq", &[]),
    (Field::ReceivedAt, "received_at", &[]),
    (Field::RecordedBy, "recorded_by", &[]),
];

impl Field {
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(field, ..)| *field)
    }

    /// A field by its name or an alias.
    pub fn parse(name: &str) -> Option<Self> {
        let known = |(_, own, aliases): &&(Self, &str, &[&str])| *own == name || aliases.contains(&name);
        NAMES.iter().find(known).map(|(field, ..)| *field)
    }

    pub fn name(self) -> &'static str {
        NAMES[self as usize].1
    }

    pub fn aliases(self) -> &'static [&'static str] {
        NAMES[self as usize].2
    }

    /// Longest text in Unicode scalar values, for fields that are free text.
    pub fn max_chars(self) -> Option<usize> {
        match self {
            Self::EventType => Some(128),
            Self::UserIdentity | Self::Source | Self::CorrelationId | Self::IdempotencyKey => Some(256),
            Self::Target => Some(512),
            Self::Message => Some(32 * 1024),
            _ => None,
        }
    }

    pub fn set_by_service(self) -> bool {
        matches!(self, Self::Id | Self::Seq | Self::ReceivedAt | Self::RecordedBy)
    }
}

/// Longest name that is compared with the known ones: names of clients can be a megabyte long.
const NEAREST_MAX_BYTES: usize = 64;

/// The known name that `name` most likely means: differing in case, or by a third of its letters at most.
pub fn nearest_name<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > NEAREST_MAX_BYTES {
        return None;
    }
    let lower = name.to_lowercase();
    let distance = |known: &'a str| (strsim::damerau_levenshtein(&lower, &known.to_lowercase()), known);
    let (edits, nearest) = known.into_iter().map(distance).min_by_key(|(edits, _)| *edits)?;
    (edits * 3 <= nearest.chars().count().max(lower.chars().count())).then_some(nearest)
}

impl Level {
    pub const ALL: [Self; 6] =
        [Self::Debug, Self::Info, Self::Notice, Self::Warn, Self::Error, Self::Critical];

    /// A level by its name in any case, or by `WARNING` or `FATAL`.
    pub fn parse(text: &str) -> Option<Self> {
        let is = |name: &str| text.eq_ignore_ascii_case(name);
        match text {
            _ if is("WARNING") => Some(Self::Warn),
            _ if is("FATAL") => Some(Self::Critical),
            _ => Self::ALL.into_iter().find(|level| is(level.name())),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Notice => "NOTICE",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }

    pub fn rank(self) -> i16 {
        self as i16
    }

    pub fn from_rank(rank: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.rank() == rank)
    }
}

impl Outcome {
    pub const ALL: [Self; 4] = [Self::Success, Self::Failure, Self::Denied, Self::Unknown];

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == text)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Denied => "denied",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found_by_its_name_and_aliases() {
        for field in Field::all() {
            assert_eq!(Field::parse(field.name()), Some(field));
            for alias in field.aliases() {
                assert_eq!(Field::parse(alias), Some(field));
            }
        }
        assert_eq!(Field::parse("metadata_"), Some(Field::EventData));
        assert_eq!(Field::parse("app_name"), Some(Field::Source));
        assert_eq!(Field::parse("Event_Type"), None);
    }

    #[test]
    fn a_misspelt_name_is_brought_back_and_a_foreign_one_is_left_alone() {
        let names: Vec<&str> = Field::all().map(Field::name).collect();
        let nearest = |name: &str| nearest_name(name, names.iter().copied());
        assert_eq!(nearest("user_identiy"), Some("user_identity"));
        assert_eq!(nearest("eventType"), Some("event_type"));
        assert_eq!(nearest("MESSAGE"), Some("message"));
        assert_eq!(nearest("mesage"), Some("message"));
        assert_eq!(nearest("colour"), None);
        assert_eq!(nearest(""), None);
        assert_eq!(nearest(&"user_identity".repeat(100_000)), None);
    }

    #[test]
    fn levels_are_read_in_any_case_and_ordered_by_rank() {
        assert_eq!(Level::parse("warning"), Some(Level::Warn));
        assert_eq!(Level::parse("Fatal"), Some(Level::Critical));
        assert_eq!(Level::parse("nOtIcE"), Some(Level::Notice));
        assert_eq!(Level::parse("trace"), None);
        assert_eq!(Level::parse("ＩＮＦＯ"), None);
        for level in Level::ALL {
            assert_eq!(Level::parse(level.name()), Some(level));
            assert_eq!(Level::from_rank(level.rank()), Some(level));
        }
        assert!(Level::ALL.is_sorted());
        assert_eq!((Level::from_rank(0), Level::from_rank(7)), (None, None));
    }

    #[test]
    fn outcomes_are_the_four_words() {
        assert!(Outcome::ALL.iter().all(|outcome| Outcome::parse(outcome.name()) == Some(*outcome)));
        assert_eq!(Outcome::parse("SUCCESS"), None);
    }
}
