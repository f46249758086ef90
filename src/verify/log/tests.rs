use proptest::prelude::*;

use super::*;
use crate::event::{EntryKind, Envelope, Label, Level, Payload, commitment};
use crate::verify::jsonb::Printer;
use crate::verify::row::{Columns, Doubt, Opener, Redaction, Row, Typed};

const LOG_ID: Uuid = Uuid::from_u128(0x5eed);
const START_MICROS: i64 = 1_800_000_000_000_000;

fn id(n: u64) -> Uuid {
    let millis = (START_MICROS / 1_000) as u128 + u128::from(n);
    Uuid::from_u128(millis << 80 | 7 << 76 | 2 << 62 | u128::from(n))
}

fn envelope(n: u64) -> Envelope {
    Envelope {
        event_type: "t".to_owned(),
        user_identity: format!("user {n}"),
        timestamp: Timestamp::from_micros(START_MICROS).unwrap(),
        source: None,
        level: Level::Info,
        outcome: None,
        target: None,
        message: Some("m".to_owned()),
        ip: None,
        correlation_id: None,
        recorded_by: "user:default/a".to_owned(),
        idempotency_key: None,
    }
}

/// Entry `n`, with a payload unless `n` is divisible by three.
fn row(n: u64) -> Row {
    let payload = (!n.is_multiple_of(3)).then(|| format!(r#"{{"n":{n},"b":[1.5,"x"]}}"#));
    row_with(n, EntryKind::Event, payload)
}

fn row_with(n: u64, kind: EntryKind, payload: Option<String>) -> Row {
    let (salt, envelope) = ([n as u8; 16], envelope(n));
    let payload = payload.map(|text| Payload::parse(text.into_bytes()).unwrap());
    let entry = Entry {
        kind,
        log_id: LOG_ID,
        seq: n,
        received_at: Timestamp::from_micros(START_MICROS + n as i64 * 1_000).unwrap(),
        id: id(n),
        envelope: commitment(Label::Envelope, &salt, envelope.canonical().as_bytes()),
        payload: payload.as_ref().map(|payload| commitment(Label::Payload, &salt, &payload.bytes)),
    };
    let columns = Columns {
        received_at: Some(entry.received_at.as_micros()),
        id: Some(entry.id),
        kind: Some(kind.code()),
        envelope_v: Some(1),
        projection_v: Some(1),
        redaction: Redaction::None,
        typed: Typed::Whole(Box::new(envelope)),
        envelope_salt: Some(salt.to_vec()),
        payload_salt: payload.as_ref().map(|_| salt.to_vec()),
        projection: payload
            .as_ref()
            .map(|it| Printer::default().print(&it.projection.json).unwrap().to_owned()),
        lossy: payload.as_ref().map(|it| it.projection.lossy),
        payload: payload.map(|it| it.bytes),
    };
    Row { seq: n, entry: entry.to_bytes().to_vec(), columns: Some(Box::new(columns)) }
}

/// A log as a source has it.
#[derive(Clone)]
struct Source {
    rows: Vec<Row>,
    tiles: Vec<(TileId, StoredTile)>,
    head: Head,
    signed: Vec<Expected>,
}

impl Source {
    fn of(rows: Vec<Row>) -> Self {
        let mut tree = Tree::new();
        let (mut tiles, mut signed) = (Vec::new(), Vec::new());
        for row in &rows {
            for tile in tree.append(crate::merkle::leaf_hash(&row.entry)) {
                let micros = |n: u64| START_MICROS + n as i64 * 1_000;
                let first = tile.index * WIDTH;
                let times = (tile.level == 0).then(|| (micros(first), micros(first + WIDTH - 1)));
                let id = TileId { level: tile.level, index: tile.index };
                tiles.push((id, StoredTile { root: Some(tile.root.to_vec()), data: tile.data, times }));
            }
            if tree.size().is_multiple_of(100) {
                let what = "a checkpoint".to_owned();
                signed.push(Expected {
                    size: tree.size(),
                    root: tree.root(),
                    what,
                    culprit: Culprit::DatabaseWriter,
                });
            }
        }
        let last = rows.len().saturating_sub(1) as u64;
        let stored = StoredHead {
            frontier: tree.frontier(),
            last_received_at: START_MICROS + last as i64 * 1_000,
            last_id: id(last),
        };
        let head = Head { size: tree.size(), root: tree.root().to_vec(), stored: Some(stored) };
        Self { rows, tiles, head, signed }
    }

    fn sized(size: u64) -> Self {
        Self::of((0..size).map(row).collect())
    }

    fn columns(&mut self, seq: u64) -> &mut Columns {
        self.rows.iter_mut().find(|row| row.seq == seq).unwrap().columns.as_mut().unwrap()
    }

    fn check(self) -> Outcome {
        let mut log = Log::new("default", Some(LOG_ID), self.head.size, Culprit::DatabaseWriter);
        self.signed.into_iter().for_each(|signed| log.expect(signed));
        log.give_tiles(self.tiles);
        let mut opener = Opener::default();
        self.rows.into_iter().for_each(|row| log.feed(opener.open(row)));
        log.finish(&self.head)
    }

    /// The seqs of all findings.
    fn found(self) -> Vec<Option<u64>> {
        let outcome = self.check();
        assert_eq!(outcome.findings.more, 0);
        outcome.findings.kept.into_iter().map(|finding| finding.seq).collect()
    }
}

fn redaction(n: u64, target: u64, target_id: Uuid, scope: &str) -> Row {
    let payload = format!(r#"{{"seq":{target},"id":"{target_id}","scope":"{scope}","reason":"asked for"}}"#);
    row_with(n, EntryKind::Redaction, Some(payload))
}

fn redact(columns: &mut Columns, scope: Scope) {
    columns.redaction = Redaction::Removed(scope);
    (columns.payload, columns.payload_salt, columns.projection, columns.lossy) = (None, None, None, None);
    if scope == Scope::All {
        (columns.typed, columns.envelope_salt) = (Typed::Absent, None);
    }
}

/// Twelve entries, of which seq 4 lacks content, and the last is what follows from `last`.
fn redacted(scope: Scope, last: Row) -> Vec<Option<u64>> {
    let mut rows: Vec<Row> = (0..11).map(row).collect();
    rows.push(last);
    let mut source = Source::of(rows);
    redact(source.columns(4), scope);
    source.found()
}

#[test]
fn content_may_be_missing_only_if_a_later_entry_says_so() {
    let none: Vec<Option<u64>> = Vec::new();
    assert_eq!(redacted(Scope::Payload, redaction(11, 4, id(4), "payload")), none);
    assert_eq!(redacted(Scope::Payload, redaction(11, 4, id(4), "all")), none);
    assert_eq!(redacted(Scope::All, redaction(11, 4, id(4), "all")), none);
    assert_eq!(redacted(Scope::All, redaction(11, 4, id(4), "payload")), [Some(4)], "too narrow");
    assert_eq!(redacted(Scope::All, redaction(11, 4, id(5), "all")), [Some(4)], "another event");
    assert_eq!(redacted(Scope::All, redaction(11, 5, id(5), "all")), [Some(4)], "another seq");
    assert_eq!(redacted(Scope::All, row(11)), [Some(4)], "nothing says so");
    let event = row_with(
        11,
        EntryKind::Event,
        redaction(11, 4, id(4), "all")
            .columns
            .and_then(|it| it.payload.map(|bytes| String::from_utf8(bytes).unwrap())),
    );
    assert_eq!(redacted(Scope::All, event), [Some(4)], "an event that only looks like a redaction");
    assert_eq!(redacted(Scope::All, redaction(11, 11, id(11), "all")), [Some(11), Some(4)], "itself");
    assert_eq!(redacted(Scope::All, redaction(11, 4, id(4), "some")), [Some(11), Some(4)], "no such scope");
}

#[test]
fn an_earlier_entry_redacts_nothing_later() {
    let mut rows: Vec<Row> = (0..12).map(row).collect();
    rows[3] = redaction(3, 4, id(4), "all");
    let mut source = Source::of(rows);
    redact(source.columns(4), Scope::All);
    assert_eq!(source.found(), [Some(3), Some(4)]);
}

#[test]
fn redaction_entries_are_never_redacted() {
    let mut rows: Vec<Row> = (0..12).map(row).collect();
    rows[5] = redaction(5, 4, id(4), "payload");
    rows[6] = redaction(6, 5, id(5), "all");
    let mut source = Source::of(rows);
    redact(source.columns(4), Scope::Payload);
    redact(source.columns(5), Scope::All);
    // The content of 5 is gone, and with it what accounts for 4.
    assert_eq!(source.found(), [Some(5), Some(4)]);
}

#[test]
fn a_removed_payload_that_the_row_does_not_own_up_to_is_found_though_it_was_redacted() {
    let mut rows: Vec<Row> = (0..12).map(row).collect();
    rows[11] = redaction(11, 4, id(4), "payload");
    let mut source = Source::of(rows);
    redact(source.columns(4), Scope::Payload);
    source.columns(4).redaction = Redaction::None;
    assert_eq!(source.found(), [Some(4)]);
}

#[test]
fn a_projection_that_may_be_another_is_a_finding_unless_it_is_settled() {
    let mut source = Source::sized(10);
    source.columns(4).projection = Some(r#"{"b": [1.5, "x"], "n": 5}"#.to_owned());
    let opened = Opener::default().open(source.rows[4].clone());
    assert!(opened.faults.is_empty());
    let expected = Doubt {
        expected: r#"{"n":4,"b":[1.5,"x"]}"#.to_owned(),
        stored: r#"{"b": [1.5, "x"], "n": 5}"#.to_owned(),
    };
    assert_eq!(opened.doubt.as_deref(), Some(&expected));
    let outcome = source.check();
    assert_eq!(outcome.findings.kept[0].what, OTHER_PROJECTION);
    assert_eq!(
        outcome.findings.kept[0].to_string().split(" (").next(),
        Some(&*format!("default: seq 4: {OTHER_PROJECTION}"))
    );
}

#[test]
fn rows_that_are_another_logs_or_elsewhere_or_twice_are_found() {
    let mut swapped = Source::sized(300);
    swapped.rows[7].entry = row(8).entry;
    swapped.rows[8].entry = row(7).entry;
    let found: BTreeMap<_, _> = swapped.found().into_iter().map(|seq| (seq, ())).collect();
    assert_eq!(found.into_keys().collect::<Vec<_>>(), [Some(7), Some(8)]);
    let mut twice = Source::sized(300);
    twice.rows.insert(8, row(7));
    assert_eq!(twice.found(), [Some(7)]);
    let mut behind = Source::sized(300);
    behind.rows.push(row(300));
    assert_eq!(behind.found(), [Some(300)]);
    let foreign = Source::sized(300);
    let mut log = Log::new("default", Some(Uuid::nil()), 300, Culprit::DatabaseWriter);
    log.feed(Opener::default().open(foreign.rows[0].clone()));
    assert!(log.findings.kept[0].what.contains("another log"));
}

#[test]
fn an_entry_received_before_the_one_before_it_is_found() {
    let mut rows: Vec<Row> = (0..300).map(row).collect();
    let mut back = row(290);
    back.seq = 299;
    let mut entry = Entry::parse(&back.entry).unwrap();
    entry.seq = 299;
    back.entry = entry.to_bytes().to_vec();
    rows[299] = back;
    let mut source = Source::of(rows);
    let stored = source.head.stored.as_mut().unwrap();
    (stored.last_received_at, stored.last_id) = (START_MICROS + 290_000, id(290));
    // The time and the id.
    assert_eq!(source.found(), [Some(299), Some(299)]);
}

#[test]
fn what_was_rebuilt_from_end_to_end_contradicts_what_was_signed() {
    let honest = Source::sized(400);
    let mut rows: Vec<Row> = (0..400).map(row).collect();
    rows[150] = row_with(150, EntryKind::Event, Some(r#"{"n":0}"#.to_owned()));
    let mut rebuilt = Source::of(rows);
    rebuilt.signed = honest.signed;
    assert_eq!(rebuilt.found(), [Some(199), Some(299), Some(399)]);
}

#[test]
fn a_log_that_was_cut_off_contradicts_what_was_signed() {
    let mut cut = Source::sized(250);
    cut.signed = Source::sized(400).signed;
    assert_eq!(cut.found(), [Some(250), Some(250)]);
}

#[test]
fn a_tile_changed_alone_or_missing_is_found_where_it_is() {
    let change = |change: fn(&mut Source)| {
        let mut source = Source::sized(600);
        change(&mut source);
        source.found()
    };
    assert_eq!(change(|it| it.tiles[1].1.data[33] ^= 1), [Some(257)]);
    assert_eq!(change(|it| it.tiles[1].1.root = Some(vec![0; 32])), [Some(256)]);
    assert_eq!(change(|it| it.tiles[1].1.times = Some((0, 0))), [Some(256)]);
    assert_eq!(change(|it| drop(it.tiles.remove(0))), [Some(0)]);
    assert_eq!(change(|it| it.head.root[0] ^= 1), [None]);
    assert_eq!(change(|it| it.head.stored.as_mut().unwrap().frontier[0] ^= 1), [None]);
    assert_eq!(change(|it| it.head.stored.as_mut().unwrap().last_id = Uuid::nil()), [None]);
}

#[test]
fn findings_are_counted_when_there_are_too_many_to_keep() {
    let mut source = Source::sized(1_500);
    source.rows.iter_mut().for_each(|row| row.columns.as_mut().unwrap().kind = Some(3));
    let outcome = source.check();
    assert_eq!((outcome.findings.kept.len(), outcome.findings.more), (1_000, 500));
}

#[test]
fn a_gap_at_the_end_leaves_the_root_unchecked_and_says_so() {
    let mut source = Source::sized(300);
    source.rows.remove(290);
    let outcome = source.check();
    assert_eq!(outcome.findings.kept.iter().map(|it| it.seq).collect::<Vec<_>>(), [Some(290)]);
    assert_eq!((outcome.tree, outcome.unchecked.len()), (None, 1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn a_log_as_it_was_recorded_has_no_findings(size in 0_u64..800) {
        let outcome = Source::sized(size).check();
        prop_assert!(outcome.findings.is_empty(), "{:?}", outcome.findings.kept);
        prop_assert_eq!(outcome.entries, size);
        prop_assert_eq!(outcome.tree.unwrap().0, size);
        prop_assert_eq!(outcome.heads_compared, size / 100);
    }

    #[test]
    fn any_changed_byte_of_an_entry_is_found_where_it_is(seq in 0_u64..512, at in 0_usize..118, bit in 0_u8..8) {
        let mut source = Source::sized(512);
        source.rows[seq as usize].entry[at] ^= 1 << bit;
        let found = source.found();
        prop_assert!(!found.is_empty() && found.iter().all(|it| *it == Some(seq)), "{found:?}");
    }

    #[test]
    fn a_row_that_is_missing_under_a_full_tile_is_one_finding(seq in 0_u64..512) {
        let mut source = Source::sized(600);
        source.rows.remove(seq as usize);
        prop_assert_eq!(source.found(), [Some(seq)]);
    }

    #[test]
    fn any_changed_byte_of_a_payload_or_salt_is_found(n in 0_u64..170, at in 0_usize..16, bit in 0_u8..8) {
        let seq = n * 3 + 1;
        for which in 0..3 {
            let mut source = Source::sized(520);
            let columns = source.columns(seq);
            let bytes = [&mut columns.payload, &mut columns.payload_salt, &mut columns.envelope_salt];
            bytes.into_iter().nth(which).unwrap().as_mut().unwrap()[at] ^= 1 << bit;
            prop_assert_eq!(source.found(), [Some(seq)]);
        }
    }
}
