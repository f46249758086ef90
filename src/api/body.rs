//! JSON as bytes. poem-openapi's `Json<T>` goes through `serde_json::Value` both ways, which rounds
//! numbers and drops duplicate keys; evidence must survive, so these types touch nothing and only
//! declare a schema `S`.

use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::HeaderValue;
use poem::{Body, IntoResponse, Request, RequestBody, Response, error::ReadBodyError};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions,
    error::ContentTypeError,
    impl_apirequest_for_payload,
    payload::{ParsePayload, Payload},
    registry::{MetaMediaType, MetaRequest, MetaResponse, MetaResponses, MetaSchemaRef, Registry},
    types::Type,
};

pub const JSON: &str = "application/json";
pub const NDJSON: &str = "application/x-ndjson";

/// The media type without its parameters.
fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn is_json(content_type: &str) -> bool {
    essence(content_type).eq_ignore_ascii_case(JSON)
}

fn is_ndjson(content_type: &str) -> bool {
    essence(content_type).eq_ignore_ascii_case(NDJSON)
}

/// A request body of one JSON value, exactly as it was sent.
pub struct RawJson<S> {
    pub bytes: Bytes,
    schema: PhantomData<fn() -> S>,
}

impl<S: Type> Payload for RawJson<S> {
    const CONTENT_TYPE: &'static str = JSON;

    fn check_content_type(content_type: &str) -> bool {
        is_json(content_type)
    }

    fn schema_ref() -> MetaSchemaRef {
        S::schema_ref()
    }

    fn register(registry: &mut Registry) {
        S::register(registry);
    }
}

/// All of a body as one piece. However small the pieces in which it comes, no more memory than it has bytes.
async fn collect(body: Body) -> Result<Bytes, ReadBodyError> {
    let mut pieces = body.into_bytes_stream();
    let Some(first) = pieces.next().await.transpose()? else { return Ok(Bytes::new()) };
    let mut whole = None;
    while let Some(piece) = pieces.next().await.transpose()? {
        whole.get_or_insert_with(|| BytesMut::from(&first[..])).extend_from_slice(&piece);
    }
    Ok(whole.map_or(first, BytesMut::freeze))
}

impl<S: Type> ParsePayload for RawJson<S> {
    const IS_REQUIRED: bool = true;

    async fn from_request(_: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self { bytes: collect(body.take()?).await?, schema: PhantomData })
    }
}

impl_apirequest_for_payload!(RawJson<S>, S: Type);

/// How the items of a batch are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchFormat {
    /// One JSON array.
    Array,
    /// One JSON value per line.
    Lines,
}

/// A request body of many JSON values, exactly as it was sent.
pub struct RawBatch<S> {
    pub bytes: Bytes,
    pub format: BatchFormat,
    schema: PhantomData<fn() -> S>,
}

impl<'a, S: Type> ApiExtractor<'a> for RawBatch<S> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        Vec::<S>::register(registry);
    }

    /// Only the array: generators choke on a second media type, and none of them can write lines.
    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: Some("The same events as `application/x-ndjson`, one per line, are taken as well."),
            content: vec![MetaMediaType { content_type: JSON, schema: Vec::<S>::schema_ref() }],
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let format = match request.content_type() {
            Some(name) if is_json(name) => BatchFormat::Array,
            Some(name) if is_ndjson(name) => BatchFormat::Lines,
            Some(name) => {
                return Err(ContentTypeError::NotSupported { content_type: name.to_owned() }.into());
            }
            None => return Err(ContentTypeError::ExpectContentType.into()),
        };
        Ok(Self { bytes: collect(body.take()?).await?, format, schema: PhantomData })
    }
}

/// An answer of one JSON value that is serialised already.
pub struct JsonBytes<S> {
    pub bytes: Bytes,
    schema: PhantomData<fn() -> S>,
}

impl<S> JsonBytes<S> {
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), schema: PhantomData }
    }
}

impl<S: Type> Payload for JsonBytes<S> {
    const CONTENT_TYPE: &'static str = JSON;

    fn schema_ref() -> MetaSchemaRef {
        S::schema_ref()
    }

    fn register(registry: &mut Registry) {
        S::register(registry);
    }
}

impl<S: Send> IntoResponse for JsonBytes<S> {
    fn into_response(self) -> Response {
        let mut response = Response::builder().body(self.bytes);
        response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(JSON));
        response
    }
}

impl<S: Type> ApiResponse for JsonBytes<S> {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![MetaResponse {
                description: "",
                status: Some(200),
                status_range: None,
                content: vec![MetaMediaType { content_type: JSON, schema: S::schema_ref() }],
                headers: vec![],
            }],
        }
    }

    fn register(registry: &mut Registry) {
        S::register(registry);
    }
}
