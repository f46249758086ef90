//! A filter in the JSON spelling, in one canonical form that reads back as the same filter.

use std::fmt::{self, Display, Formatter};

use super::ast::{Filter, Network, Scalar, Seg, Test, Typed};
use super::op::Op;
use crate::json::quote;

impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(all) => list(f, "and", all),
            Self::Or(all) => list(f, "or", all),
            Self::Not(inner) => write!(f, r#"{{"not":{inner}}}"#),
            Self::Column { field, test } => comparison(f, field.name(), test),
            Self::Data { path, test } => {
                let name =
                    path.iter().fold("event_data".to_owned(), |name, segment| format!("{name}{segment}"));
                comparison(f, &name, test)
            }
            Self::Text(pattern) => write!(f, r#"{{"text":{}}}"#, quote(pattern.source())),
        }
    }
}

fn list(f: &mut Formatter<'_>, name: &str, filters: &[Filter]) -> fmt::Result {
    write!(f, r#"{{"{name}":["#)?;
    items(f, filters)?;
    f.write_str("]}")
}

fn items<T: Display>(f: &mut Formatter<'_>, items: &[T]) -> fmt::Result {
    items.iter().enumerate().try_for_each(|(n, item)| {
        let comma = if n == 0 { "" } else { "," };
        write!(f, "{comma}{item}")
    })
}

fn comparison<Value: Display>(f: &mut Formatter<'_>, name: &str, test: &Test<Value>) -> fmt::Result {
    let op = match test {
        Test::AnyOf(values) if values.len() == 1 => Op::Eq,
        Test::AnyOf(_) => Op::In,
        Test::Than(than, _) => Op::Than(*than),
        Test::Prefix(_) => Op::Prefix,
        Test::Pattern(pattern) if pattern.is_regex() => Op::Match,
        Test::Pattern(_) => Op::Contains,
        Test::Within(networks) if networks.len() == 1 => Op::Cidr,
        Test::Within(_) => Op::In,
        Test::Exists => Op::Exists,
    };
    write!(f, r#"{{"field":{},"op":"{}","value":"#, quote(name), op.name())?;
    match test {
        Test::AnyOf(values) if values.len() == 1 => items(f, values)?,
        Test::AnyOf(values) => bracketed(f, values)?,
        Test::Than(_, value) => value.fmt(f)?,
        Test::Prefix(text) => f.write_str(&quote(text))?,
        Test::Pattern(pattern) => f.write_str(&quote(pattern.source()))?,
        Test::Within(networks) if networks.len() == 1 => items(f, networks)?,
        Test::Within(networks) => bracketed(f, networks)?,
        Test::Exists => f.write_str("true")?,
    }
    f.write_str("}")
}

fn bracketed<T: Display>(f: &mut Formatter<'_>, values: &[T]) -> fmt::Result {
    f.write_str("[")?;
    items(f, values)?;
    f.write_str("]")
}

/// As in a name, with every key quoted.
impl Display for Seg {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, ".{}", quote(key)),
            Self::Index(index) => write!(f, ".{index}"),
        }
    }
}

impl Display for Typed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quote(text)),
            Self::Time(time) => write!(f, r#""{time}""#),
            Self::Level(level) => write!(f, r#""{}""#, level.name()),
            Self::Outcome(outcome) => write!(f, r#""{}""#, outcome.name()),
            Self::Address(address) => write!(f, r#""{address}""#),
            Self::Id(id) => write!(f, r#""{id}""#),
            Self::Seq(seq) => write!(f, "{seq}"),
        }
    }
}

impl Display for Network {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, r#""{}/{}""#, self.address, self.prefix)
    }
}

/// As JSON, which is also how jsonpath writes scalars.
impl Display for Scalar {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::String(text) => f.write_str(&quote(text)),
        }
    }
}
