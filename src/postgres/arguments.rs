//! The server's settings. They go on its command line, which neither `postgresql.conf` nor `ALTER SYSTEM`
//! can override.

use std::ffi::OsString;

use super::layout::{Layout, PORT, name_for};
use super::{ClusterError, Settings};

/// Overridable by the operator.
const DEFAULTS: [(&str, &str); 9] = [
    // Pools are small; idle backends cost memory.
    ("max_connections", "60"),
    ("shared_buffers", "128MB"),
    ("max_wal_size", "2GB"),
    // In the cluster's own folder: containers have little /dev/shm, and what a killed postmaster leaves there
    // stays until the machine is restarted.
    ("dynamic_shared_memory_type", "mmap"),
    // A query over all partitions locks each of them with all its indexes: hundreds of locks.
    ("max_locks_per_transaction", "256"),
    // Our queries are short; compiling them costs more than it saves, and memory.
    ("jit", "off"),
    // A launcher that idles, since nothing is subscribed to.
    ("max_logical_replication_workers", "0"),
    ("timezone", "UTC"),
    ("log_checkpoints", "off"),
];

/// What makes a 201 a fact.
const DURABILITY: [(&str, &str); 3] =
    [("fsync", "on"), ("full_page_writes", "on"), ("synchronous_commit", "on")];

/// Our stderr pipe is the log. It never holds statements, parameters or row values (`terse` drops the
/// details that quote them).
const LOGGING: [(&str, &str); 10] = [
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_line_prefix", ""),
    ("log_error_verbosity", "terse"),
    ("log_statement", "none"),
    ("log_min_duration_statement", "-1"),
    ("log_min_error_statement", "panic"),
    ("log_parameter_max_length", "0"),
    ("log_parameter_max_length_on_error", "0"),
    ("lc_messages", "C"),
];

/// The isolation of the cluster, and settings that hide damage.
const FIXED: [&str; 14] = [
    "listen_addresses",
    "port",
    "unix_socket_directories",
    "unix_socket_group",
    "unix_socket_permissions",
    "hba_file",
    "ident_file",
    "config_file",
    "data_directory",
    "external_pid_file",
    "cluster_name",
    "zero_damaged_pages",
    "ignore_checksum_failure",
    "data_sync_retry",
];

pub(super) fn arguments(layout: &Layout, settings: &Settings) -> Result<Vec<OsString>, ClusterError> {
    let mut arguments: Vec<OsString> = vec!["-D".into(), layout.pg.clone().into()];
    let mut set = |name: &str, value: &str| arguments.extend(["-c".into(), format!("{name}={value}").into()]);
    for (name, value) in DEFAULTS {
        set(name, value);
    }
    for (name, value) in &settings.options {
        let name = checked(name, value)?;
        set(&name, value);
    }
    for (name, value) in DURABILITY.into_iter().chain(LOGGING) {
        set(name, value);
    }
    set("cluster_name", &name_for(&layout.pg));
    set("listen_addresses", "");
    set("port", &PORT.to_string());
    set(
        "unix_socket_directories",
        &format!("\"{}\"", layout.sockets.display().to_string().replace('"', "\"\"")),
    );
    set("unix_socket_permissions", "0700");
    set("hba_file", &layout.hba.display().to_string());
    set("ident_file", &layout.ident.display().to_string());
    Ok(arguments)
}

/// The name as PostgreSQL reads it (any case, `-` for `_`), if it may be set to `value`.
fn checked(name: &str, value: &str) -> Result<String, ClusterError> {
    let read = name.trim().to_ascii_lowercase().replace('-', "_");
    let refuse = |reason| Err(ClusterError::Option { name: name.to_owned(), reason });
    if read.is_empty() || !read.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c)) {
        return refuse("not a setting's name");
    }
    if DURABILITY.iter().any(|(known, _)| *known == read) && !value.trim().eq_ignore_ascii_case("on") {
        return refuse("must stay `on`: without it a recorded event can be lost");
    }
    if FIXED.contains(&read.as_str()) || LOGGING.iter().any(|(known, _)| *known == read) {
        return refuse("is set by EventLogger itself and cannot be changed");
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_risk_recorded_events_are_refused_however_they_are_spelled() {
        for (name, value) in [
            ("fsync", "off"),
            ("FSync", "0"),
            ("full-page-writes", "f"),
            ("synchronous_commit", "local"),
            ("listen_addresses", "*"),
            ("zero_damaged_pages", "on"),
            ("log_statement", "all"),
            ("jit=off -c fsync", "off"),
            ("", "on"),
        ] {
            assert!(checked(name, value).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn other_settings_are_the_operators_to_choose() {
        assert_eq!(checked("shared-buffers", "1GB").unwrap(), "shared_buffers");
        assert_eq!(checked("fsync", "on").unwrap(), "fsync");
        assert_eq!(checked("pg_stat_statements.track", "all").unwrap(), "pg_stat_statements.track");
    }
}
