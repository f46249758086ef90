//! Steps of a commit at which tests let the process or its cluster die. Compiled into debug builds only.

/// In the order in which a commit takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Locked,
    Sequenced,
    EventsInserted,
    TilesInserted,
    KeysInserted,
    Committed,
    Signed,
    Latched,
    Answered,
}

#[cfg(not(debug_assertions))]
pub(super) fn reached(_: Step) {}

#[cfg(debug_assertions)]
pub(super) use armed::reached;

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Pid, Signal, getpid, kill_process};

    use super::Step;

    /// `<step>:<how many times it is passed>[:<file that names a process>]`. Not a setting: it has another prefix.
    const VARIABLE: &str = "EVL_FAULT";

    struct Fault {
        step: String,
        passes: AtomicU32,
        /// Whose process dies instead of this one.
        pid_file: Option<String>,
    }

    /// Kills at once, as `kill -9` does.
    pub fn reached(step: Step) {
        static FAULT: OnceLock<Option<Fault>> = OnceLock::new();
        let Some(fault) = FAULT.get_or_init(fault) else { return };
        if fault.step != format!("{step:?}") || fault.passes.fetch_sub(1, Ordering::Relaxed) != 0 {
            return;
        }
        let victim = match &fault.pid_file {
            Some(file) => std::fs::read_to_string(file).ok().and_then(|text| pid(text.lines().next()?)),
            None => Some(getpid()),
        };
        if let Some(victim) = victim {
            // It may be gone already.
            let _ = kill_process(victim, Signal::KILL);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "no setting, and in no release")]
    fn fault() -> Option<Fault> {
        let variable = std::env::var(VARIABLE).ok()?;
        let mut parts = variable.splitn(3, ':');
        let step = parts.next()?.to_owned();
        let passes = parts.next()?.parse().ok()?;
        Some(Fault { step, passes: AtomicU32::new(passes), pid_file: parts.next().map(str::to_owned) })
    }

    fn pid(text: &str) -> Option<Pid> {
        text.trim().parse().ok().and_then(Pid::from_raw)
    }
}
