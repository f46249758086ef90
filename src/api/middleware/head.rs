//! HEAD is GET without the body, for every path.

use std::sync::Arc;

use http::{HeaderValue, Method, header};
use http_body_util::combinators::BoxBody;
use hyper::body::Body as _;
use poem::{Body, Endpoint, Request, Response, Result};

pub(crate) async fn answer<E: Endpoint<Output = Response>>(
    next: Arc<E>,
    mut request: Request,
) -> Result<Response> {
    if request.method() != Method::HEAD {
        return next.call(request).await;
    }
    request.set_method(Method::GET);
    let mut response = next.call(request).await?;
    if let Some(size) = body_size(&mut response) {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    }
    response.set_body(());
    Ok(response)
}

/// The length of the body, unless it is a stream.
pub(crate) fn body_size(response: &mut Response) -> Option<u64> {
    let body: BoxBody<bytes::Bytes, std::io::Error> = response.take_body().into();
    let size = body.size_hint().exact();
    response.set_body(Body::from(body));
    size
}

#[cfg(test)]
mod tests {
    use poem::{EndpointExt, IntoEndpoint, endpoint::make_sync};

    use super::*;

    #[tokio::test]
    async fn head_tells_the_length_that_get_would_send() {
        let hello = make_sync(|request: Request| Response::from(request.method().to_string()));
        let endpoint = hello.map_to_response().around(answer).into_endpoint();
        let response = endpoint.get_response(Request::builder().method(Method::HEAD).finish()).await;
        assert_eq!(response.headers()[header::CONTENT_LENGTH], "3");
        assert_eq!(response.into_body().into_bytes().await.unwrap().len(), 0);
    }
}
