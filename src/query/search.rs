//! A search: what to match, over which times, in which order, how much of it.

use super::ast::Filter;
use super::{Complaint, Fault, Origin};
use crate::event::{Event, Timestamp};

pub const DEFAULT_LIMIT: u16 = 50;
pub const MAX_LIMIT: u16 = 1000;

/// A parsed request. The cursor is still sealed: opening it takes the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    pub filter: Filter,
    pub timestamp: Bounds,
    pub received_at: Bounds,
    pub sort: Sort,
    /// 1 to [`MAX_LIMIT`].
    pub limit: u16,
    pub cursor: Option<String>,
}

/// A half-open interval of time; an open end is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Inclusive.
    pub from: Option<Timestamp>,
    /// Exclusive.
    pub to: Option<Timestamp>,
}

/// Newest first by either time, then by `seq`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// The order of the log, in which nothing is ever inserted behind a reader.
    #[default]
    ReceivedAt,
    /// By the submitters' clocks. Events whose typed fields were redacted have no place in it.
    Timestamp,
}

/// The last event of a page: the next page starts after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The time that is sorted by.
    pub at: Timestamp,
    pub seq: i64,
}

impl Sort {
    pub const NAMES: [&'static str; 2] = ["received_at", "timestamp"];

    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "received_at" => Some(Self::ReceivedAt),
            "timestamp" => Some(Self::Timestamp),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::ReceivedAt => "received_at",
            Self::Timestamp => "timestamp",
        }
    }

    /// `None` if the event has no place in this order.
    pub fn position(self, event: &Event) -> Option<Position> {
        let at = match self {
            Self::ReceivedAt => event.received_at,
            Self::Timestamp => event.envelope.as_ref()?.timestamp,
        };
        Some(Position { at, seq: i64::try_from(event.seq).ok()? })
    }
}

impl Search {
    pub(super) fn new(filter: Filter) -> Self {
        Self {
            filter,
            timestamp: Bounds::default(),
            received_at: Bounds::default(),
            sort: Sort::default(),
            limit: DEFAULT_LIMIT,
            cursor: None,
        }
    }

    /// What a cursor must never be moved to another of: filter and times, canonically.
    pub(super) fn canonical(&self) -> String {
        let time = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        let Self { filter, timestamp, received_at, .. } = self;
        format!(
            "{filter} timestamp {} {} received_at {} {}",
            time(timestamp.from),
            time(timestamp.to),
            time(received_at.from),
            time(received_at.to)
        )
    }
}

/// One of the parameters that are not conditions on a field, the same in a URL and in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    From,
    To,
    ReceivedFrom,
    ReceivedTo,
    Limit,
    Cursor,
    Sort,
}

impl Setting {
    pub(super) const NAMES: [&'static str; 9] =
        ["from", "to", "start_time", "end_time", "received_from", "received_to", "limit", "cursor", "sort"];

    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "from" | "start_time" => Some(Self::From),
            "to" | "end_time" => Some(Self::To),
            "received_from" => Some(Self::ReceivedFrom),
            "received_to" => Some(Self::ReceivedTo),
            "limit" => Some(Self::Limit),
            "cursor" => Some(Self::Cursor),
            "sort" => Some(Self::Sort),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::From => "from",
            Self::To => "to",
            Self::ReceivedFrom => "received_from",
            Self::ReceivedTo => "received_to",
            Self::Limit => "limit",
            Self::Cursor => "cursor",
            Self::Sort => "sort",
        }
    }
}

/// Collects the settings of one request, each at most once.
pub(super) struct Settings {
    pub(super) search: Search,
    seen: Vec<Setting>,
}

impl Settings {
    pub(super) fn new() -> Self {
        Self { search: Search::new(Filter::And(Vec::new())), seen: Vec::new() }
    }

    pub(super) fn set(&mut self, setting: Setting, text: &str) -> Result<(), Complaint> {
        if self.seen.contains(&setting) {
            return Err(Complaint::new(format!("`{}` is given more than once", setting.name())));
        }
        self.seen.push(setting);
        let search = &mut self.search;
        match setting {
            Setting::From => search.timestamp.from = Some(super::operand::time(text)?),
            Setting::To => search.timestamp.to = Some(super::operand::time(text)?),
            Setting::ReceivedFrom => search.received_at.from = Some(super::operand::time(text)?),
            Setting::ReceivedTo => search.received_at.to = Some(super::operand::time(text)?),
            Setting::Limit => search.limit = limit(text)?,
            Setting::Cursor => search.cursor = Some(text.to_owned()),
            Setting::Sort => search.sort = sort(text)?,
        }
        Ok(())
    }

    /// What can only be said once everything was read. `origin` places a setting in the request.
    pub(super) fn check_bounds(&self, origin: impl Fn(Setting) -> Origin, faults: &mut Vec<Fault>) {
        let pairs = [
            (self.search.timestamp, Setting::From, "to"),
            (self.search.received_at, Setting::ReceivedFrom, "received_to"),
        ];
        for (bounds, from, to) in pairs {
            if bounds.from.zip(bounds.to).is_some_and(|(start, end)| start > end) {
                let detail = format!("`{}` is later than `{to}`, so nothing can match", from.name());
                faults.push(Complaint::new(detail).at(origin(from)));
            }
        }
    }
}

fn limit(text: &str) -> Result<u16, Complaint> {
    match text.parse() {
        Ok(limit @ 1..=MAX_LIMIT) => Ok(limit),
        _ => Err(Complaint::new(format!("expected a number of events from 1 to {MAX_LIMIT}"))
            .hint("for more, follow `next`")),
    }
}

fn sort(text: &str) -> Result<Sort, Complaint> {
    Sort::parse(text).ok_or_else(|| Complaint::new(format!("expected one of: {}", Sort::NAMES.join(", "))))
}
