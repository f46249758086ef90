//! Each connection is an open file; how many there may be is the system's to say.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// For everything that is not a client's connection: the database, logs, listeners.
const RESERVED: usize = 256;

/// As many connections as are wanted and can be had. Takes all files that the system lets this process have.
pub fn connections_within_limits(wanted: usize) -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it is refused, the limit stays what it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let files = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |files| files as usize);
    let possible = files.saturating_sub(RESERVED).max(files / 2).max(1);
    if possible < wanted {
        warn!(
            wanted,
            possible,
            files,
            "server.connections is {wanted}, but with a limit of {files} open files there can be only {possible}; \
             raise the limit (ulimit -n, LimitNOFILE)"
        );
    }
    wanted.min(possible)
}
