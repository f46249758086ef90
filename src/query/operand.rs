//! Operators and operands: what a field is compared with, out of texts or JSON scalars.

use std::net::IpAddr;

use uuid::Uuid;

use super::ast::{Filter, Network, Number, Path, Pattern, Scalar, Seg, Test, Typed};
use super::number::NotANumber;
use super::op::Op;
use super::{Complaint, MAX_IN};
use crate::event::{Field, Level, Outcome, Timestamp, nearest_name};
use crate::json;

/// One value, as far as its spelling says what it is.
pub(super) enum Operand {
    /// Without quotes: a number, `true`, `false` and `null` may be meant as that or as text.
    Bare(String),
    Scalar(Scalar),
}

impl Operand {
    /// As in a URL: a JSON string in quotes is that string, everything else is literal.
    pub(super) fn of_text(text: &str) -> Self {
        match serde_json::from_str(text) {
            Ok(text) => Self::quoted(text),
            Err(_) => Self::Bare(text.to_owned()),
        }
    }

    pub(super) fn quoted(text: String) -> Self {
        Self::Scalar(Scalar::String(text))
    }

    /// What it may be in `event_data`.
    fn scalars(self) -> Result<Vec<Scalar>, Complaint> {
        match self {
            Self::Scalar(Scalar::String(text)) => Ok(vec![Scalar::String(searchable(&text))]),
            Self::Scalar(scalar) => Ok(vec![scalar]),
            Self::Bare(text) => {
                let typed = match text.as_str() {
                    "null" => Some(Scalar::Null),
                    "true" => Some(Scalar::Bool(true)),
                    "false" => Some(Scalar::Bool(false)),
                    text => number(text)?.map(Scalar::Number),
                };
                Ok(typed.into_iter().chain([Scalar::String(searchable(&text))]).collect())
            }
        }
    }

    /// What there is an order of: a number if it reads as one, else a text.
    fn ordered(self) -> Result<Scalar, Complaint> {
        match self {
            Self::Bare(text) => {
                Ok(number(&text)?.map_or_else(|| Scalar::String(searchable(&text)), Scalar::Number))
            }
            Self::Scalar(Scalar::String(text)) => Ok(Scalar::String(searchable(&text))),
            Self::Scalar(Scalar::Number(number)) => Ok(Scalar::Number(number)),
            Self::Scalar(_) => {
                Err(Complaint::new("expected a number or a string: nothing else has an order"))
            }
        }
    }

    fn text(self) -> Result<String, Complaint> {
        match self {
            Self::Bare(text) | Self::Scalar(Scalar::String(text)) => Ok(text),
            Self::Scalar(_) => Err(Complaint::new("expected a string")),
        }
    }
}

/// A comparison with one value.
pub(super) fn compare(path: Path, op: Op, operand: Operand) -> Result<Filter, Complaint> {
    compare_all(path, op, vec![operand])
}

/// A comparison; only `in` and `not-in` take other than one value.
pub(super) fn compare_all(path: Path, op: Op, operands: Vec<Operand>) -> Result<Filter, Complaint> {
    check_count(op, operands.len())?;
    match op {
        Op::Not => return Ok(compare_all(path, Op::Eq, operands)?.not()),
        Op::NotIn => return Ok(compare_all(path, Op::In, operands)?.not()),
        _ => {}
    }
    match path {
        Path::Column(field) => column(field, op, operands),
        Path::Data(path) => data(path, op, operands),
    }
}

fn check_count(op: Op, count: usize) -> Result<(), Complaint> {
    match op {
        Op::In | Op::NotIn if count == 0 => {
            Err(Complaint::new("the list is empty; it takes one value at least"))
        }
        Op::In | Op::NotIn if count > MAX_IN => {
            Err(Complaint::new(format!("{count} values in one list; at most {MAX_IN} are allowed")))
        }
        Op::In | Op::NotIn => Ok(()),
        _ if count == 1 => Ok(()),
        _ => Err(Complaint::new(format!("`{}` takes one value", op.name()))
            .hint("a list is for `in` and `not-in`")),
    }
}

fn data(path: Vec<Seg>, op: Op, operands: Vec<Operand>) -> Result<Filter, Complaint> {
    let test = match op {
        Op::Eq | Op::Not | Op::In | Op::NotIn => {
            let scalars: Result<Vec<_>, _> = operands.into_iter().map(Operand::scalars).collect();
            Test::AnyOf(scalars?.into_iter().flatten().collect())
        }
        Op::Than(than) => Test::Than(than, only(operands, Operand::ordered)?),
        _ => return common(op, operands, |test| Filter::Data { path: path.clone(), test }),
    };
    Ok(Filter::Data { path, test })
}

