//! The operators by their names, the same in URLs and JSON.

use super::Complaint;
use super::ast::Than;
use crate::event::nearest_name;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Eq,
    Not,
    Than(Than),
    In,
    NotIn,
    Contains,
    Prefix,
    Match,
    Cidr,
    Exists,
}

impl Op {
    pub const ALL: [Self; 13] = [
        Self::Eq,
        Self::Not,
        Self::Than(Than::Greater),
        Self::Than(Than::GreaterOrEqual),
        Self::Than(Than::Less),
        Self::Than(Than::LessOrEqual),
        Self::In,
        Self::NotIn,
        Self::Contains,
        Self::Prefix,
        Self::Match,
        Self::Cidr,
        Self::Exists,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Not => "not",
            Self::Than(Than::Greater) => "gt",
            Self::Than(Than::GreaterOrEqual) => "gte",
            Self::Than(Than::Less) => "lt",
            Self::Than(Than::LessOrEqual) => "lte",
            Self::In => "in",
            Self::NotIn => "not-in",
            Self::Contains => "contains",
            Self::Prefix => "prefix",
            Self::Match => "match",
            Self::Cidr => "cidr",
            Self::Exists => "exists",
        }
    }

    pub(super) fn parse(name: &str) -> Result<Self, Complaint> {
        if let Some(op) = Self::ALL.into_iter().find(|op| op.name() == name) {
            return Ok(op);
        }
        let names = Self::ALL.map(Self::name);
        let near = match name {
            "ne" | "neq" | "!=" | "<>" => Some("not"),
            "nin" | "not_in" => Some("not-in"),
            "like" | "ilike" | "icontains" | "~" => Some("contains"),
            "startswith" | "starts_with" => Some("prefix"),
            "regex" | "regexp" => Some("match"),
            "=" | "==" | "is" => Some("eq"),
            ">" | "after" => Some("gt"),
            ">=" | "ge" | "since" => Some("gte"),
            "<" | "before" => Some("lt"),
            "<=" | "le" => Some("lte"),
            _ => nearest_name(name, names),
        };
        let complaint = Complaint::new(format!("unknown operator `{name}`"));
        Err(match near {
            Some(near) => complaint.hint(format!("did you mean `{near}`?")),
            None => complaint.hint(format!("known are {}; a key with a colon is quoted", names.join(", "))),
        })
    }
}
