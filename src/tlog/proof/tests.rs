use proptest::prelude::*;

use super::*;
use crate::tlog::checkpoint::{Checkpoint, CheckpointError};
use crate::tlog::note::NoteError;
use crate::tlog::samples::*;

/// The example of tlog-proof without its `extra` line, which has 55 digits of base64, and with a checkpoint
/// whose signatures are whole.
const PUBLISHED: &str = "\
c2sp.org/tlog-proof@v1
index 73894
gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=
EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=
RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=
AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=

";

fn sample() -> String {
    PUBLISHED.to_owned() + &cosigned([1])
}

fn error(text: &str) -> (usize, &'static str) {
    let error = text.parse::<Proof>().unwrap_err();
    (error.line, error.expected)
}

#[test]
fn the_published_example_is_read_and_printed() {
    let proof: Proof = sample().parse().unwrap();
    assert_eq!((proof.index, proof.hashes.len(), proof.extra.len()), (73_894, 5, 0));
    assert_eq!(to_base64(proof.hashes[0]), "gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=");
    assert_eq!(Checkpoint::open(&proof.checkpoint, &[vkey(LOG_VKEY)]), Ok(checkpoint()));
    assert_eq!(proof.to_string(), sample());
}

#[test]
fn a_proof_may_have_extra_bytes_and_no_hashes() {
    let text = format!("{HEADER}\nextra aGk=\nindex 0\n\n{}", cosigned([]));
    let proof: Proof = text.parse().unwrap();
    assert_eq!(
        (proof.index, proof.hashes.as_slice(), proof.extra.as_slice()),
        (0, [].as_slice(), b"hi".as_slice())
    );
    assert_eq!(proof.to_string(), text);
}

#[test]
fn at_most_63_hashes_are_read() {
    let hashes =
        |count| format!("{HEADER}\nindex 0\n{}\nx", format!("{}\n", to_base64([7; 32])).repeat(count));
    assert_eq!(hashes(63).parse::<Proof>().unwrap().hashes.len(), 63);
    assert_eq!(error(&hashes(64)), (66, "a blank line after at most 63 hashes"));
}

#[test]
fn what_is_no_proof_is_refused_with_line_and_expectation() {
    let index = "`index ` and a decimal number";
    let hash = "32 bytes in padded base64, or a blank line";
    let extra = "`extra ` and at least one byte in padded base64";
    let changed = |from: &str, to: &str| error(&sample().replacen(from, to, 1));
    assert_eq!(error(""), (1, HEADER));
    assert_eq!(error(HEADER), (1, HEADER));
    assert_eq!(changed("@v1", "@v2"), (1, HEADER));
    assert_eq!(error(&sample().replace('\n', "\r\n")), (1, HEADER));
    assert_eq!(error(&format!("{HEADER}\n")), (2, index));
    for to in
        ["index 073894", "index +73894", "index  73894", "index 73894 ", "Index 73894", "index", "73894"]
    {
        assert_eq!(changed("index 73894", to), (2, index), "{to}");
    }
    for to in ["extra \n", "extra aGk\n", "extra aGl=\n"] {
        assert_eq!(changed("index", &format!("{to}index")), (2, extra), "{to}");
    }
    assert_eq!(changed("index", "extra\nindex"), (2, index));
    assert_eq!(changed("index", "extra aGk=\nextra aGk=\nindex"), (3, index));
    for to in ["PlQ", "PlR=", "PlQ= ", "PlQ==", "AAAAPlQ="] {
        assert_eq!(changed("PlQ=", to), (3, hash), "{to}");
    }
    assert_eq!(changed("\n\naudit", "\naudit"), (8, hash));
    assert_eq!(error(PUBLISHED), (9, "the checkpoint"));
    assert_eq!(error(PUBLISHED.trim_end()), (7, hash));
    let message = changed("@v1", "@v2");
    assert_eq!(message.1, "c2sp.org/tlog-proof@v1");
}

#[test]
fn bytes_after_the_proof_are_refused_by_its_checkpoint() {
    let proof: Proof = (sample() + "trailing").parse().unwrap();
    let form = Err(CheckpointError::Note(NoteError::Form));
    assert_eq!(Checkpoint::open(&proof.checkpoint, &[vkey(LOG_VKEY)]), form);
}

proptest! {
    #[test]
    fn every_proof_reads_back(
        extra: Vec<u8>,
        index: u64,
        hashes in prop::collection::vec(any::<Hash>(), 0..=MAX_HASHES),
        checkpoint in "[a-z\n]{1,20}",
    ) {
        let proof = Proof { extra, index, hashes, checkpoint };
        prop_assert_eq!(proof.to_string().parse(), Ok(proof));
    }

    #[test]
    fn what_is_read_prints_the_same(at in 0..400_usize, to in "\\PC?|\n") {
        let mut text: Vec<char> = sample().chars().collect();
        text.splice(at..=at, to.chars());
        let text: String = text.into_iter().collect();
        if let Ok(proof) = text.parse::<Proof>() {
            prop_assert_eq!(proof.to_string(), text);
        }
    }
}
