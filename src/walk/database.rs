//! A log in the database.
//!
//! One connection reads, in a snapshot; rows are opened in chunks on other threads, and what they give is folded in
//! order, a batch behind the reading. So however large a log is, two batches of opened rows and a few chunks of rows
//! are held.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::thread::available_parallelism;

use futures_util::TryStreamExt;
use sqlx::{PgConnection, PgPool};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::{Progress, Report, Trusted, UNPINNED, open};
use crate::auth::Tenant;
use crate::merkle::TileId;
use crate::store::log_keys;
use crate::store::verify::{self, BATCH, Position, StoredCheckpoint, StoredRow};
use crate::verify::log::{Expected, Log, Outcome, StoredTile};
use crate::verify::row::Opened;
use crate::verify::signed::Keys;
use crate::verify::{Culprit, Findings};

/// What is opened at a time.
const CHUNK_ROWS: usize = 1_000;
const CHUNK_BYTES: usize = 4 << 20;

/// Checks the whole log of a tenant. Reads only.
pub async fn walk(
    pool: &PgPool,
    tenant: &Tenant,
    trusted: Trusted<'_>,
    progress: &Progress,
) -> Result<Report, sqlx::Error> {
    let mut findings = Findings::new(&tenant.name);
    let mut keys = Keys::pinned(trusted.policy, &tenant.name);
    for key in log_keys::of_log(pool, tenant.id).await? {
        keys.register(&tenant.name, key.epoch, &key.vkey, &mut findings);
    }
    let mut snapshot = verify::snapshot(pool).await?;
    let Some((head, _)) = verify::head(&mut snapshot, tenant.id).await? else {
        findings.add(None, Culprit::DatabaseWriter, "the log has no head");
        return Ok(headless(tenant, findings));
    };
    progress.begin(head.size);
    let mut log = Log::new(&tenant.name, Some(tenant.log_id), head.size, Culprit::DatabaseWriter);
    for finding in findings.kept {
        log.add_of(finding.culprit, finding.seq, finding.what);
    }
    let mut walk = Walk {
        pool,
        tenant,
        log,
        checkpoints: Checkpoints::new(&keys, trusted.seen),
        progress,
        // One more than there are threads to open them, so that none waits.
        room: Arc::new(Semaphore::new(available_parallelism().map_or(2, |threads| threads.get() + 1))),
        behind: Batch::default(),
    };
    let mut position = Position::START;
    while let Some(batch) = walk.read(&mut snapshot, &mut position).await? {
        let finished = std::mem::replace(&mut walk.behind, batch);
        walk.fold(finished).await?;
    }
    let last = std::mem::take(&mut walk.behind);
    walk.fold(last).await?;
    walk.end(&mut snapshot, head.size).await?;
    let Walk { log, checkpoints, .. } = walk;
    let mut report = Report::new(&tenant.name, head.size, log.finish(&head));
    checkpoints.tell(&mut report);
    Ok(report)
}

fn headless(tenant: &Tenant, findings: Findings) -> Report {
    let unchecked = vec!["the entries: without a head there is no telling where they end".to_owned()];
    let outcome = Outcome { entries: 0, tree: None, heads_compared: 0, findings, unchecked };
    Report::new(&tenant.name, 0, outcome)
}

struct Walk<'a> {
    pool: &'a PgPool,
    tenant: &'a Tenant,
    log: Log,
    checkpoints: Checkpoints<'a>,
    progress: &'a Progress,
    /// For chunks of rows that are not opened yet.
    room: Arc<Semaphore>,
    /// What was read and is not folded yet.
    behind: Batch,
}

/// Rows that were read, with what is stored about them.
#[derive(Default)]
struct Batch {
    chunks: Vec<Chunk>,
    tiles: Vec<(TileId, StoredTile)>,
    expected: Vec<Expected>,
    faults: Vec<String>,
}

type Chunk = JoinHandle<Result<Vec<Opened>, sqlx::Error>>;

