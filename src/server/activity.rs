//! What the two ends of a connection tell each other: the guard below hyper, and the requests above it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::{Body, Refusal};

#[derive(Debug)]
pub(super) struct Activity {
    /// Requests that are being answered, until hyper has all of the answer.
    in_flight: AtomicUsize,
    /// When the last of them began or ended.
    last: Mutex<Instant>,
    /// HTTP/1 requests that hyper has handed over.
    requests: AtomicU64,
    /// Set by the guard, which then lets in one more request that stands for the refused one.
    refused: OnceLock<Refused>,
    /// The connection has changed to another protocol.
    upgraded: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Refused {
    /// Which request of the connection, counted from 1.
    request: u64,
    why: Refusal,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            in_flight: AtomicUsize::new(0),
            last: Mutex::new(Instant::now()),
            requests: AtomicU64::new(0),
            refused: OnceLock::new(),
            upgraded: AtomicBool::new(false),
        })
    }

    /// The request after so many others is refused. Only the first refusal of a connection counts.
    pub(super) fn refuse_after(&self, heads: u64, why: Refusal) {
        let _ = self.refused.set(Refused { request: heads + 1, why });
    }

    /// Counts a request that hyper has read. hyper hands them over in the order in which the guard let
    /// their heads through, so the count tells whether this is the refused one.
    pub(super) fn next_request(&self) -> Option<Refusal> {
        let request = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        self.refused.get().filter(|refused| refused.request == request).map(|refused| refused.why)
    }

    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.touch();
        InFlight(Arc::clone(self))
    }

    /// Since when no request is being answered.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        // In this order: the end of a request is noted before it is counted.
        let is_idle = self.in_flight.load(Ordering::Acquire) == 0;
        is_idle.then(|| *self.last.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_upgraded(&self) {
        self.upgraded.store(true, Ordering::Release);
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Acquire)
    }

    fn touch(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// Held while a request is being answered.
pub(super) struct InFlight(Arc<Activity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.touch();
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The body of an answer; while hyper has not taken all of it, its request is in flight.
pub(super) struct Answering {
    pub(super) body: Body,
    pub(super) _in_flight: InFlight,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
