//! `GET /events/export`: everything that a search finds, oldest first, in one answer of any length.

mod bundle;
mod columns;
mod run;

use std::io;
use std::sync::Arc;

use async_compression::tokio::bufread::{GzipEncoder, ZstdEncoder};
use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderValue, StatusCode, header};
use poem::{Body, IntoResponse, Response};
use poem_openapi::param::Query;
use poem_openapi::payload::Payload;
use poem_openapi::registry::{
    MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::Type as _;
use poem_openapi::{ApiResponse, Enum, OpenApi};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, channel};
use tokio_util::io::{ReaderStream, StreamReader};
use uuid::Uuid;

use self::columns::Columns;
use self::run::{Export, Shape};
use super::caller::{Caller, Reader};
use super::problem::{Fault, Problem};
use super::query::{AnyNames, problems};
use crate::ingest::Ingest;
use crate::integrity::Integrity;
use crate::query::{Search, params};

/// Events per page. They are held in memory, within the limit of a page's bytes.
const PAGE: u16 = 5_000;
/// Pages that wait for the client.
const AHEAD: usize = 1;
/// Exports at a time, each of which may hold a few pages of 8 MiB.
const AT_ONCE: usize = 8;
/// How long a client should wait before it tries again.
const RETRY_SECONDS: u32 = 10;
/// What an export takes besides conditions.
const OWN: [&str; 3] = ["format", "columns", "compress"];
/// What only pages have.
const OF_PAGES: [&str; 3] = ["limit", "cursor", "sort"];

pub struct ExportApi {
    reads: PgPool,
    integrity: Arc<Integrity>,
    ingest: Arc<Ingest>,
    room: Arc<Semaphore>,
}

impl ExportApi {
    pub fn new(reads: PgPool, integrity: Arc<Integrity>, ingest: Arc<Ingest>) -> Self {
        Self { reads, integrity, ingest, room: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

#[derive(Clone, Copy, Default, Enum)]
#[oai(rename_all = "lowercase")]
enum Format {
    /// An event per line, as in lists; then a line with the manifest.
    #[default]
    Ndjson,
    /// A table for spreadsheets.
    Csv,
    /// An event per line with all that proves it, for `eventlogger verify`.
    Bundle,
}

#[derive(Clone, Copy, Enum)]
#[oai(rename_all = "lowercase")]
enum Compression {
    Gzip,
    Zstd,
}

#[OpenApi(tag = "super::Tag::Reading")]
impl ExportApi {
    /// Export events
    ///
    /// Everything that is found, oldest first, up to the log's size when it began. The last line is the manifest: how
    /// many events, the first and last seq, the SHA-256 of all that came before, the checkpoint. An export that breaks off
    /// has none; go on with `seq:gt=` and the last seq. It is recorded that it began, and how it ended.
    #[oai(path = "/events/export", method = "get", operation_id = "export_events")]
    async fn export(
        &self,
        caller: Caller<Reader>,
        /// What is written.
        format: Query<Option<Format>>,
        /// The columns of a CSV: names of columns, and paths into the data such as `event_data.amount`.
        #[oai(validator(max_length = 4096))]
        columns: Query<Option<String>>,
        /// Compresses the file.
        compress: Query<Option<Compression>>,
        /// Conditions on `event_data`, such as `account_id=1346` or `amount:gte=100`.
        #[oai(name = "conditions", style = "form")]
        conditions: AnyNames,
    ) -> Result<ExportAnswer, Problem> {
        let search = search(conditions)?;
        let shape = shape(format.0.unwrap_or_default(), columns.0.as_deref())?;
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| too_many())?;
        let head = self.integrity.checkpoint(&caller.tenant).await.map_err(super::integrity::refused)?;
        let export = Export {
            id: Uuid::now_v7(),
            tenant: Arc::clone(&caller.tenant),
            user: caller.name_in(&caller.tenant.name),
            search: search.within(head.size),
            shape,
            head,
            reads: self.reads.clone(),
            integrity: Arc::clone(&self.integrity),
            ingest: Arc::clone(&self.ingest),
            _room: room,
        };
        if !export.announce().await {
            return Err(unrecorded());
        }
        Ok(ExportAnswer::begin(export, compress.0))
    }
}

fn shape(format: Format, columns: Option<&str>) -> Result<Shape, Problem> {
    match (format, columns) {
        (Format::Csv, columns) => {
            let columns = params::columns(columns.unwrap_or(columns::DEFAULT));
            Ok(Shape::Table(Columns::new(columns.map_err(|faults| problems::invalid_query(&faults))?)))
        }
        (_, Some(_)) => {
            let detail = "`columns` is for `format=csv`: the other formats have all of an event.";
            let problem = Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", detail);
            Err(problem.with_fault(Fault::parameter("columns", "only with format=csv")))
        }
        (Format::Ndjson, None) => Ok(Shape::Lines),
        (Format::Bundle, None) => Ok(Shape::Bundle),
    }
}

fn too_many() -> Problem {
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too_many_exports",
        format!("{AT_ONCE} exports are being written, which is as many as there may be. Try again when one has ended."),
    )
    .retry_after(RETRY_SECONDS)
}

fn unrecorded() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "not_recorded",
        "Every export is recorded before it begins, and the log takes nothing now. Try again later.",
    )
    .with("reason", "export")
}

