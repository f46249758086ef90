//! The URL spelling: every pair is a condition, and all must hold.
//!
//! The operator stands on the key, so that `key=value` is a literal whatever somebody typed as the value.

use super::ast::{Filter, Op};
use super::settings::{Setting, Settings};
use super::{Complaint, Fault, MAX_LEAVES, MAX_URL_BYTES, Origin, Search, operand, path};

/// Reserved since v1 for what is to come; silently searching `event_data.q` would be worse than refusing.
const NOT_YET: [&str; 4] = ["q", "fields", "count", "skip"];

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
    if leaves.len() > MAX_LEAVES {
        let detail = format!("{} conditions; at most {MAX_LEAVES} are allowed", leaves.len());
        faults.push(Complaint::new(detail).at(parameter("")));
    }
    if faults.is_empty() {
        Ok(Search { filter: Filter::And(leaves), ..settings.search })
    } else {
        Err(faults)
    }
}

fn condition(name: &str, value: &str) -> Result<Filter, Complaint> {
    not_reserved(name)?;
    let (path, operator) = path::parse_with_operator(name)?;
    let op = operator.map_or(Ok(Op::Eq), known_operator)?;
    operand::compare_text(path, op, value)
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

fn known_operator(operator: &str) -> Result<Op, Complaint> {
    match operator {
        "cidr" => Ok(Op::Cidr),
        _ => Err(Complaint::new(format!("unknown operator `{operator}`"))
            .hint("this version knows name=value and ip:cidr=network; a key with a colon is quoted")),
    }
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
