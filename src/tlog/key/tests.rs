use proptest::prelude::*;
use signed_note::Verifier as _;

use super::*;
use crate::tlog::samples::*;

fn parse(text: &str) -> Result<VerifierKey, KeyError> {
    text.parse()
}

#[test]
fn the_keys_of_a_seed_are_the_published_ones() {
    let key = log_key(LOG);
    assert_eq!(key.verifier().to_string(), LOG_VKEY);
    assert_eq!(*key.private_text(), LOG_PRIVATE);
    assert_eq!(witness(1).verifier().to_string(), WITNESS_VKEY);
}

#[test]
fn a_private_key_reads_back() {
    let key = SigningKey::from_private_text(LOG_PRIVATE).unwrap();
    assert_eq!(key.verifier(), &vkey(LOG_VKEY));
    assert_eq!(*key.private_text(), LOG_PRIVATE);
}

#[test]
fn a_key_under_another_name_has_another_id() {
    let (key, other) = (log_key(LOG), log_key(LOG).with_name("example.com/b").unwrap());
    assert_eq!(other.name(), "example.com/b");
    assert_ne!(key.verifier().id(), other.verifier().id());
    assert!(key.verifier().has_key_of(other.verifier()));
    assert_eq!(*other.private_text(), *log_key("example.com/b").private_text());
    assert!(!key.verifier().has_key_of(witness(1).verifier()));
}

#[test]
fn the_published_example_keys_are_read() {
    for text in [
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
        LOG_VKEY,
        WITNESS_VKEY,
    ] {
        assert_eq!(vkey(text).to_string(), text);
    }
    assert_eq!(vkey(LOG_VKEY).kind(), KeyKind::Ed25519);
    assert_eq!(vkey(WITNESS_VKEY).kind(), KeyKind::Cosignature);
}

#[test]
fn a_verifier_key_that_is_not_one_is_refused_with_the_reason() {
    let key = "ASFS+NGbeR0kRTJC4V8uq2y3z/p7al7TAJeWDgaYgdsS";
    let of = |name: &str, id: &str, key: &str| parse(&format!("{name}+{id}+{key}"));
    assert_eq!(of(LOG, "52AF38B3", key), Err(KeyError::Form));
    assert_eq!(of(LOG, "2af38b3", key), Err(KeyError::Form));
    assert_eq!(of(LOG, "052af38b3", key), Err(KeyError::Form));
    assert_eq!(of(LOG, "", key), Err(KeyError::Form));
    assert_eq!(parse(LOG), Err(KeyError::Form));
    assert_eq!(parse(""), Err(KeyError::Form));
    for name in ["", "a b", "a\u{2003}b", "a\u{85}b", "a\nb", "a\0b"] {
        assert_eq!(of(name, "52af38b3", key), Err(KeyError::Name(name.to_owned())));
    }
    for key in ["", "AQ==", "ASFS", &key[..43], &format!("{key}\n"), &format!("{key}AAAA")] {
        assert_eq!(of(LOG, "52af38b3", key), Err(KeyError::Base64), "{key:?}");
    }
    // Other types, whatever their keys look like.
    for (encoded, code) in [("Ag==", 2), ("BQAA", 5), ("BgAA", 6), ("/wAA", 255)] {
        assert_eq!(of(LOG, "52af38b3", encoded), Err(KeyError::Type(code)));
    }
    assert_eq!(
        of("audit.example.com/log/tenant-b", "52af38b3", key).unwrap_err().to_string(),
        format!(
            "the key id is 52af38b3, but name and key give {}; one of them was changed",
            log_key("audit.example.com/log/tenant-b").verifier().id()
        )
    );
    // The same 32 bytes as the other type have another id.
    assert!(matches!(of(LOG, "52af38b3", &key.replacen('A', "B", 1)), Err(KeyError::Type(5))));
    assert_eq!(parse(LOG_PRIVATE), Err(KeyError::Private));
}

#[test]
fn a_point_under_which_anything_verifies_is_no_key() {
    // The neutral element, and 32 bytes that are no point.
    for (first, rest) in [(1, 0), (2, 0)] {
        let mut bytes = [rest; 33];
        (bytes[0], bytes[1]) = (1, first);
        assert_eq!(parse(&format!("a+00000000+{}", to_base64(bytes))), Err(KeyError::PublicKey));
    }
}

