//! Rules of the projection, version 1. Rows say which version made them; version 1 never changes.
//!
//! - A string with `\u0000` or half a surrogate pair has U+FFFD in their place.
//! - A number whose magnitude or exponent is beyond ±308, or that is beyond ±1.797e308 (the end of f64), or of
//!   more than 400 digits, becomes a string of its text, cut to 400 characters. All others keep their digits.
//! - Of members with the same name (compared as cleaned text) the last one stays.
//! - A container deeper than 64 becomes null.
//! - After 2,000 scalars the rest is left out; an empty container and such a null count as one.

use std::borrow::Cow;

use crate::json::{Kind, Scanner, SyntaxError, Text, Token, decode, minify, quote_into};

pub const PROJECTION_V: i16 = 1;

const DEPTH_MAX: usize = 64;
/// Bounds the index entries that one event can make.
const SCALARS_MAX: usize = 2_000;
const DIGITS_MAX: usize = 400;
const EXPONENT_MAX: i64 = 308;
/// A little below the largest f64: parsers that round less than exactly overflow before it.
const FLOAT_MAX: f64 = 1.797e308;

/// What a payload has that a projection, or a stock parser, may not hold.
#[derive(Debug, Default)]
pub(super) struct Survey<'a> {
    text: &'a str,
    spaced: bool,
    deep: bool,
    irregular_text: bool,
    huge_number: bool,
    long_number: bool,
    duplicate_names: bool,
    scalars: usize,
}

impl<'a> Survey<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Result<Self, SyntaxError> {
        let mut scanner = Scanner::new(bytes)?;
        let mut survey = Self { text: scanner.text(), ..Self::default() };
        let mut names = Names::default();
        let mut just_opened = false;
        while let Some(token) = scanner.next_token()? {
            let opens = matches!(token.kind, Kind::ObjectStart | Kind::ArrayStart);
            match token.kind {
                Kind::ObjectStart => names.open(),
                Kind::ObjectEnd => survey.duplicate_names |= names.close(),
                Kind::ArrayStart | Kind::ArrayEnd => {}
                Kind::Key(text) => {
                    survey.irregular_text |= text == Text::Irregular;
                    names.push(scanner.raw(token), text);
                }
                Kind::String(text) => survey.irregular_text |= text == Text::Irregular,
                Kind::Number => survey.note_number(scanner.raw(token)),
                Kind::True | Kind::False | Kind::Null => {}
            }
            survey.deep |= scanner.depth() > DEPTH_MAX;
            survey.scalars += usize::from(is_scalar(token) || just_opened && is_end(token));
            just_opened = opens;
        }
        survey.spaced = scanner.spaced();
        Ok(survey)
    }

    fn note_number(&mut self, text: &str) {
        self.huge_number |= is_huge(text);
        self.long_number |= is_long(text);
    }

    pub(super) fn fits(&self) -> bool {
        !(self.chokes_parsers() || self.long_number || self.duplicate_names || self.scalars > SCALARS_MAX)
    }

    pub(super) fn chokes_parsers(&self) -> bool {
        self.deep || self.irregular_text || self.huge_number
    }

    /// The document without white space.
    pub(super) fn minify(&self) -> Result<String, SyntaxError> {
        if self.spaced { minify(self.text.as_bytes()) } else { Ok(self.text.to_owned()) }
    }
}

/// The names of the open objects, outermost first.
#[derive(Default)]
struct Names<'a> {
    names: Vec<Cow<'a, str>>,
    /// Where the names of each open object begin.
    starts: Vec<usize>,
}

impl<'a> Names<'a> {
    fn open(&mut self) {
        self.starts.push(self.names.len());
    }

    fn push(&mut self, raw: &'a str, text: Text) {
        let plain = raw.get(1..raw.len() - 1).filter(|_| text == Text::Plain);
        self.names.push(plain.map_or_else(|| decode(raw), Cow::Borrowed));
    }

    /// Forgets the innermost object; returns whether it had a name twice.
    fn close(&mut self) -> bool {
        let start = self.starts.pop().unwrap_or(0);
        let names = &mut self.names[start..];
        names.sort_unstable();
        let duplicate = names.windows(2).any(|pair| pair[0] == pair[1]);
        self.names.truncate(start);
        duplicate
    }
}

fn is_scalar(token: Token) -> bool {
    matches!(token.kind, Kind::String(_) | Kind::Number | Kind::True | Kind::False | Kind::Null)
}

fn is_end(token: Token) -> bool {
    matches!(token.kind, Kind::ObjectEnd | Kind::ArrayEnd)
}

fn is_long(number: &str) -> bool {
    number.len() > DIGITS_MAX && number.bytes().filter(u8::is_ascii_digit).count() > DIGITS_MAX
}

