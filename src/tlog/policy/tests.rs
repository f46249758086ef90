use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::tlog::key::SigningKey;
use crate::tlog::note::NoteError;
use crate::tlog::samples::*;

/// The example of tlog-policy with keys in it: witnesses 1 to 3 are X1 to X3, 4 to 6 are Y1 to Y3.
fn published() -> String {
    let mut policy = format!("log {LOG_VKEY}\n\n");
    for number in 1..=6 {
        let name = if number <= 3 { format!("X{number}") } else { format!("Y{}", number - 3) };
        policy += &format!("witness {name} {}\n", witness(number).verifier());
    }
    policy
        + "group X-witnesses 2 X1 X2 X3\ngroup Y-witnesses any Y1 Y2 Y3\n\
           group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n"
}

fn policy(text: &str) -> Policy {
    Policy::parse(text.as_bytes()).unwrap()
}

/// The line of the error and what it says.
fn error(text: impl AsRef<[u8]>) -> (usize, String) {
    match Policy::parse(text.as_ref()).unwrap_err() {
        PolicyError::Line { line, problem } => (line, problem.to_string()),
        PolicyError::NoQuorum => (0, PolicyError::NoQuorum.to_string()),
    }
}

/// The lines that define witnesses `w1` and so on.
fn witnesses(count: u8) -> String {
    (1..=count).map(|number| format!("witness w{number} {}\n", witness(number).verifier())).collect()
}

#[test]
fn the_published_policy_asks_for_two_x_and_one_y() {
    let policy = policy(&published());
    for (signed, accepted) in [
        (vec![1, 2, 4], true),
        (vec![3, 1, 6], true),
        (vec![1, 2, 3, 4, 5, 6], true),
        (vec![1, 2, 3], false),
        (vec![1, 4, 5, 6], false),
        (vec![], false),
        // Witness 7 is unknown, and one witness does not count twice.
        (vec![1, 7, 4], false),
        (vec![1, 1, 4], false),
    ] {
        assert_eq!(policy.check(&cosigned(signed.clone())).is_ok(), accepted, "{signed:?}");
    }
}

#[test]
fn a_verified_note_says_who_vouches_for_it() {
    let policy = policy(&published());
    let note = cosigned([5, 2, 7, 1]);
    let verified = policy.check(&note).unwrap();
    assert_eq!(verified.checkpoint, checkpoint());
    assert_eq!(verified.log, &vkey(LOG_VKEY));
    let seen: Vec<_> = verified.witnesses.iter().map(|seen| (lossy(&seen.witness.name), seen.time)).collect();
    let expected = ["X1", "X2", "Y2"].map(|name| (name.to_owned(), WITNESS_TIME));
    assert_eq!(seen, expected);
}

#[test]
fn a_missed_quorum_is_named() {
    let policy = policy(&published());
    assert_eq!(
        policy.check(&cosigned([1, 4])).unwrap_err().to_string(),
        "the quorum X-and-Y is not reached; cosigned by: X1, Y1"
    );
    assert_eq!(
        policy.check(&cosigned([])).unwrap_err().to_string(),
        "the quorum X-and-Y is not reached; cosigned by: no known witness"
    );
}

#[test]
fn the_note_of_openssl_is_accepted() {
    let policy = policy(&format!("log {LOG_VKEY}\nwitness w {WITNESS_VKEY}\nquorum w\n"));
    let note = format!("{CHECKPOINT_TEXT}\n{LOG_SIGNATURE}{WITNESS_SIGNATURE}");
    assert_eq!(policy.check(&note).unwrap().witnesses[0].time, WITNESS_TIME);
}

#[test]
fn a_listed_log_must_have_signed() {
    let quorum_only = policy(&format!("witness w {WITNESS_VKEY}\nquorum w\n"));
    let origin = Untrusted::Checkpoint(CheckpointError::Origin { origin: LOG.to_owned() });
    assert_eq!(quorum_only.check(&cosigned([1])), Err(origin.clone()));
    let unknown = Untrusted::Checkpoint(CheckpointError::Note(NoteError::NoKnownKey));
    assert_eq!(policy("quorum none").check(&cosigned([1])), Err(unknown));
    // Another listed log does not stand in for the one of the origin.
    let other = SigningKey::from_seed("example.com/other", &[9; 32]).unwrap();
    let both = policy(&format!("log {LOG_VKEY}\nlog {}\nquorum none\n", other.verifier()));
    assert_eq!(both.check(&other.sign(CHECKPOINT_TEXT).unwrap()), Err(origin));
    assert!(both.check(&cosigned([])).is_ok());
}

