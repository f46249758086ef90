//! Bodies of a few plain members, read strictly: unknown and repeated members are refused, and every fault is
//! told at once. No value is repeated in what is said, as it may be a password.

use http::StatusCode;

use super::problem::{Fault, Position, Problem};
use crate::auth::{Role, Roles};
use crate::event::nearest_name;
use crate::json::{self, SyntaxError};

/// A body can have thousands.
const FAULTS_MAX: usize = 20;
/// Longest word of a client that is repeated.
const WORD_MAX_CHARS: usize = 32;

/// What is wrong with a value; the pointer starts at the value.
pub(super) type Read<T> = Result<T, Fault>;

pub(super) struct Members<'a> {
    /// Name and raw value of those that are known and not null.
    members: Vec<(&'static str, &'a str)>,
    faults: Vec<Fault>,
}

impl<'a> Members<'a> {
    pub(super) fn of(body: &'a [u8], known: &[&'static str]) -> Result<Self, Problem> {
        let found = json::members(body).map_err(|error| no_object(body, &error))?;
        // Otherwise it would not have passed.
        let text = std::str::from_utf8(body).unwrap_or_default();
        let mut seen = Vec::new();
        let mut members = Self { members: Vec::new(), faults: Vec::new() };
        for member in found {
            let Some(name) = known.iter().find(|name| **name == member.key) else {
                members.fault(unknown(&member.key, known));
                continue;
            };
            if seen.contains(name) {
                members.fault(Fault::at(format!("/{name}"), "given more than once"));
                continue;
            }
            seen.push(*name);
            let value = text.get(member.value).unwrap_or_default();
            if value != "null" {
                members.members.push((*name, value));
            }
        }
        Ok(members)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(known, _)| *known == name)
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    pub(super) fn optional<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Read<T>) -> Option<T> {
        let (_, raw) = *self.members.iter().find(|(known, _)| *known == name)?;
        match read(raw) {
            Ok(value) => Some(value),
            Err(fault) => {
                let within = fault.pointer.as_deref().unwrap_or_default();
                let pointer = Some(format!("/{name}{within}"));
                self.fault(Fault { pointer, ..fault });
                None
            }
        }
    }

    /// Something to go on with where the value is missing or wrong: `finish` will say so.
    pub(super) fn required<T: Default>(&mut self, name: &str, read: impl FnOnce(&str) -> Read<T>) -> T {
        if !self.has(name) {
            self.fault(Fault::at(format!("/{name}"), format!("`{name}` is required")));
        }
        self.optional(name, read).unwrap_or_default()
    }

    /// To be called before anything that was read is used.
    pub(super) fn finish(self) -> Result<(), Problem> {
        if self.faults.is_empty() {
            return Ok(());
        }
        let said: Vec<String> = self.faults.iter().map(sentence).collect();
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", said.join("; "));
        Err(self.faults.into_iter().fold(problem, Problem::with_fault))
    }
}

fn sentence(fault: &Fault) -> String {
    match fault.pointer.as_deref() {
        None | Some("") => fault.detail.clone(),
        Some(pointer) => format!("{pointer}: {}", fault.detail),
    }
}

/// The place of a syntax error without what stands there.
fn no_object(body: &[u8], error: &SyntaxError) -> Problem {
    if json::Scanner::check(body).is_ok() {
        let found = json::kind_name(body.trim_ascii_start());
        let fault = Fault::at("", format!("expected an object, found {found}"));
        return Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", fault.detail.clone())
            .with_fault(fault);
    }
    let SyntaxError { offset, line, column, expected, hint, .. } = error;
    let count = |number: &usize| u64::try_from(*number).ok();
    let position = Position {
        offset: count(offset).unwrap_or_default(),
        length: None,
        line: count(line),
        column: count(column),
    };
    let detail = format!("line {line}, column {column}: expected {expected}");
    let fault = Fault {
        code: Some("malformed_json"),
        hint: hint.map(str::to_owned),
        position: Some(position),
        ..Fault::at("", detail.clone())
    };
    Problem::new(StatusCode::BAD_REQUEST, "malformed_json", detail).with_fault(fault)
}

