//! The JSON spelling: the body of `POST /events/query`.
//!
//! Value types are exact here: `100` is the number and `"100"` the string. Values are read from the raw
//! text, because a number that went through `serde_json::Value` may not be the one that was sent.

use super::ast::{Filter, Path, Pattern};
use super::op::Op;
use super::operand::Operand;
use super::settings::{Setting, Settings};
use super::{Complaint, Fault, MAX_BODY_BYTES, MAX_DEPTH, Origin, Search, check_filter, operand, path};
use crate::event::nearest_name;
use crate::json::{self, SyntaxError};

pub fn parse(body: &[u8]) -> Result<Search, Vec<Fault>> {
    if body.len() > MAX_BODY_BYTES {
        let detail = format!("{} bytes; at most {MAX_BODY_BYTES} are allowed", body.len());
        return Err(vec![Complaint::new(detail).at(pointer(""))]);
    }
    let body = checked(body).map_err(|error| vec![malformed(&error).at(pointer(""))])?;
    let mut reader = Reader { faults: Vec::new() };
    let search = reader.search(body);
    reader.note(check_filter(&search.filter), "/filter");
    if reader.faults.is_empty() { Ok(search) } else { Err(reader.faults) }
}

/// Goes on after a fault, so that all of them are told at once.
struct Reader {
    faults: Vec<Fault>,
}

impl Reader {
    fn search(&mut self, root: &str) -> Search {
        let mut settings = Settings::new();
        let mut filter = None;
        for (name, value) in self.members(root, "") {
            let at = child("", &name);
            if name == "filter" {
                filter = self.filter(value, &at, 1);
                continue;
            }
            let outcome = match Setting::parse(&name) {
                Some(setting) => setting_text(setting, value).and_then(|text| settings.set(setting, &text)),
                None => Err(unknown_member(&name, Setting::NAMES.into_iter().chain(["filter"]))),
            };
            self.note(outcome, &at);
        }
        settings.check_bounds(|setting| pointer(&child("", setting.name())), &mut self.faults);
        settings.search(filter.unwrap_or(Filter::And(Vec::new())))
    }

    fn filter(&mut self, raw: &str, at: &str, depth: usize) -> Option<Filter> {
        if depth > MAX_DEPTH {
            let complaint = Complaint::new(super::too_deep());
            return self.note(Err(complaint), at);
        }
        let members = self.members(raw, at);
        match members.as_slice() {
            // Not an object, which has been said, or an empty one.
            [] => self.note(Err(Complaint::new("expected a condition").hint(EXAMPLE)), at),
            [(name, all)] if name == "and" => Some(Filter::And(self.all(all, &child(at, name), depth)?)),
            [(name, all)] if name == "or" => match self.all(all, &child(at, name), depth)? {
                // None of them holds, so nothing would be found; whoever builds a filter by program meant everything.
                none if none.is_empty() => {
                    let complaint = Complaint::new("`or` takes one condition at least");
                    self.note(Err(complaint), &child(at, name))
                }
                all => Some(Filter::Or(all)),
            },
            [(name, inner)] if name == "not" => Some(self.filter(inner, &child(at, name), depth + 1)?.not()),
            [(name, text)] if name == "text" => {
                let text = string(text).and_then(|text| Pattern::containing(&text));
                self.note(text, &child(at, name)).map(Filter::Text)
            }
            _ => self.comparison(&members, at),
        }
    }

    fn all(&mut self, raw: &str, at: &str, depth: usize) -> Option<Vec<Filter>> {
        let all = json::elements(raw.as_bytes());
        let all = self.note(all.map_err(|_| Complaint::new("expected an array of conditions")), at)?;
        let count = all.len();
        let filters = all.into_iter().enumerate();
        let filters: Vec<_> = filters
            .filter_map(|(i, filter)| self.filter(&raw[filter], &child(at, &i.to_string()), depth + 1))
            .collect();
        // One that was not understood has been complained of.
        (filters.len() == count).then_some(filters)
    }

