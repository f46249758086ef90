//! A search: what to match, over which times, in which order, how much of it.

use super::ast::{Filter, Test, Than, Typed};
use crate::event::{Event, Field, Timestamp};

pub const DEFAULT_LIMIT: u16 = 50;
pub const MAX_LIMIT: u16 = 1000;

/// A parsed request. The cursor is still sealed: opening it takes the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    pub filter: Filter,
    pub timestamp: Bounds,
    pub received_at: Bounds,
    pub sort: Sort,
    /// As exports are written; pages are newest first.
    pub oldest_first: bool,
    /// 1 to [`MAX_LIMIT`].
    pub limit: u16,
    pub cursor: Option<String>,
    /// The filter came in a spelling in which people make mistakes, so they are told how it was read.
    pub is_interpreted: bool,
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
            oldest_first: false,
            limit: DEFAULT_LIMIT,
            cursor: None,
            is_interpreted: false,
        }
    }

    /// Whether an index gives what matches in the order that is asked for, so that a page costs what is on it.
    pub fn is_in_order_of_an_index(&self) -> bool {
        let conditions = match &self.filter {
            Filter::And(all) => all.as_slice(),
            filter => std::slice::from_ref(filter),
        };
        let one = |test: &Test<Typed>| matches!(test, Test::AnyOf(values) if values.len() == 1);
        match conditions {
            // An export has nothing but its end.
            [Filter::Column { field: Field::Seq, test: Test::Than(Than::Less, _) }] if self.oldest_first => {
                self.timestamp == Bounds::default()
            }
            [] if self.sort == Sort::ReceivedAt => self.timestamp == Bounds::default(),
            [] => self.received_at == Bounds::default(),
            [Filter::Column { field: Field::Id | Field::Seq, test }] => one(test),
            [Filter::Column { field: Field::EventType | Field::UserIdentity, test }] => {
                one(test) && self.sort == Sort::ReceivedAt && self.timestamp == Bounds::default()
            }
            _ => false,
        }
    }

    /// The same, of what the log had when it was of that size.
    pub fn within(mut self, size: u64) -> Self {
        let end = Typed::Seq(i64::try_from(size).unwrap_or(i64::MAX));
        let within = Filter::Column { field: Field::Seq, test: Test::Than(Than::Less, end) };
        self.filter = self.filter.and(within);
        self
    }

    /// What a cursor must never be moved to another of: filter and times, canonically.
    pub(super) fn canonical(&self) -> String {
        let time = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        let Self { filter, timestamp, received_at, .. } = self;
        // A URL is a conjunction also of one; in JSON one comparison needs none. A cursor is good for both.
        let filter = match filter {
            Filter::And(all) if all.len() == 1 => &all[0],
            filter => filter,
        };
        format!(
            "{filter} timestamp {} {} received_at {} {}",
            time(timestamp.from),
            time(timestamp.to),
            time(received_at.from),
            time(received_at.to)
        )
    }
}
