use proptest::prelude::*;
use signed_note::{Note as OracleNote, StandardSigner, StandardVerifier, VerifierList};

use super::*;
use crate::tlog::samples::*;

const FOO_VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const FOO_NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo \
    Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
const UNKNOWN_LINE: &str = "\u{2014} example.com/unknown AAAAAAA=\n";

fn sample() -> String {
    format!("{CHECKPOINT_TEXT}\n{LOG_SIGNATURE}{WITNESS_SIGNATURE}")
}

fn refused(note: impl AsRef<[u8]>) -> NoteError {
    open(&note, &[vkey(LOG_VKEY)]).unwrap_err()
}

#[test]
fn the_published_note_opens() {
    let keys = [vkey(FOO_VKEY)];
    let opened = open(FOO_NOTE, &keys).unwrap();
    assert_eq!(opened.text, "This is an example message.\n");
    assert_eq!(opened.signers, [Signer { key: &keys[0], time: None }]);
    assert_eq!(text(FOO_NOTE), Ok("This is an example message.\n"));
}

#[test]
fn signatures_are_those_that_openssl_makes() {
    assert_eq!(log_key(LOG).sign(CHECKPOINT_TEXT).unwrap(), format!("{CHECKPOINT_TEXT}\n{LOG_SIGNATURE}"));
    assert_eq!(witness(1).signature_line(CHECKPOINT_TEXT, WITNESS_TIME).unwrap(), WITNESS_SIGNATURE);
}

#[test]
fn signers_are_the_known_keys_in_order_of_signature() {
    let (note, keys) = (sample(), [vkey(WITNESS_VKEY), vkey(LOG_VKEY), vkey(FOO_VKEY)]);
    let log = Signer { key: &keys[1], time: None };
    let witness = Signer { key: &keys[0], time: Some(WITNESS_TIME) };
    assert_eq!(open(&note, &keys).unwrap().signers, [log, witness]);
    assert_eq!(open(&note, &keys[..1]).unwrap().signers, [witness]);
}

#[test]
fn unknown_keys_are_ignored_even_under_a_known_name_or_id() {
    let known_id = LOG_SIGNATURE.replace(LOG, "example.com/other");
    let known_name = UNKNOWN_LINE.replace("example.com/unknown", LOG);
    let note = sample() + UNKNOWN_LINE + &known_id + &known_name;
    assert_eq!(open(&note, &[vkey(LOG_VKEY)]).unwrap().signers.len(), 1);
    assert_eq!(open(&note, &[vkey(FOO_VKEY)]), Err(NoteError::NoKnownKey));
    assert_eq!(open(&note, &[]), Err(NoteError::NoKnownKey));
}

#[test]
fn one_wrong_signature_of_a_known_key_and_the_note_is_refused() {
    let wrong = NoteError::Signature { name: LOG.to_owned(), id: vkey(LOG_VKEY).id() };
    let other_text = log_key(LOG).sign("another text\n").unwrap().replace("another", "that");
    assert_eq!(refused(other_text), wrong);
    let short = format!("\u{2014} {LOG} {}\n", to_base64([0x52, 0xaf, 0x38, 0xb3, 0]));
    assert_eq!(refused(sample() + &short), wrong, "also beside a good one of the same key");
    let keys = [vkey(LOG_VKEY), vkey(WITNESS_VKEY)];
    let note = sample().replace("BHWLrwAAAABkGFDL", "BHWLrwAAAABkGFDM");
    assert_eq!(open(&note, &keys[..1]).unwrap().signers.len(), 1);
    assert!(matches!(open(&note, &keys), Err(NoteError::Signature { name, .. }) if name.ends_with("/w1")));
}

#[test]
fn a_key_that_signs_twice_counts_once() {
    let later = witness(1).signature_line(CHECKPOINT_TEXT, WITNESS_TIME + 60).unwrap();
    let (note, keys) = (sample() + LOG_SIGNATURE + &later, [vkey(LOG_VKEY), vkey(WITNESS_VKEY)]);
    let opened = open(&note, &keys).unwrap();
    assert_eq!(opened.signers.len(), 2);
    assert_eq!(opened.signers[1].time, Some(WITNESS_TIME));
}

#[test]
fn a_hundred_signatures_are_read_and_no_more() {
    let signed = log_key(LOG).sign(CHECKPOINT_TEXT).unwrap();
    let hundred = append(&signed, &UNKNOWN_LINE.repeat(99)).unwrap();
    assert!(open(&hundred, &[vkey(LOG_VKEY)]).is_ok());
    assert_eq!(append(&hundred, UNKNOWN_LINE), Err(NoteError::TooManySignatures));
    assert_eq!(refused(hundred + UNKNOWN_LINE), NoteError::TooManySignatures);
}

#[test]
fn the_text_may_look_like_a_note() {
    let key = log_key(LOG);
    let keys = [key.verifier().clone()];
    for text in ["\n", "\n\n", "a\n\n\nb\n", FOO_NOTE, &key.sign("x\n").unwrap(), "né — ☃\u{7f}\u{85}\n"]
    {
        assert_eq!(open(&key.sign(text).unwrap(), &keys).unwrap().text, text);
    }
}