impl Walk<'_> {
    /// The next batch, its rows already being opened; `None` at the end.
    async fn read(
        &mut self,
        snapshot: &mut PgConnection,
        position: &mut Position,
    ) -> Result<Option<Batch>, sqlx::Error> {
        let first = position.seq.saturating_add(1).max(0).cast_unsigned();
        let mut batch = Batch::default();
        let mut opening = Opening::new(self.pool.clone());
        {
            let mut rows = pin!(verify::rows(snapshot, self.tenant.id, *position));
            while let Some(row) = rows.try_next().await? {
                *position = row.position()?;
                opening.add(row, &self.room).await?;
            }
        }
        batch.chunks = opening.finish(&self.room).await;
        if batch.chunks.is_empty() {
            return Ok(None);
        }
        let next = position.seq.saturating_add(1).max(0).cast_unsigned();
        batch.tiles = self.tiles(snapshot, first, next).await?;
        self.checkpoints.read(snapshot, self.tenant.id, next, &mut batch).await?;
        Ok(Some(batch))
    }

    /// The tiles that entries from `first` to before `next` lie under, and all above that they fill.
    async fn tiles(
        &self,
        snapshot: &mut PgConnection,
        first: u64,
        next: u64,
    ) -> Result<Vec<(TileId, StoredTile)>, sqlx::Error> {
        let mut tiles = verify::tiles(snapshot, self.tenant.id, 0, first / 256, next / 256).await?;
        for level in 1..=6_u8 {
            let width = 256_u64.pow(u32::from(level) + 1);
            if first / width == next / width {
                break;
            }
            let above =
                verify::tiles(snapshot, self.tenant.id, level, first / width, next / width - 1).await?;
            tiles.extend(above);
        }
        Ok(tiles)
    }

    async fn fold(&mut self, batch: Batch) -> Result<(), sqlx::Error> {
        for fault in batch.faults {
            self.log.add(None, fault);
        }
        batch.expected.into_iter().for_each(|expected| self.log.expect(expected));
        self.log.give_tiles(batch.tiles);
        for chunk in batch.chunks {
            for opened in chunk.await.map_err(|error| sqlx::Error::Io(error.into()))?? {
                self.log.feed(opened);
            }
            self.progress.set(self.log.next());
        }
        Ok(())
    }

    /// What lies behind the last row.
    async fn end(&mut self, snapshot: &mut PgConnection, size: u64) -> Result<(), sqlx::Error> {
        let mut rest = Batch::default();
        self.checkpoints.read(snapshot, self.tenant.id, u64::MAX, &mut rest).await?;
        self.checkpoints.seen_of(u64::MAX, &mut rest);
        self.fold(rest).await?;
        for (level, index) in verify::tiles_beyond(snapshot, self.tenant.id, size).await? {
            self.log.add(
                None,
                format!("there is a tile {level}/{index}, which a log of {size} entries does not have"),
            );
        }
        Ok(())
    }
}

/// Rows on their way to the threads that open them.
struct Opening {
    pool: PgPool,
    rows: Vec<StoredRow>,
    bytes: usize,
    chunks: Vec<Chunk>,
}

impl Opening {
    fn new(pool: PgPool) -> Self {
        Self { pool, rows: Vec::with_capacity(CHUNK_ROWS), bytes: 0, chunks: Vec::new() }
    }

    async fn add(&mut self, row: StoredRow, room: &Arc<Semaphore>) -> Result<(), sqlx::Error> {
        self.bytes += row.bytes()?;
        self.rows.push(row);
        if self.rows.len() == CHUNK_ROWS || self.bytes >= CHUNK_BYTES {
            self.dispatch(room).await;
        }
        Ok(())
    }

    /// Rows are large and what they open to is small, so it is the rows that have to wait for room.
    async fn dispatch(&mut self, room: &Arc<Semaphore>) {
        let rows = std::mem::replace(&mut self.rows, Vec::with_capacity(CHUNK_ROWS));
        self.bytes = 0;
        // Nobody closes the semaphore.
        let permit = Arc::clone(room).acquire_owned().await.ok();
        let opening = open_chunk(self.pool.clone(), rows);
        self.chunks.push(tokio::spawn(async move {
            let opened = opening.await;
            drop(permit);
            opened
        }));
    }

    async fn finish(mut self, room: &Arc<Semaphore>) -> Vec<Chunk> {
        if !self.rows.is_empty() {
            self.dispatch(room).await;
        }
        self.chunks
    }
}

async fn open_chunk(pool: PgPool, rows: Vec<StoredRow>) -> Result<Vec<Opened>, sqlx::Error> {
    let mut opened = open(rows).await?;
    let doubts: Vec<_> = opened.iter().filter_map(|opened| opened.doubt.as_deref()).collect();
    if doubts.is_empty() {
        return Ok(opened);
    }
    let same = verify::settle(&pool, &doubts).await?;
    Opened::settle(&mut opened, same);
    Ok(opened)
}

/// The stored checkpoints, in the order in which the walk meets them.
struct Checkpoints<'a> {
    keys: &'a Keys,
    after: (i32, i64),
    ahead: VecDeque<StoredCheckpoint>,
    exhausted: bool,
    /// The newest that a pinned key signed.
    newest: Option<(u64, String)>,
    /// How many others there are, and the furthest of them.
    unpinned: u64,
    unpinned_to: u64,
    /// What was verified in an earlier run.
    seen: Option<&'a str>,
}

