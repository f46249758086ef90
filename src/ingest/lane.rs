//! A tenant's lane: the only task of this instance that writes to the tenant's log.
//!
//! Per group: lock the head, look up keys, insert, COMMIT, answer. The head lock orders instances; the
//! lane's memory of the tree is used only while the head row says the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sqlx::PgConnection;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::fault::{Step, reached};
use super::queue::{Group, Item, Queue};
use super::rebuild::{self, RebuildError};
use super::sequence::{Fate, Found, LogState, Sequenced, sequence};
use super::session::{Session, step};
use super::{IngestError, LastCommit, Limits, Reason, Receipt, Recorded, Sealed};
use crate::auth::Tenant;
use crate::event::{Envelope, NewEvent};
use crate::integrity::{Integrity, Refusal};
use crate::merkle::{Hash, Tree};
use crate::metrics::{Metrics, Reason as RejectReason};
use crate::store::idempotency::Known;
use crate::store::{Store, append, idempotency, log, partitions, redactions, turn};

/// An event's time comes from the database; if that is wrong, better no event than a false one.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(5);
/// After a restart of the database every pooled connection is dead; how long to go on trying others.
const RECONNECT_FOR: Duration = Duration::from_secs(3);
/// How long to ask what became of a COMMIT whose answer was lost.
const RESOLVE_FOR: Duration = Duration::from_secs(30);
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// How often the service's log says that a log is not written.
const SAY_REFUSED_EVERY: Duration = Duration::from_mins(1);

pub(super) struct Lane {
    store: Store,
    integrity: Arc<Integrity>,
    tenant: Arc<Tenant>,
    queue: Arc<Queue>,
    limits: Limits,
    metrics: Arc<Metrics>,
    last_commit: Arc<LastCommit>,
    /// When it was last said that this log is not written.
    refused: Option<Instant>,
    /// The instance was admitted to the log by a transaction that is not committed yet: if that is undone, so is what
    /// the database knows of its key.
    admitted_here: bool,
    /// Owned by this task alone; `None` until read from the database.
    state: Option<LogState>,
}

/// Why a group is not in the log.
pub(super) enum Failure {
    /// The database refuses the data: find the event at fault.
    Data(String),
    /// Nothing was written, and it is nobody's fault.
    NotRecorded(Reason),
    /// The connection broke before COMMIT was sent.
    Disconnected(sqlx::Error),
    /// COMMIT was sent and its answer lost, and nothing more could be found out.
    InDoubt,
}

impl Lane {
    pub(super) fn new(
        store: Store,
        integrity: Arc<Integrity>,
        tenant: Arc<Tenant>,
        queue: Arc<Queue>,
        limits: Limits,
        metrics: Arc<Metrics>,
        last_commit: Arc<LastCommit>,
    ) -> Self {
        Self {
            store,
            integrity,
            tenant,
            queue,
            limits,
            metrics,
            last_commit,
            refused: None,
            admitted_here: false,
            state: None,
        }
    }

    pub(super) async fn run(mut self) {
        while let Some(group) = self.queue.next_group().await {
            self.record(group).await;
        }
    }

    /// Records a group, halving it as long as the database refuses it, so that a bad event hurts only itself.
    async fn record(&mut self, group: Group) {
        let mut groups = vec![group];
        while let Some(mut group) = groups.pop() {
            group.items.retain(Item::is_wanted);
            if group.items.is_empty() {
                continue;
            }
            match self.commit(&mut group).await {
                Ok(()) => {}
                Err(Failure::Data(_)) if group.items.len() > 1 && !group.atomic => {
                    let rest = group.items.split_off(group.items.len() / 2);
                    groups.push(Group { items: rest, atomic: false });
                    groups.push(group);
                }
                Err(failure) => self.give_up(group, failure),
            }
        }
    }

    fn give_up(&self, group: Group, failure: Failure) {
        let error = match failure {
            Failure::Data(detail) => IngestError::Refused(detail),
            Failure::NotRecorded(reason) => IngestError::NotRecorded(reason),
            Failure::Disconnected(error) => {
                warn!(tenant = %self.tenant.name, %error, "no connection to the database");
                IngestError::NotRecorded(Reason::Database)
            }
            Failure::InDoubt => IngestError::Unknown { id: None },
        };
        let reason = RejectReason { code: error.code() };
        self.metrics.events_rejected.get_or_create(&reason).inc_by(group.items.len() as u64);
        for item in group.items {
            let error = match error {
                IngestError::Unknown { .. } => IngestError::Unknown { id: item.id() },
                ref known => known.clone(),
            };
            item.answer(Err(error));
        }
    }

