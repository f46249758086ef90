//! The filter, whatever spelling it came in.
//!
//! Every leaf is two-valued: a field that is missing or of another type does not match, so a negation of it does.
//! `print` writes every filter in the JSON spelling, which reads back as the same.

use std::net::IpAddr;

use uuid::Uuid;

pub use super::number::Number;
pub use super::pattern::Pattern;
use crate::event::{Field, Level, Outcome, Timestamp};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// True when all are; `And([])` is true of every event.
    And(Vec<Filter>),
    /// True when any is; never empty.
    Or(Vec<Filter>),
    Not(Box<Filter>),
    /// Never of `Field::EventData`, and only with values of the field's own type: the parsers see to it.
    Column {
        field: Field,
        test: Test<Typed>,
    },
    /// At a path from the root of `event_data`. It reaches through one array at each step, and at its end: that any
    /// of its values passes is enough.
    Data {
        path: Vec<Seg>,
        test: Test<Scalar>,
    },
    /// Somewhere in one of [`TEXT_FIELDS`].
    Text(Pattern),
}

/// Where free text is looked for.
pub const TEXT_FIELDS: [Field; 5] =
    [Field::Message, Field::EventType, Field::UserIdentity, Field::Source, Field::Target];

/// What a value has to pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test<Value> {
    /// It equals one of these; there is one at least.
    AnyOf(Vec<Value>),
    /// It is of this value's type, and so much of it. Texts are compared by their code points.
    Than(Than, Value),
    /// It is a text that begins so.
    Prefix(String),
    /// It is a text with this in it: `contains` or `match`.
    Pattern(Pattern),
    /// It is an address in one of these; there is one at least.
    Within(Vec<Network>),
    /// There is one.
    Exists,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Than {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// A place in an event that a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    Column(Field),
    Data(Vec<Seg>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seg {
    Key(String),
    Index(u32),
}

/// What a column is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    Text(String),
    Time(Timestamp),
    Level(Level),
    Outcome(Outcome),
    Address(IpAddr),
    Id(Uuid),
    Seq(i64),
}

/// What a value in `event_data` is compared with. An untyped value, which may be meant either way, is two of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
}

/// An address range; a single address has the full prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub address: IpAddr,
    pub prefix: u8,
}

impl Filter {
    /// How many comparisons it has.
    pub fn leaves(&self) -> usize {
        match self {
            Self::And(all) | Self::Or(all) => all.iter().map(Self::leaves).sum(),
            Self::Not(inner) => inner.leaves(),
            Self::Column { .. } | Self::Data { .. } | Self::Text(_) => 1,
        }
    }

    /// How many texts and expressions it matches with.
    pub fn patterns(&self) -> usize {
        match self {
            Self::And(all) | Self::Or(all) => all.iter().map(Self::patterns).sum(),
            Self::Not(inner) => inner.patterns(),
            Self::Text(_)
            | Self::Column { test: Test::Pattern(_), .. }
            | Self::Data { test: Test::Pattern(_), .. } => 1,
            Self::Column { .. } | Self::Data { .. } => 0,
        }
    }

    /// How many levels it has, as JSON.
    pub fn depth(&self) -> usize {
        match self {
            Self::And(all) | Self::Or(all) => 1 + all.iter().map(Self::depth).max().unwrap_or(0),
            Self::Not(inner) => 1 + inner.depth(),
            Self::Column { .. } | Self::Data { .. } | Self::Text(_) => 1,
        }
    }

    /// Both; a conjunction takes the other in.
    pub(super) fn and(self, other: Self) -> Self {
        match self {
            Self::And(mut all) => {
                all.push(other);
                Self::And(all)
            }
            filter => Self::And(vec![filter, other]),
        }
    }

    pub(super) fn not(self) -> Self {
        Self::Not(Box::new(self))
    }
}

impl Than {
    pub fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
        }
    }

    pub fn symbol(self) -> &'static str {
        match self {
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
        }
    }
}

impl Network {
    pub fn of(address: IpAddr) -> Self {
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }

    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & mask == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}
