//! The threads that lanes run on.
//!
//! They are not those that answer requests: there a lane would wait its turn behind a burst of them between any two
//! steps of its transaction, while the next burst gathers, and database and service would work by turns instead of
//! together.

use std::sync::OnceLock;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Few, as a lane mostly waits for the database.
const CORES_PER_THREAD: usize = 4;

/// For all logs of the process. It outlives them, as connections that are still to be closed live on it as well.
static THREADS: OnceLock<Option<Runtime>> = OnceLock::new();

pub(super) fn spawn(lane: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    match THREADS.get_or_init(|| build().ok()) {
        Some(threads) => threads.spawn(lane),
        // Slower, and better than not at all.
        None => tokio::spawn(lane),
    }
}

fn build() -> std::io::Result<Runtime> {
    let cores = available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        .worker_threads(cores.div_ceil(CORES_PER_THREAD))
        .thread_name("lane")
        .enable_all()
        .build()
}
