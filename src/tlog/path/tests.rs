use proptest::prelude::*;

use super::*;

fn hashes(level: u8, index: u64) -> TilePath {
    TilePath { kind: TileKind::Hashes { level }, index, partial: None }
}

#[test]
fn paths_are_the_published_ones() {
    let partial = |path: TilePath, width| TilePath { partial: NonZeroU8::new(width), ..path };
    let entries = |index| TilePath { kind: TileKind::Entries, index, partial: None };
    for (path, text) in [
        (hashes(0, 1_234_067), "tile/0/x001/x234/067"),
        (hashes(63, 0), "tile/63/000"),
        (hashes(1, 999), "tile/1/999"),
        (hashes(1, 1000), "tile/1/x001/000"),
        (partial(hashes(2, 0), 1), "tile/2/000.p/1"),
        (partial(hashes(0, 273), 112), "tile/0/273.p/112"),
        (entries(67), "tile/entries/067"),
        (partial(entries(1_234_067), 255), "tile/entries/x001/x234/067.p/255"),
        (hashes(0, u64::MAX), "tile/0/x018/x446/x744/x073/x709/x551/615"),
    ] {
        assert_eq!(path.to_string(), text);
        assert_eq!(text.parse(), Ok(path));
    }
    assert_eq!(hashes(0, 0).width(), 256);
    assert_eq!(partial(hashes(0, 0), 112).width(), 112);
}

#[test]
fn a_path_has_no_other_spelling() {
    for text in [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "/tile/0/000",
        "tile/0/000/",
        "tile//0/000",
        "tile/64/000",
        "tile/256/000",
        "tile/00/000",
        "tile/+1/000",
        "tile/-1/000",
        "tile/x/000",
        "tile/data/000",
        "tile/8/0/000",
        "tile/Entries/000",
        "tile/0/0",
        "tile/0/67",
        "tile/0/0067",
        "tile/0/1234067",
        "tile/0/x067",
        "tile/0/x000/067",
        "tile/0/001/234/067",
        "tile/0/x001/x234/x067",
        "tile/0/x001/234/067",
        "tile/0/x001x234/067",
        "tile/0/x001//067",
        "tile/0/X001/067",
        "tile/0/x1/067",
        "tile/0/x001/67",
        "tile/0/+67",
        "tile/0/-01",
        "tile/0/٠٦٧",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/0/x001/x018/x446/x744/x073/x709/x551/615",
        "tile/0/067.p/0",
        "tile/0/067.p/256",
        "tile/0/067.p/05",
        "tile/0/067.p/+5",
        "tile/0/067.p/",
        "tile/0/067.p",
        "tile/0/067.p5",
        "tile/0/067.p/5/",
        "tile/0/067.p/5.p/5",
        "tile/0/067.P/5",
        "tile/0/x001.p/5/067",
        "tile/0/067 ",
        "tile/0/067\n",
        "tile/0/../067",
    ] {
        assert_eq!(text.parse::<TilePath>(), Err(TilePathError), "{text:?}");
    }
}

#[test]
fn a_bundle_is_lengths_and_entries() {
    assert_eq!(bundle(&[b"ab".as_slice(), b"", b"c"]).unwrap(), b"\x00\x02ab\x00\x00\x00\x01c");
    assert_eq!(parse_bundle(b"\x00\x02ab\x00\x00\x00\x01c", 3), Ok(vec![b"ab".as_slice(), b"", b"c"]));
    assert_eq!(parse_bundle(b"", 0), Ok(vec![]));
    let longest = vec![7; 65_535];
    assert_eq!(parse_bundle(&bundle(&[&longest]).unwrap(), 1), Ok(vec![longest.as_slice()]));
    let too_long = BundleError::TooLong { position: 1, length: 65_536 };
    assert_eq!(bundle(&[vec![], vec![0; 65_536]]), Err(too_long));
}

#[test]
fn a_bundle_that_does_not_fit_is_refused() {
    let bytes = b"\x00\x02ab\x00\x01c";
    for end in 0..4 {
        assert_eq!(parse_bundle(&bytes[..end], 2), Err(BundleError::Truncated { position: 0 }));
    }
    for end in 4..7 {
        assert_eq!(parse_bundle(&bytes[..end], 2), Err(BundleError::Truncated { position: 1 }));
    }
    assert_eq!(parse_bundle(bytes, 3), Err(BundleError::Truncated { position: 2 }));
    assert_eq!(parse_bundle(bytes, 1), Err(BundleError::Trailing { bytes: 3 }));
    assert_eq!(parse_bundle(b"\xff\xffab", 1), Err(BundleError::Truncated { position: 0 }));
    // The count is the caller's, but no allocation may follow it blindly.
    assert_eq!(parse_bundle(b"", usize::MAX), Err(BundleError::Truncated { position: 0 }));
}

proptest! {
    #[test]
    fn every_path_reads_back(
        level in prop::option::of(0..=63_u8),
        bits in 0..64,
        index: u64,
        width: u8,
    ) {
        let kind = level.map_or(TileKind::Entries, |level| TileKind::Hashes { level });
        let path = TilePath { kind, index: index >> bits, partial: NonZeroU8::new(width) };
        prop_assert_eq!(path.to_string().parse(), Ok(path));
    }

    #[test]
    fn what_is_read_prints_the_same(text in "tile/[0-9entris]{1,3}/(x?[0-9]{3}/){0,3}[0-9]{3}(.p/[0-9]{1,3})?") {
        if let Ok(path) = text.parse::<TilePath>() {
            prop_assert_eq!(path.to_string(), text);
        }
    }

    #[test]
    fn every_bundle_reads_back(entries: Vec<Vec<u8>>) {
        let bytes = bundle(&entries).unwrap();
        let expected: Vec<_> = entries.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(parse_bundle(&bytes, entries.len()), Ok(expected));
    }
}
