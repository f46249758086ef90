//! UUIDv7 event ids, strictly increasing within a log.

use uuid::Uuid;

use crate::event::Timestamp;

/// The bits of a UUIDv7 that are not time, version or variant: 12 before the variant, 62 after.
const COUNTER_BITS: u32 = 74;
const LOW_BITS: u32 = 62;

/// The id after `last` for an event received at `received_at`, which is not before the time in `last`.
///
/// Within one millisecond the random part counts upwards in random steps, so ids stay unguessable;
/// a new millisecond starts with the counter's top bit clear, so that it cannot overflow.
pub(super) fn next_id(last: Uuid, received_at: Timestamp, random: u128) -> Uuid {
    let millis = u128::from(received_at.as_micros().max(0).unsigned_abs() / 1000);
    let counter = if millis > last.as_u128() >> 80 {
        random & ((1 << (COUNTER_BITS - 1)) - 1)
    } else {
        counter_of(last) + 1 + (random & 0xffff_ffff)
    };
    let high = (counter >> LOW_BITS) & 0xfff;
    let low = counter & ((1 << LOW_BITS) - 1);
    Uuid::from_u128(millis << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low)
}

fn counter_of(id: Uuid) -> u128 {
    let bits = id.as_u128();
    ((bits >> 64) & 0xfff) << LOW_BITS | bits & ((1 << LOW_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(millis * 1000).unwrap()
    }

    #[test]
    fn an_id_is_a_uuid_v7_that_carries_the_time_of_receipt() {
        let id = next_id(Uuid::nil(), at(1_795_132_800_123), u128::MAX);
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(id.as_u128() >> 80, 1_795_132_800_123);
    }

    #[test]
    fn ids_increase_within_a_millisecond_and_across_it() {
        let mut last = Uuid::nil();
        for step in 0..10_000_u128 {
            let millis = 1_795_132_800_000 + i64::try_from(step / 1000).unwrap();
            let id = next_id(last, at(millis), step.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
            assert!(id > last, "{id} after {last}");
            assert_eq!(id.get_version_num(), 7);
            last = id;
        }
    }
}