    /// One transaction. On success all items have been answered and removed.
    async fn commit(&mut self, group: &mut Group) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let result = self.attempt(group).await;
            if !matches!(result, Ok(()) | Err(Failure::InDoubt)) {
                group.items.iter().for_each(Item::rolled_back);
            }
            match result {
                Err(Failure::Disconnected(_)) if begun.elapsed() < RECONNECT_FOR => sleep(RETRY_PAUSE).await,
                result => return result,
            }
        }
    }

    async fn attempt(&mut self, group: &mut Group) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut session = Session::open(&self.store.ingest).await?;
        let head = step(turn::begin(&mut session, self.tenant.id)).await?;
        reached(Step::Locked);
        let sequenced = match step(self.prepare(&mut session, head, group)).await {
            Ok(sequenced) => sequenced,
            Err(failure) => {
                self.undo_admission();
                if step(turn::roll_back(&mut session)).await.is_ok() {
                    session.release();
                }
                return Err(self.after_rollback(failure).await);
            }
        };
        if sequenced.rows.is_empty() {
            let fates = sequenced.fates;
            self.undo_admission();
            step(turn::roll_back(&mut session)).await?;
            session.release();
            answer(&mut group.items, fates, &[]);
            return Ok(());
        }
        let before = self.state.take();
        match step(turn::commit(&mut session, self.tenant.id, &sequenced.head)).await {
            Ok(()) => session.release(),
            Err(error) => {
                drop(session);
                self.resolve(&sequenced, error).await?;
            }
        }
        reached(Step::Committed);
        self.admitted_here = false;
        let Sequenced { rows, leaves, fates, state, .. } = sequenced;
        let sealed = before.and_then(|before| self.seal(before.tree, leaves, state));
        let outcomes: Vec<Recorded> = rows.into_iter().map(|row| recorded(row, sealed.clone())).collect();
        self.count(outcomes.len(), begun.elapsed());
        answer(&mut group.items, fates, &outcomes);
        reached(Step::Answered);
        Ok(())
    }

    /// Everything between BEGIN and COMMIT.
    async fn prepare<'a>(
        &mut self,
        transaction: &mut PgConnection,
        head: log::Head,
        group: &'a Group,
    ) -> Result<Sequenced<'a>, Failure> {
        let items = &group.items;
        check_clock(&head)?;
        let state = match self.state.take() {
            // What readers of this instance have signed may be further than what its lane remembers.
            Some(state) if state.matches(&head) && self.is_furthest(&head) => state,
            _ => self.read_state(transaction, &head).await?,
        };
        let found = self.look_up(transaction, items).await?;
        let mut sequenced = sequence(items, self.tenant.log_id, &head, &state, found).map_err(|error| {
            error!(%error, "the operating system gives no random numbers");
            Failure::NotRecorded(Reason::Database)
        })?;
        self.state = Some(state);
        reached(Step::Sequenced);
        if group.atomic {
            sequenced.all_or_nothing();
        }
        if !sequenced.rows.is_empty() {
            self.write(transaction, &sequenced).await?;
        }
        Ok(sequenced)
    }

    /// What a lane has to know before it writes: the tree, and that this instance may go on with it.
    async fn read_state(
        &mut self,
        transaction: &mut PgConnection,
        head: &log::Head,
    ) -> Result<LogState, Failure> {
        let admitted = self.integrity.admit(transaction, &self.tenant, head).await;
        let signer = admitted.map_err(|refusal| self.refuse(refusal))?;
        self.admitted_here = true;
        let rebuilt = rebuild::read(transaction, self.tenant.id, head).await;
        let (tree, tile_start) = rebuilt.map_err(|error| self.unreadable(error))?;
        Ok(LogState { tree, signer: Arc::new(signer), tile_start })
    }

    fn is_furthest(&self, head: &log::Head) -> bool {
        self.integrity.is_last_signed(&self.tenant, head.epoch, head.size, &head.root)
    }

    fn undo_admission(&mut self) {
        if std::mem::take(&mut self.admitted_here) {
            self.state = None;
        }
    }

    /// After COMMIT and before any answer: signs the new head and remembers it. The events are in the log by now. If the
    /// signature cannot be remembered, nobody gets to see it, and the next events are refused; if a reader of this
    /// instance has signed something further meanwhile, the next group looks whether that goes on from here.
    fn seal(&mut self, before: Tree, leaves: Vec<Hash>, state: LogState) -> Option<Arc<Sealed>> {
        let head = state.signer.sign(state.tree.size(), state.tree.root());
        reached(Step::Signed);
        let remembered = self.integrity.remember(&self.tenant, &head);
        reached(Step::Latched);
        match remembered {
            Ok(furthest) if furthest == head => {
                self.state = Some(state);
                Some(Arc::new(Sealed::new(before, leaves, head)))
            }
            Ok(_) => None,
            Err(refusal) => {
                self.refuse(refusal);
                None
            }
        }
    }

    async fn write(
        &self,
        transaction: &mut PgConnection,
        sequenced: &Sequenced<'_>,
    ) -> Result<(), sqlx::Error> {
        let Sequenced { rows, tiles, keys, erasures, .. } = sequenced;
        append::events(transaction, self.tenant.id, rows).await?;
        reached(Step::EventsInserted);
        if !tiles.is_empty() {
            append::tiles(transaction, self.tenant.id, tiles).await?;
            reached(Step::TilesInserted);
        }
        if !keys.is_empty() {
            idempotency::insert(transaction, self.tenant.id, keys).await?;
            reached(Step::KeysInserted);
        }
        redactions::erase(transaction, self.tenant.id, erasures).await
    }

    /// In statements of their own, after the lock: the locking statement's snapshot may be older than the lock.
    async fn look_up(&self, transaction: &mut PgConnection, items: &[Item]) -> Result<Found, sqlx::Error> {
        let keys = self.find_keys(transaction, items).await?;
        let redactions = items.iter().filter_map(|item| item.purpose.redaction());
        let places: Vec<_> = redactions.map(|it| (it.target_received_at, it.target_seq)).collect();
        let targets = match places.is_empty() {
            true => HashMap::new(),
            false => redactions::targets(transaction, self.tenant.id, &places).await?,
        };
        Ok(Found { keys, targets })
    }

    async fn find_keys(
        &self,
        transaction: &mut PgConnection,
        items: &[Item],
    ) -> Result<Vec<Known>, sqlx::Error> {
        let (principals, keys): (Vec<i64>, Vec<String>) = items
            .iter()
            .filter_map(|item| Some((item.recorder.principal_id, item.event.idempotency_key.clone()?)))
            .unzip();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        idempotency::find(transaction, self.tenant.id, &principals, &keys).await
    }

    fn unreadable(&mut self, error: RebuildError) -> Failure {
        match error {
            RebuildError::Database(error) => error.into(),
            RebuildError::Inconsistent(what) => {
                self.say_refused(&format!("the stored tree contradicts itself: {what}"));
                Failure::NotRecorded(Reason::Inconsistent)
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> Failure {
        let reason = match refusal {
            Refusal::Database(error) => return error.into(),
            Refusal::Key(_) => Reason::SigningKey,
            Refusal::Behind { .. } | Refusal::Contradicted { .. } | Refusal::Undeclared(_) => {
                Reason::SignedState
            }
            Refusal::Forgetful { .. } | Refusal::Unreadable { .. } => Reason::Latch,
        };
        self.say_refused(&refusal.to_string());
        Failure::NotRecorded(reason)
    }

    /// Once a minute is enough, however many try.
    fn say_refused(&mut self, why: &str) {
        if self.refused.is_none_or(|at| at.elapsed() > SAY_REFUSED_EVERY) {
            error!(tenant = %self.tenant.name, "nothing is recorded in this log: {why}");
            self.refused = Some(Instant::now());
        }
    }

    fn count(&self, events: usize, took: Duration) {
        self.metrics.events_recorded.inc_by(events as u64);
        self.metrics.batches.inc();
        self.metrics.batch_events.observe(events as f64);
        self.metrics.commit_duration.observe(took.as_secs_f64());
        self.last_commit.touch();
    }

    /// What the database needs done about a failure, once it no longer holds the head.
    async fn after_rollback(&self, failure: Failure) -> Failure {
        if matches!(failure, Failure::NotRecorded(Reason::Partition)) {
            self.make_partitions().await;
        }
        failure
    }

    async fn make_partitions(&self) {
        match partitions::ensure(&self.store.control, self.limits.partitions_ahead).await {
            Ok(made) => info!(partitions = ?made, "made missing partitions"),
            Err(error) => warn!(%error, "a partition is missing and could not be made"),
        }
    }

    /// The answer to COMMIT was lost. Asks another connection whether the group is in the log; locking the head
    /// there waits for the lost transaction to end.
    async fn resolve(&self, sequenced: &Sequenced<'_>, lost: sqlx::Error) -> Result<(), Failure> {
        warn!(tenant = %self.tenant.name, error = %lost, "the answer to COMMIT was lost; asking the database");
        let Some(first) = sequenced.rows.first() else { return Ok(()) };
        let begun = Instant::now();
        loop {
            match self.is_recorded(first).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Failure::Disconnected(lost)),
                Err(error) if begun.elapsed() > RESOLVE_FOR => {
                    error!(tenant = %self.tenant.name, %error, first.seq, "a commit stays in doubt");
                    return Err(Failure::InDoubt);
                }
                Err(_) => sleep(RETRY_PAUSE).await,
            }
        }
    }

    async fn is_recorded(&self, row: &append::Row<'_>) -> Result<bool, sqlx::Error> {
        let mut session = Session::open(&self.store.ingest).await?;
        step(turn::begin(&mut session, self.tenant.id)).await?;
        let there = log::contains(&mut session, self.tenant.id, row.received_at, row.seq, row.id);
        let there = step(there).await?;
        step(turn::roll_back(&mut session)).await?;
        session.release();
        Ok(there)
    }
}

