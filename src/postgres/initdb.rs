//! Making a new cluster: complete under another name first, so that a half-made one is never taken for ours.

use std::fs::{self, File};
use std::path::Path;

use super::account::Account;
use super::binaries::Binaries;
use super::layout::{Layout, own_folder};
use super::{ClusterError, SUPERUSER, process};

/// `C` would sort alike but leaves case folding and trigrams blind beyond ASCII.
const CTYPE: &str = if cfg!(target_os = "macos") { "en_US.UTF-8" } else { "C.UTF-8" };

pub(super) fn make(layout: &Layout, binaries: &Binaries, account: &Account) -> Result<(), ClusterError> {
    let unfinished = layout.data_dir.join("pg.init");
    if unfinished.exists() {
        // What an interrupted initdb left has never been a cluster that took connections.
        fs::remove_dir_all(&unfinished).map_err(|e| ClusterError::io("remove", &unfinished, e))?;
    }
    own_folder(&unfinished, account)?;
    process::check_entry(&unfinished, account)?;
    initdb(&unfinished, binaries, account)?;
    fs::rename(&unfinished, &layout.pg).map_err(|e| ClusterError::io("rename to", &layout.pg, e))?;
    let synced = File::open(&layout.data_dir).and_then(|folder| folder.sync_all());
    synced.map_err(|e| ClusterError::io("sync", &layout.data_dir, e))
}

fn initdb(folder: &Path, binaries: &Binaries, account: &Account) -> Result<(), ClusterError> {
    let program = binaries.folder.join("initdb");
    let output = process::command(&program, account)
        .arg("-D")
        .arg(folder)
        .args(["--username", SUPERUSER, "--encoding", "UTF8", "--locale", "C", "--lc-ctype", CTYPE])
        .args(["--data-checksums", "--auth-local", "peer", "--auth-host", "reject"])
        .output()
        .map_err(|e| ClusterError::io("run", &program, e))?;
    if output.status.success() {
        return Ok(());
    }
    let output_text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ClusterError::Failed { program: "initdb", status: output.status.to_string(), output: output_text })
}
