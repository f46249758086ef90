//! The last checkpoint of a log that was verified, kept between runs: a log that shrinks or forks from one run to the
//! next is found out.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Where the state of one log lies.
#[derive(Clone, Debug)]
pub struct State {
    file: PathBuf,
}

/// A note has some hundred bytes; what is much larger is another file.
const NOTE_MAX_BYTES: u64 = 64 * 1024;

impl State {
    pub fn at(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into() }
    }

    /// Named after the pinned origin, which is the verifier's own; a server could name another log to be forgotten.
    pub fn of_origin(folder: &Path, origin: &str) -> Self {
        let name: String = Sha256::digest(origin).iter().map(|byte| format!("{byte:02x}")).collect();
        Self::at(folder.join("verify").join(name + ".checkpoint"))
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The signed note, as it was kept; `None` before the first run.
    pub fn read(&self) -> io::Result<Option<String>> {
        use io::Read;

        let mut note = String::new();
        match File::open(&self.file) {
            Ok(file) => file.take(NOTE_MAX_BYTES).read_to_string(&mut note).map(|_| Some(note)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces it in one step, so that there is never half of one.
    pub fn write(&self, note: &str) -> io::Result<()> {
        let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            fs::create_dir_all(folder)?;
        }
        let mut name = self.file.clone().into_os_string();
        name.push(".new");
        let mut file = File::create(&name)?;
        file.write_all(note.as_bytes())?;
        file.sync_all()?;
        fs::rename(&name, &self.file)?;
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_logs_do_not_share_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::of_origin(folder.path(), "base/default");
        assert_eq!(state.read().unwrap(), None);
        state.write("a note\n").unwrap();
        state.write("a newer note\n").unwrap();
        assert_eq!(state.read().unwrap().as_deref(), Some("a newer note\n"));
        assert_eq!(State::of_origin(folder.path(), "base/other").read().unwrap(), None);
        assert_ne!(State::of_origin(folder.path(), "../../x").file(), state.file());
    }
}