/// Whether a number's exponent as written, or the power of ten of its first digit, is beyond ±308.
/// `1000e306` and `0.001e-306` are huge although their exponents are not, and so is `1.8e308`, which stock
/// parsers refuse; `0e-999` because PostgreSQL keeps that many decimals.
fn is_huge(number: &str) -> bool {
    let unsigned = number.trim_start_matches('-');
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // Beyond i64, far beyond the limit too.
    let exponent = exponent.parse().unwrap_or(i64::MAX);
    let first_digit = match (whole, fraction.bytes().position(|byte| byte != b'0')) {
        ("0", None) => 0,
        ("0", Some(zeros)) => -1 - zeros as i64,
        _ => whole.len() as i64 - 1,
    };
    let magnitude = first_digit.saturating_add(exponent);
    exponent.unsigned_abs() > EXPONENT_MAX as u64
        || magnitude.unsigned_abs() > EXPONENT_MAX as u64
        || magnitude == EXPONENT_MAX && unsigned.parse().is_ok_and(|value: f64| value > FLOAT_MAX)
}

/// The projection of a document that does not fit as it is.
pub(super) fn project(bytes: &[u8]) -> Result<String, SyntaxError> {
    let mut scanner = Scanner::new(bytes)?;
    let nodes = nodes(&mut scanner)?;
    let mut projector = Projector { scanner, nodes, json: String::new(), room: SCALARS_MAX };
    projector.value(0, 1);
    Ok(projector.json)
}

/// A token in document order.
struct Node {
    token: Token,
    /// The index after this value, whose tokens are `self..next`.
    next: usize,
}

/// The tokens of the document, except for what is in containers too deep.
fn nodes(scanner: &mut Scanner<'_>) -> Result<Vec<Node>, SyntaxError> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut open = Vec::new();
    while let Some(token) = scanner.next_token()? {
        let index = nodes.len();
        nodes.push(Node { token, next: index + 1 });
        match token.kind {
            Kind::ObjectStart | Kind::ArrayStart if scanner.depth() > DEPTH_MAX => {
                scanner.finish_value(token)?;
            }
            Kind::ObjectStart | Kind::ArrayStart => open.push(index),
            Kind::ObjectEnd | Kind::ArrayEnd => {
                if let Some(start) = open.pop() {
                    nodes[start].next = index + 1;
                }
            }
            _ => {}
        }
    }
    Ok(nodes)
}

struct Projector<'a> {
    scanner: Scanner<'a>,
    nodes: Vec<Node>,
    json: String,
    /// How many scalars may still be written.
    room: usize,
}

impl Projector<'_> {
    /// Writes the value at node `at`, recursing no deeper than [`DEPTH_MAX`]. There is room for one scalar at
    /// least.
    fn value(&mut self, at: usize, depth: usize) {
        let token = self.nodes[at].token;
        let opens = matches!(token.kind, Kind::ObjectStart | Kind::ArrayStart);
        if opens && depth <= DEPTH_MAX && self.nodes[at].next > at + 2 {
            return self.container(at, depth);
        }
        self.room -= 1;
        let raw = self.scanner.raw(token);
        match token.kind {
            Kind::ObjectStart | Kind::ArrayStart if depth > DEPTH_MAX => self.json.push_str("null"),
            Kind::ObjectStart => self.json.push_str("{}"),
            Kind::ArrayStart => self.json.push_str("[]"),
            Kind::String(text) => self.string(raw, text),
            Kind::Number if is_huge(raw) || is_long(raw) => {
                quote_into(&mut self.json, &raw[..raw.len().min(DIGITS_MAX)]);
            }
            _ => self.json.push_str(raw),
        }
    }

    fn container(&mut self, at: usize, depth: usize) {
        let is_object = self.nodes[at].token.kind == Kind::ObjectStart;
        let children = if is_object { self.members(at) } else { self.children(at) };
        self.json.push(if is_object { '{' } else { '[' });
        for (i, child) in children.into_iter().enumerate() {
            if self.room == 0 {
                break;
            }
            if i > 0 {
                self.json.push(',');
            }
            let key = self.nodes[child].token;
            if let Kind::Key(text) = key.kind {
                self.string(self.scanner.raw(key), text);
                self.json.push(':');
            }
            self.value(child + usize::from(is_object), depth + 1);
        }
        self.json.push(if is_object { '}' } else { ']' });
    }

    /// The nodes of an array's elements, or of an object's names.
    fn children(&self, at: usize) -> Vec<usize> {
        let end = self.nodes[at].next - 1;
        let is_object = usize::from(self.nodes[at].token.kind == Kind::ObjectStart);
        let mut children = Vec::new();
        let mut child = at + 1;
        while child < end {
            children.push(child);
            child = self.nodes[child + is_object].next;
        }
        children
    }

    /// The nodes of an object's names: of each name the last one, in document order.
    fn members(&self, at: usize) -> Vec<usize> {
        let name = |child: usize| decode(self.scanner.raw(self.nodes[child].token));
        let mut members: Vec<_> = self.children(at).into_iter().map(|child| (name(child), child)).collect();
        members.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        members.dedup_by(|later, first| later.0 == first.0);
        let mut members: Vec<usize> = members.into_iter().map(|(_, child)| child).collect();
        members.sort_unstable();
        members
    }

    fn string(&mut self, raw: &str, text: Text) {
        match text {
            Text::Irregular => quote_into(&mut self.json, &decode(raw)),
            Text::Plain | Text::Escaped => self.json.push_str(raw),
        }
    }
}
