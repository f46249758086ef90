//! JSON as PostgreSQL prints its `jsonb`, so that a stored projection can be compared without asking the database.

use std::ops::Range;

use crate::json::{Kind, Scanner, Text, decode, quote_into};

/// Prints one document after another, in the same memory: this is done for every event of a log.
#[derive(Debug, Default)]
pub(super) struct Printer {
    out: String,
    open: Vec<Container>,
    /// The members of the open objects, those of the innermost last.
    members: Vec<Member>,
    sorted: String,
}

#[derive(Debug)]
struct Container {
    is_object: bool,
    /// Where in the output its first member or element begins.
    start: usize,
    /// The first of its members.
    first: usize,
    is_empty: bool,
}

/// Where in the output a member lies.
#[derive(Clone, Debug)]
struct Member {
    /// Between the quotes.
    key: Range<usize>,
    start: usize,
    end: usize,
}

impl Printer {
    /// What `jsonb::text` is for this document. `None` where only PostgreSQL can tell: a number with an exponent or a
    /// negative zero, a name with escapes, text that `jsonb` cannot hold, or what is no JSON.
    pub(super) fn print(&mut self, json: &str) -> Option<&str> {
        self.out.clear();
        self.open.clear();
        self.members.clear();
        let mut scanner = Scanner::new(json.as_bytes()).ok()?;
        while let Some(token) = scanner.next_token().ok()? {
            let raw = scanner.raw(token);
            match token.kind {
                Kind::Key(text) => self.key(raw, text)?,
                Kind::ObjectStart | Kind::ArrayStart => self.start(raw, token.kind == Kind::ObjectStart),
                Kind::ObjectEnd | Kind::ArrayEnd => self.end(raw),
                Kind::String(text) => {
                    self.separate_element();
                    self.string(raw, text)?;
                }
                Kind::Number => {
                    self.separate_element();
                    self.number(raw)?;
                }
                Kind::True | Kind::False | Kind::Null => {
                    self.separate_element();
                    self.out.push_str(raw);
                }
            }
        }
        Some(&self.out)
    }

    fn separate_element(&mut self) {
        if self.open.last().is_some_and(|container| !container.is_object) {
            self.separate();
        }
    }

    fn separate(&mut self) {
        if let Some(container) = self.open.last_mut()
            && !std::mem::take(&mut container.is_empty)
        {
            self.out.push_str(", ");
        }
    }

    fn start(&mut self, raw: &str, is_object: bool) {
        self.separate_element();
        self.out.push_str(raw);
        let (start, first) = (self.out.len(), self.members.len());
        self.open.push(Container { is_object, start, first, is_empty: true });
    }

    fn key(&mut self, raw: &str, text: Text) -> Option<()> {
        if text != Text::Plain {
            return None;
        }
        self.finish_member();
        self.separate();
        let start = self.out.len();
        self.members.push(Member { key: start + 1..start + raw.len() - 1, start, end: start });
        self.out.push_str(raw);
        self.out.push_str(": ");
        Some(())
    }

    /// The last member of the innermost object ends here.
    fn finish_member(&mut self) {
        let first = self.open.last().map_or(0, |container| container.first);
        let end = self.out.len();
        if let Some(member) = self.members[first..].last_mut() {
            member.end = end;
        }
    }

    fn string(&mut self, raw: &str, text: Text) -> Option<()> {
        match text {
            Text::Plain => self.out.push_str(raw),
            Text::Escaped => quote_into(&mut self.out, &decode(raw)),
            Text::Irregular => return None,
        }
        Some(())
    }

    fn number(&mut self, raw: &str) -> Option<()> {
        let negative_zero = raw.starts_with('-') && !raw.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
        if negative_zero || raw.contains(['e', 'E']) {
            return None;
        }
        self.out.push_str(raw);
        Some(())
    }

    fn end(&mut self, raw: &str) {
        if self.open.last().is_some_and(|container| container.is_object) {
            self.finish_member();
        }
        if let Some(container) = self.open.pop() {
            self.sort(&container);
            self.members.truncate(container.first);
        }
        self.out.push_str(raw);
    }

    /// `jsonb` sorts members by the length of their names in bytes, then by the bytes; of the same name the last stays.
    fn sort(&mut self, container: &Container) {
        let (out, members) = (&self.out, &mut self.members[container.first..]);
        let rank = |member: &Member| (member.key.len(), &out.as_bytes()[member.key.clone()]);
        if members.is_sorted_by(|a, b| rank(a) < rank(b)) {
            return;
        }
        members.sort_by(|a, b| rank(a).cmp(&rank(b)));
        self.sorted.clear();
        for (at, member) in members.iter().enumerate() {
            if members.get(at + 1).is_some_and(|next| rank(next) == rank(member)) {
                continue;
            }
            if !self.sorted.is_empty() {
                self.sorted.push_str(", ");
            }
            self.sorted.push_str(&out[member.start..member.end]);
        }
        self.out.truncate(container.start);
        self.out.push_str(&self.sorted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Option<String> {
        Printer::default().print(json).map(str::to_owned)
    }

    #[test]
    fn members_are_sorted_by_length_then_bytes_and_the_last_of_a_name_stays() {
        for (json, expected) in [
            ("{}", "{}"),
            ("[]", "[]"),
            ("[1,[],{},\"x\"]", "[1, [], {}, \"x\"]"),
            (r#"{"b":1,"aa":2,"a":3}"#, r#"{"a": 3, "b": 1, "aa": 2}"#),
            (r#"{"a":1,"b":2,"a":3}"#, r#"{"a": 3, "b": 2}"#),
            (r#"{"é":1,"z":2}"#, r#"{"z": 2, "é": 1}"#),
            (
                r#"{"x":{"bb":[{"d":1,"c":null}],"a":true}}"#,
                r#"{"x": {"a": true, "bb": [{"c": null, "d": 1}]}}"#,
            ),
            (
                r#"[{"b":{"d":{},"c":1},"a":[{"f":1,"e":2}]},{"a":1}]"#,
                r#"[{"a": [{"e": 2, "f": 1}], "b": {"c": 1, "d": {}}}, {"a": 1}]"#,
            ),
            (r#""\/\u0041\u000a\"""#, r#""/A\n\"""#),
            ("1.50", "1.50"),
            ("-0.5", "-0.5"),
        ] {
            assert_eq!(text(json).as_deref(), Some(expected), "{json}");
        }
    }

    #[test]
    fn what_only_postgresql_can_tell_is_left_to_it() {
        for json in
            ["1e2", "[1E-7]", "-0", "-0.00", r#""\u0000""#, r#"{"\ud800":1}"#, r#"{"\n":1}"#, "{", "nul"]
        {
            assert_eq!(text(json), None, "{json}");
        }
    }
}