fn unknown(name: &str, known: &[&'static str]) -> Fault {
    let pointer = match name.chars().nth(WORD_MAX_CHARS) {
        Some(_) => String::new(),
        None => format!("/{}", name.replace('~', "~0").replace('/', "~1")),
    };
    let fault = Fault::at(pointer, format!("unknown member {}", shown(name)));
    match nearest_name(name, known.iter().copied()) {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None => fault.hint(format!("the members are {}", known.join(", "))),
    }
}

/// A client's word, cut and without control characters.
fn shown(word: &str) -> String {
    let cut: String = word.chars().take(WORD_MAX_CHARS).flat_map(char::escape_debug).collect();
    format!("`{cut}`")
}

fn wrong(detail: impl Into<String>) -> Fault {
    Fault { detail: detail.into(), ..Fault::default() }
}

pub(super) fn text(raw: &str) -> Read<String> {
    match raw.starts_with('"') {
        // What no text can hold, such as half a surrogate pair, must not become something else.
        true => serde_json::from_str(raw).map_err(|_| wrong("not a text that can be kept")),
        false => Err(wrong("expected a string")),
    }
}

/// A text that passes `check`.
pub(super) fn checked(check: fn(&str) -> Result<(), &'static str>) -> impl Fn(&str) -> Read<String> {
    move |raw| text(raw).and_then(|text| check(&text).map(|()| text).map_err(wrong))
}

pub(super) fn flag(raw: &str) -> Read<bool> {
    match raw {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(wrong("expected true or false")),
    }
}

/// One of the words of `known`.
pub(super) fn word<T: Copy>(known: &[(&'static str, T)]) -> impl Fn(&str) -> Read<T> {
    move |raw| {
        let word = text(raw)?;
        if let Some((_, value)) = known.iter().find(|(name, _)| *name == word) {
            return Ok(*value);
        }
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let fault = wrong(format!("{} is none of {}", shown(&word), names.join(", ")));
        Err(match nearest_name(&word, names) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault,
        })
    }
}

/// At least one.
pub(super) fn roles(raw: &str) -> Read<Roles> {
    let expected = || wrong("expected an array of roles").hint(r#"such as ["writer", "reader"]"#);
    let known = Role::ALL.map(|role| (role.name(), role));
    let elements = json::elements(raw.as_bytes()).map_err(|_| expected())?;
    let roles = elements.into_iter().enumerate().map(|(index, element)| {
        let read = word(&known)(raw.get(element).unwrap_or_default());
        read.map_err(|fault| Fault { pointer: Some(format!("/{index}")), ..fault })
    });
    match roles.collect::<Read<Roles>>()? {
        none if none.is_empty() => Err(expected()),
        roles => Ok(roles),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::name::{check_new_password, check_user_name};

    const KNOWN: [&str; 4] = ["name", "roles", "password", "disabled"];

    fn faults(body: &str) -> Vec<(String, String)> {
        let read = Members::of(body.as_bytes(), &KNOWN).and_then(|mut members| {
            members.required("name", checked(check_user_name));
            members.optional("roles", roles);
            members.optional("password", checked(check_new_password));
            members.optional("disabled", flag);
            members.finish()
        });
        let problem = read.unwrap_err();
        let all = problem.errors.into_iter();
        all.map(|fault| {
            (
                fault.pointer.unwrap_or_default(),
                format!("{} {}", fault.detail, fault.hint.unwrap_or_default()),
            )
        })
        .collect()
    }

    #[test]
    fn every_fault_is_told_with_its_place_and_what_was_meant() {
        let told = faults(
            r#"{"nmae": "x", "roles": ["reader", "writr"], "password": "short", "disabled": 1, "disabled": 2}"#,
        );
        let expected = [
            ("/nmae", "did you mean `name`?"),
            ("/disabled", "more than once"),
            ("/name", "required"),
            ("/roles/1", "did you mean `writer`?"),
            ("/password", "at least 8"),
            ("/disabled", "true or false"),
        ];
        assert_eq!(told.len(), expected.len(), "{told:#?}");
        for ((pointer, text), (at, part)) in told.iter().zip(expected) {
            assert!(pointer == at && text.contains(part), "{told:#?}");
        }
    }

    #[test]
    fn null_is_as_good_as_absent() {
        let body = br#"{"name": "ann", "roles": null, "password": null}"#;
        let mut members = Members::of(body, &KNOWN).unwrap();
        assert_eq!(members.required("name", text), "ann");
        assert_eq!(members.optional("roles", roles), None);
        members.finish().unwrap();
    }

    #[test]
    fn no_value_is_repeated() {
        for body in [
            r#"{"name": "ann", "password": hunter2hunter2}"#,
            r#"{"name": "ann", "password": "hunter2"}"#,
            r#"{"name": "ann", "password": ["hunter2hunter2"]}"#,
            r#"{"name": "ann", "password": "hunter2hunter2\ud800"}"#,
            r#"{"name": "hunter2/hunter2"}"#,
            r#""hunter2hunter2""#,
        ] {
            let told = faults(body);
            assert!(!told.is_empty() && !format!("{told:?}").contains("hunter2"), "{told:?}");
        }
    }

    #[test]
    fn a_flood_of_faults_is_cut() {
        let body = format!("{{{}\"x\":1}}", "\"x\":1,".repeat(5_000));
        assert_eq!(faults(&body).len(), FAULTS_MAX);
    }

    #[test]
    fn roles_are_a_list_of_at_least_one() {
        for raw in ["[]", "\"writer\"", "{}", "[1]", "[[\"writer\"]]"] {
            assert!(roles(raw).is_err(), "{raw}");
        }
        assert_eq!(roles(r#"["reader", "writer", "reader"]"#).unwrap().names(), ["writer", "reader"]);
    }
}
