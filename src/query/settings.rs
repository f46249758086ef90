//! The parameters that are not conditions on a field, and how both spellings collect them.

use super::ast::Filter;
use super::search::{MAX_LIMIT, Search, Sort};
use super::{Complaint, Fault, Origin, operand, search_box};

/// The same in a URL and in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    From,
    To,
    ReceivedFrom,
    ReceivedTo,
    Limit,
    Cursor,
    Sort,
    /// A filter in the spelling of the search box.
    Q,
}

impl Setting {
    pub(super) const NAMES: [&'static str; 10] = [
        "q",
        "from",
        "to",
        "start_time",
        "end_time",
        "received_from",
        "received_to",
        "limit",
        "cursor",
        "sort",
    ];

    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "from" | "start_time" => Some(Self::From),
            "to" | "end_time" => Some(Self::To),
            "received_from" => Some(Self::ReceivedFrom),
            "received_to" => Some(Self::ReceivedTo),
            "limit" => Some(Self::Limit),
            "cursor" => Some(Self::Cursor),
            "sort" => Some(Self::Sort),
            "q" => Some(Self::Q),
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
            Self::Q => "q",
        }
    }
}

/// Collects the settings of one request, each at most once.
pub(super) struct Settings {
    search: Search,
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
            Setting::From => search.timestamp.from = Some(operand::time(text)?),
            Setting::To => search.timestamp.to = Some(operand::time(text)?),
            Setting::ReceivedFrom => search.received_at.from = Some(operand::time(text)?),
            Setting::ReceivedTo => search.received_at.to = Some(operand::time(text)?),
            Setting::Limit => search.limit = limit(text)?,
            Setting::Cursor => search.cursor = Some(text.to_owned()),
            Setting::Sort => search.sort = sort(text)?,
            Setting::Q => {
                search.filter = search_box::parse(text).map_err(Complaint::about_the_value)?;
                search.is_interpreted = true;
            }
        }
        Ok(())
    }

    /// The search with this filter, and that of `q` if there is one.
    pub(super) fn search(self, filter: Filter) -> Search {
        let mut search = self.search;
        search.filter = match (search.filter, filter) {
            (Filter::And(none), filter) if none.is_empty() => filter,
            (q, Filter::And(none)) if none.is_empty() => q,
            (q, filter) => filter.and(q),
        };
        search
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
