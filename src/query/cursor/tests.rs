use super::*;
use crate::query::params;

const SCOPE: Scope = Scope { tenant_id: 3, epoch: 1 };

fn key() -> CursorKey {
    CursorKey::new([7; 32])
}

fn search(name: &str, value: &str, sort: Sort) -> Search {
    let pairs = [(name, value), ("sort", sort.name())];
    params::parse(&pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap()
}

fn position() -> Position {
    Position { at: Timestamp::from_micros(1_795_132_800_123_456).unwrap(), seq: 41 }
}

#[test]
fn a_cursor_opens_for_what_it_was_sealed_for() {
    let login = search("type", "login", Sort::ReceivedAt);
    let cursor = key().seal(SCOPE, &login, position());
    assert_eq!(key().open(SCOPE, &login, &cursor), Ok(position()));
    let other_page_size = Search { limit: 7, cursor: Some(cursor.clone()), ..login };
    assert_eq!(key().open(SCOPE, &other_page_size, &cursor), Ok(position()));
    assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{cursor}");
}

#[test]
fn a_cursor_says_what_else_it_was_sealed_for() {
    let login = search("type", "login", Sort::ReceivedAt);
    let cursor = key().seal(SCOPE, &login, position());
    let open = |scope, search: &Search| key().open(scope, search, &cursor);
    assert_eq!(open(Scope { tenant_id: 4, ..SCOPE }, &login), Err(CursorError::OtherTenant));
    assert_eq!(open(Scope { epoch: 2, ..SCOPE }, &login), Err(CursorError::OtherEpoch));
    assert_eq!(open(SCOPE, &search("type", "login", Sort::Timestamp)), Err(CursorError::OtherOrder));
    for (name, value) in [("type", "logout"), ("data.type", "login"), ("from", "2026-01-01T00:00:00Z")] {
        assert_eq!(open(SCOPE, &search(name, value, Sort::ReceivedAt)), Err(CursorError::OtherFilter));
    }
}

#[test]
fn times_of_the_two_axes_are_different_filters() {
    let time = "2026-01-01T00:00:00Z";
    let [from, to, received] =
        ["from", "to", "received_from"].map(|name| search(name, time, Sort::ReceivedAt));
    let cursor = key().seal(SCOPE, &from, position());
    assert_eq!(key().open(SCOPE, &to, &cursor), Err(CursorError::OtherFilter));
    assert_eq!(key().open(SCOPE, &received, &cursor), Err(CursorError::OtherFilter));
}

#[test]
fn a_cursor_with_any_bit_changed_is_not_ours() {
    let login = search("type", "login", Sort::ReceivedAt);
    let sealed = URL_SAFE_NO_PAD.decode(key().seal(SCOPE, &login, position())).unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let changed = URL_SAFE_NO_PAD.encode(changed);
        assert_eq!(key().open(SCOPE, &login, &changed), Err(CursorError::NotOurs), "bit {bit}");
    }
}

#[test]
fn what_was_never_a_cursor_is_not_ours() {
    let login = search("type", "login", Sort::ReceivedAt);
    let cursor = key().seal(SCOPE, &login, position());
    for text in ["", "x", "!!!", "AAAA", &cursor[1..], &format!("{cursor}AAAA"), &format!("{cursor}=")] {
        assert_eq!(key().open(SCOPE, &login, text), Err(CursorError::NotOurs), "{text}");
    }
    assert_eq!(CursorKey::new([8; 32]).open(SCOPE, &login, &cursor), Err(CursorError::NotOurs));
}