/// What to export.
fn search(conditions: AnyNames) -> Result<Search, Problem> {
    let mut pairs = conditions.pairs;
    pairs.retain(|(name, _)| !OWN.contains(&name.as_str()));
    if let Some((name, _)) = pairs.iter().find(|(name, _)| OF_PAGES.contains(&name.as_str())) {
        let detail = format!("`{name}` is for pages: an export has all that is found, oldest first.");
        let problem = Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail);
        return Err(problem.with_fault(Fault::parameter(name.as_str(), "not for exports")));
    }
    let search = params::parse(&pairs).map_err(|faults| problems::invalid_query(&faults))?;
    Ok(Search { oldest_first: true, limit: PAGE, ..search })
}

/// A body that is written while it is sent.
struct ExportAnswer {
    content_type: &'static str,
    file: String,
    id: Uuid,
    body: Body,
}

impl ExportAnswer {
    fn begin(export: Export, compression: Option<Compression>) -> Self {
        let (own_type, extension) = match &export.shape {
            Shape::Lines => (super::body::NDJSON, "ndjson"),
            Shape::Table(_) => ("text/csv; charset=utf-8; header=present", "csv"),
            Shape::Bundle => (super::body::NDJSON, "bundle"),
        };
        let (id, tenant) = (export.id, export.tenant.name.clone());
        let (out, pages) = channel(AHEAD);
        tokio::spawn(export.run(out));
        let reader = StreamReader::new(stream(pages));
        let (content_type, suffix, body) = match compression {
            None => (own_type, "", Body::from_bytes_stream(ReaderStream::new(reader))),
            Some(Compression::Gzip) => (
                "application/gzip",
                ".gz",
                Body::from_bytes_stream(ReaderStream::new(GzipEncoder::new(reader))),
            ),
            Some(Compression::Zstd) => (
                "application/zstd",
                ".zst",
                Body::from_bytes_stream(ReaderStream::new(ZstdEncoder::new(reader))),
            ),
        };
        Self { content_type, file: format!("{tenant}-{id}.{extension}{suffix}"), id, body }
    }
}

fn stream(pages: Receiver<io::Result<Bytes>>) -> impl Stream<Item = io::Result<Bytes>> {
    futures_util::stream::unfold(pages, async |mut pages| {
        let page = pages.recv().await?;
        Some((page, pages))
    })
}

impl IntoResponse for ExportAnswer {
    fn into_response(self) -> Response {
        let mut response = Response::builder().content_type(self.content_type).body(self.body);
        let headers = response.headers_mut();
        // A tenant's name and an id are what a header may have.
        let file = HeaderValue::from_str(&format!("attachment; filename=\"{}\"", self.file));
        file.into_iter().for_each(|file| drop(headers.insert(header::CONTENT_DISPOSITION, file)));
        let id = HeaderValue::from_str(&self.id.to_string());
        id.into_iter().for_each(|id| drop(headers.insert("export-id", id)));
        response
    }
}

impl Payload for ExportAnswer {
    const CONTENT_TYPE: &'static str = super::body::NDJSON;

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("string", "binary")))
    }
}

impl ApiResponse for ExportAnswer {
    fn meta() -> MetaResponses {
        let content = |content_type| MetaMediaType { content_type, schema: Self::schema_ref() };
        MetaResponses {
            responses: vec![MetaResponse {
                description: "The events, as a file.",
                status: Some(200),
                status_range: None,
                content: vec![
                    content(super::body::NDJSON),
                    content("text/csv"),
                    content("application/gzip"),
                    content("application/zstd"),
                ],
                headers: vec![MetaHeader {
                    name: "Export-Id".to_owned(),
                    description: Some("`export_id` of the events that record it.".to_owned()),
                    required: true,
                    deprecated: false,
                    schema: uuid::Uuid::schema_ref(),
                }],
            }],
        }
    }

    fn register(_: &mut Registry) {}
}
