//! A connection as hyper sees it: only well-formed heads come through, none of them slowly, and nothing
//! waits for ever.
//!
//! A head that is refused is replaced by a harmless one, so that the answer takes the way of all answers;
//! after it the guard lets nothing through any more.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Refusal;
use super::activity::Activity;
use super::framing::{Framing, Next, Unseen};

/// Stands for a request that was refused.
const REFUSED: &[u8] = b"REFUSED / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
const READ_BYTES: usize = 8 << 10;
/// At a time; the space for it is zeroed first.
const UNSEEN_MAX_BYTES: usize = 64 << 10;
/// What a refused client may still send while it is given time to read the answer: a connection that is
/// closed with bytes unread is reset, and the answer lost.
const LINGER_MAX_BYTES: usize = 256 << 10;
const LINGER_MAX_TIME: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// From the first byte of a head, or from the start of the connection, to the end of the head.
    pub(super) head: Duration,
    /// Without a request.
    pub(super) idle: Duration,
    /// For a client that takes nothing of its answer.
    pub(super) write: Duration,
}

pub(super) struct Guard<T> {
    transport: T,
    framing: Framing,
    activity: Arc<Activity>,
    timeouts: Timeouts,
    /// What was read and not passed on.
    held: BytesMut,
    /// So many bytes of `held` may be passed on.
    cleared: usize,
    /// Since when the head at hand is awaited.
    head_since: Option<Instant>,
    /// Nothing more is let through.
    is_shut: bool,
    /// The body at hand is none.
    is_broken: bool,
    /// Fires at or before the deadline for reading.
    timer: Pin<Box<Sleep>>,
    /// When the client last took some of an answer.
    taken_at: Instant,
    /// There while the client does not take what is written.
    stalled: Option<Pin<Box<Sleep>>>,
    lingering: Option<Lingering>,
}

struct Lingering {
    until: Pin<Box<Sleep>>,
    left: usize,
}

