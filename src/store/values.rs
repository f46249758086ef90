//! Between the types of the service and those of the tables.

use time::OffsetDateTime;

use crate::event::{Salt, Timestamp};
use crate::merkle::Hash;

/// The time of PostgreSQL's epoch, 2000-01-01, in microseconds since 1970.
pub const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A stored value that the schema rules out; somebody changed the schema or the data.
pub(super) fn corrupt(what: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(what.into())
}

pub(super) fn hash(bytes: &[u8]) -> Result<Hash, sqlx::Error> {
    bytes.try_into().map_err(|_| corrupt("a hash of other than 32 bytes"))
}

pub(super) fn salt(bytes: &[u8]) -> Result<Salt, sqlx::Error> {
    bytes.try_into().map_err(|_| corrupt("a salt of other than 16 bytes"))
}

pub(super) fn timestamp(at: OffsetDateTime) -> Result<Timestamp, sqlx::Error> {
    Timestamp::try_from(at).map_err(|_| corrupt("a time outside years 0001 to 9999"))
}

#[expect(clippy::cast_sign_loss, reason = "CHECK (seq >= 0)")]
pub(super) const fn unsigned(seq: i64) -> u64 {
    seq as u64
}

#[expect(clippy::cast_possible_wrap, reason = "a log never gets to 2^63 events")]
pub(super) const fn signed(seq: u64) -> i64 {
    seq as i64
}

/// A slice of structs, seen as the columns of a table.
pub(super) struct Columns<'a, T>(pub(super) &'a [T]);

impl<'a, T> Columns<'a, T> {
    pub(super) fn of<U>(&self, value: impl Fn(&'a T) -> U) -> Vec<U> {
        self.0.iter().map(value).collect()
    }
}
