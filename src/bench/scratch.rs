//! A folder that is gone when the benchmark ends, however it ends.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn create(parent: &Path) -> anyhow::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        let path = parent.join(format!("eventlogger-bench-{:016x}", u64::from_be_bytes(random)));
        let create = DirBuilder::new().mode(0o711).create(&path);
        create.with_context(|| {
            format!("cannot make a folder in {} (choose another with --dir)", parent.display())
        })?;
        let scratch = Self(path);
        // Run by root, the cluster's user has to pass; the umask may have forbidden it.
        fs::set_permissions(&scratch.0, Permissions::from_mode(0o711))?;
        Ok(scratch)
    }

    pub(super) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is in a temporary folder, and named after what left it there.
        let _ = fs::remove_dir_all(&self.0);
    }
}
