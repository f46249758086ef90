//! Cursors, and the searches they are sealed to: only what was sealed opens, and only for what it was sealed for.

#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eventlogger_fuzz::event::Timestamp;
use eventlogger_fuzz::query::cursor::{CursorError, CursorKey, Scope};
use eventlogger_fuzz::query::params;
use eventlogger_fuzz::query::search::Position;
use libfuzzer_sys::fuzz_target;

type Input<'a> = (Vec<(String, String)>, i32, i32, i64, i64, u16, &'a str);

fuzz_target!(|input: Input<'_>| {
    let (pairs, tenant_id, epoch, at, seq, bit, text) = input;
    // A search that no client can ask for is as good as any other one.
    let search = params::parse(&pairs).or_else(|_| params::parse(&[])).unwrap();
    let key = CursorKey::new([7; 32]);
    let scope = Scope { tenant_id, epoch };
    assert_eq!(key.open(scope, &search, text), Err(CursorError::NotOurs));

    let Some(at) = Timestamp::from_micros(at) else { return };
    let position = Position { at, seq };
    let cursor = key.seal(scope, &search, position);
    assert_eq!(key.open(scope, &search, &cursor), Ok(position));
    let other = Scope { tenant_id: tenant_id ^ 1, epoch };
    assert_eq!(key.open(other, &search, &cursor), Err(CursorError::OtherTenant));
    assert_eq!(CursorKey::new([8; 32]).open(scope, &search, &cursor), Err(CursorError::NotOurs));

    let mut sealed = URL_SAFE_NO_PAD.decode(&cursor).unwrap();
    let bit = usize::from(bit) % (sealed.len() * 8);
    sealed[bit / 8] ^= 1 << (bit % 8);
    assert_eq!(key.open(scope, &search, &URL_SAFE_NO_PAD.encode(sealed)), Err(CursorError::NotOurs));
});
