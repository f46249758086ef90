//! The URL spelling: every pair is a condition, and all must hold.
//!
//! The operator stands on the key, so that `key=value` is a literal whatever somebody typed as the value.

use super::ast::{Filter, Path};
use super::op::Op;
use super::operand::Operand;
use super::settings::{Setting, Settings};
use super::{Complaint, Fault, MAX_URL_BYTES, Origin, Search, check_filter, operand, path};

/// Reserved since v1 for what is to come; silently searching `event_data.fields` would be worse than refusing.
const NOT_YET: [&str; 3] = ["fields", "count", "skip"];

/// `pairs` are the decoded names and values in the order of the query string.
pub fn parse(pairs: &[(String, String)]) -> Result<Search, Vec<Fault>> {
    check_size(pairs).map_err(|fault| vec![fault])?;
    let mut settings = Settings::new();
    let mut leaves = Vec::new();
    let mut faults = Vec::new();
    for (name, value) in pairs {
        let outcome = match Setting::parse(name) {
            Some(setting) => settings.set(setting, value),
            None => condition(name, value).map(|leaf| leaves.push(leaf)),
        };
        faults.extend(outcome.err().map(|complaint| complaint.at(parameter(name))));
    }
    settings.check_bounds(|setting| parameter(setting.name()), &mut faults);
    let search = settings.search(Filter::And(leaves));
    check_filter(&search.filter)
        .err()
        .into_iter()
        .for_each(|complaint| faults.push(complaint.at(parameter(""))));
    if faults.is_empty() { Ok(search) } else { Err(faults) }
}

fn condition(name: &str, value: &str) -> Result<Filter, Complaint> {
    not_reserved(name)?;
    let (path, operator) = path::parse_with_operator(name)?;
    let op = operator.map_or(Ok(Op::Eq), Op::parse)?;
    match op {
        Op::In | Op::NotIn => operand::compare_all(path, op, list(value)?),
        Op::Exists if value.is_empty() => operand::compare(path, op, Operand::of_text("true")),
        _ => operand::compare(path, op, Operand::of_text(value)),
    }
    .map_err(Complaint::about_the_value)
}

/// Each may hold as much as a payload does.
const MAX_COLUMNS: usize = 64;

/// The columns of a table: names between commas, each as it was written.
pub fn columns(text: &str) -> Result<Vec<(String, Path)>, Vec<Fault>> {
    let column = |name: &str| match path::parse(name) {
        Ok(path) => Ok((name.to_owned(), path)),
        Err(complaint) => Err(vec![complaint.at(parameter("columns"))]),
    };
    let columns: Vec<(String, Path)> = split_names(text).into_iter().map(column).collect::<Result<_, _>>()?;
    let twice = columns
        .iter()
        .enumerate()
        .find(|(n, (_, path))| columns[..*n].iter().any(|(_, other)| other == path));
    let complaint = match twice {
        _ if columns.len() > MAX_COLUMNS => {
            Complaint::new(format!("{} columns; at most {MAX_COLUMNS} are allowed", columns.len()))
        }
        Some((_, (name, _))) => Complaint::new(format!("`{name}` is there twice")),
        None => return Ok(columns),
    };
    Err(vec![complaint.at(parameter("columns"))])
}

/// A comma in a quoted key is part of it.
fn split_names(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = text;
    loop {
        let end = path::length(rest).unwrap_or_else(|| rest.find(',').unwrap_or(rest.len()));
        match rest[end..].find(',') {
            Some(comma) => {
                names.push(&rest[..end + comma]);
                rest = &rest[end + comma + 1..];
            }
            None => {
                names.push(rest);
                return names;
            }
        }
    }
}

/// Values between commas. One with a comma in it is quoted.
fn list(text: &str) -> Result<Vec<Operand>, Complaint> {
    let mut items = Vec::new();
    let mut rest = text;
    loop {
        let quoted = if rest.starts_with('"') { operand::leading_string(rest) } else { None };
        let (item, after) = match quoted {
            Some((text, after)) => (Operand::quoted(text), after),
            None => {
                let (item, after) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
                (Operand::Bare(item.to_owned()), after)
            }
        };
        let at = text.len() - rest.len();
        if matches!(&item, Operand::Bare(bare) if bare.is_empty() || bare.starts_with('"')) {
            return Err(Complaint::new("expected a value, then a comma or the end")
                .span(at, rest.len() - after.len())
                .hint("values with commas or quotes in them, and empty ones, are written as JSON strings: \"a,b\""));
        }
        items.push(item);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(items),
            None => {
                return Err(Complaint::new("expected a comma after the quoted value")
                    .span(text.len() - after.len(), 1));
            }
        }
    }
}

fn not_reserved(name: &str) -> Result<(), Complaint> {
    let word = name.split(':').next().unwrap_or(name);
    let key = || format!("a key of the data is event_data.{word}");
    if NOT_YET.contains(&word) {
        return Err(Complaint::new(format!("`{word}` is reserved and not supported yet")).hint(key()));
    }
    if Setting::parse(word).is_some() {
        return Err(Complaint::new(format!("`{word}` takes no operator")).hint(key()));
    }
    if name.starts_with('_') {
        return Err(Complaint::new("names that start with _ are reserved").hint(key()));
    }
    Ok(())
}

fn check_size(pairs: &[(String, String)]) -> Result<(), Fault> {
    // A ready `next` must not be longer than the request that it continues was allowed to be.
    let counted = pairs.iter().filter(|(name, _)| name != Setting::Cursor.name());
    let bytes: usize = counted.map(|(name, value)| name.len() + value.len()).sum();
    if bytes <= MAX_URL_BYTES {
        return Ok(());
    }
    let detail = format!("{bytes} bytes of parameters; at most {MAX_URL_BYTES} are allowed");
    Err(Complaint::new(detail).hint("POST /events/query takes longer filters").at(parameter("")))
}

fn parameter(name: &str) -> Origin {
    Origin::Parameter(name.to_owned())
}

#[cfg(test)]
mod tests;
