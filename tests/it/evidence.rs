//! A receipt and a tree, checked by code that shares nothing with the service's: from the texts of RFC 6962 and of
//! C2SP alone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::auditor::{Hash, leaf};

/// A signed tree head whose signature was right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

pub fn base64(text: &str) -> Vec<u8> {
    STANDARD.decode(text).expect("base64")
}

pub fn hash(text: &str) -> Hash {
    base64(text).try_into().expect("32 bytes")
}

/// Checks a signed note against a verifier key; the text must be a checkpoint of the key's name.
pub fn open(note: &str, vkey: &str) -> Head {
    let (name, rest) = vkey.split_once('+').expect("a vkey");
    let (id, key) = rest.split_once('+').expect("a vkey");
    let key = base64(key);
    assert_eq!(key[0], 1, "Ed25519");
    let expected_id = Sha256::new().chain_update(name).chain_update(b"\n").chain_update(&key).finalize();
    assert_eq!(id, format!("{:08x}", u32::from_be_bytes(expected_id[..4].try_into().unwrap())));
    let (text, signatures) = note.rsplit_once("\n\n").expect("a note");
    let text = format!("{text}\n");
    let line = signatures.lines().find(|line| line.starts_with(&format!("— {name} "))).expect("a signature");
    let signature = base64(line.rsplit(' ').next().unwrap());
    assert_eq!(signature[..4], expected_id[..4]);
    let key = VerifyingKey::from_bytes(key[1..].try_into().unwrap()).unwrap();
    let signature = Signature::from_slice(&signature[4..]).unwrap();
    key.verify_strict(text.as_bytes(), &signature).expect("the signature is right");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "no extension lines: {text}");
    assert_eq!(lines[0], name, "the origin is the name of the key");
    Head { origin: lines[0].to_owned(), size: lines[1].parse().unwrap(), root: hash(lines[2]) }
}

fn node(left: &[u8], right: &[u8]) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// PATH of RFC 6962 §2.1.1, followed by its recursive definition.
pub fn root_of_path(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Hash {
    let Some((last, rest)) = path.split_last() else {
        assert_eq!(size, 1, "the path is as long as the tree is high");
        return leaf;
    };
    let split = size.next_power_of_two() / 2;
    if index < split {
        node(&root_of_path(leaf, index, split, rest), last)
    } else {
        node(last, &root_of_path(leaf, index - split, size - split, rest))
    }
}

/// Everything that a receipt promises; returns the tree head that it rests on.
pub fn check_receipt(receipt: &Value, payload: Option<&[u8]>, vkey: &str) -> Head {
    let text = |name: &str| receipt[name].as_str().unwrap_or_else(|| panic!("no {name} in {receipt}"));
    let entry = base64(text("entry"));
    let commitment = |label: &str, salt: &str, bytes: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(&base64(text(salt))).unwrap();
        mac.update(label.as_bytes());
        mac.update(&[0]);
        mac.update(bytes);
        mac.finalize().into_bytes()
    };
    let envelope = commitment("audit/envelope/v1", "envelope_salt", text("envelope").as_bytes());
    assert_eq!(entry[54..86], envelope[..]);
    match payload {
        Some(payload) => {
            assert_eq!(entry[86..118], commitment("audit/payload/v1", "payload_salt", payload)[..])
        }
        None => assert_eq!(entry[86..118], [0; 32]),
    }
    let head = open(text("checkpoint"), vkey);
    let path: Vec<Hash> =
        receipt["inclusion_path"].as_array().unwrap().iter().map(|it| hash(it.as_str().unwrap())).collect();
    let seq = u64::from_be_bytes(entry[22..30].try_into().unwrap());
    assert!(seq < head.size);
    assert_eq!(root_of_path(leaf(&entry), seq, head.size, &path), head.root);
    head
}
