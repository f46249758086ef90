use proptest::prelude::*;

use super::*;
use crate::tlog::samples::*;

/// The example of tlog-checkpoint, its signature left out: the key of it is not published.
const PUBLISHED: &str =
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
const EMPTY_ROOT: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

fn sign(text: &str) -> String {
    log_key(LOG).sign(text).unwrap()
}

fn line(line: usize, expected: &'static str) -> CheckpointError {
    CheckpointError::Line { line, expected }
}

#[test]
fn the_published_example_is_read_and_printed() {
    let checkpoint = Checkpoint::parse(PUBLISHED).unwrap();
    assert_eq!(checkpoint.origin, "example.com/behind-the-sofa");
    assert_eq!(checkpoint.size, 20_852_163);
    assert_eq!(checkpoint.text(), PUBLISHED);
    assert_eq!(Checkpoint { origin: LOG.to_owned(), ..checkpoint }, super::super::samples::checkpoint());
}

#[test]
fn a_signed_checkpoint_opens() {
    let note = format!("{CHECKPOINT_TEXT}\n{LOG_SIGNATURE}");
    assert_eq!(checkpoint().sign(&log_key(LOG)).unwrap(), note);
    assert_eq!(Checkpoint::open(&note, &[vkey(LOG_VKEY)]), Ok(checkpoint()));
    assert_eq!(Checkpoint::open(&cosigned([1, 2]), &[vkey(WITNESS_VKEY), vkey(LOG_VKEY)]), Ok(checkpoint()));
}

#[test]
fn a_checkpoint_of_another_log_with_the_same_key_is_refused() {
    let other = log_key("audit.example.com/log/tenant-b");
    let origin = Err(CheckpointError::Origin { origin: LOG.to_owned() });
    // Signed under the name of tenant b, and signed under a's name but known under b's.
    let forged = other.sign(CHECKPOINT_TEXT).unwrap();
    assert_eq!(Checkpoint::open(&forged, &[other.verifier().clone(), vkey(LOG_VKEY)]), origin);
    let unknown = Err(CheckpointError::Note(NoteError::NoKnownKey));
    assert_eq!(Checkpoint::open(&cosigned([]), &[other.verifier().clone()]), unknown);
    assert_eq!(checkpoint().sign(&other), Err(CheckpointError::Origin { origin: LOG.to_owned() }));
}

#[test]
fn a_witness_does_not_sign_for_the_log() {
    let origin = Err(CheckpointError::Origin { origin: LOG.to_owned() });
    assert_eq!(Checkpoint::open(&cosigned([1]), &[vkey(WITNESS_VKEY)]), origin);
    // Not even one that bears its name.
    let witness = super::super::key::CosigningKey::from_seed(LOG, &[7; 32]).unwrap();
    let note = note::append(&cosigned([]), &witness.signature_line(CHECKPOINT_TEXT, 1).unwrap()).unwrap();
    assert_eq!(Checkpoint::open(&note, &[witness.verifier().clone()]), origin);
}

#[test]
fn extension_lines_are_accepted_and_mean_nothing() {
    let note = sign(&format!("{CHECKPOINT_TEXT}one\ntwo 2\n"));
    assert_eq!(Checkpoint::open(&note, &[vkey(LOG_VKEY)]), Ok(checkpoint()));
    for (bad, at) in [("\n", 4), ("one\n\n", 5), ("one\n\ntwo\n", 5)] {
        let text = format!("{CHECKPOINT_TEXT}{bad}");
        assert_eq!(Checkpoint::parse(&text), Err(line(at, EXTENSION)), "{bad:?}");
    }
}

#[test]
fn what_is_no_checkpoint_is_refused_though_the_log_signed_it() {
    let keys = [vkey(LOG_VKEY)];
    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    let open = |size: &str, root: &str| Checkpoint::open(&sign(&format!("{LOG}\n{size}\n{root}\n")), &keys);
    assert!(open("0", EMPTY_ROOT).is_ok());
    assert!(open("18446744073709551615", root).is_ok());
    for size in ["", "00", "020852163", "+1", "-1", "1 ", " 1", "0x10", "1e3", "18446744073709551616", "٣"] {
        assert_eq!(open(size, root), Err(line(2, SIZE)), "{size:?}");
    }
    for root in ["", &root[..43], &root[..40], &format!("{root} "), &format!("AAAA{root}"), "AAAA"] {
        assert_eq!(open("1", root), Err(line(3, ROOT)), "{root:?}");
    }
    let other_bits = root.replace("q2I=", "q2J=");
    assert_eq!(open("1", &other_bits), Err(line(3, ROOT)), "trailing bits that are not zero");
    assert_eq!(open("1", &root.replace('/', "_")), Err(line(3, ROOT)), "the URL alphabet");
    for (text, error) in [
        (format!("{LOG}\n"), line(2, SIZE)),
        (format!("{LOG}\n1\n"), line(3, ROOT)),
        (format!("\n1\n{root}\n"), line(1, ORIGIN)),
    ] {
        assert_eq!(Checkpoint::open(&sign(&text), &keys), Err(error), "{text:?}");
    }
}

#[test]
fn a_text_alone_is_checked_as_strictly() {
    let text = CHECKPOINT_TEXT;
    let error = Checkpoint::parse(&text.replace('\n', "\r\n")).unwrap_err();
    assert_eq!(error.to_string(), "line 1: control character U+000D; a note has none but the newline U+000A");
    assert_eq!(Checkpoint::parse(text.trim_end()), Err(CheckpointError::Note(NoteError::Text)));
    assert_eq!(Checkpoint::parse(""), Err(CheckpointError::Note(NoteError::Text)));
    let error = Checkpoint::parse(&text.replace("20852163", "020852163")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 2 of the checkpoint: expected the tree size, a decimal number without zeros in front"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_checkpoint_reads_back(origin in "[^\\x00-\\x1f]{1,30}", size: u64, root: Hash) {
        let checkpoint = Checkpoint { origin, size, root };
        prop_assert_eq!(Checkpoint::parse(&checkpoint.text()), Ok(checkpoint));
    }

    #[test]
    fn every_signed_checkpoint_opens(origin in "[^\\s+\\x00-\\x1f]{1,30}", size: u64, root: Hash) {
        let key = log_key(&origin);
        let checkpoint = Checkpoint { origin, size, root };
        let note = checkpoint.sign(&key).unwrap();
        prop_assert_eq!(Checkpoint::open(&note, std::slice::from_ref(key.verifier())), Ok(checkpoint));
    }

    #[test]
    fn what_is_read_without_extensions_prints_the_same(text in "(a\n)?[0-9+]{0,3}\n[AB/=]{0,2}A{40,42}[AEI=]{0,2}\n") {
        if let Ok(checkpoint) = Checkpoint::parse(&text) {
            prop_assert_eq!(checkpoint.text(), text);
        }
    }
}