#[test]
fn a_wrong_cosignature_of_a_known_witness_spoils_the_note() {
    let policy = policy(&published());
    let other = witness(3).signature_line("another text\n", WITNESS_TIME).unwrap();
    let note = cosigned([1, 2, 4]) + &other;
    let error = policy.check(&note).unwrap_err().to_string();
    assert!(error.starts_with("the signature of witness.example.com/w3 (key "), "{error}");
}

#[test]
fn a_quorum_of_none_or_of_one_witness() {
    let log = format!("log {LOG_VKEY} https://audit.example.com/\n");
    let none = policy(&format!("{log}quorum none"));
    assert!(none.check(&cosigned([])).is_ok());
    assert_eq!(none.logs()[0].url.as_deref(), Some(b"https://audit.example.com/".as_slice()));
    let one = policy(&format!("{log}{}quorum w2\n", witnesses(2)));
    assert!(one.check(&cosigned([2])).is_ok());
    assert!(one.check(&cosigned([1])).is_err());
    assert_eq!(one.witnesses().len(), 2);
}

#[test]
fn layout_and_order_are_free_where_the_specification_leaves_them_free() {
    let text = format!(
        "  # a comment\n\n \t \n#another \u{e9}\n\tquorum \t none \n witness\tw1  {} https://w \nlog {LOG_VKEY}",
        witness(1).verifier()
    );
    let policy = policy(&text);
    assert_eq!((policy.logs().len(), policy.witnesses().len()), (1, 1));
}

#[test]
fn names_and_urls_are_octets() {
    let mut text = format!("log {LOG_VKEY} ").into_bytes();
    text.extend_from_slice(b"http://\xff\n# \xfe\nwitness \xe2\x84\xaa ");
    text.extend_from_slice(format!("{WITNESS_VKEY}\ngroup K any \u{212a}\nquorum K\n").as_bytes());
    let policy = Policy::parse(&text).unwrap();
    assert_eq!(policy.logs()[0].url.as_deref(), Some(b"http://\xff".as_slice()));
    assert!(policy.check(&cosigned([1])).is_ok());
    let (line, message) = error(format!("witness \u{212a} {WITNESS_VKEY}\nquorum K\n"));
    assert_eq!((line, message.as_str()), (2, "\"K\" is not defined on a line further up"));
    assert_eq!(error(b"log \xff\nquorum none").0, 1);
}

#[test]
fn what_is_no_policy_is_refused_with_line_and_reason() {
    let two = witnesses(2);
    let third = |line: &str| error(format!("{two}{line}\nquorum none\n"));
    for (line, expected) in [
        ("logs x", "expected log, witness, group or quorum, found \"logs\""),
        ("LOG x", "expected log, witness, group or quorum, found \"LOG\""),
        ("log", "expected log <vkey> [<url>]"),
        ("log a b c", "expected log <vkey> [<url>]"),
        ("witness", "expected witness <name> <vkey> [<url>]"),
        ("witness a", "expected witness <name> <vkey> [<url>]"),
        ("witness a b c d", "expected witness <name> <vkey> [<url>]"),
        ("group", "expected group <name> all|any|<number> <member>..."),
        ("group g", "expected group <name> all|any|<number> <member>..."),
        ("group g all", "expected group <name> all|any|<number> <member>..."),
        ("quorum", "expected quorum <name>, or quorum none"),
        ("quorum w1 w2", "expected quorum <name>, or quorum none"),
        ("quorum w3", "\"w3\" is not defined on a line further up"),
        ("group g any w3", "\"w3\" is not defined on a line further up"),
        ("group g any g", "\"g\" is not defined on a line further up"),
        ("group g any none", "the name \"none\" is predefined; only a quorum line may use it"),
        ("group none any w1", "the name \"none\" is predefined; only a quorum line may use it"),
        ("group w1 any w2", "the name \"w1\" is already defined"),
        (
            "group g any w1 w1",
            "\"w1\" is already a member of a group; a name can be a member once in the whole policy",
        ),
        ("log a+b", "in the key: a verifier key is <name>+<key id, 8 hex digits in lower case>+<base64>"),
        (
            "log # comment",
            "in the key: a verifier key is <name>+<key id, 8 hex digits in lower case>+<base64>",
        ),
        ("quorum none\r", "octet 0D; the only control characters are tab and newline"),
        ("# \u{7f}", "octet 7F; the only control characters are tab and newline"),
        ("\0", "octet 00; the only control characters are tab and newline"),
    ] {
        assert_eq!(third(line), (3, expected.to_owned()), "{line}");
    }
    for threshold in ["0", "3", "01", "+1", "-1", "ALL", "", "99999999999999999999"] {
        let (line, message) = third(&format!("group g {threshold} w1 w2"));
        assert_eq!(line, 3);
        // Without a threshold the first member stands in its place.
        let members = if threshold.is_empty() { 1 } else { 2 };
        let number = format!("from 1 to {members}, the number of members");
        assert!(message.ends_with(&number), "{threshold}: {message}");
    }
}