fn column(field: Field, op: Op, operands: Vec<Operand>) -> Result<Filter, Complaint> {
    let kind = Kind::of(field);
    kind.check(field, op)?;
    let test = match op {
        Op::Eq | Op::Not | Op::In | Op::NotIn if kind == Kind::Address => addresses(operands)?,
        Op::Eq | Op::Not | Op::In | Op::NotIn => {
            let values: Result<Vec<_>, _> = operands.into_iter().map(|operand| kind.value(operand)).collect();
            Test::AnyOf(values?)
        }
        Op::Than(than) => Test::Than(than, only(operands, |operand| kind.value(operand))?),
        _ => return common(op, operands, |test| Filter::Column { field, test }),
    };
    Ok(Filter::Column { field, test })
}

/// The tests that are the same for columns and data.
fn common<Value>(
    op: Op,
    operands: Vec<Operand>,
    leaf: impl Fn(Test<Value>) -> Filter,
) -> Result<Filter, Complaint> {
    Ok(match op {
        Op::Prefix => leaf(Test::Prefix(prefix(&only(operands, Operand::text)?)?)),
        Op::Contains => leaf(Test::Pattern(Pattern::containing(&only(operands, Operand::text)?)?)),
        Op::Match => leaf(Test::Pattern(Pattern::regex(&only(operands, Operand::text)?)?)),
        Op::Cidr => leaf(Test::Within(vec![network(&only(operands, Operand::text)?)?])),
        _ => match only(operands, truth)? {
            true => leaf(Test::Exists),
            false => leaf(Test::Exists).not(),
        },
    })
}

fn only<T>(
    operands: Vec<Operand>,
    read: impl FnOnce(Operand) -> Result<T, Complaint>,
) -> Result<T, Complaint> {
    let operand = operands.into_iter().next();
    operand.map_or_else(|| Err(Complaint::new("expected a value")), read)
}

fn truth(operand: Operand) -> Result<bool, Complaint> {
    match operand {
        Operand::Scalar(Scalar::Bool(truth)) => Ok(truth),
        Operand::Bare(text) if text == "true" => Ok(true),
        Operand::Bare(text) if text == "false" => Ok(false),
        _ => Err(Complaint::new("expected true or false")),
    }
}

fn prefix(text: &str) -> Result<String, Complaint> {
    match text {
        "" => Err(Complaint::new("the prefix is empty").hint("whether there is a value says `exists`")),
        text => Ok(searchable(text)),
    }
}

/// An address equals one; in a network it lies.
fn addresses(operands: Vec<Operand>) -> Result<Test<Typed>, Complaint> {
    let texts: Vec<String> = operands.into_iter().map(Operand::text).collect::<Result<_, _>>()?;
    let networks: Vec<Network> = texts.iter().map(|text| network(text)).collect::<Result<_, _>>()?;
    match texts.iter().any(|text| text.contains('/')) {
        true => Ok(Test::Within(networks)),
        false => {
            Ok(Test::AnyOf(networks.into_iter().map(|network| Typed::Address(network.address)).collect()))
        }
    }
}

/// The types of columns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Time,
    Level,
    Outcome,
    Address,
    Id,
    Seq,
}

impl Kind {
    fn of(field: Field) -> Self {
        match field {
            Field::Timestamp | Field::ReceivedAt => Self::Time,
            Field::Level => Self::Level,
            Field::Outcome => Self::Outcome,
            Field::Ip => Self::Address,
            Field::Id => Self::Id,
            Field::Seq => Self::Seq,
            _ => Self::Text,
        }
    }

    fn check(self, field: Field, op: Op) -> Result<(), Complaint> {
        let (applies, hint) = match op {
            Op::Eq | Op::Not | Op::In | Op::NotIn | Op::Exists => (true, ""),
            Op::Than(_) => (
                !matches!(self, Self::Outcome | Self::Address | Self::Id),
                "times, levels, seq and texts have an order; whether an address is in a network says `cidr`",
            ),
            Op::Contains | Op::Prefix | Op::Match => (self == Self::Text, "it is for columns of text"),
            Op::Cidr => (self == Self::Address, "it is for `ip` and for paths into event_data"),
        };
        match applies {
            true => Ok(()),
            false => {
                Err(Complaint::new(format!("`{}` does not apply to `{}`", op.name(), field.name()))
                    .hint(hint))
            }
        }
    }

