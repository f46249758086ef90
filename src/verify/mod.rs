//! Checking what the service claims, without believing it: a receipt offline, or a whole log.
//!
//! Nothing here trusts a key, a root or a size that comes from the side that is checked: only what a pinned key has
//! signed. What does not hold is a [`Finding`].

mod awaiting;
pub mod bundle;
mod findings;
mod jsonb;
pub mod log;
pub mod receipt;
pub mod row;
pub mod signed;

use std::fmt;

pub use findings::Findings;

use serde::Serialize;

use crate::tlog::Policy;

/// Something that does not hold, and whose doing it can have been.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The log, where more than one is looked at: its tenant.
    pub log: Option<String>,
    /// The position in the log, where there is one.
    pub seq: Option<u64>,
    pub what: String,
    pub culprit: Culprit,
}

/// Who could have done it. Whoever can do more, could have done it as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Culprit {
    /// Whoever handed over what was checked, or changed it on the way.
    Presenter,
    /// Whoever can write to the database.
    DatabaseWriter,
    /// Whoever answers for the server: its operator, or who can write to its database.
    Server,
    /// Only who has the signing key.
    KeyHolder,
}

impl fmt::Display for Culprit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Presenter => "whoever handed it over, or changed it on the way",
            Self::DatabaseWriter => "whoever can write to the database",
            Self::Server => "whoever runs the server, or can write to its database",
            Self::KeyHolder => "only who has the signing key",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(log) = &self.log {
            write!(f, "{log}: ")?;
        }
        if let Some(seq) = self.seq {
            write!(f, "seq {seq}: ")?;
        }
        write!(f, "{} (possible for: {})", self.what, self.culprit)
    }
}

/// The keys that are believed; without any, signatures are not checked, and that is said.
pub type Trust<'a> = Option<&'a Policy>;
