//! The signing key: where it comes from, and when an instance may not use one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tracing::info;
use zeroize::Zeroizing;

use crate::tlog::{self, SigningKey};

/// Longer than any key is.
const MAX_KEY_BYTES: u64 = 4096;

#[derive(Clone)]
pub enum KeySource {
    /// As a secret from the configuration.
    Given(Zeroizing<String>),
    /// In this file, which is made when no log has a key yet.
    File(PathBuf),
}

/// Why there is no key to sign with. The texts say what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read the signing key {}: {source}", file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    #[error(
        "others than its owner can read the signing key {}: whoever has it can forge the log. If nobody has read it: \
         chmod 600 {}", file.display(), file.display()
    )]
    Exposed { file: PathBuf },
    #[error("{place} is not a signing key ({detail}). It is one line that begins with PRIVATE+KEY+")]
    Malformed { place: String, detail: String },
    #[error("another `eventlogger key change` is at work here: it holds {}", file.display())]
    Busy { file: PathBuf },
    #[error("cannot write {}: {source}", file.display())]
    Unwritable { file: PathBuf, source: io::Error },
    #[error("the operating system gives no random numbers: {0}")]
    Random(getrandom::Error),
    #[error(
        "the logs of this database are signed by the key {registered}, and {} is missing. Copy it from an instance that \
         has it, or from a backup: it is that instance's <data_dir>/signing-key. If it is lost for good: eventlogger key change \
         --reason TEXT", file.display()
    )]
    Missing { file: PathBuf, registered: String },
    #[error(
        "the logs of this database are signed by the key {registered}, and this instance's is {own}. Copy the right \
         one here from an instance that has it, or from a backup: it is that instance's <data_dir>/signing-key. If the \
         key was just changed here, restart this instance; if signing-key.next is there, finish that change: eventlogger \
         key change"
    )]
    Other { own: String, registered: String },
}

impl KeyError {
    /// Reads are served even so.
    pub(super) fn is_about_another_key(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Other { .. })
    }
}

/// The key, which must be `registered` if one is. A key is only made where none is.
pub(super) fn load(from: &KeySource, name: &str, registered: Option<&str>) -> Result<SigningKey, KeyError> {
    let key = match from {
        KeySource::Given(secret) => parse(secret, "integrity.signing_key".to_owned())?,
        KeySource::File(file) => match (read_key(file)?, registered) {
            (Some(key), _) => key,
            (None, Some(registered)) => {
                return Err(KeyError::Missing { file: file.clone(), registered: registered.to_owned() });
            }
            (None, None) => match make(file, name) {
                // Another instance has made it meanwhile, if it is there now.
                Err(KeyError::Unwritable { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                    read_key(file)?.ok_or_else(|| KeyError::Unwritable { file: file.clone(), source })?
                }
                made => return made,
            },
        },
    };
    check(&key, registered)?;
    Ok(key)
}

/// The key of a log.
pub(super) fn of_log(key: &SigningKey, origin: &str) -> Result<SigningKey, KeyError> {
    key.derive(origin).map_err(|error| unfit(origin, &error))
}

fn unfit(name: &str, error: &tlog::key::KeyError) -> KeyError {
    KeyError::Malformed { place: format!("the name {name}"), detail: error.to_string() }
}

/// The keys of all logs come from one: what a log has registered must be what this gives for its name.
pub(super) fn check(key: &SigningKey, registered: Option<&str>) -> Result<(), KeyError> {
    let Some(registered) = registered else { return Ok(()) };
    let name = registered.split('+').next().unwrap_or_default();
    let own = of_log(key, name)?.verifier().to_string();
    match own == registered {
        true => Ok(()),
        false => Err(KeyError::Other { own, registered: registered.to_owned() }),
    }
}

fn parse(text: &str, place: String) -> Result<SigningKey, KeyError> {
    SigningKey::from_private_text(text.trim())
        .map_err(|error| KeyError::Malformed { place, detail: error.to_string() })
}

/// The key, if there is one, whatever it is the key of.
pub(super) fn at_hand(source: &KeySource) -> Option<SigningKey> {
    match source {
        KeySource::Given(secret) => parse(secret, String::new()).ok(),
        KeySource::File(file) => read_key(file).ok().flatten(),
    }
}

/// `None` if there is no such file.
pub(super) fn read_key(file: &Path) -> Result<Option<SigningKey>, KeyError> {
    read(file)?.map(|text| parse(&text, file.display().to_string())).transpose()
}

fn read(file: &Path) -> Result<Option<String>, KeyError> {
    let unreadable = |source| KeyError::Unreadable { file: file.to_owned(), source };
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mode = opened.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { file: file.to_owned() });
    }
    let mut text = String::new();
    opened.take(MAX_KEY_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    Ok(Some(text))
}

pub(super) fn make(file: &Path, name: &str) -> Result<SigningKey, KeyError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(KeyError::Random)?;
    let key = SigningKey::from_seed(name, &seed).map_err(|error| unfit(name, &error))?;
    write(file, &key.private_text())
        .map_err(|source| KeyError::Unwritable { file: file.to_owned(), source })?;
    info!(
        file = %file.display(),
        "made the signing key {}. Keep a copy of it with your backups: without it nothing more can be recorded",
        file.display()
    );
    Ok(key)
}

/// Complete and on disk before it has its name, as it will be needed as long as the log.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let unfinished = file.with_extension(format!("new-{}", std::process::id()));
    // Of a start that was killed, by a process of the same number.
    if let Err(error) = fs::remove_file(&unfinished)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut output = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    let written = writeln!(output, "{text}").and_then(|()| output.sync_all());
    // Never over a key that somebody else has made meanwhile.
    let named = written.and_then(|()| fs::hard_link(&unfinished, file));
    fs::remove_file(&unfinished)?;
    named?;
    File::open(folder)?.sync_all()
}