/// What happens at a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Refuse,
    Close,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Guard<T> {
    pub(super) fn new(transport: T, activity: Arc<Activity>, timeouts: Timeouts) -> Self {
        let opened = Instant::now();
        Self {
            transport,
            framing: Framing::new(),
            activity,
            timeouts,
            held: BytesMut::new(),
            cleared: 0,
            head_since: Some(opened),
            is_shut: false,
            is_broken: false,
            timer: Box::pin(sleep_until(opened + timeouts.head)),
            taken_at: opened,
            stalled: None,
            lingering: None,
        }
    }

    fn refuse(&mut self, why: Refusal) {
        self.activity.refuse_after(self.framing.heads(), why);
        self.held.clear();
        self.held.extend_from_slice(REFUSED);
        self.cleared = REFUSED.len();
        self.is_shut = true;
    }

    /// Looks at what is held. An error ends the connection.
    fn examine(&mut self) -> io::Result<()> {
        while self.cleared == 0 && !self.is_shut {
            match self.framing.next(&self.held) {
                Next::Pass(length) => self.cleared = length,
                Next::Skip(length) => self.held.advance(length),
                Next::Refuse(why) => self.refuse(why),
                Next::More => break,
                Next::Broken => {
                    // Nothing more is let through, and the client is given time to read why.
                    self.is_broken = true;
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the chunks of the body are not valid",
                    ));
                }
            }
        }
        if self.cleared > 0 || !self.framing.is_at_head() {
            self.head_since = None;
        } else if self.head_since.is_none() && !self.held.is_empty() {
            self.head_since = Some(Instant::now());
        }
        Ok(())
    }

    fn pass(&mut self, out: &mut ReadBuf<'_>) {
        let length = self.cleared.min(out.remaining());
        out.put_slice(&self.held[..length]);
        self.held.advance(length);
        self.cleared -= length;
    }

    /// Reads what nobody has to look at straight to where it goes.
    fn poll_read_unseen(
        &mut self,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
        unseen: Unseen,
    ) -> Poll<io::Result<()>> {
        let most = match unseen {
            Unseen::All => out.remaining(),
            Unseen::Bytes(left) => usize::try_from(left).unwrap_or(usize::MAX).min(out.remaining()),
        };
        let mut part = ReadBuf::new(out.initialize_unfilled_to(most.min(UNSEEN_MAX_BYTES)));
        ready!(Pin::new(&mut self.transport).poll_read(context, &mut part))?;
        let length = part.filled().len();
        out.advance(length);
        self.framing.passed_unseen(length as u64);
        Poll::Ready(Ok(()))
    }

    /// Adds to what is held. False at the end of the connection.
    fn poll_hold(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut space = [0; READ_BYTES];
        let mut more = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut self.transport).poll_read(context, &mut more))?;
        self.held.extend_from_slice(more.filled());
        Poll::Ready(Ok(!more.filled().is_empty()))
    }

    fn deadline(&self) -> Option<(Instant, Due)> {
        if self.activity.is_upgraded() {
            return None;
        }
        if let Some(since) = self.head_since {
            // A client that never said a word is not answered.
            let due = if self.held.is_empty() { Due::Close } else { Due::Refuse };
            return Some((since + self.timeouts.head, due));
        }
        // hyper may hold the rest of an answer that the client is still taking.
        let idle_since = self.activity.idle_since().filter(|_| self.stalled.is_none());
        // While a request is in flight, look again after as long.
        let since = idle_since.map_or_else(Instant::now, |since| since.max(self.taken_at));
        Some((since + self.timeouts.idle, Due::Close))
    }

    /// Waits for the deadline. The timer is set anew only when it has fired or would fire too late: most
    /// connections move their deadline back with each request.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<Due> {
        loop {
            let Some((at, due)) = self.deadline() else { return Poll::Pending };
            if self.timer.deadline() > at {
                self.timer.as_mut().reset(at);
            }
            ready!(self.timer.as_mut().poll(context));
            if Instant::now() >= at {
                return Poll::Ready(due);
            }
            self.timer.as_mut().reset(at);
        }
    }

    fn poll_pass(&mut self, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.activity.is_upgraded() {
            self.framing.give_up_reading();
        }
        loop {
            self.examine()?;
            if self.cleared > 0 {
                self.pass(out);
                return Poll::Ready(Ok(()));
            }
            if self.is_shut {
                return Poll::Pending;
            }
            let read = match self.framing.unseen() {
                Some(unseen) => return self.poll_read_unseen(context, out, unseen),
                None => self.poll_hold(context)?,
            };
            if !ready!(read) {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let lingering = self.lingering.get_or_insert_with(|| Lingering {
            until: Box::pin(sleep_until(Instant::now() + LINGER_MAX_TIME)),
            left: LINGER_MAX_BYTES,
        });
        let mut space = [0; READ_BYTES];
        while lingering.left > 0 && lingering.until.as_mut().poll(context).is_pending() {
            let mut dropped = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut self.transport).poll_read(context, &mut dropped)) {
                Ok(()) if !dropped.filled().is_empty() => {
                    lingering.left = lingering.left.saturating_sub(dropped.filled().len());
                }
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }

    /// Gives up on a client that takes nothing for too long.
    fn unless_stalled<R>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.stalled = None;
            self.taken_at = Instant::now();
            return written;
        }
        let patience = self.timeouts.write;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + patience)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of its answer")))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if let Poll::Ready(read) = self.poll_pass(context, out) {
                return Poll::Ready(read);
            }
            if self.is_shut {
                return Poll::Pending;
            }
            match ready!(self.poll_deadline(context)) {
                Due::Refuse => self.refuse(Refusal::Slow),
                Due::Close => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.transport).poll_write(context, bytes);
        self.unless_stalled(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.transport).poll_write_vectored(context, bytes);
        self.unless_stalled(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.transport).poll_flush(context);
        self.unless_stalled(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let shut = Pin::new(&mut self.transport).poll_shutdown(context);
            ready!(self.unless_stalled(context, shut))?;
        }
        if self.is_shut || self.is_broken {
            ready!(self.poll_linger(context));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
