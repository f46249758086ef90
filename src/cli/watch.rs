//! How far something is that takes its time, told on standard error.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::walk::Progress;

const ON_A_TERMINAL_EVERY: Duration = Duration::from_millis(250);
const ELSEWHERE_EVERY: Duration = Duration::from_secs(10);

/// Tells until it is ended.
pub(super) struct Watch {
    progress: Arc<Progress>,
    telling: JoinHandle<()>,
}

impl Watch {
    pub(super) fn begin(log: &str) -> Self {
        let progress = Arc::new(Progress::default());
        let telling = tokio::spawn(tell(log.to_owned(), Arc::clone(&progress)));
        Self { progress, telling }
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(super) async fn end(self) {
        self.telling.abort();
        let _ = self.telling.await;
        if io::stderr().is_terminal() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

async fn tell(log: String, progress: Arc<Progress>) {
    let on_terminal = io::stderr().is_terminal();
    let begun = Instant::now();
    loop {
        tokio::time::sleep(if on_terminal { ON_A_TERMINAL_EVERY } else { ELSEWHERE_EVERY }).await;
        let (done, total) = progress.get();
        let line = line(&log, done, total, begun.elapsed());
        // Not being able to tell is no reason to stop.
        let _ = match on_terminal {
            true => write!(io::stderr(), "\r\x1b[K{line}"),
            false => writeln!(io::stderr(), "{line}"),
        };
    }
}

fn line(log: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let mut line = format!("{log}: {done} of {total} entries");
    if done > 0 && total > 0 {
        let left = total.saturating_sub(done) as f64 / rate;
        let percent = done.saturating_mul(100) / total;
        let _ = write!(line, " ({percent} %), {rate:.0} a second, {left:.0} s left");
    }
    line
}
