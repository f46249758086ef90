//! Processor time by process, from /proc. Where there is none, all of it is zero.

use std::fs;
use std::ops::Sub;

use serde::Serialize;

/// Ticks in a second of /proc/*/stat, part of the kernel's interface.
const USER_HZ: f64 = 100.0;

/// Seconds of processor time, of a span of time or since the processes started.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Cpu {
    pub(super) server: f64,
    /// The postmaster and all its children, also those that have ended.
    pub(super) postgres: f64,
    /// This process and the pgbench it ran.
    pub(super) generator: f64,
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            server: self.server - earlier.server,
            postgres: self.postgres - earlier.postgres,
            generator: self.generator - earlier.generator,
        }
    }
}

/// The processes that are watched.
#[derive(Clone, Copy)]
pub(super) struct Meter {
    pub(super) server: u32,
    pub(super) postmaster: u32,
}

impl Meter {
    pub(super) fn read(self) -> Cpu {
        let children: f64 = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Usage::of(entry.file_name().to_str()?.parse().ok()?))
            .filter(|process| process.parent == self.postmaster)
            .map(|process| process.own)
            .sum();
        let total = |pid| Usage::of(pid).map_or(0.0, |process| process.own + process.reaped);
        Cpu {
            // Its children are the cluster's.
            server: Usage::of(self.server).map_or(0.0, |process| process.own),
            postgres: total(self.postmaster) + children,
            generator: total(std::process::id()),
        }
    }
}

struct Usage {
    parent: u32,
    own: f64,
    /// Of children that have ended.
    reaped: f64,
}

impl Usage {
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The name, in parentheses, may hold spaces and parentheses.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let seconds = |field: usize| Some(fields.get(field)?.parse::<f64>().ok()? / USER_HZ);
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: seconds(11)? + seconds(12)?,
            reaped: seconds(13)? + seconds(14)?,
        })
    }
}

/// Resident memory in bytes.
pub(super) fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_any_name() {
        let usage =
            Usage::parse("42 (a) b (c) S 7 42 42 0 -1 4194304 1 2 3 4 150 50 300 100 20 0 9").unwrap();
        assert_eq!((usage.parent, usage.own, usage.reaped), (7, 2.0, 4.0));
    }
}
