//! Bodies that come compressed. They are measured twice: by `limits` as they are sent, and here as what
//! they become, piece by piece, so that a few bytes cannot turn into more memory than any body may take.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_compression::{
    tokio::bufread::{GzipDecoder, ZstdDecoder},
    zstd::DParameter,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use poem::{Body, Endpoint, IntoResponse, Request, Response, Result};
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

use super::{
    limits::{BodyLimit, Limits},
    problems,
};
use crate::api::problem::Problem;

const UNDERSTOOD: &str = "gzip, zstd";
const PIECE_BYTES: usize = 64 << 10;
/// 8 MiB, what every decoder has to understand (RFC 9659). The window fills with what comes out, so it is
/// as large as that has become at most.
const ZSTD_WINDOW_LOG: u32 = 23;
/// A log compresses to a tenth, zeros to a thousandth.
const RATIO_MAX: u64 = 200;
const RATIO_FREE_BYTES: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Gzip,
    Zstd,
}

pub(crate) async fn decode<E: Endpoint<Output = Response>>(
    next: Arc<E>,
    mut request: Request,
    limits: Arc<Limits>,
) -> Result<Response> {
    let body = request.take_body();
    if body.is_empty() {
        return next.call(request).await;
    }
    let body = match Encoding::of(request.headers()) {
        Ok(None) => body,
        Ok(Some(encoding)) => {
            let limit = limits.body(request.uri().path());
            // They tell of what was sent, which nobody sees beyond this point.
            request.headers_mut().remove(header::CONTENT_ENCODING);
            request.headers_mut().remove(header::CONTENT_LENGTH);
            Body::from_bytes_stream(decoded(body, encoding, limit))
        }
        Err(sent) => return Ok(not_understood(&sent)),
    };
    request.set_body(body);
    next.call(request).await
}

