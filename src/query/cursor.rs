//! Cursors: sealed page positions.
//!
//! A cursor is good for the filter, order, tenant and epoch that it was made for and for no other; the
//! page size may change. It is authenticated, so that a position cannot be invented, and says nothing
//! that its holder has not seen.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use super::search::{Position, Search, Sort};
use crate::event::Timestamp;

const VERSION: u8 = 1;
/// version, order, tenant, epoch, filter, time, seq
const BODY_LEN: usize = 1 + 1 + 4 + 4 + 8 + 8 + 8;
/// A truncated tag of 128 bits keeps ready URLs short.
const TAG_LEN: usize = 16;

/// Shared by all instances over one database.
#[derive(Clone)]
pub struct CursorKey([u8; 32]);

/// What a cursor is good for, besides the search.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    pub tenant_id: i32,
    pub epoch: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    #[error("this is not a cursor of this service, or it was changed on the way")]
    NotOurs,
    #[error("this cursor was made for another tenant")]
    OtherTenant,
    #[error("this cursor was made for another filter or other times")]
    OtherFilter,
    #[error("this cursor was made for another order")]
    OtherOrder,
    #[error("the log was restored from a backup since this cursor was made")]
    OtherEpoch,
}

impl CursorKey {
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    pub fn seal(&self, scope: Scope, search: &Search, position: Position) -> String {
        let mut sealed = Vec::with_capacity(BODY_LEN + TAG_LEN);
        sealed.push(VERSION);
        sealed.push(order(search.sort));
        sealed.extend(scope.tenant_id.to_be_bytes());
        sealed.extend(scope.epoch.to_be_bytes());
        sealed.extend(digest(search));
        sealed.extend(position.at.as_micros().to_be_bytes());
        sealed.extend(position.seq.to_be_bytes());
        let tag = self.mac(&sealed).finalize().into_bytes();
        sealed.extend_from_slice(&tag[..TAG_LEN]);
        URL_SAFE_NO_PAD.encode(sealed)
    }

    pub fn open(&self, scope: Scope, search: &Search, cursor: &str) -> Result<Position, CursorError> {
        let sealed = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| CursorError::NotOurs)?;
        let (body, tag) = sealed.split_at_checked(BODY_LEN).ok_or(CursorError::NotOurs)?;
        if tag.len() != TAG_LEN || self.mac(body).verify_truncated_left(tag).is_err() {
            return Err(CursorError::NotOurs);
        }
        let mut body = Reader(body);
        if body.take() != Some([VERSION]) {
            return Err(CursorError::NotOurs);
        }
        body.expect([order(search.sort)], CursorError::OtherOrder)?;
        body.expect(scope.tenant_id.to_be_bytes(), CursorError::OtherTenant)?;
        body.expect(scope.epoch.to_be_bytes(), CursorError::OtherEpoch)?;
        body.expect(digest(search), CursorError::OtherFilter)?;
        let position = body.take().map(i64::from_be_bytes).zip(body.take().map(i64::from_be_bytes));
        let (at, seq) = position.ok_or(CursorError::NotOurs)?;
        let at = Timestamp::from_micros(at).ok_or(CursorError::NotOurs)?;
        Ok(Position { at, seq })
    }

    fn mac(&self, body: &[u8]) -> Hmac<Sha256> {
        // HMAC pads keys with zeros to its block of 64 bytes; done here it cannot fail.
        let mut key = [0; 64];
        key[..32].copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new(&key.into());
        mac.update(body);
        mac
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn expect<const N: usize>(
        &mut self,
        expected: [u8; N],
        otherwise: CursorError,
    ) -> Result<(), CursorError> {
        if self.take() == Some(expected) { Ok(()) } else { Err(otherwise) }
    }
}

fn order(sort: Sort) -> u8 {
    match sort {
        Sort::ReceivedAt => 0,
        Sort::Timestamp => 1,
    }
}

fn digest(search: &Search) -> [u8; 8] {
    let hash = Sha256::digest(search.canonical());
    let mut digest = [0; 8];
    digest.copy_from_slice(&hash[..8]);
    digest
}

#[cfg(test)]
mod tests;