impl<'a> Checkpoints<'a> {
    fn new(keys: &'a Keys, seen: Option<&'a str>) -> Self {
        let after = (-1, -1);
        Self {
            keys,
            after,
            ahead: VecDeque::new(),
            exhausted: false,
            newest: None,
            unpinned: 0,
            unpinned_to: 0,
            seen,
        }
    }

    /// Those of at most `size` entries.
    async fn read(
        &mut self,
        snapshot: &mut PgConnection,
        tenant_id: i32,
        size: u64,
        batch: &mut Batch,
    ) -> Result<(), sqlx::Error> {
        loop {
            if self.ahead.is_empty() && !self.exhausted {
                self.ahead = verify::checkpoints(snapshot, tenant_id, self.after).await?.into();
                self.exhausted = self.ahead.is_empty();
            }
            let due = |stored: &mut StoredCheckpoint| u64::try_from(stored.size).is_ok_and(|own| own <= size);
            let Some(stored) = self.ahead.pop_front_if(due) else {
                self.seen_of(size, batch);
                return Ok(());
            };
            self.after = (stored.epoch, stored.size);
            self.seen_of(stored.size.cast_unsigned(), batch);
            self.judge(stored, batch);
        }
    }

    /// The checkpoint of an earlier run takes its place among the stored ones.
    fn seen_of(&mut self, size: u64, batch: &mut Batch) {
        let Some(seen) = self.seen else { return };
        match self.keys.open(seen) {
            Ok(read) if read.checkpoint.size <= size => {
                // What was verified once is never exchanged for less.
                if read.pinned
                    && self.newest.as_ref().is_none_or(|(newest, _)| *newest < read.checkpoint.size)
                {
                    self.newest = Some((read.checkpoint.size, seen.to_owned()));
                }
                batch.expected.push(Expected {
                    size: read.checkpoint.size,
                    root: read.checkpoint.root,
                    what: "the checkpoint that was verified last time".to_owned(),
                    culprit: Culprit::DatabaseWriter,
                });
                self.seen = None;
            }
            Ok(_) => {}
            Err(error) => {
                batch.faults.push(format!("the checkpoint of the last run is not this log's: {error}"));
                self.seen = None;
            }
        }
    }

    fn judge(&mut self, stored: StoredCheckpoint, batch: &mut Batch) {
        let what = format!("the stored checkpoint {}:{}", stored.epoch, stored.size);
        match self.keys.open(&stored.note) {
            Ok(read) if read.checkpoint.size != stored.size.cast_unsigned() => {
                batch.faults.push(format!("{what} is in truth of {} entries", read.checkpoint.size));
            }
            Ok(read) => {
                let size = read.checkpoint.size;
                if !read.pinned {
                    self.unpinned += 1;
                    self.unpinned_to = self.unpinned_to.max(size);
                }
                if read.pinned && self.newest.as_ref().is_none_or(|(newest, _)| *newest < size) {
                    self.newest = Some((size, stored.note));
                }
                let (root, culprit) = (read.checkpoint.root, Culprit::DatabaseWriter);
                batch.expected.push(Expected { size, root, what, culprit });
            }
            Err(error) => batch.faults.push(format!("{what} is not signed by the log's key: {error}")),
        }
    }

    /// How far signatures reach.
    fn tell(self, report: &mut Report) {
        match &self.newest {
            None if report.size == 0 && self.keys.is_pinned() => {
                report.unchecked.push("signatures: the log is empty, and nothing of it is signed".to_owned());
            }
            Some((size, _)) if *size < report.size => report.notes.push(format!(
                "the newest stored checkpoint is of {size} entries; whether the {} after it are as they were signed \
                 is seen by the running service, by receipts and by the next checkpoint",
                report.size - size
            )),
            Some(_) => {}
            None if self.keys.is_pinned() => {
                report.unchecked.push("signatures: no checkpoint by the pinned key is stored".to_owned());
            }
            None => report.unchecked.push(UNPINNED.to_owned()),
        }
        if let Some((newest, _)) = &self.newest
            && self.unpinned > 0
        {
            let what = format!(
                "{} checkpoints by keys that are not pinned, such as those of another epoch",
                self.unpinned
            );
            match self.unpinned_to <= *newest {
                true => report.notes.push(format!("{what}; a pinned key signed all that they did")),
                false => report.unchecked.push(what),
            }
        }
        if report.is_clean()
            && let Some((size, note)) = self.newest
        {
            report.signed_size = Some(size);
            report.verified = Some(note);
        }
    }
}

const _: () = assert!(BATCH.is_multiple_of(CHUNK_ROWS));
