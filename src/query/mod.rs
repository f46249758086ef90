//! Search: one filter, its spellings, and the SQL it compiles to.
//!
//! `params` (URL), `search_box` (its parameter `q`) and `json` (POST body) parse a request into a [`Search`]; `compile`
//! turns that into the only dynamic SQL of the service, `evaluate` answers the same in memory; `cursor` seals page
//! positions. Pure: no statement is run here, and whatever a parser accepts compiles.

pub mod ast;
pub mod compile;
pub mod cursor;
pub mod evaluate;
pub mod json;
mod number;
pub mod op;
mod operand;
pub mod params;
mod path;
mod pattern;
mod print;
pub mod search;
mod search_box;
mod settings;

use std::fmt;

pub use ast::Filter;
pub use search::{Bounds, Position, Search, Sort};

/// Comparisons in one filter; each costs planning time in PostgreSQL.
pub const MAX_LEAVES: usize = 64;
/// Texts and regular expressions in one filter. PostgreSQL keeps 32 of them compiled; with more it would compile each one
/// anew for every row.
pub const MAX_PATTERNS: usize = 16;
/// Values in one list.
pub const MAX_IN: usize = 200;
/// Levels of `and`, `or` and `not` in a filter; bounds the recursion of everything that walks one.
pub const MAX_DEPTH: usize = 16;
/// Decoded bytes of names and values in a query string.
pub const MAX_URL_BYTES: usize = 8 * 1024;
/// Bytes of a query body.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The part of the request that a fault is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A URL parameter, by its decoded name.
    Parameter(String),
    /// The value of a URL parameter, by its decoded name.
    Value(String),
    /// A JSON pointer into the body; empty for the body as a whole.
    Pointer(String),
}

/// Bytes of the parameter's name or value, or of a string in the body, or of the body, that are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub length: usize,
}

/// One reason why a request is not a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub origin: Origin,
    pub span: Option<Span>,
    pub detail: String,
    pub hint: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Parameter(name) => write!(f, "parameter {name}: ")?,
            Origin::Value(name) => write!(f, "value of {name}: ")?,
            Origin::Pointer(pointer) => write!(f, "body {pointer}: ")?,
        }
        if let Some(span) = self.span {
            write!(f, "at {}+{}: ", span.start, span.length)?;
        }
        f.write_str(&self.detail)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// A fault before the parser that met it has said where in the request that was.
#[derive(Debug, PartialEq, Eq)]
struct Complaint {
    span: Option<Span>,
    of_value: bool,
    detail: String,
    hint: Option<String>,
}

impl Complaint {
    fn new(detail: impl Into<String>) -> Self {
        Self { span: None, of_value: false, detail: detail.into(), hint: None }
    }

    /// The span, if there is one, is one of the parameter's value.
    fn about_the_value(mut self) -> Self {
        self.of_value = true;
        self
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn span(mut self, start: usize, length: usize) -> Self {
        self.span = Some(Span { start, length });
        self
    }

    fn at(self, origin: Origin) -> Fault {
        let origin = match origin {
            Origin::Parameter(name) if self.of_value && self.span.is_some() => Origin::Value(name),
            origin => origin,
        };
        Fault { origin, span: self.span, detail: self.detail, hint: self.hint }
    }
}

fn too_deep() -> String {
    format!("nested deeper than {MAX_DEPTH} levels")
}

/// Of the whole: each of its parts has been found small enough.
fn check_filter(filter: &Filter) -> Result<(), Complaint> {
    match (filter.leaves(), filter.depth()) {
        (leaves, _) if leaves > MAX_LEAVES => {
            Err(Complaint::new(format!("{leaves} conditions; at most {MAX_LEAVES} are allowed")))
        }
        (_, depth) if depth > MAX_DEPTH => Err(Complaint::new(too_deep())),
        _ => match filter.patterns() {
            0..=MAX_PATTERNS => Ok(()),
            patterns => Err(Complaint::new(format!(
                "{patterns} texts and expressions; at most {MAX_PATTERNS} are allowed"
            ))
            .hint("an expression can have several texts: a|b|c")),
        },
    }
}
