//! The filter, whatever spelling it came in.
//!
//! Every leaf is two-valued: a field that is missing or of another type is "not equal", never unknown.
//! `Display` writes a filter in one canonical form, from which cursors are sealed.

use std::fmt;
use std::net::IpAddr;

use uuid::Uuid;

pub use super::number::Number;
use crate::event::{Field, Level, Outcome, Timestamp};
use crate::json::quote;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// True when all are; `And([])` is true of every event.
    And(Vec<Filter>),
    /// Never of `Field::EventData`, and only with a value of the field's own type: the parsers see to it.
    Column { field: Field, op: Op, value: Typed },
    /// Equality at a path from the root of `event_data`.
    Data { path: Vec<Seg>, value: Untyped },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Eq,
    /// The address lies in the network.
    Cidr,
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
    Network(Network),
    Id(Uuid),
    Seq(i64),
}

/// What a value in `event_data` is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untyped {
    /// This scalar and no other type.
    Exactly(Scalar),
    /// Text that also reads as the scalar and was not said to be either: `1346` matches 1346 and "1346".
    Loosely(Scalar, String),
}

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

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Filter::And(all) => {
                f.write_str("(and")?;
                all.iter().try_for_each(|filter| write!(f, " {filter}"))?;
                f.write_str(")")
            }
            Filter::Column { field, op, value } => write!(f, "({} {} {value})", op.name(), field.name()),
            Filter::Data { path, value } => {
                f.write_str("(eq event_data")?;
                path.iter().try_for_each(|segment| write!(f, "{segment}"))?;
                write!(f, " {value})")
            }
        }
    }
}

impl Op {
    pub fn name(self) -> &'static str {
        match self {
            Op::Eq => "eq",
            Op::Cidr => "cidr",
        }
    }
}

/// As in a name, with every key quoted.
impl fmt::Display for Seg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seg::Key(key) => write!(f, ".{}", quote(key)),
            Seg::Index(index) => write!(f, ".{index}"),
        }
    }
}

impl fmt::Display for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Typed::Text(text) => f.write_str(&quote(text)),
            Typed::Time(time) => write!(f, "{time}"),
            Typed::Level(level) => f.write_str(level.name()),
            Typed::Outcome(outcome) => f.write_str(outcome.name()),
            Typed::Network(network) => write!(f, "{}/{}", network.address, network.prefix),
            Typed::Id(id) => write!(f, "{id}"),
            Typed::Seq(seq) => write!(f, "{seq}"),
        }
    }
}

impl fmt::Display for Untyped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Untyped::Exactly(scalar) => write!(f, "{scalar}"),
            Untyped::Loosely(_, text) => write!(f, "~{}", quote(text)),
        }
    }
}

/// As JSON, which is also how jsonpath writes scalars.
impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Null => f.write_str("null"),
            Scalar::Bool(value) => write!(f, "{value}"),
            Scalar::Number(number) => write!(f, "{number}"),
            Scalar::String(text) => f.write_str(&quote(text)),
        }
    }
}
