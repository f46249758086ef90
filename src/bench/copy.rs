//! PostgreSQL at its fastest: binary COPY over the Unix socket, a transaction per batch.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

use super::comparison::{ROWS_PER_RUN, Timing};
use super::sample::Sample;
use crate::store::POSTGRES_EPOCH_MICROS;

const COPY: &str = r#"COPY bench.events (tenant_id, seq, received_at, id, kind, envelope_v, projection_v, level,
    event_type, user_identity, "timestamp", source, outcome, target, message, ip, correlation_id, recorded_by,
    entry, envelope_salt, payload_salt, lossy, payload, event_data) FROM STDIN (FORMAT binary)"#;
const COLUMNS: i16 = 24;
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// Where a row has what must be new each time: after the number of columns, each column's length, and what
/// comes before it.
const SEQ_AT: usize = 2 + (4 + 4) + 4;
const RECEIVED_AT_AT: usize = SEQ_AT + 8 + 4;
const ID_AT: usize = RECEIVED_AT_AT + 8 + 4;

/// A batch in COPY's format, encoded beforehand.
pub(super) struct Encoded {
    bytes: Vec<u8>,
    rows: Vec<usize>,
}

impl Encoded {
    pub(super) fn of(samples: impl Iterator<Item = u64>) -> Self {
        let mut encoded = Self { bytes: HEADER.to_vec(), rows: Vec::new() };
        for n in samples {
            encoded.rows.push(encoded.bytes.len());
            push_row(&mut encoded.bytes, &Sample::of(n));
        }
        encoded.bytes.extend(TRAILER);
        encoded
    }

    /// Makes new rows of the old ones.
    fn renew(&mut self, first_seq: u64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as i64;
        for (seq, &row) in (first_seq..).zip(&self.rows) {
            let mut put =
                |at: usize, value: [u8; 8]| self.bytes[row + at..row + at + 8].copy_from_slice(&value);
            put(SEQ_AT, seq.to_be_bytes());
            put(RECEIVED_AT_AT, (now - POSTGRES_EPOCH_MICROS).to_be_bytes());
            put(ID_AT + 8, seq.to_be_bytes());
        }
    }
}

fn push_row(bytes: &mut Vec<u8>, sample: &Sample) {
    bytes.extend(COLUMNS.to_be_bytes());
    let mut push = |value: &[u8]| {
        bytes.extend((value.len() as u32).to_be_bytes());
        bytes.extend(value);
    };
    push(&1_i32.to_be_bytes());
    [[0; 8], [0; 8]].iter().for_each(|seq_or_time| push(seq_or_time));
    push(&[0; 16]);
    [1_i16, 1, 1, 2].iter().for_each(|kind_versions_level| push(&kind_versions_level.to_be_bytes()));
    push(sample.event_type.as_bytes());
    push(sample.user_identity.as_bytes());
    push(&800_000_000_000_000_i64.to_be_bytes());
    for text in [sample.source, sample.outcome, &sample.target, &sample.message] {
        push(text.as_bytes());
    }
    push(&inet(sample.ip));
    push(sample.correlation_id.as_bytes());
    push(b"user:admin");
    push(&[7; 118]);
    push(&[1; 16]);
    push(&[2; 16]);
    push(&[0]);
    push(sample.payload.as_bytes());
    push(&[b"\x01", sample.payload.as_bytes()].concat());
}

/// Family (as PostgreSQL numbers them), prefix length, not a cidr, length, address.
fn inet(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => [&[2, 32, 0, 4], ip.octets().as_slice()].concat(),
        IpAddr::V6(ip) => [&[3, 128, 0, 16], ip.octets().as_slice()].concat(),
    }
}

/// Copies the batches in turn over one connection until the time is up. `run` tells runs apart, so that no
/// two write the same row.
pub(super) async fn run(
    database: &PgConnectOptions,
    batches: &mut [Encoded],
    run: u64,
    time: Duration,
) -> anyhow::Result<Timing> {
    let mut connection = database.connect().await?;
    let mut next_seq = run * ROWS_PER_RUN;
    let mut latencies_us = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < time {
        for batch in batches.iter_mut() {
            batch.renew(next_seq);
            let sent = Instant::now();
            let copied = copy(&mut connection, &batch.bytes).await?;
            latencies_us.push(u64::try_from(sent.elapsed().as_micros())?);
            ensure!(copied == batch.rows.len() as u64, "COPY took {copied} rows");
            next_seq += copied;
            if begun.elapsed() >= time {
                break;
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    connection.close().await?;
    Ok(Timing { seconds, latencies_us })
}

async fn copy(connection: &mut PgConnection, rows: &[u8]) -> sqlx::Result<u64> {
    let mut copy = connection.copy_in_raw(COPY).await?;
    copy.send(rows).await?;
    copy.finish().await
}