#[test]
fn what_is_no_note_is_refused_with_the_reason() {
    let note = sample();
    let control = |line, code| NoteError::Control { line, code };
    assert_eq!(refused(note.replace('\n', "\r\n")), control(1, 13));
    assert_eq!(refused(note.replace("\n20852163", "\n2085\t2163")), control(2, 9));
    assert_eq!(refused(note.clone() + "\0"), control(7, 0));
    assert_eq!(refused([note.as_bytes(), b"\xff"].concat()), NoteError::Encoding);
    for bad in ["", "\n", "text\n", "text\n\n", CHECKPOINT_TEXT] {
        assert_eq!(refused(bad), NoteError::Form, "{bad:?}");
    }
    assert_eq!(refused(note.clone() + "\n"), NoteError::Form);
    assert_eq!(refused(note.clone() + "x"), NoteError::Form);
    assert_eq!(refused(note.trim_end()), NoteError::Form);
    assert_eq!(refused(note.replace("\n\n", "\n")), NoteError::Form);
    let message = refused(note.replace("\r", "") + "x\n").to_string();
    assert!(message.starts_with("line 7: expected a signature, \u{2014} <key name>"), "{message}");
}

#[test]
fn a_signature_line_has_one_form() {
    let bad = |from: &str, to: &str| refused(sample().replacen(from, to, 1));
    for (from, to) in [
        ("\u{2014}", "-"),
        ("\u{2014}", "\u{2013}"),
        ("\u{2014} ", "\u{2014}"),
        ("\u{2014} ", "\u{2014}  "),
        ("\u{2014} ", " \u{2014} "),
        ("\u{2014} audit", "\u{2014} au+dit"),
        ("\u{2014} audit", "\u{2014} au\u{a0}dit"),
        ("tenant-a Uq", "tenant-a  Uq"),
        ("tenant-a Uq", "tenant-aUq"),
        ("ElwA=\n", "ElwA\n"),
        ("ElwA=\n", "ElwB=\n"),
        ("ElwA=\n", "ElwA==\n"),
        ("ElwA=\n", "ElwA= \n"),
        ("ElwA=\n", "ElwA= AAAA\n"),
        ("Uq84s+y+", "Uq84s-y-"),
    ] {
        assert_eq!(bad(from, to), NoteError::SignatureLine { line: 5 }, "{from:?} {to:?}");
    }
    // Four bytes of id and no signature; and what is no base64, under an unknown name.
    for line in ["\u{2014} a AAAAAA==\n", "\u{2014} a AAAAAAB=\n", "\u{2014}  AAAAAAA=\n"] {
        assert_eq!(refused(sample() + line), NoteError::SignatureLine { line: 7 }, "{line}");
    }
}

#[test]
fn only_a_text_can_be_signed() {
    let key = log_key(LOG);
    assert_eq!(key.sign(""), Err(NoteError::Text));
    assert_eq!(key.sign("no newline"), Err(NoteError::Text));
    assert_eq!(key.sign("a\r\n"), Err(NoteError::Control { line: 1, code: 13 }));
    assert_eq!(witness(1).signature_line("a", 0), Err(NoteError::Text));
    assert_eq!(witness(1).signature_line("a\n", u64::MAX), Err(NoteError::Time));
}

#[test]
fn appended_lines_cannot_change_the_text() {
    let signed = log_key(LOG).sign(CHECKPOINT_TEXT).unwrap();
    assert_eq!(append(&signed, WITNESS_SIGNATURE), Ok(sample()));
    assert_eq!(append(&signed, ""), Ok(signed.clone()));
    assert_eq!(append(&signed, &format!("\n{WITNESS_SIGNATURE}")), Err(NoteError::Form));
    assert_eq!(append(&signed, &format!("{WITNESS_SIGNATURE}\n")), Err(NoteError::Form));
    assert_eq!(append(&signed, WITNESS_SIGNATURE.trim_end()), Err(NoteError::Form));
    assert_eq!(append(&signed, "404 not found\n"), Err(NoteError::SignatureLine { line: 6 }));
    assert_eq!(append(CHECKPOINT_TEXT, WITNESS_SIGNATURE), Err(NoteError::Form));
}

/// The text if the crate `signed_note` opens the note too.
fn oracle_text(note: &[u8], vkey: &str) -> Option<Vec<u8>> {
    let note = OracleNote::from_bytes(note).ok()?;
    let keys = VerifierList::new(vec![Box::new(StandardVerifier::new(vkey).unwrap())]);
    let (verified, _) = note.verify(&keys).ok()?;
    (!verified.is_empty()).then(|| note.text().to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_oracle_opens_our_notes_and_we_open_those_of_the_oracle(
        text in "([^\\x00-\\x1f]{0,20}\n){1,5}",
        name in "[^\\s+\\x00-\\x1f]{1,20}",
        seed: [u8; 32],
    ) {
        let key = SigningKey::from_seed(&name, &seed).unwrap();
        let vkey = key.verifier();
        let ours = key.sign(&text).unwrap();
        prop_assert_eq!(oracle_text(ours.as_bytes(), &vkey.to_string()).unwrap(), text.as_bytes());
        let mut theirs = OracleNote::new(text.as_bytes(), &[]).unwrap();
        let signer = StandardSigner::new(&key.private_text()).unwrap();
        theirs.add_sigs(&[&signer]).unwrap();
        let theirs = theirs.to_bytes();
        prop_assert_eq!(&theirs, ours.as_bytes());
        prop_assert_eq!(open(&theirs, std::slice::from_ref(vkey)).unwrap().text, text);
    }

    #[test]
    fn a_changed_byte_never_changes_an_accepted_text(at in 0..300_usize, to: u8) {
        let mut note = sample().into_bytes();
        let at = at % note.len();
        prop_assume!(note[at] != to);
        note[at] = to;
        let keys = [vkey(LOG_VKEY)];
        if let Ok(opened) = open(&note, &keys) {
            prop_assert_eq!(opened.text, CHECKPOINT_TEXT);
            // The oracle is the laxer of the two.
            prop_assert_eq!(oracle_text(&note, LOG_VKEY).unwrap(), CHECKPOINT_TEXT.as_bytes());
        }
    }
}
