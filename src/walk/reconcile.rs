//! What others kept, held against what is stored: rows are looked up by id, and each is opened.

use std::collections::HashMap;
use std::pin::pin;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::open;
use crate::merkle::Hash;
use crate::store::{bounded, living_session, verify};
use crate::verify::row::{OTHER_PROJECTION, Opened};

/// Ids of one statement, and what of their rows is opened at a time.
const IDS_AT_ONCE: usize = 500;
const BYTES_AT_ONCE: usize = 4 << 20;

/// What became of the events that were asked about; those that are as they were are not named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    pub missing: Vec<Uuid>,
    pub changed: Vec<Changed>,
    /// Their content was erased and their entries are as they were.
    pub redacted: Vec<Uuid>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub id: Uuid,
    pub seq: u64,
    pub what: Vec<String>,
}

/// Looks up each event, whose leaf had this hash when it was recorded.
pub async fn reconcile(
    reads: &PgPool,
    tenant_id: i32,
    leaves: &[(Uuid, Hash)],
) -> Result<Reconciled, sqlx::Error> {
    let mut reconciled = Reconciled::default();
    for leaves in leaves.chunks(IDS_AT_ONCE) {
        let part = async {
            let mut connection = living_session(reads).await?;
            let ids: Vec<_> = leaves.iter().map(|(id, _)| *id).collect();
            open_rows(&mut connection, tenant_id, &ids).await
        };
        let found: HashMap<Uuid, Vec<Opened>> = bounded(reads, part).await?;
        leaves.iter().for_each(|(id, hash)| reconciled.judge(*id, hash, found.get(id)));
    }
    Ok(reconciled)
}

impl Reconciled {
    fn judge(&mut self, id: Uuid, hash: &Hash, rows: Option<&Vec<Opened>>) {
        let Some([first, more @ ..]) = rows.map(Vec::as_slice) else { return self.missing.push(id) };
        let mut what = first.faults.clone();
        if first.hash != *hash {
            what.push(format!("the entry is another one, its leaf hash is {}", STANDARD.encode(first.hash)));
        }
        if first.doubt.is_some() {
            what.push(OTHER_PROJECTION.to_owned());
        }
        if !more.is_empty() {
            what.push("there is more than one row of this id".to_owned());
        }
        if !what.is_empty() {
            self.changed.push(Changed { id, seq: first.seq, what });
        } else if first.missing.is_some() {
            self.redacted.push(id);
        }
    }
}

async fn open_rows(
    connection: &mut PgConnection,
    tenant_id: i32,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, Vec<Opened>>, sqlx::Error> {
    let (mut found, mut opened) = (Vec::with_capacity(ids.len()), Vec::with_capacity(ids.len()));
    let (mut waiting, mut bytes) = (Vec::new(), 0);
    {
        let mut rows = pin!(verify::rows_of(&mut *connection, tenant_id, ids));
        while let Some(row) = rows.try_next().await? {
            bytes += row.bytes()?;
            found.push(row.id()?.unwrap_or_default());
            waiting.push(row);
            if bytes >= BYTES_AT_ONCE {
                opened.extend(open(std::mem::take(&mut waiting)).await?);
                bytes = 0;
            }
        }
    }
    opened.extend(open(waiting).await?);
    let doubts: Vec<_> = opened.iter().filter_map(|row: &Opened| row.doubt.as_deref()).collect();
    if !doubts.is_empty() {
        let same = verify::settle(&mut *connection, &doubts).await?;
        Opened::settle(&mut opened, same);
    }
    let mut by_id: HashMap<Uuid, Vec<Opened>> = HashMap::with_capacity(opened.len());
    found.into_iter().zip(opened).for_each(|(id, row)| by_id.entry(id).or_default().push(row));
    Ok(by_id)
}