    fn value(self, operand: Operand) -> Result<Typed, Complaint> {
        let text = match operand {
            Operand::Scalar(Scalar::Number(number)) if self == Self::Seq => number.to_string(),
            Operand::Scalar(_) if self == Self::Seq => return Err(Complaint::new("expected a number")),
            operand => operand.text()?,
        };
        Ok(match self {
            Self::Text => Typed::Text(searchable(&text)),
            Self::Time => Typed::Time(time(&text)?),
            Self::Level => Typed::Level(level(&text)?),
            Self::Outcome => Typed::Outcome(outcome(&text)?),
            Self::Address => Typed::Address(network(&text)?.address),
            Self::Id => Typed::Id(id(&text)?),
            Self::Seq => Typed::Seq(seq(&text)?),
        })
    }
}

/// The scalar that a JSON value is, if it is one.
pub(super) fn scalar(raw: &str) -> Result<Scalar, Complaint> {
    match raw {
        "null" => return Ok(Scalar::Null),
        "true" => return Ok(Scalar::Bool(true)),
        "false" => return Ok(Scalar::Bool(false)),
        _ => {}
    }
    if raw.starts_with('"') {
        return Ok(Scalar::String(json::decode(raw).into_owned()));
    }
    match Number::parse(raw) {
        Ok(number) => Ok(Scalar::Number(number)),
        Err(NotANumber::TooLarge) => Err(too_large()),
        Err(NotANumber::Syntax) => Err(Complaint::new("expected a string, a number, true, false or null")),
    }
}

/// The JSON string that a text begins with, and what comes after it.
pub(super) fn leading_string(text: &str) -> Option<(String, &str)> {
    let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let string = strings.next()?.ok()?;
    Some((string, &text[strings.byte_offset()..]))
}

/// RFC 3339. A `+` that was not encoded arrives as a space, and is worth naming.
pub(super) fn time(text: &str) -> Result<Timestamp, Complaint> {
    Timestamp::parse(text).map_err(|expected| {
        let complaint = Complaint::new(expected);
        let with_plus = text.rsplit_once(' ').map(|(time, offset)| format!("{time}+{offset}"));
        match with_plus.map(|text| Timestamp::parse(&text)) {
            Some(Ok(_)) => complaint.hint("in a URL a + means a space: write %2B"),
            _ => complaint,
        }
    })
}

fn number(text: &str) -> Result<Option<Number>, Complaint> {
    match Number::parse(text) {
        Ok(number) => Ok(Some(number)),
        Err(NotANumber::TooLarge) => Err(too_large().hint("quote it to compare it as a string")),
        Err(NotANumber::Syntax) => Ok(None),
    }
}

fn level(text: &str) -> Result<Level, Complaint> {
    Level::parse(text).ok_or_else(|| one_of(text, &Level::ALL.map(Level::name)))
}

fn outcome(text: &str) -> Result<Outcome, Complaint> {
    Outcome::parse(text).ok_or_else(|| one_of(text, &Outcome::ALL.map(Outcome::name)))
}

fn one_of(given: &str, names: &[&'static str]) -> Complaint {
    let complaint = Complaint::new(format!("expected one of: {}", names.join(", ")));
    match nearest_name(given, names.iter().copied()) {
        Some(name) => complaint.hint(format!("did you mean {name}?")),
        None => complaint,
    }
}

fn id(text: &str) -> Result<Uuid, Complaint> {
    Uuid::parse_str(text).map_err(|_| {
        Complaint::new("expected a UUID").hint("for example 019aa5b2-3f00-7c4e-8a11-5d0c2b9e7f10")
    })
}

fn seq(text: &str) -> Result<i64, Complaint> {
    text.parse()
        .ok()
        .filter(|seq| *seq >= 0)
        .ok_or_else(|| Complaint::new("expected a whole number, 0 or more"))
}

fn network(text: &str) -> Result<Network, Complaint> {
    let expected = || Complaint::new("expected an IP address or a network").hint("10.0.0.7 or 10.0.0.0/8");
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| expected())?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => bits,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => digits
            .parse()
            .ok()
            .filter(|prefix| *prefix <= bits)
            .ok_or_else(|| Complaint::new(format!("the prefix of this network is at most {bits}")))?,
        Some(_) => return Err(expected()),
    };
    Ok(unmapped(address, prefix))
}

/// Mapped IPv6 is stored as IPv4, so that is where to look for it.
fn unmapped(address: IpAddr, prefix: u8) -> Network {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) if address.is_ipv6() && prefix >= 96 => {
            Network { address: v4, prefix: prefix - 96 }
        }
        _ => Network { address, prefix },
    }
}

fn too_large() -> Complaint {
    Complaint::new("this number is too large to compare: at most 400 digits and an exponent of 308")
}

/// PostgreSQL's text cannot hold U+0000, so it is U+FFFD in what was recorded too.
pub(super) fn searchable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
