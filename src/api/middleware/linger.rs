//! An answer must reach a client that is still sending. A connection that is closed with bytes unread is
//! reset by the kernel, and the client sees that instead of its 401 or 413. So what nobody has read of a
//! body is read and dropped beside the answer, within bounds.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream::BoxStream};
use http::header;
use poem::{Body, Endpoint, Request, Response, Result};
use tokio::{runtime::Handle, time::timeout};

/// Enough for any body that somebody sends by mistake; twice the largest batch.
const DROPPED_MAX_BYTES: usize = 64 << 20;
const DROPPED_MAX_TIME: Duration = Duration::from_secs(10);

pub(crate) async fn read_out<E: Endpoint<Output = Response>>(
    next: Arc<E>,
    mut request: Request,
) -> Result<Response> {
    let body = request.take_body();
    if !body.is_empty() {
        let awaits_word = request.headers().contains_key(header::EXPECT);
        let chunks = Some(body.into_bytes_stream().boxed());
        request.set_body(Body::from_bytes_stream(Unread { chunks, awaits_word }));
    }
    next.call(request).await
}

/// A body that is read to its end even if nobody wants it.
struct Unread {
    /// `None` after the end.
    chunks: Option<BoxStream<'static, io::Result<Bytes>>>,
    /// The client sends nothing until it is told to go on, which reading does.
    awaits_word: bool,
}

impl Stream for Unread {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.awaits_word = false;
        let Some(chunks) = &mut self.chunks else { return Poll::Ready(None) };
        let chunk = chunks.poll_next_unpin(context);
        if matches!(chunk, Poll::Ready(None | Some(Err(_)))) {
            self.chunks = None;
        }
        chunk
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if let Some(chunks) = self.chunks.take().filter(|_| !self.awaits_word)
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(timeout(DROPPED_MAX_TIME, drop_bytes(chunks)));
        }
    }
}

async fn drop_bytes(mut chunks: BoxStream<'static, io::Result<Bytes>>) {
    let mut dropped = 0;
    while let Some(Ok(chunk)) = chunks.next().await {
        dropped += chunk.len();
        if dropped > DROPPED_MAX_BYTES {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use poem::{EndpointExt, IntoEndpoint, IntoResponse, endpoint::make_sync};
    use tokio::sync::mpsc;

    use super::*;

    /// Sends the requests' body through an endpoint that does not look at it; counts what was read of it.
    async fn chunks_read(expects: bool) -> usize {
        let (read, mut reads) = mpsc::unbounded_channel();
        let chunks = stream::iter(0..3).map(move |n| {
            read.send(n).unwrap();
            io::Result::Ok(Bytes::from_static(b"x"))
        });
        let mut request = Request::builder().body(Body::from_bytes_stream(chunks));
        if expects {
            request.headers_mut().insert(header::EXPECT, "100-continue".parse().unwrap());
        }
        let refuse = make_sync(|_| "no".into_response()).around(read_out).into_endpoint();
        refuse.get_response(request).await;
        let mut count = 0;
        while reads.recv().await.is_some() {
            count += 1;
        }
        count
    }

    #[tokio::test]
    async fn what_nobody_reads_is_read_to_its_end() {
        assert_eq!(chunks_read(false).await, 3);
    }

    #[tokio::test]
    async fn a_client_that_waits_for_the_word_is_not_told_to_send() {
        assert_eq!(chunks_read(true).await, 0);
    }
}
