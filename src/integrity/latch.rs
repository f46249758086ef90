//! The latch: the furthest checkpoint of each log that this instance signed or saw, kept outside PostgreSQL, so that
//! a database that was set back does not go unnoticed.
//!
//! One file for each log, with two places of fixed size. They are written in turn, so that a write that is cut short
//! leaves the other whole; which is whole, its signature tells. Before an answer the checkpoint is in the file, and
//! outlives this process; within a second it is on disk, and outlives the machine.
//!
//! A folder belongs to one process, by a lock that ends with it: two would overwrite each other's places. A command
//! beside a running service only reads; the service learns from the database what the command signed or added.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{IntegrityError, Refusal, SignedHead};
use crate::auth::Tenant;
use crate::merkle::Hash;

/// More than any checkpoint needs: see the limit of `integrity.origin`.
pub(super) const PLACE_BYTES: usize = 1024;
/// What fills a place up; it makes the file readable to people.
const FILLER: u8 = b'\n';
/// How often a log's checkpoint is stored in the database.
const STORE_EVERY: Duration = Duration::from_mins(1);

/// What is locked in a folder. No tenant is called so.
const LOCK: &str = ".lock";

pub(super) struct Latch {
    folders: Vec<PathBuf>,
    /// The locks of the folders, held as long as this lives; `None` if another process holds them.
    held: Option<Vec<File>>,
    logs: Mutex<HashMap<i32, Arc<Mutex<Log>>>>,
}

/// What is known of one log.
struct Log {
    files: Vec<PathBuf>,
    /// They are another process's.
    only_read: bool,
    /// Whether the files have been looked into.
    read: bool,
    furthest: Option<SignedHead>,
    /// The place of `furthest`.
    place: u64,
    /// `furthest` is in the files.
    written: bool,
    /// `furthest` is on disk.
    synced: bool,
    stored: Option<(Instant, i32, u64)>,
}

impl Latch {
    /// `may_join`: folders that another process holds are read, and not written to.
    pub(super) fn open(folders: Vec<PathBuf>, may_join: bool) -> Result<Self, IntegrityError> {
        let locks: Result<Vec<_>, _> = folders.iter().map(|folder| hold(folder)).collect();
        let held = match locks {
            Err(IntegrityError::LatchInUse { .. }) if may_join => None,
            locks => Some(locks?),
        };
        Ok(Self { folders, held, logs: Mutex::default() })
    }

    /// The furthest checkpoint of a log. `open` checks one that is read from a file.
    pub(super) fn read(
        &self,
        tenant: &Tenant,
        open: impl Fn(&str) -> Option<SignedHead>,
    ) -> Result<Option<SignedHead>, Refusal> {
        let log = self.log(tenant);
        let mut log = lock(&log);
        log.read(open)?;
        log.write()?;
        Ok(log.furthest.clone())
    }

    /// Remembers a checkpoint if it is further than what is known; returns what is the furthest then. After an error
    /// the log must be [`Self::read`] again before more is signed.
    pub(super) fn advance(&self, tenant: &Tenant, head: &SignedHead) -> Result<SignedHead, Refusal> {
        let log = self.log(tenant);
        let mut log = lock(&log);
        let place = |head: &SignedHead| (head.epoch, head.size);
        if log.furthest.as_ref().is_some_and(|known| place(known) == place(head) && known.root != head.root) {
            return Err(Refusal::Contradicted { signed: head.size });
        }
        if log.furthest.as_ref().is_none_or(|known| place(known) < place(head)) {
            log.furthest = Some(head.clone());
            log.place ^= 1;
            log.written = false;
            log.synced = false;
        }
        log.write()?;
        Ok(log.furthest.clone().unwrap_or_else(|| head.clone()))
    }

    /// Whether nothing further is known of a log than this. Looks into no file.
    pub(super) fn is_furthest(&self, tenant: &Tenant, epoch: i32, size: u64, root: &Hash) -> bool {
        let log = self.log(tenant);
        let log = lock(&log);
        let known = log.furthest.as_ref();
        known.is_none_or(|known| (known.epoch, known.size, &known.root) == (epoch, size, root))
    }

    /// Waits until all that was remembered is on disk.
    pub(super) fn sync(&self) -> Result<(), Refusal> {
        let logs: Vec<_> = self.logs().values().cloned().collect();
        // All of them, whatever becomes of one.
        let synced: Vec<_> = logs.iter().map(|log| sync(log)).collect();
        synced.into_iter().collect()
    }

    /// The logs whose checkpoint it is time to store in the database; at the end, all that have another than is stored.
    /// None of a process that only reads the files: a checkpoint that others see must be in them.
    pub(super) fn take_due(&self, at_the_end: bool) -> Vec<(i32, SignedHead)> {
        if self.held.is_none() {
            return Vec::new();
        }
        let logs: Vec<_> = self.logs().iter().map(|(id, log)| (*id, Arc::clone(log))).collect();
        logs.into_iter().filter_map(|(id, log)| Some((id, lock(&log).take_due(at_the_end)?))).collect()
    }

