//! `/docs`: the interactive page, from files of our own so that a strict policy holds and nothing is loaded
//! from elsewhere.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use poem::{Endpoint, IntoResponse, Request, Response, Result, Route, endpoint::make_sync, get};
use poem_openapi::OpenApiService;
use serde_json::Value;
use sha2::{Digest, Sha256};

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>EventLogger API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="ui"></div>
<script src="docs/swagger-ui.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"#;

/// The validator is a service on the Internet; switched off.
const START: &str =
    "SwaggerUIBundle({dom_id: '#ui', url: 'openapi.json', validatorUrl: null, deepLinking: true});\n";

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Adds the page and its files, and the document that it shows.
pub(super) fn add(routes: Route, document: &Value) -> Route {
    let (js, css) = swagger_ui();
    let page = Bytes::from_static(PAGE.as_bytes());
    let start = Bytes::from_static(START.as_bytes());
    routes
        .at("/openapi.json", get(Asset::new("application/json", Bytes::from(format!("{document:#}\n")))))
        .at("/docs", get(Asset::new("text/html; charset=utf-8", page)))
        .at("/docs/", get(make_sync(without_slash)))
        .at("/docs/start.js", get(Asset::new("text/javascript", start)))
        .at("/docs/swagger-ui.js", get(Asset::new("text/javascript", js)))
        .at("/docs/swagger-ui.css", get(Asset::new("text/css", css)))
}

/// The page's links are relative to `/docs`, so that they work below the prefix as well.
fn without_slash(_: Request) -> Response {
    StatusCode::PERMANENT_REDIRECT.with_header(header::LOCATION, "../docs").into_response()
}

/// Script and style of the bundle inside poem-openapi's one-file page. Both are slices of that one page:
/// it has 1.6 MB.
fn swagger_ui() -> (Bytes, Bytes) {
    let page = Bytes::from(OpenApiService::new((), "", "").swagger_ui_html());
    (
        cut(&page, "<script charset=\"UTF-8\">", "</script>"),
        cut(&page, "<style charset=\"UTF-8\">", "</style>"),
    )
}

fn cut(page: &Bytes, from: &str, to: &str) -> Bytes {
    let text = std::str::from_utf8(page).unwrap_or_default();
    let inside = text.split_once(from).and_then(|(_, rest)| rest.split_once(to)).map(|(inside, _)| inside);
    inside.map(|inside| page.slice_ref(inside.as_bytes())).unwrap_or_default()
}

/// A file that never changes while the service runs.
struct Asset {
    content_type: HeaderValue,
    etag: String,
    bytes: Bytes,
}

impl Asset {
    fn new(content_type: &'static str, bytes: Bytes) -> Self {
        let digest = Sha256::digest(&bytes);
        let etag = digest.iter().take(16).fold(String::from("\""), |tag, byte| tag + &format!("{byte:02x}"));
        Self { content_type: HeaderValue::from_static(content_type), etag: etag + "\"", bytes }
    }

    /// The file, or 304 if the client has it.
    fn answer(&self, headers: &HeaderMap) -> Response {
        let response = Response::builder()
            .header(header::ETAG, &self.etag)
            .header(header::CACHE_CONTROL, "no-cache")
            .header(header::CONTENT_SECURITY_POLICY, POLICY);
        if is_known(headers, &self.etag) {
            return response.status(StatusCode::NOT_MODIFIED).finish();
        }
        response.header(header::CONTENT_TYPE, &self.content_type).body(self.bytes.clone())
    }
}

fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let sent = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|tags| tags.to_str().ok());
    sent.flat_map(|tags| tags.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == etag || tag == "*")
}

impl Endpoint for Asset {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        Ok(self.answer(request.headers()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_is_found_in_poem_openapis_page() {
        let (js, css) = swagger_ui();
        assert!(js.len() > 1_000_000 && css.len() > 100_000, "{} and {} bytes", js.len(), css.len());
    }

    #[tokio::test]
    async fn a_client_that_has_the_file_is_told_so() {
        let asset = Asset::new("text/css", Bytes::from_static(b"p{}"));
        let first = asset.get_response(Request::default()).await;
        let etag = first.headers()[header::ETAG].clone();
        for known in [etag.to_str().unwrap().to_owned(), format!("\"other\", W/{}", etag.to_str().unwrap())] {
            let request = Request::builder().header(header::IF_NONE_MATCH, known).finish();
            assert_eq!(asset.get_response(request).await.status(), StatusCode::NOT_MODIFIED);
        }
        let request = Request::builder().header(header::IF_NONE_MATCH, "\"other\"").finish();
        assert_eq!(asset.get_response(request).await.status(), StatusCode::OK);
    }
}
