//! The text formats of C2SP in which a log speaks to verifiers and witnesses.
//!
//! [`note`] signed-note, [`checkpoint`] tlog-checkpoint, [`proof`] tlog-proof, [`path`] tlog-tiles and
//! [`policy`] tlog-policy, with the keys and the cosignatures (tlog-cosignature) in [`key`].
//!
//! Pure: bytes in, values out. Everything that can be spelt in one way only is read in that spelling only;
//! where that is stricter than the specification, the place says so.

pub mod checkpoint;
pub mod key;
pub mod note;
pub mod path;
pub mod policy;
pub mod proof;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::merkle::Hash;

pub use checkpoint::Checkpoint;
pub use key::{SigningKey, VerifierKey};
pub use path::{TileKind, TilePath, bundle, parse_bundle};
pub use policy::Policy;
pub use proof::Proof;

fn to_base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// Padded standard base64; trailing bits that are not zero are refused, as are line breaks.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

fn hash_from_base64(text: &str) -> Option<Hash> {
    from_base64(text)?.try_into().ok()
}

/// Digits only, and no zero in front of others.
fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod samples;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_has_one_spelling() {
        for text in ["", "00", "01", "+1", "-1", " 1", "1 ", "1\r", "0x1", "1_000", "18446744073709551616"] {
            assert_eq!(decimal(text), None, "{text:?}");
        }
        assert_eq!(decimal("18446744073709551615"), Some(u64::MAX));
    }

    #[test]
    fn base64_has_one_spelling() {
        assert_eq!(from_base64("TQ=="), Some(b"M".to_vec()));
        for text in ["TQ", "TQ=", "TR==", "TQ==\n", "TQ== ", "T Q=", "TQ==TQ==", "_w==", "TQ==="] {
            assert_eq!(from_base64(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_number_reads_back(number: u64) {
            prop_assert_eq!(decimal(&number.to_string()), Some(number));
        }
    }
}