    fn log(&self, tenant: &Tenant) -> Arc<Mutex<Log>> {
        let fresh = || {
            // A tenant's name is a sound file name, and never that of another.
            let files = self.folders.iter().map(|folder| folder.join(&tenant.name)).collect();
            Arc::new(Mutex::new(Log {
                files,
                only_read: self.held.is_none(),
                read: false,
                furthest: None,
                place: 0,
                written: true,
                synced: true,
                stored: None,
            }))
        };
        Arc::clone(self.logs().entry(tenant.id).or_insert_with(fresh))
    }

    fn logs(&self) -> MutexGuard<'_, HashMap<i32, Arc<Mutex<Log>>>> {
        lock(&self.logs)
    }
}

impl Log {
    fn read(&mut self, open: impl Fn(&str) -> Option<SignedHead>) -> Result<(), Refusal> {
        if self.read {
            return Ok(());
        }
        let mut furthest = self.furthest.clone();
        for file in &self.files {
            for (place, found) in places(file, &open)?.into_iter().enumerate() {
                let Some(head) = found else { continue };
                if furthest.as_ref().is_none_or(|known| (known.epoch, known.size) < (head.epoch, head.size)) {
                    self.place = place as u64;
                    furthest = Some(head);
                }
            }
        }
        // Written again, as one of the files may have been behind, or missing.
        self.written = furthest.is_none();
        self.synced = self.written;
        self.furthest = furthest;
        self.read = true;
        Ok(())
    }

    fn write(&mut self) -> Result<(), Refusal> {
        if self.only_read {
            (self.written, self.synced) = (true, true);
        }
        let Some(head) = self.furthest.as_ref().filter(|_| !self.written) else { return Ok(()) };
        let mut place = head.note.as_bytes().to_vec();
        place.resize(PLACE_BYTES, FILLER);
        let offset = self.place * PLACE_BYTES as u64;
        for file in &self.files {
            write_at(file, &place, offset).map_err(|error| forgetful(file, error))?;
        }
        self.written = true;
        Ok(())
    }

    fn take_due(&mut self, at_the_end: bool) -> Option<SignedHead> {
        let head = self.furthest.as_ref()?;
        let due = self.stored.is_none_or(|(at, epoch, size)| {
            (at_the_end || at.elapsed() >= STORE_EVERY) && (epoch, size) != (head.epoch, head.size)
        });
        due.then(|| {
            self.stored = Some((Instant::now(), head.epoch, head.size));
            head.clone()
        })
    }
}

fn sync(log: &Mutex<Log>) -> Result<(), Refusal> {
    let (files, head) = {
        let log = lock(log);
        if log.synced || !log.written {
            return Ok(());
        }
        (log.files.clone(), log.furthest.clone())
    };
    // Without the lock: a disk takes its time, and lanes go on meanwhile.
    for file in &files {
        let synced = File::open(file).and_then(|file| file.sync_data());
        synced.map_err(|error| forgetful(file, error))?;
    }
    let mut log = lock(log);
    log.synced = log.written && log.furthest == head;
    Ok(())
}

/// What the two places of a file hold.
fn places(
    file: &Path,
    open: impl Fn(&str) -> Option<SignedHead>,
) -> Result<[Option<SignedHead>; 2], Refusal> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok([None, None]),
        Err(error) => return Err(forgetful(file, error)),
    };
    let mut places = bytes.chunks(PLACE_BYTES).map(|place| {
        let text = std::str::from_utf8(place).ok()?;
        open(&format!("{}\n", text.trim_end_matches('\n')))
    });
    let found = [places.next().flatten(), places.next().flatten()];
    let is_blank = bytes.iter().all(|&byte| byte == FILLER || byte == 0);
    match found {
        [None, None] if !is_blank => Err(Refusal::Unreadable { file: file.to_owned() }),
        found => Ok(found),
    }
}

fn hold(folder: &Path) -> Result<File, IntegrityError> {
    let failed = |source| IntegrityError::Folder { folder: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).clone();
    let lock = options.open(folder.join(LOCK)).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(IntegrityError::LatchInUse { folder: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn write_at(file: &Path, place: &[u8], offset: u64) -> io::Result<()> {
    let existing = OpenOptions::new().write(true).open(file);
    let output = match existing {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
            made.write_all_at(&[FILLER; 2 * PLACE_BYTES], 0)?;
            // The name, too, has to be there after a crash.
            file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())?;
            made
        }
        opened => opened?,
    };
    output.write_all_at(place, offset)
}

fn forgetful(file: &Path, source: io::Error) -> Refusal {
    Refusal::Forgetful { file: file.to_owned(), source }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
