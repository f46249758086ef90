//! Values: text or JSON scalars into what a field can be compared with.

use std::net::IpAddr;

use uuid::Uuid;

use super::Complaint;
use super::ast::{Filter, Network, Number, Op, Path, Scalar, Seg, Typed, Untyped};
use super::number::NotANumber;
use crate::event::{Field, Level, Outcome, Timestamp, nearest_name};
use crate::json;

/// An untyped operand, as in a URL: a JSON string in quotes is that string, everything else is literal.
pub(super) fn compare_text(path: Path, op: Op, text: &str) -> Result<Filter, Complaint> {
    let quoted: Option<String> = serde_json::from_str(text).ok();
    match path {
        Path::Column(field) => column(field, op, quoted.as_deref().unwrap_or(text)),
        Path::Data(path) => {
            let value = match quoted {
                Some(text) => Untyped::Exactly(Scalar::String(searchable(&text))),
                None => loose(text)?,
            };
            data(path, op, value)
        }
    }
}

/// An operand that already has a JSON type.
pub(super) fn compare_scalar(path: Path, op: Op, scalar: Scalar) -> Result<Filter, Complaint> {
    match (path, scalar) {
        (Path::Data(path), scalar) => data(path, op, Untyped::Exactly(scalar)),
        (Path::Column(Field::Seq), Scalar::Number(number)) => column(Field::Seq, op, &number.to_string()),
        (Path::Column(Field::Seq), _) => Err(Complaint::new("`seq` is compared with a number")),
        (Path::Column(field), Scalar::String(text)) => column(field, op, &text),
        (Path::Column(field), _) => {
            Err(Complaint::new(format!("`{}` is compared with a string", field.name())))
        }
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

fn loose(text: &str) -> Result<Untyped, Complaint> {
    let scalar = match text {
        "null" => Scalar::Null,
        "true" => Scalar::Bool(true),
        "false" => Scalar::Bool(false),
        _ => match Number::parse(text) {
            Ok(number) => Scalar::Number(number),
            Err(NotANumber::TooLarge) => return Err(too_large().hint("quote it to compare it as a string")),
            Err(NotANumber::Syntax) => return Ok(Untyped::Exactly(Scalar::String(searchable(text)))),
        },
    };
    Ok(Untyped::Loosely(scalar, text.to_owned()))
}

fn data(path: Vec<Seg>, op: Op, value: Untyped) -> Result<Filter, Complaint> {
    only_eq(op)?;
    Ok(Filter::Data { path, value })
}

fn column(field: Field, op: Op, text: &str) -> Result<Filter, Complaint> {
    if field == Field::Ip {
        let value = Typed::Network(network(text)?);
        // A network equals no address: whoever writes one means what lies in it.
        let op = if text.contains('/') { Op::Cidr } else { op };
        return Ok(Filter::Column { field, op, value });
    }
    only_eq(op)?;
    let value = match field {
        Field::Timestamp | Field::ReceivedAt => Typed::Time(time(text)?),
        Field::Level => Typed::Level(level(text)?),
        Field::Outcome => Typed::Outcome(outcome(text)?),
        Field::Id => Typed::Id(id(text)?),
        Field::Seq => Typed::Seq(seq(text)?),
        _ => Typed::Text(searchable(text)),
    };
    Ok(Filter::Column { field, op, value })
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

fn only_eq(op: Op) -> Result<(), Complaint> {
    match op {
        Op::Eq => Ok(()),
        Op::Cidr => Err(Complaint::new("`cidr` applies to the column `ip` only")),
    }
}

fn too_large() -> Complaint {
    Complaint::new("this number is too large to compare: at most 400 digits and an exponent of 308")
}

/// PostgreSQL's text cannot hold U+0000, so it is U+FFFD in what was recorded too.
pub(super) fn searchable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