#[test]
fn there_is_exactly_one_quorum() {
    let missing = "the policy has no quorum line; expected quorum <name>, or quorum none";
    assert_eq!(error(""), (0, missing.to_owned()));
    assert_eq!(error(witnesses(1)), (0, missing.to_owned()));
    let second = "there is a quorum line already; a policy has exactly one";
    assert_eq!(error("quorum none\nquorum none\n"), (2, second.to_owned()));
}

#[test]
fn one_key_is_one_log_and_one_witness_whatever_its_name() {
    let renamed = log_key("example.com/renamed");
    let (line, message) = error(format!("log {LOG_VKEY}\nlog {}\n", renamed.verifier()));
    assert_eq!(line, 2);
    assert!(message.starts_with("a log with this public key stands further up"), "{message}");
    let renamed = crate::tlog::key::CosigningKey::from_seed("renamed", &[1; 32]).unwrap();
    let (line, message) = error(format!("{}witness other {}\n", witnesses(2), renamed.verifier()));
    assert_eq!(line, 3);
    assert!(message.starts_with("a witness with this public key stands further up"), "{message}");
    let (_, message) = error(format!("{}witness w1 {}\n", witnesses(2), witness(3).verifier()));
    assert_eq!(message, "the name \"w1\" is already defined");
    // The same pair as a log and as a witness is no duplicate.
    policy(&format!("log {LOG_VKEY}\nwitness {LOG_VKEY} {WITNESS_VKEY}\nquorum none"));
}

#[test]
fn a_key_has_the_type_of_its_line() {
    let log = error(format!("log {WITNESS_VKEY}"));
    assert_eq!(log, (1, "a log key has type 01 (Ed25519); this one has type 04".to_owned()));
    let witness = error(format!("witness w {LOG_VKEY}"));
    assert_eq!(
        witness,
        (1, "a witness key has type 04 (Ed25519 cosignature); this one has type 01".to_owned())
    );
    assert_eq!(
        error(format!("log {LOG_PRIVATE}")).1,
        "in the key: this is a private key; its verifier key belongs here"
    );
}

#[test]
fn a_name_is_a_member_once_across_all_groups() {
    let text = format!("{}group a any w1\ngroup b any w2 w1\nquorum b\n", witnesses(2));
    let (line, message) = error(&text);
    assert_eq!(line, 4);
    assert!(message.starts_with("\"w1\" is already a member"), "{message}");
    // A quorum may name what is a member elsewhere.
    policy(&format!("log {LOG_VKEY}\n{}group a any w1\nquorum w1\n", witnesses(1)));
}

#[test]
fn deep_nesting_is_no_danger() {
    let mut text = format!("log {LOG_VKEY}\n{}group 0 all w1\n", witnesses(1));
    for depth in 1..20_000 {
        text += &format!("group {depth} all {}\n", depth - 1);
    }
    let policy = policy(&(text + "quorum 19999\n"));
    assert!(policy.check(&cosigned([1])).is_ok());
    assert!(policy.check(&cosigned([])).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_threshold_counts_the_witnesses_that_signed(
        threshold in 1..=8_usize,
        signed in prop::collection::vec(1..=8_u8, 0..8),
    ) {
        let names: String = (1..=8).map(|number| format!(" w{number}")).collect();
        let text = format!("log {LOG_VKEY}\n{}group g {threshold}{names}\nquorum g\n", witnesses(8));
        let distinct = signed.iter().collect::<HashSet<_>>().len();
        prop_assert_eq!(policy(&text).check(&cosigned(signed)).is_ok(), distinct >= threshold);
    }

    #[test]
    fn no_file_makes_the_reader_panic(file: Vec<u8>, lines in "((log|witness|group|quorum|any|none|a|1)[ \n]){0,12}") {
        let _ = Policy::parse(&file);
        let _ = Policy::parse(lines.as_bytes());
    }
}
