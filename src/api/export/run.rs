//! Writing an export, page by page, as fast as the client reads it and no faster.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::Sender;
use tokio::task::{JoinHandle, yield_now};
use tracing::{error, warn};
use uuid::Uuid;

use super::bundle;
use super::columns::Columns;
use crate::access::{Exported, exported};
use crate::api::wire;
use crate::auth::Tenant;
use crate::event::Event;
use crate::ingest::Ingest;
use crate::integrity::{Integrity, SignedHead};
use crate::query::{Position, Search};
use crate::store::events::{self, Page};
use crate::store::evidence;
use crate::verify::bundle::sha256;

/// What an export is written as.
pub(super) enum Shape {
    Lines,
    Table(Columns),
    Bundle,
}

impl Shape {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Lines => "ndjson",
            Self::Table(_) => "csv",
            Self::Bundle => "bundle",
        }
    }
}

/// One export of a log as far as `head`.
pub(super) struct Export {
    pub(super) id: Uuid,
    pub(super) tenant: Arc<Tenant>,
    pub(super) user: String,
    /// Oldest first, within the head.
    pub(super) search: Search,
    pub(super) shape: Shape,
    pub(super) head: SignedHead,
    pub(super) reads: PgPool,
    pub(super) integrity: Arc<Integrity>,
    pub(super) ingest: Arc<Ingest>,
    /// Until it has ended.
    pub(super) _room: OwnedSemaphorePermit,
}

/// Why an export ends before its end.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the client went away")]
    Client,
    #[error("events could not be read: {0}")]
    Read(#[from] events::ReadError),
    #[error("what proves them could not be read: {0}")]
    Evidence(String),
    #[error("reading ended: {0}")]
    Task(String),
}

/// What was written so far.
#[derive(Default)]
struct Written {
    count: u64,
    first: Option<u64>,
    last: Option<u64>,
    hash: Sha256,
}

impl Export {
    /// That it begins, which has to be in the log before anything is handed out.
    pub(super) async fn announce(&self) -> bool {
        self.record("eventlogger.export_started", Exported::Begun, self.about()).await
    }

    pub(super) async fn run(self, out: Sender<io::Result<Bytes>>) {
        let mut written = Written::default();
        let outcome = self.write(&out, &mut written).await;
        let mut about = self.about();
        about["count"] = written.count.into();
        about["first_seq"] = written.first.into();
        about["last_seq"] = written.last.into();
        match outcome {
            Ok(()) => {
                about["sha256"] = sha256(&written.hash).into();
                let line = format!("{}\n", json!({ "manifest": about }));
                let is_table = matches!(self.shape, Shape::Table(_));
                let sent = is_table || out.send(Ok(line.into())).await.is_ok();
                let how = if sent { Exported::Whole } else { Exported::BrokenOff };
                self.record("eventlogger.exported", how, about).await;
            }
            Err(broken) => {
                warn!(tenant = self.tenant.name, export = %self.id, "an export broke off: {broken}");
                about["error"] = broken.to_string().into();
                self.record("eventlogger.exported", Exported::BrokenOff, about).await;
                // So that nobody takes what there is for all.
                let _ = out.send(Err(io::Error::other("the export broke off"))).await;
            }
        }
    }

    fn about(&self) -> Value {
        json!({
            "export_id": self.id.to_string(),
            "format": self.shape.name(),
            // As text: a number that serde_json cannot hold must not make it another filter.
            "filter": self.search.filter.to_string(),
            "log_size": self.head.size,
            "checkpoint": &*self.head.note,
        })
    }

    async fn record(&self, event_type: &str, how: Exported, about: Value) -> bool {
        let event = exported(event_type, &self.user, how, &about);
        let outcomes = self.ingest.record_own(&self.tenant, vec![event]).await;
        let failed = outcomes.into_iter().find_map(Result::err);
        if let Some(error) = &failed {
            error!(tenant = self.tenant.name, export = %self.id, ?error, "an export could not be recorded");
        }
        failed.is_none()
    }

    async fn write(&self, out: &Sender<io::Result<Bytes>>, written: &mut Written) -> Result<(), Broken> {
        let start = match &self.shape {
            Shape::Lines => String::new(),
            Shape::Table(columns) => columns.header(),
            Shape::Bundle => bundle::header(&self.search.filter.to_string(), &self.head.note),
        };
        self.send(out, written, start).await?;
        let mut coming = Some(self.fetch(None));
        while let Some(page) = coming.take() {
            let page = page.await.map_err(|error| Broken::Task(error.to_string()))??;
            let last = page.events.last().and_then(|event| self.search.sort.position(event));
            // While this one is written, the next is read.
            coming = page.more.then(|| self.fetch(page.walked_to.or(last)));
            // To have begun, it needs this thread once: what a task spawns last, no other thread takes from it.
            yield_now().await;
            let text = self.text(&page.events).await?;
            written.count += page.events.len() as u64;
            written.first = written.first.or(page.events.first().map(|event| event.seq));
            written.last = page.events.last().map(|event| event.seq).or(written.last);
            self.send(out, written, text).await?;
        }
        Ok(())
    }

    /// On another thread: to read a page out of the database takes as long as to write it.
    fn fetch(&self, after: Option<Position>) -> JoinHandle<Result<Page, events::ReadError>> {
        let (reads, tenant_id, search) = (self.reads.clone(), self.tenant.id, self.search.clone());
        tokio::spawn(async move { events::page(&reads, tenant_id, &search, after).await })
    }

    async fn text(&self, events: &[Event]) -> Result<String, Broken> {
        let mut text = String::new();
        match &self.shape {
            Shape::Lines => events.iter().for_each(|event| {
                wire::write_event(&mut text, event);
                text.push('\n');
            }),
            Shape::Table(columns) => events.iter().for_each(|event| columns.write(&mut text, event)),
            Shape::Bundle => {
                let failed = |error: &dyn std::fmt::Display| Broken::Evidence(error.to_string());
                let evidence = evidence::of_events(&self.reads, self.tenant.id, events).await;
                let evidence = evidence.map_err(|error| failed(&error))?;
                let seqs: Vec<_> = events.iter().map(|event| event.seq).collect();
                let paths = self.integrity.paths(&self.tenant, self.head.size, &seqs).await;
                for (event, path) in events.iter().zip(paths.map_err(|error| failed(&error))?) {
                    let evidence = evidence.get(&event.seq).ok_or_else(|| failed(&"an event has gone"))?;
                    bundle::write(&mut text, event, evidence, &path);
                }
            }
        }
        Ok(text)
    }

    async fn send(
        &self,
        out: &Sender<io::Result<Bytes>>,
        written: &mut Written,
        text: String,
    ) -> Result<(), Broken> {
        written.hash.update(&text);
        if text.is_empty() {
            return Ok(());
        }
        out.send(Ok(text.into())).await.map_err(|_| Broken::Client)
    }
}