impl Encoding {
    /// How the body is encoded; the error is what the header says instead.
    fn of(headers: &HeaderMap) -> Result<Option<Self>, String> {
        let lines: Vec<_> = headers.get_all(header::CONTENT_ENCODING).iter().collect();
        let lines: Vec<_> = lines.into_iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
        let sent = lines.join(", ");
        let names = sent.split(',').map(|name| name.trim().to_ascii_lowercase());
        let mut names = names.filter(|name| !name.is_empty() && name != "identity");
        match (names.next().as_deref(), names.next()) {
            (None, _) => Ok(None),
            (Some("gzip" | "x-gzip"), None) => Ok(Some(Self::Gzip)),
            (Some("zstd"), None) => Ok(Some(Self::Zstd)),
            _ => Err(sent),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Reads to the end of the body: further members are decoded too, and anything else is an error.
    fn decoder(
        self,
        body: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Pin<Box<dyn AsyncRead + Send>> {
        let body = StreamReader::new(body.boxed());
        match self {
            Self::Gzip => {
                let mut decoder = GzipDecoder::new(body);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
            Self::Zstd => {
                let window = DParameter::window_log_max(ZSTD_WINDOW_LOG);
                let mut decoder = ZstdDecoder::with_params(body, &[window]);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
        }
    }
}

fn decoded(
    body: Body,
    encoding: Encoding,
    limit: BodyLimit,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let body = body.into_bytes_stream().map_err(problems::unread).inspect_ok(move |chunk| {
        counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
    });
    let pieces = ReaderStream::with_capacity(encoding.decoder(body), PIECE_BYTES);
    stream::try_unfold((pieces, 0), move |(mut pieces, seen)| {
        let sent = Arc::clone(&sent);
        async move {
            let Some(piece) = pieces.next().await.transpose().map_err(|error| malformed(error, encoding))?
            else {
                return Ok(None);
            };
            let seen = seen + piece.len() as u64;
            if seen > limit.bytes {
                return Err(io::Error::other(limit.exceeded_by("The body decompressed")));
            }
            if seen > RATIO_FREE_BYTES && seen / RATIO_MAX > sent.load(Ordering::Relaxed) {
                return Err(io::Error::other(too_dense()));
            }
            Ok(Some((piece, (pieces, seen))))
        }
    })
}

fn not_understood(sent: &str) -> Response {
    let detail = format!(
        "The body was sent with `Content-Encoding: {}`. Compress it once, with gzip or zstd, or send it as it is.",
        sent.escape_default()
    );
    let mut response =
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_encoding", detail).into_response();
    response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(UNDERSTOOD));
    response
}

fn too_dense() -> Problem {
    let detail = format!(
        "The body decompresses to more than {RATIO_MAX} times what was sent. Send it in parts of less than \
         {RATIO_FREE_BYTES} bytes decompressed, or uncompressed."
    );
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "compression_ratio", detail)
}

/// What the decoder says, unless the body itself already had something to say.
fn malformed(error: io::Error, encoding: Encoding) -> io::Error {
    if problems::carried(&error).is_some() {
        return error;
    }
    let reason = match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
        _ => error.to_string(),
    };
    let window = match encoding {
        Encoding::Gzip => "",
        Encoding::Zstd => " (with a window of at most 8 MiB)",
    };
    let detail = format!(
        "The body is not sound {}{window}: {reason}. Nothing was recorded; compress and send it again.",
        encoding.name()
    );
    io::Error::other(Problem::new(StatusCode::BAD_REQUEST, "malformed_encoding", detail))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use async_compression::tokio::write::{GzipEncoder, ZstdEncoder};
    use async_compression::{Level, zstd::CParameter};
    use poem::{EndpointExt, endpoint::make};
    use serde_json::Value;
    use tokio::io::AsyncWriteExt;

    use super::*;

    const MIB: usize = 1 << 20;

    async fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzipEncoder::new(Vec::new());
        encoder.write_all(bytes).await.unwrap();
        encoder.shutdown().await.unwrap();
        encoder.into_inner()
    }

    async fn zstd(bytes: &[u8], parameters: &[CParameter]) -> Vec<u8> {
        let mut encoder = ZstdEncoder::with_quality_and_params(Vec::new(), Level::Default, parameters);
        encoder.write_all(bytes).await.unwrap();
        encoder.shutdown().await.unwrap();
        encoder.into_inner()
    }

    /// Hardly compressible, and the same every time.
    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..bytes).map(|_| next()).collect()
    }

    /// What a handler reads; the body comes in chunks of this many bytes.
    async fn read_in(chunk: usize, encoding: &str, body: &[u8]) -> Response {
        let chunks: Vec<_> = body.chunks(chunk).map(|c| io::Result::Ok(Bytes::copy_from_slice(c))).collect();
        read(encoding, Body::from_bytes_stream(stream::iter(chunks))).await
    }

    async fn read(encoding: &str, body: Body) -> Response {
        let mut request = Request::builder().method(http::Method::POST).uri_str("/events").body(body);
        for line in encoding.split(';') {
            request.headers_mut().append(header::CONTENT_ENCODING, line.parse().unwrap());
        }
        let limits = Arc::new(Limits::default());
        let endpoint = make(async |request: Request| {
            Ok::<_, poem::Error>(request.into_body().into_bytes().await?.into_response())
        })
        .around(move |next, request| decode(next, request, Arc::clone(&limits)))
        .around(|next, request| problems::convert(next, request, Arc::default()));
        endpoint.get_response(request).await
    }

    #[track_caller]
    fn assert_problem(response: (StatusCode, Value), status: u16, code: &str) -> String {
        assert_eq!(
            (response.0.as_u16(), response.1["code"].as_str()),
            (status, Some(code)),
            "{:#}",
            response.1
        );
        response.1["detail"].as_str().unwrap().to_owned()
    }

    async fn problem(response: Response) -> (StatusCode, Value) {
        let status = response.status();
        let body = response.into_body().into_bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[tokio::test]
    async fn what_was_compressed_is_read_as_it_was() {
        let original = noise(MIB);
        let gzip = gzip(&original).await;
        let zstd = zstd(&original, &[]).await;
        for (encoding, body) in
            [("gzip", &gzip), ("X-GZip", &gzip), ("ZSTD", &zstd), ("identity, zstd", &zstd)]
        {
            for chunk in [1 << 10, 10 * MIB] {
                let response = read_in(chunk, encoding, body).await;
                assert!(response.into_body().into_bytes().await.unwrap() == original, "{encoding} {chunk}");
            }
        }
    }

    #[tokio::test]
    async fn every_split_of_a_body_is_read_alike() {
        for (encoding, body) in
            [("gzip", gzip(b"{\"a\": 1}").await), ("zstd", zstd(b"{\"a\": 1}", &[]).await)]
        {
            for chunk in 1..body.len() {
                let response = read_in(chunk, encoding, &body).await;
                assert_eq!(
                    response.into_body().into_string().await.unwrap(),
                    "{\"a\": 1}",
                    "{encoding} {chunk}"
                );
            }
        }
    }

    #[tokio::test]
    async fn what_was_compressed_in_parts_is_read_as_a_whole() {
        let parts = [gzip(b"[1,").await, gzip(b"2]").await].concat();
        let frames = [zstd(b"[1,", &[]).await, zstd(b"2]", &[]).await].concat();
        for (encoding, body) in [("gzip", parts), ("zstd", frames)] {
            for chunk in [1, 1000] {
                let response = read_in(chunk, encoding, &body).await;
                assert_eq!(response.into_body().into_string().await.unwrap(), "[1,2]", "{encoding} {chunk}");
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_is_not_compressed_passes() {
        for encoding in ["", "identity"] {
            let response = read_in(3, encoding, b"plain").await;
            assert_eq!(response.into_body().into_string().await.unwrap(), "plain");
        }
    }

    #[tokio::test]
    async fn an_encoding_that_is_not_understood_or_not_the_only_one_is_refused() {
        let twice = gzip(&gzip(&vec![0; 10 * MIB]).await).await;
        for encoding in ["gzip, gzip", "gzip;gzip", "gzip, zstd", "br", "deflate", "gzip;q=1", "g\u{e4}zip"] {
            let response = read_in(1000, encoding, &twice).await;
            assert_eq!(response.headers()[header::ACCEPT_ENCODING], "gzip, zstd");
            let detail = assert_problem(problem(response).await, 415, "content_encoding");
            assert!(detail.contains("Compress it once, with gzip or zstd"), "{detail}");
        }
    }

    #[tokio::test]
    async fn a_body_counts_as_what_it_becomes() {
        let large = noise(2 * MIB + 1);
        for (encoding, body) in [("gzip", gzip(&large).await), ("zstd", zstd(&large, &[]).await)] {
            let response = read_in(1000, encoding, &body).await;
            let detail = assert_problem(problem(response).await, 413, "body_too_large");
            assert!(
                detail.contains("decompressed") && detail.contains("limits.event_body_bytes"),
                "{detail}"
            );
        }
    }

    #[tokio::test]
    async fn a_bomb_is_put_out_early_whatever_is_in_it() {
        let zeros = vec![0; 10 * MIB];
        for (encoding, body) in [("gzip", gzip(&zeros).await), ("zstd", zstd(&zeros, &[]).await)] {
            let response = read_in(1000, encoding, &body).await;
            assert_problem(problem(response).await, 413, "compression_ratio");
        }
        // Unpacked once, this is no JSON and small: nobody unpacks it a second time.
        let twice = gzip(&gzip(&zeros).await).await;
        let inner = read_in(1000, "gzip", &twice).await.into_body().into_bytes().await.unwrap();
        assert_eq!(inner[..2], [0x1f, 0x8b]);
    }

    #[tokio::test]
    async fn of_an_endless_bomb_little_is_read() {
        let zeros: Bytes = gzip(&vec![0; MIB]).await.into();
        let read_bytes = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&read_bytes);
        let endless = stream::repeat_with(move || {
            counter.fetch_add(zeros.len(), Ordering::Relaxed);
            io::Result::Ok(zeros.clone())
        });
        let response = read("gzip", Body::from_bytes_stream(endless)).await;
        assert_problem(problem(response).await, 413, "compression_ratio");
        assert!(read_bytes.load(Ordering::Relaxed) < 10_000, "{read_bytes:?}");
    }

    #[tokio::test]
    async fn a_body_that_is_cut_off_or_followed_by_something_else_is_refused() {
        for (encoding, whole) in [("gzip", gzip(b"{}").await), ("zstd", zstd(b"{}", &[]).await)] {
            for cut in 1..whole.len() {
                let response = read_in(1000, encoding, &whole[..cut]).await;
                assert_problem(problem(response).await, 400, "malformed_encoding");
            }
            for chunk in [1, 1000] {
                let followed = [whole.as_slice(), b"{}"].concat();
                let response = read_in(chunk, encoding, &followed).await;
                assert_problem(problem(response).await, 400, "malformed_encoding");
            }
            let mut changed = whole.clone();
            *changed.last_mut().unwrap() ^= 1;
            let status = read_in(1000, encoding, &changed).await.status();
            assert_eq!(status == StatusCode::OK, encoding == "zstd", "zstd has no checksum here");
            assert_problem(problem(read_in(1000, encoding, b"{}").await).await, 400, "malformed_encoding");
        }
    }

    #[tokio::test]
    async fn a_window_that_would_take_much_memory_is_refused() {
        let parameters = [CParameter::window_log(24), CParameter::enable_long_distance_matching(true)];
        let body = zstd(&noise(MIB), &parameters).await;
        let detail =
            assert_problem(problem(read_in(1000, "zstd", &body).await).await, 400, "malformed_encoding");
        assert!(detail.contains("at most 8 MiB"), "{detail}");
    }

    #[tokio::test]
    async fn a_connection_that_breaks_is_not_taken_for_a_fault_of_the_encoding() {
        let whole = gzip(b"{}").await;
        let broken =
            stream::iter([Ok(Bytes::from(whole)), Err(io::Error::from(io::ErrorKind::ConnectionReset))]);
        let response = read("gzip", Body::from_bytes_stream(broken)).await;
        assert_problem(problem(response).await, 400, "body_unreadable");
    }
}