    fn comparison(&mut self, members: &[(String, &str)], at: &str) -> Option<Filter> {
        if let Some((name, _)) = members.iter().find(|(name, _)| ALONE.contains(&name.as_str())) {
            let complaint = Complaint::new(format!("`{name}` stands alone, with no member beside it"))
                .hint(r#"{"and": [first, second]} joins conditions"#);
            return self.note(Err(complaint), &child(at, name));
        }
        let (mut path, mut op, mut value) = (None, Some(Op::Eq), None);
        for (name, raw) in members {
            let at = child(at, name);
            match name.as_str() {
                "field" => path = Some(self.note(field(raw), &at)),
                "op" => op = self.note(string(raw).and_then(|name| Op::parse(&name)), &at),
                "value" => value = Some(*raw),
                _ => {
                    let known = ["field", "op", "value"].into_iter().chain(ALONE);
                    self.note::<()>(Err(unknown_member(name, known)), &at);
                }
            }
        }
        let value = value.or_else(|| (op == Some(Op::Exists)).then_some("true"));
        for (name, missing) in [("field", path.is_none()), ("value", value.is_none())] {
            if missing {
                let complaint = Complaint::new(format!("`{name}` is missing")).hint(EXAMPLE);
                self.note::<()>(Err(complaint), at);
            }
        }
        let (path, op, value) = (path??, op?, value?);
        let at = child(at, "value");
        let operands = self.operands(op, value, &at)?;
        self.note(operand::compare_all(path, op, operands), &at)
    }

    fn operands(&mut self, op: Op, raw: &str, at: &str) -> Option<Vec<Operand>> {
        if !matches!(op, Op::In | Op::NotIn) {
            return Some(vec![self.note(operand::scalar(raw), at).map(Operand::Scalar)?]);
        }
        let items = json::elements(raw.as_bytes());
        let items = self.note(items.map_err(|_| Complaint::new("expected an array of values")), at)?;
        let items = items.into_iter().enumerate();
        let operands: Vec<_> = items
            .map(|(i, item)| self.note(operand::scalar(&raw[item]), &child(at, &i.to_string())))
            .collect();
        operands.into_iter().map(|scalar| scalar.map(Operand::Scalar)).collect()
    }

    /// The members of an object; of anything else none, and a fault.
    fn members<'a>(&mut self, raw: &'a str, at: &str) -> Vec<(String, &'a str)> {
        let members = json::members(raw.as_bytes());
        let members = self.note(members.map_err(|_| Complaint::new("expected a JSON object")), at);
        let mut unique: Vec<(String, &str)> = Vec::new();
        for member in members.unwrap_or_default() {
            let name = member.key.into_owned();
            if unique.iter().any(|(earlier, _)| *earlier == name) {
                let complaint = Complaint::new(format!("`{name}` is given more than once"));
                self.note::<()>(Err(complaint), &child(at, &name));
            } else {
                unique.push((name, &raw[member.value]));
            }
        }
        unique
    }

    fn note<T>(&mut self, outcome: Result<T, Complaint>, at: &str) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(complaint) => {
                self.faults.push(complaint.at(pointer(at)));
                None
            }
        }
    }
}

/// What a filter has instead of a comparison.
const ALONE: [&str; 4] = ["and", "or", "not", "text"];
const EXAMPLE: &str = r#"{"field": "event_data.amount", "op": "eq", "value": 100}"#;

fn field(raw: &str) -> Result<Path, Complaint> {
    path::parse(&string(raw)?)
}

/// Settings are parsed from text, as in a URL, once their JSON type is right.
fn setting_text(setting: Setting, raw: &str) -> Result<String, Complaint> {
    match setting {
        Setting::Limit => Ok(raw.to_owned()),
        _ => string(raw),
    }
}

fn string(raw: &str) -> Result<String, Complaint> {
    if raw.starts_with('"') {
        Ok(json::decode(raw).into_owned())
    } else {
        Err(Complaint::new("expected a string"))
    }
}

fn unknown_member<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Complaint {
    let complaint = Complaint::new(format!("unknown member `{name}`"));
    match nearest_name(name, known) {
        Some(near) => complaint.hint(format!("did you mean `{near}`?")),
        None => complaint,
    }
}

fn checked(body: &[u8]) -> Result<&str, SyntaxError> {
    json::Scanner::check(body)?;
    // UTF-8, or it would not have passed.
    Ok(std::str::from_utf8(body).unwrap_or_default().trim())
}

fn malformed(error: &SyntaxError) -> Complaint {
    let complaint = Complaint::new(format!("the body is not JSON: {error}")).span(error.offset, 0);
    match error.hint {
        Some(hint) => complaint.hint(hint),
        None => complaint,
    }
}

fn pointer(text: &str) -> Origin {
    Origin::Pointer(text.to_owned())
}

fn child(parent: &str, name: &str) -> String {
    format!("{parent}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests;
