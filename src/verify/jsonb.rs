//! JSON as PostgreSQL prints its `jsonb`, so that a stored projection can be compared without asking the database.

use std::borrow::Cow;

use crate::json::{Kind, Scanner, Text, decode, quote_into};

/// What `jsonb::text` is for this document. `None` where only PostgreSQL can tell: a number with an exponent or a
/// negative zero, text that `jsonb` cannot hold, or what is no JSON.
pub(super) fn text(json: &str) -> Option<String> {
    let mut scanner = Scanner::new(json.as_bytes()).ok()?;
    let mut printer = Printer { out: String::with_capacity(json.len() + json.len() / 4), open: Vec::new() };
    while let Some(token) = scanner.next_token().ok()? {
        let raw = scanner.raw(token);
        match token.kind {
            Kind::Key(text) => printer.key(raw, text)?,
            Kind::ObjectStart | Kind::ArrayStart => printer.start(raw, token.kind == Kind::ObjectStart),
            Kind::ObjectEnd | Kind::ArrayEnd => printer.end(raw),
            Kind::String(text) => {
                printer.separate();
                printer.string(raw, text)?;
            }
            Kind::Number => {
                printer.separate();
                printer.number(raw)?;
            }
            Kind::True | Kind::False | Kind::Null => {
                printer.separate();
                printer.out.push_str(raw);
            }
        }
    }
    Some(printer.out)
}

struct Printer<'a> {
    out: String,
    open: Vec<Container<'a>>,
}

struct Container<'a> {
    is_object: bool,
    /// Where in the output its first member or element begins.
    start: usize,
    elements: usize,
    /// The members so far, and where in the output each begins.
    members: Vec<(Cow<'a, str>, usize)>,
}

impl<'a> Printer<'a> {
    /// Elements are separated at once, members when their order is known.
    fn separate(&mut self) {
        if let Some(container) = self.open.last_mut().filter(|container| !container.is_object) {
            if container.elements > 0 {
                self.out.push_str(", ");
            }
            container.elements += 1;
        }
    }

    fn start(&mut self, raw: &str, is_object: bool) {
        self.separate();
        self.out.push_str(raw);
        let start = self.out.len();
        self.open.push(Container { is_object, start, elements: 0, members: Vec::new() });
    }

    fn key(&mut self, raw: &'a str, text: Text) -> Option<()> {
        let start = self.out.len();
        self.open.last_mut()?.members.push((decode(raw), start));
        self.string(raw, text)?;
        self.out.push_str(": ");
        Some(())
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
        if let Some(container) = self.open.pop().filter(|container| container.members.len() > 1) {
            self.sort(container);
        }
        self.out.push_str(raw);
    }

    /// `jsonb` sorts members by the length of their names in bytes, then by the bytes; of the same name the last stays.
    fn sort(&mut self, container: Container<'_>) {
        let body = self.out.split_off(container.start);
        let end = |index: usize| {
            container.members.get(index + 1).map_or(body.len(), |(_, start)| start - container.start)
        };
        let ends: Vec<usize> = (0..container.members.len()).map(end).collect();
        let pieces = container.members.iter().zip(&ends);
        let mut pieces: Vec<(&str, &str)> =
            pieces.map(|((key, start), end)| (key.as_ref(), &body[start - container.start..*end])).collect();
        pieces.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
        let mut first = true;
        for (at, (key, piece)) in pieces.iter().enumerate() {
            if pieces.get(at + 1).is_some_and(|(next, _)| next == key) {
                continue;
            }
            if !first {
                self.out.push_str(", ");
            }
            first = false;
            self.out.push_str(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (r#""\/\u0041\u000a\"""#, r#""/A\n\"""#),
            ("1.50", "1.50"),
            ("-0.5", "-0.5"),
        ] {
            assert_eq!(text(json).as_deref(), Some(expected), "{json}");
        }
    }

    #[test]
    fn what_only_postgresql_can_tell_is_left_to_it() {
        for json in ["1e2", "[1E-7]", "-0", "-0.00", r#""\u0000""#, r#"{"\ud800":1}"#, "{", "nul"] {
            assert_eq!(text(json), None, "{json}");
        }
    }
}
