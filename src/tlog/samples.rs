//! Keys and notes that the tests of several modules use. Those in text form come from an implementation that
//! shares nothing with this one: Python's `cryptography`, hence OpenSSL.

use super::checkpoint::Checkpoint;
use super::key::{CosigningKey, SigningKey, VerifierKey};
use super::{hash_from_base64, note};

pub const LOG: &str = "audit.example.com/log/tenant-a";
/// Of the seed that is 0x42 32 times.
pub const LOG_VKEY: &str =
    "audit.example.com/log/tenant-a+52af38b3+ASFS+NGbeR0kRTJC4V8uq2y3z/p7al7TAJeWDgaYgdsS";
pub const LOG_PRIVATE: &str =
    "PRIVATE+KEY+audit.example.com/log/tenant-a+52af38b3+AUJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJC";
/// Of the seed that is 0x01 32 times.
pub const WITNESS_VKEY: &str = "witness.example.com/w1+04758baf+BIqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";
pub const WITNESS_TIME: u64 = 1_679_315_147;
pub const CHECKPOINT_TEXT: &str =
    "audit.example.com/log/tenant-a\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
pub const LOG_SIGNATURE: &str = "\u{2014} audit.example.com/log/tenant-a \
    Uq84s+y+mgpoY3ytn41DhbRiwlKRpFlxs9u0D1MV8vEGPB54U558tYFHbczm24QICFnevbw7F/MLgajRPb/630nElwA=\n";
pub const WITNESS_SIGNATURE: &str = "\u{2014} witness.example.com/w1 \
    BHWLrwAAAABkGFDLFNbxzHGvFAOjwz+XPdaqWXcQhdZ6bwSu4pQwcBrfY8htzxoBGQREH3yoVlae7XFiOPVKTm12w1zPHWoACSWPBg==\n";

pub fn log_key(name: &str) -> SigningKey {
    SigningKey::from_seed(name, &[0x42; 32]).unwrap()
}

/// Witness 1 is the one of [`WITNESS_VKEY`].
pub fn witness(number: u8) -> CosigningKey {
    CosigningKey::from_seed(&format!("witness.example.com/w{number}"), &[number; 32]).unwrap()
}

pub fn vkey(text: &str) -> VerifierKey {
    text.parse().unwrap()
}

pub fn checkpoint() -> Checkpoint {
    let root = hash_from_base64("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=").unwrap();
    Checkpoint { origin: LOG.to_owned(), size: 20_852_163, root }
}

/// The sample checkpoint, signed by the log and cosigned by these witnesses.
pub fn cosigned(witnesses: impl IntoIterator<Item = u8>) -> String {
    let signed = checkpoint().sign(&log_key(LOG)).unwrap();
    let line = |number| witness(number).signature_line(CHECKPOINT_TEXT, WITNESS_TIME).unwrap();
    witnesses.into_iter().fold(signed, |signed, number| note::append(&signed, &line(number)).unwrap())
}