impl LogState {
    fn matches(&self, head: &log::Head) -> bool {
        self.signer.epoch() == head.epoch && self.tree.size() == head.size && self.tree.root() == head.root
    }
}

/// Sorts an error of a statement before COMMIT.
impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let sqlx::Error::Database(database) = &error else {
            return match error {
                sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => Self::Disconnected(error),
                other => {
                    warn!(error = %other, "the database did not record a group");
                    Self::NotRecorded(Reason::Database)
                }
            };
        };
        let code = database.code().unwrap_or_default().into_owned();
        match code.as_str() {
            // Shutting down, crashed, starting up.
            "57P01" | "57P02" | "57P03" => Self::Disconnected(error),
            "23514" if database.constraint().is_none() => Self::NotRecorded(Reason::Partition),
            // Data exceptions, violated constraints, limits of an index or a value.
            _ if ["22", "23", "54"].contains(&&code[..2.min(code.len())]) => {
                Self::Data(database.message().to_owned())
            }
            _ => {
                warn!(code, error = database.message(), "the database did not record a group");
                Self::NotRecorded(Reason::Database)
            }
        }
    }
}

pub(super) fn check_clock(head: &log::Head) -> Result<(), Failure> {
    let here = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let there = Duration::from_micros(head.last_received_at.max(head.now).as_micros().max(0).unsigned_abs());
    if here.abs_diff(there) > CLOCK_TOLERANCE {
        warn!(?here, ?there, "the clocks of database and instance differ by more than five minutes");
        return Err(Failure::NotRecorded(Reason::Clock));
    }
    Ok(())
}

