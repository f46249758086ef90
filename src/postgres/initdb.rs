//! Making a new cluster: complete under another name first, so that a half-made one is never taken for ours.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::account::Account;
use super::binaries::Binaries;
use super::layout::{Layout, own_folder};
use super::{ClusterError, SUPERUSER, process};

/// `C` would sort alike but leaves case folding and trigrams blind beyond ASCII.
const CTYPE: &str = if cfg!(target_os = "macos") { "en_US.UTF-8" } else { "C.UTF-8" };

/// What the names of unfinished clusters begin with. Each has one of its own: the initdb of a service that was
/// killed a moment ago may still be busy removing what it made.
const UNFINISHED: &str = "pg.init";
const ANOTHER_REMOVES_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn make(layout: &Layout, binaries: &Binaries, account: &Account) -> Result<(), ClusterError> {
    remove_unfinished(&layout.data_dir)?;
    let unfinished = layout.data_dir.join(format!("{UNFINISHED}.{}", Uuid::now_v7().simple()));
    own_folder(&unfinished, account)?;
    process::check_entry(&unfinished, account)?;
    initdb(&unfinished, binaries, account)?;
    fs::rename(&unfinished, &layout.pg).map_err(|e| ClusterError::io("rename to", &layout.pg, e))?;
    let synced = File::open(&layout.data_dir).and_then(|folder| folder.sync_all());
    synced.map_err(|e| ClusterError::io("sync", &layout.data_dir, e))
}

/// What an interrupted initdb left has never been a cluster that took connections.
fn remove_unfinished(data_dir: &Path) -> Result<(), ClusterError> {
    let entries = fs::read_dir(data_dir).map_err(|e| ClusterError::io("read", data_dir, e))?;
    let unfinished = entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()));
    for folder in unfinished.map(|entry| entry.path()) {
        let deadline = Instant::now() + ANOTHER_REMOVES_WITHIN;
        while let Err(error) = fs::remove_dir_all(&folder) {
            match error.kind() {
                ErrorKind::NotFound if !folder.exists() => break,
                ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                _ => return Err(ClusterError::io("remove", &folder, error)),
            }
        }
    }
    Ok(())
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
