//! Checking receipts that were returned under load, from the request and the answer alone; then the log
//! itself, against what was acknowledged.

use std::collections::HashMap;

use anyhow::{Context, anyhow, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::load::{Answered, Work, key_of};
use super::sample::Sample;
use crate::event::{Entry, Envelope, Label, Salt, commitment, parse_event};

#[derive(Deserialize)]
struct Answer {
    id: Uuid,
    seq: u64,
    timestamp: String,
    received_at: String,
    receipt: ReceiptIn,
}

#[derive(Deserialize)]
struct ReceiptIn {
    entry: String,
    envelope: String,
    envelope_salt: String,
    payload_salt: String,
}

#[derive(Deserialize)]
struct BatchAnswer {
    results: Vec<Answer>,
}

/// Checks every receipt of an answer, and that the log has these entries. Returns how many there were.
/// `logs` has the tenant of each log that they may be in.
pub(super) async fn check(
    pool: &PgPool,
    logs: &HashMap<Uuid, i32>,
    work: Work,
    recorded_by: &str,
    answered: &Answered,
) -> anyhow::Result<u64> {
    let answers = match work {
        Work::Single | Work::Keyed => vec![serde_json::from_slice(&answered.body)?],
        Work::Batch(_) => serde_json::from_slice::<BatchAnswer>(&answered.body)?.results,
    };
    ensure!(answers.len() as u64 == work.events(), "an answer has {} results", answers.len());
    for (answer, n) in answers.iter().zip(answered.first_sample..) {
        let key = (work == Work::Keyed).then(|| key_of(n));
        let entry = check_receipt(&Sample::of(n).to_json(), key.as_deref(), recorded_by, answer)
            .with_context(|| format!("THE RECEIPT OF EVENT {} IS WRONG", answer.id))?;
        check_log(pool, logs, &entry)
            .await
            .with_context(|| format!("THE LOG DOES NOT HAVE EVENT {} AS ACKNOWLEDGED", answer.id))?;
    }
    Ok(answers.len() as u64)
}

/// That the receipt opens its entry, and that this is what was sent.
fn check_receipt(sent: &str, key: Option<&str>, recorded_by: &str, answer: &Answer) -> anyhow::Result<Entry> {
    let bytes = STANDARD.decode(&answer.receipt.entry)?;
    let entry = Entry::parse(&bytes).context("its entry is none")?;
    ensure!((entry.id, entry.seq) == (answer.id, answer.seq), "its entry is of another event");
    ensure!(entry.received_at.to_string() == answer.received_at, "its entry has another time");

    let mut event = parse_event(sent.as_bytes()).map_err(|faults| anyhow!("{faults:?}"))?;
    if let Some(key) = key {
        event.set_idempotency_key(key).map_err(|fault| anyhow!("{fault:?}"))?;
    }
    let envelope = Envelope::new(&event, entry.received_at, recorded_by);
    ensure!(answer.timestamp == envelope.timestamp.to_string(), "it has another timestamp");
    ensure!(answer.receipt.envelope == envelope.canonical(), "its envelope is not what was sent");
    let opens = commitment(
        Label::Envelope,
        &salt(&answer.receipt.envelope_salt)?,
        answer.receipt.envelope.as_bytes(),
    );
    ensure!(opens == entry.envelope, "its envelope does not open its entry");

    let payload = event.payload.context("a sample has a payload")?;
    let opens = commitment(Label::Payload, &salt(&answer.receipt.payload_salt)?, &payload.bytes);
    ensure!(entry.payload == Some(opens), "its payload does not open its entry");
    Ok(entry)
}

fn salt(base64: &str) -> anyhow::Result<Salt> {
    STANDARD.decode(base64)?.try_into().map_err(|_| anyhow!("a salt is not of 16 bytes"))
}

async fn check_log(pool: &PgPool, logs: &HashMap<Uuid, i32>, entry: &Entry) -> anyhow::Result<()> {
    let tenant_id = *logs.get(&entry.log_id).context("it is of another log")?;
    let stored: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT entry FROM events WHERE tenant_id = $1 AND received_at = $2 AND seq = $3")
            .bind(tenant_id)
            .bind(OffsetDateTime::from(entry.received_at))
            .bind(i64::try_from(entry.seq)?)
            .fetch_optional(pool)
            .await?;
    ensure!(stored.context("it is missing")? == entry.to_bytes(), "it is another one");
    Ok(())
}

/// That every log is gapless, and that all of them together hold exactly what was acknowledged.
pub(super) async fn check_logs(pool: &PgPool, acknowledged: u64) -> anyhow::Result<()> {
    let broken: Option<i32> = sqlx::query_scalar(
        "SELECT h.tenant_id FROM heads h LEFT JOIN events e USING (tenant_id)
         GROUP BY h.tenant_id, h.size
         HAVING count(e.seq) <> h.size OR count(DISTINCT e.seq) <> h.size OR max(e.seq) <> h.size - 1",
    )
    .fetch_optional(pool)
    .await?;
    ensure!(broken.is_none(), "THE LOG OF TENANT {broken:?} HAS GAPS");
    let recorded: i64 =
        sqlx::query_scalar("SELECT count(*) FROM events WHERE kind = 1").fetch_one(pool).await?;
    ensure!(
        u64::try_from(recorded)? == acknowledged,
        "THE LOGS HOLD {recorded} EVENTS, BUT {acknowledged} WERE ACKNOWLEDGED"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EntryKind, Timestamp};

    fn answer(sent: &str) -> Answer {
        let received_at = Timestamp::from_micros(1_795_132_800_123_456).unwrap();
        let event = parse_event(sent.as_bytes()).unwrap();
        let envelope = Envelope::new(&event, received_at, "user:admin");
        let (text, payload) = (envelope.canonical(), event.payload.unwrap());
        let entry = Entry {
            kind: EntryKind::Event,
            log_id: Uuid::from_u128(1),
            seq: 7,
            received_at,
            id: Uuid::from_u128(2),
            envelope: commitment(Label::Envelope, &[1; 16], text.as_bytes()),
            payload: Some(commitment(Label::Payload, &[2; 16], &payload.bytes)),
        };
        Answer {
            id: entry.id,
            seq: 7,
            timestamp: envelope.timestamp.to_string(),
            received_at: received_at.to_string(),
            receipt: ReceiptIn {
                entry: STANDARD.encode(entry.to_bytes()),
                envelope: text,
                envelope_salt: STANDARD.encode([1; 16]),
                payload_salt: STANDARD.encode([2; 16]),
            },
        }
    }

    #[test]
    fn a_receipt_of_what_was_sent_is_accepted_and_of_anything_else_refused() {
        let sent = Sample::of(1).to_json();
        let checked = |answer: &Answer, sent: &str| check_receipt(sent, None, "user:admin", answer);
        checked(&answer(&sent), &sent).unwrap();

        let refusal = |answer: Answer, sent: &str| checked(&answer, sent).unwrap_err().to_string();
        assert!(refusal(answer(&sent), &sent.replace("billing\"", "billinG\"")).contains("payload"));
        assert!(refusal(answer(&sent), &sent.replace("account/", "account-")).contains("envelope"));
        assert!(refusal(Answer { seq: 8, ..answer(&sent) }, &sent).contains("another event"));
        let mut other_salt = answer(&sent);
        other_salt.receipt.envelope_salt = STANDARD.encode([3; 16]);
        assert!(refusal(other_salt, &sent).contains("does not open"));
    }
}