fn recorded(row: append::Row<'_>, sealed: Option<Arc<Sealed>>) -> Recorded {
    Recorded {
        id: row.id,
        seq: row.seq,
        timestamp: row.envelope.timestamp,
        received_at: row.received_at,
        duplicate: false,
        receipt: Some(Receipt {
            entry: row.entry,
            envelope: row.envelope.canonical(),
            envelope_salt: row.envelope_salt,
            payload_salt: row.payload.map(|(_, salt)| salt),
        }),
        sealed,
    }
}

/// Tells each submitter what became of its event.
fn answer(items: &mut Vec<Item>, fates: Vec<Fate>, recorded: &[Recorded]) {
    for (item, fate) in items.drain(..).zip(fates) {
        let outcome = match fate {
            Fate::Recorded(row) => Ok(recorded[row].clone()),
            Fate::Duplicate(known) => Ok(original(*known, &item.event)),
            Fate::Conflict(key) => Err(IngestError::KeyConflict { seq: key.seq, id: key.event_id }),
            Fate::NotRedactable(refusal) => Err(IngestError::NotRedactable(refusal)),
            Fate::Aborted => Err(IngestError::Aborted),
            Fate::Dropped => Err(IngestError::NotRecorded(Reason::Timeout)),
        };
        item.answer(outcome);
    }
}

/// What was answered, or should have been, when the event was recorded of which `copy` is a repetition.
fn original(known: Known, copy: &NewEvent) -> Recorded {
    let Known { key, evidence } = known;
    Recorded {
        id: key.event_id,
        seq: key.seq,
        timestamp: copy.timestamp.unwrap_or(key.received_at),
        received_at: key.received_at,
        duplicate: true,
        receipt: evidence.map(|evidence| Receipt {
            entry: evidence.entry,
            envelope: Envelope::new(copy, key.received_at, &evidence.recorded_by).canonical(),
            envelope_salt: evidence.envelope_salt,
            payload_salt: evidence.payload_salt,
        }),
        sealed: None,
    }
}
