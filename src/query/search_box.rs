//! The spelling for people: `event_type:login -source:api amount:>100 (city:Paris OR city:Lyon) "free text"`.
//!
//! Side by side means AND; NOT binds before AND, AND before OR. What is not `name:value` is looked for as text. A value
//! ends at a space or a parenthesis, unless it is in double quotes.

use super::ast::{Filter, Path, Pattern, Than};
use super::op::Op;
use super::operand::{self, Operand};
use super::{Complaint, MAX_DEPTH, path};
use crate::event::Field;

/// `complaint.span` is of bytes of `text`.
pub(super) fn parse(text: &str) -> Result<Filter, Complaint> {
    // As word processors write them.
    let straight = text.replace(['\u{201c}', '\u{201d}', '\u{201e}'], "\"");
    // Each is a byte where it was three, so places are only right where there were none.
    let exact = straight.len() == text.len();
    let mut parser = Parser { text: &straight, at: 0, depth: 0 };
    parser.whole().map_err(|mut complaint| {
        complaint.span = complaint.span.filter(|_| exact);
        complaint
    })
}

struct Parser<'a> {
    text: &'a str,
    /// In bytes.
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn whole(&mut self) -> Result<Filter, Complaint> {
        self.skip_spaces();
        if self.rest().is_empty() {
            return Ok(Filter::And(Vec::new()));
        }
        let filter = self.any()?;
        match self.rest().chars().next() {
            // What was understood is told in JSON, where it must not be too deep either: `a OR b c` is two levels.
            None if filter.depth() > MAX_DEPTH => {
                Err(Complaint::new(super::too_deep()).span(0, self.text.len()))
            }
            None => Ok(filter),
            // Anything else would have been read.
            Some(_) => Err(self.complain("there is no ( for this )", 1)),
        }
    }

    /// `a OR b`
    fn any(&mut self) -> Result<Filter, Complaint> {
        let mut branches = vec![self.all()?];
        while self.take_word("OR") || self.take("||") {
            branches.push(self.all()?);
        }
        Ok(if branches.len() == 1 { branches.remove(0) } else { Filter::Or(branches) })
    }

    /// `a b`, `a AND b`
    fn all(&mut self) -> Result<Filter, Complaint> {
        let mut parts = vec![self.negated()?];
        loop {
            let joined = self.take_word("AND") || self.take("&&");
            if !joined && (self.at_end() || self.peek_word("OR") || self.rest().starts_with("||")) {
                return Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::And(parts) });
            }
            parts.push(self.negated()?);
        }
    }

    fn negated(&mut self) -> Result<Filter, Complaint> {
        if self.take_word("NOT") || self.take_sign() {
            return Ok(self.nested(Self::negated)?.not());
        }
        let start = self.at;
        if !self.take("(") {
            return self.term();
        }
        let inner = self.nested(Self::any)?;
        if !self.take(")") {
            self.at = start;
            return Err(self.complain("there is no ) for this (", 1));
        }
        Ok(inner)
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Filter, Complaint>,
    ) -> Result<Filter, Complaint> {
        if self.depth + 2 > MAX_DEPTH {
            return Err(self.complain(super::too_deep(), 1));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    /// `name:value`, or text.
    fn term(&mut self) -> Result<Filter, Complaint> {
        if self.at_end() || self.peek_word("AND") || self.peek_word("OR") {
            return Err(self.complain("a condition is missing here", 0));
        }
        let start = self.at;
        if let Some((path, length)) = self.name()? {
            self.at += length;
            let filter = self.comparison(path).map_err(|complaint| self.within(start, complaint));
            self.skip_spaces();
            return filter;
        }
        let value = self.value(Place::Free)?;
        let filter = match value.wild {
            Wild::Only => Ok(Filter::And(Vec::new())),
            // Text is looked for anywhere, with a * or without.
            _ => Pattern::containing(&value.text).map(Filter::Text),
        };
        let filter = filter.map_err(|complaint| self.within(start, complaint));
        self.skip_spaces();
        filter
    }

    /// A name, and how long it is with its colon. Times, addresses of IPv6 and of web pages are none.
    fn name(&self) -> Result<Option<(Path, usize)>, Complaint> {
        let rest = self.rest();
        let Some(length) = path::length(rest) else { return Ok(None) };
        let Some(after) = rest[length..].strip_prefix(':') else { return Ok(None) };
        let is_text = rest.starts_with(|c: char| c.is_ascii_digit())
            || after.is_empty()
            || after.starts_with(char::is_whitespace)
            || after.starts_with("//")
            // As in C++ and Rust; an address may begin with two.
            || after.starts_with(':') && !after.starts_with("::");
        if is_text {
            return Ok(None);
        }
        let path = path::parse(&rest[..length]).map_err(|complaint| complaint.span(self.at, length))?;
        Ok(Some((path, length + 1)))
    }

    fn comparison(&mut self, path: Path) -> Result<Filter, Complaint> {
        match self.rest().starts_with('(') {
            true => self.listed(path),
            false => self.single(path, Place::Named),
        }
    }

    fn single(&mut self, path: Path, place: Place) -> Result<Filter, Complaint> {
        match self.take_than() {
            Some(than) => operand::compare(path, Op::Than(than), self.value(place)?.operand()?),
            None => wild(path, self.value(place)?),
        }
    }

    fn take_than(&mut self) -> Option<Than> {
        let known = [
            (">=", Than::GreaterOrEqual),
            ("<=", Than::LessOrEqual),
            (">", Than::Greater),
            ("<", Than::Less),
        ];
        let (symbol, than) = known.into_iter().find(|(symbol, _)| self.rest().starts_with(symbol))?;
        self.at += symbol.len();
        Some(than)
    }

    /// `name:(a OR b)`, `name:(a, b)`, `name:(<5 OR >100)`
    fn listed(&mut self, path: Path) -> Result<Filter, Complaint> {
        let start = self.at;
        self.take("(");
        let mut filters = Vec::new();
        loop {
            if self.rest().is_empty() || filters.is_empty() && self.at_end() {
                self.at = start;
                return Err(self.complain("this list has no end, or is empty", 1));
            }
            self.check_joins_nothing()?;
            filters.push(self.single(path.clone(), Place::Listed)?);
            self.skip_spaces();
            if self.take(")") {
                break;
            }
            let _ = self.take(",") || self.take("||") || self.take_word("OR");
        }
        Ok(if filters.len() == 1 { filters.remove(0) } else { Filter::Or(filters) })
    }

    /// What joins conditions joins no values; taken for one, it would find too much.
    fn check_joins_nothing(&self) -> Result<(), Complaint> {
        if self.peek_word("AND") || self.peek_word("NOT") || self.rest().starts_with("&&") {
            return Err(self
                .complain("a list is of values, any of which will do", 0)
                .hint("tags:a AND tags:b; in quotes it is a value"));
        }
        if self.peek_word("OR") || self.rest().starts_with("||") {
            return Err(self.complain("a value is missing here", 0));
        }
        Ok(())
    }

    /// Up to a space or parenthesis, in a list also up to a comma; or in quotes.
    fn value(&mut self, place: Place) -> Result<Value, Complaint> {
        let rest = self.rest();
        if rest.trim_start_matches('*').starts_with('"') {
            return self.quoted();
        }
        let ends =
            |c: char| c.is_whitespace() || matches!(c, '(' | ')') || c == ',' && place == Place::Listed;
        let end = rest.find(ends).unwrap_or(rest.len());
        let word = &rest[..end];
        if let Some(quote) = word.find('"') {
            self.at += quote;
            return Err(self
                .complain("a quote within a word", 1)
                .hint("put all of it in quotes, and \\ before a quote inside"));
        }
        if place == Place::Free
            && let Some(hint) = meant_comparison(word)
        {
            return Err(self.complain("a comparison takes a colon", word.len()).hint(hint));
        }
        if word.is_empty() {
            return Err(self.complain("a value is missing here", 0));
        }
        let value = Value::of_word(word).map_err(|complaint| self.within(self.at, complaint))?;
        self.at += end;
        Ok(value)
    }

    fn quoted(&mut self) -> Result<Value, Complaint> {
        let starts = self.take("*");
        let Some((text, after)) = operand::leading_string(self.rest()) else {
            return Err(self
                .complain("this quote has no end, or is not as in JSON", 1)
                .hint("\\\" and \\\\ within quotes"));
        };
        self.at = self.text.len() - after.len();
        let ends = self.take("*");
        Ok(Value { text, quoted: true, wild: Wild::of(starts, ends) })
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Or before what ends a group.
    fn at_end(&self) -> bool {
        self.rest().is_empty() || self.rest().starts_with(')')
    }

    fn skip_spaces(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = self.rest().starts_with(symbol);
        if found {
            self.at += symbol.len();
            if symbol != "*" {
                self.skip_spaces();
            }
        }
        found
    }

    /// `-` or `!` right before what it negates.
    fn take_sign(&mut self) -> bool {
        let mut letters = self.rest().chars();
        let found =
            matches!(letters.next(), Some('-' | '!')) && letters.next().is_some_and(|c| !c.is_whitespace());
        self.at += usize::from(found);
        found
    }

    fn peek_word(&self, word: &str) -> bool {
        let found = self.rest().get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        found
            && self.rest()[word.len()..]
                .chars()
                .next()
                .is_none_or(|c| c.is_whitespace() || matches!(c, '(' | ')'))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.peek_word(word);
        if found {
            self.at += word.len();
            self.skip_spaces();
        }
        found
    }

    fn complain(&self, detail: impl Into<String>, length: usize) -> Complaint {
        Complaint::new(detail).span(self.at, length)
    }

    /// Complaints about a term's value know no better place than all of it.
    fn within(&self, start: usize, complaint: Complaint) -> Complaint {
        match complaint.span {
            Some(span) if span.start >= start => complaint,
            _ => complaint.span(start, self.at - start),
        }
    }
}

/// How to write `amount>100` and `amount=100`, which would be looked for as text.
fn meant_comparison(word: &str) -> Option<String> {
    let (name, rest) = word.split_at(path::length(word)?);
    let meant = match rest.chars().next()? {
        '<' | '>' => format!("{name}:{rest}"),
        '=' => format!("{name}:{}", rest.trim_start_matches('=')),
        '!' if rest.starts_with("!=") => format!("-{name}:{}", rest.trim_start_matches(['!', '='])),
        _ => return None,
    };
    Some(format!("{meant} compares; in quotes it is text"))
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    Named,
    Listed,
}

/// Where a value goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wild {
    No,
    Start,
    End,
    Both,
    /// It is nothing but a `*`.
    Only,
}

impl Wild {
    fn of(starts: bool, ends: bool) -> Self {
        match (starts, ends) {
            (false, false) => Self::No,
            (true, false) => Self::Start,
            (false, true) => Self::End,
            (true, true) => Self::Both,
        }
    }
}

struct Value {
    text: String,
    quoted: bool,
    wild: Wild,
}

impl Value {
    fn of_word(word: &str) -> Result<Self, Complaint> {
        if word.bytes().all(|byte| byte == b'*') {
            return Ok(Self { text: String::new(), quoted: false, wild: Wild::Only });
        }
        let (start, end) = (word.strip_prefix('*'), word.strip_suffix('*'));
        let wild = Wild::of(start.is_some(), end.is_some());
        let text = word.strip_prefix('*').unwrap_or(word);
        let text = text.strip_suffix('*').unwrap_or(text);
        match text.contains('*') {
            true => Err(Complaint::new("a * stands at the beginning or the end of a value only")
                .hint("in quotes it is a plain *; patterns are for `match` in a URL or JSON")),
            false => Ok(Self { text: text.to_owned(), quoted: false, wild }),
        }
    }

    fn operand(self) -> Result<Operand, Complaint> {
        match (self.wild, self.quoted) {
            (Wild::No, true) => Ok(Operand::quoted(self.text)),
            (Wild::No, false) => Ok(Operand::Bare(self.text)),
            _ => Err(Complaint::new("a comparison takes no *")),
        }
    }
}

fn wild(path: Path, value: Value) -> Result<Filter, Complaint> {
    let text = |text: &str| Operand::quoted(text.to_owned());
    match value.wild {
        Wild::Only => operand::compare(path, Op::Exists, Operand::Bare("true".to_owned())),
        // Nobody remembers a whole message.
        _ if path == Path::Column(Field::Message) => operand::compare(path, Op::Contains, text(&value.text)),
        Wild::No => operand::compare(path, Op::Eq, value.operand()?),
        Wild::End => operand::compare(path, Op::Prefix, text(&value.text)),
        Wild::Both => operand::compare(path, Op::Contains, text(&value.text)),
        Wild::Start => Err(Complaint::new("a value may end in *, or have one at either end")
            .hint(format!("*{}* is anywhere in it", value.text))),
    }
}

#[cfg(test)]
mod tests;
