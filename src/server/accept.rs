//! Takes in connections: not more than there are places for, and without spinning when the system has no
//! more files to give.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::connection::{Origin, Protocol};
use super::places::Places;
use super::source::{Source, Stream};
use super::tls::Tls;
use super::{Handler, Phase};

/// After an error that concerns all connections; doubled as long as it lasts.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How many clients at a time are told that there is no place for them; others are just cut off.
const TURNED_AWAY_MAX: usize = 64;
const TURNED_AWAY_TIME: Duration = Duration::from_secs(1);

/// What all listeners share.
pub(super) struct Accept<H> {
    pub(super) handler: Arc<H>,
    pub(super) protocol: Protocol,
    pub(super) handshake_timeout: Duration,
    pub(super) places: Arc<Places>,
    pub(super) turning_away: Arc<Semaphore>,
    pub(super) phase: watch::Receiver<Phase>,
}

impl<H: Handler> Accept<H> {
    pub(super) fn turning_away() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(TURNED_AWAY_MAX))
    }

    /// Until the service stops.
    pub(super) async fn run(self: Arc<Self>, source: Source) {
        let mut phase = self.phase.clone();
        let mut trouble = Trouble::default();
        loop {
            let accepted = tokio::select! {
                accepted = source.accept() => accepted,
                _stopping = phase.wait_for(|phase| *phase != Phase::Serving) => return,
            };
            match accepted {
                Ok((stream, remote)) => {
                    trouble.is_over();
                    self.take_in(
                        stream,
                        Origin { remote, is_tls: source.tls.is_some() },
                        source.tls.as_ref(),
                    );
                }
                Err(error) if concerns_one(&error) => {}
                Err(error) => {
                    let pause = trouble.next_pause(&error);
                    tokio::select! {
                        () = sleep(pause) => {}
                        _stopping = phase.wait_for(|phase| *phase != Phase::Serving) => return,
                    }
                }
            }
        }
    }

    fn take_in(self: &Arc<Self>, stream: Stream, origin: Origin, tls: Option<&Arc<Tls>>) {
        let Some(place) = self.places.take(self.protocol.counted_under(origin)) else {
            // Saying so under TLS would take what there is too little of.
            if tls.is_none() {
                self.turn_away(stream);
            }
            return;
        };
        let (accept, tls) = (Arc::clone(self), tls.cloned());
        tokio::spawn(async move {
            let _place = place;
            match tls {
                None => accept.serve(stream, origin).await,
                Some(tls) => accept.serve_tls(&tls, stream, origin).await,
            }
        });
    }

    async fn serve_tls(&self, tls: &Tls, stream: Stream, origin: Origin) {
        let mut phase = self.phase.clone();
        let shaken = tokio::select! {
            shaken = tls.accept(stream, self.handshake_timeout) => shaken,
            _stopping = phase.wait_for(|phase| *phase != Phase::Serving) => return,
        };
        match shaken {
            Ok(stream) => self.serve(stream, origin).await,
            // Strangers that try doors are no news.
            Err(error) => debug!(%error, remote = ?origin.remote, "no TLS handshake: {error}"),
        }
    }

    async fn serve<T>(&self, stream: T, origin: Origin)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.protocol.serve(stream, origin, Arc::clone(&self.handler), self.phase.clone()).await;
    }

    fn turn_away(self: &Arc<Self>, stream: Stream) {
        if let Ok(permit) = Arc::clone(&self.turning_away).try_acquire_owned() {
            let answer = self.handler.turn_away();
            tokio::spawn(async move {
                // A client that does not listen is cut off, as it would have been anyway.
                let _ = timeout(TURNED_AWAY_TIME, say_and_close(stream, &answer)).await;
                drop(permit);
            });
        }
    }
}

/// Waits for the client to close: a connection that is closed with bytes unread is reset, and the answer lost.
async fn say_and_close<T: AsyncRead + AsyncWrite + Unpin>(mut stream: T, answer: &[u8]) -> io::Result<()> {
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    let mut dropped = [0; 1 << 10];
    while stream.read(&mut dropped).await? > 0 {}
    Ok(())
}

/// Whether only the connection at hand is lost.
fn concerns_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// A listener that cannot accept.
#[derive(Default)]
struct Trouble {
    /// `None` while all is well.
    pause: Option<Duration>,
}

impl Trouble {
    fn next_pause(&mut self, error: &io::Error) -> Duration {
        let pause = match self.pause {
            Some(pause) => (pause * 2).min(PAUSE_MAX),
            None => {
                warn!(%error, "connections cannot be accepted: {error}");
                PAUSE_MIN
            }
        };
        self.pause = Some(pause);
        pause
    }

    fn is_over(&mut self) {
        if self.pause.take().is_some() {
            info!("connections are accepted again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_until_the_trouble_is_over() {
        let mut trouble = Trouble::default();
        let error = io::Error::from_raw_os_error(libc::EMFILE);
        let pauses: Vec<_> = (0..8).map(|_| trouble.next_pause(&error).as_millis()).collect();
        assert_eq!(pauses, [20, 40, 80, 160, 320, 640, 1000, 1000]);
        trouble.is_over();
        assert_eq!(trouble.next_pause(&error), PAUSE_MIN);
    }

    #[test]
    fn a_client_that_left_early_is_no_trouble() {
        assert!(concerns_one(&io::Error::from_raw_os_error(libc::ECONNABORTED)));
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            assert!(!concerns_one(&io::Error::from_raw_os_error(code)), "{code}");
        }
    }
}