#[test]
fn a_private_key_that_is_not_one_is_refused_and_not_repeated() {
    for (text, error) in [
        (LOG_PRIVATE.replace("52af38b3", "52af38b4"), "the key id is 52af38b4"),
        (LOG_PRIVATE.replace("tenant-a", "tenant-b"), "the key id is 52af38b3"),
        (LOG_PRIVATE.replace("AUJC", "BEJC"), "keys of type 04"),
        (LOG_PRIVATE.replace("AUJC", "AUJCQkJC"), "the last part"),
        (format!("{LOG_PRIVATE}\n"), "the last part"),
        (LOG_PRIVATE.replace("PRIVATE+", ""), "a private key is"),
        (LOG_PRIVATE.replace("+52af38b3", ""), "a private key is"),
        (LOG_VKEY.to_owned(), "a private key is"),
    ] {
        let message = SigningKey::from_private_text(&text).unwrap_err().to_string();
        assert!(message.starts_with(error), "{text}: {message}");
        assert!(!message.contains("QkJC"), "{message}");
    }
}

#[test]
fn a_debug_print_shows_no_private_key() {
    let debug = format!("{:?} {:?}", log_key(LOG), witness(1));
    assert_eq!(debug, format!("SigningKey({LOG_VKEY}) CosigningKey({WITNESS_VKEY})"));
}

#[test]
fn a_cosignature_signs_its_time() {
    let (key, text) = (witness(1), CHECKPOINT_TEXT);
    let signature = key.sign_bytes(text, WITNESS_TIME).unwrap();
    assert_eq!(key.verifier().verify(text, &signature).unwrap().time, Some(WITNESS_TIME));
    let mut later = signature;
    later[7] += 1;
    assert_eq!(key.verifier().verify(text, &later), None);
    assert_eq!(key.verifier().verify(text, &signature[..71]), None);
    assert_eq!(key.verifier().verify(text, &signature[8..]), None);
    assert_eq!(key.verifier().verify(text, &[signature.as_slice(), &[0]].concat()), None);
    assert_eq!(key.sign_bytes(text, 1 << 63), None);
    assert!(key.sign_bytes(text, (1 << 63) - 1).is_some());
}

#[test]
fn a_cosignature_time_past_the_limit_is_refused_though_signed() {
    let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let verify = |time: u64| {
        let signature = key.sign(format!("cosignature/v1\ntime {time}\n{CHECKPOINT_TEXT}").as_bytes());
        let blob = [time.to_be_bytes().as_slice(), &signature.to_bytes()].concat();
        vkey(WITNESS_VKEY).verify(CHECKPOINT_TEXT, &blob).is_some()
    };
    assert!(verify(i64::MAX as u64));
    assert!(!verify(i64::MAX as u64 + 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_key_reads_back_and_the_oracle_agrees(name in "[^\\s+\\x00-\\x1f]{1,20}", seed: [u8; 32]) {
        let key = SigningKey::from_seed(&name, &seed).unwrap();
        let text = key.verifier().to_string();
        prop_assert_eq!(&vkey(&text), key.verifier());
        let again = SigningKey::from_private_text(&key.private_text()).unwrap();
        prop_assert_eq!(again.verifier(), key.verifier());
        let oracle = signed_note::StandardVerifier::new(&text).unwrap();
        prop_assert_eq!(oracle.key_id().to_be_bytes(), key.verifier().id().0);
        let cosigner = CosigningKey::from_seed(&name, &seed).unwrap();
        prop_assert_eq!(&vkey(&cosigner.verifier().to_string()), cosigner.verifier());
        prop_assert_ne!(cosigner.verifier().id(), key.verifier().id());
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,6}\\+?[0-9a-f]{7,9}\\+?[A-Za-z0-9+/=]{0,50}") {
        if let Ok(key) = parse(&text) {
            prop_assert_eq!(key.to_string(), text);
        }
    }
}

#[test]
fn a_derived_key_is_one_of_its_own_and_always_the_same() {
    let master = SigningKey::from_seed("example.org/audit", &[7; 32]).unwrap();
    let derived = master.derive("example.org/audit/acme").unwrap();
    // Of an independent script.
    assert_eq!(
        derived.verifier().to_string(),
        "example.org/audit/acme+505189fc+Ac0brkrUXcky/2WRNAsEWu8zmD3vrejFBBxEaGLHbvJn"
    );
    assert!(!derived.verifier().has_key_of(master.verifier()));
    assert!(!derived.verifier().has_key_of(master.derive("example.org/audit/beta").unwrap().verifier()));
    assert!(master.derive("a name with blanks").is_err());
}
