//! From one signing key to the next: when it was stolen or lost, or is old.
//!
//! The next key lies in a file beside the present one until the database names it. So wherever a change breaks off, one
//! of the two is the key that the logs have, and the same command goes on from there.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use sqlx::PgConnection;

use super::{Integrity, KeyError, KeySource, LogSigner, Refusal, SignedHead, check_has, key, registered};
use crate::auth::Tenant;
use crate::store::checkpoints;
use crate::store::log::Head;
use crate::tlog::{SigningKey, note};

/// Where the present key is, and where the next one waits.
pub(super) struct Place {
    pub(super) present: KeySource,
    pub(super) next: PathBuf,
}

/// The key that a change brings in. It is in its file, on disk.
pub struct NextKey {
    key: SigningKey,
    /// The logs have it already: a change broke off after that.
    pub is_registered: bool,
    _lock: File,
}

impl Integrity {
    /// Makes the next key, or finds the one with which a change broke off. The caller holds the lock of `log_keys`.
    pub fn next_key(&self, registered: &str) -> Result<NextKey, KeyError> {
        let file = &self.place.next;
        let unwritable = |source| KeyError::Unwritable { file: file.clone(), source };
        let lock = lock(file)?;
        if let Some(key) = key::read_key(file)? {
            let present = key::at_hand(&self.place.present);
            let is_in_place = present.is_some_and(|present| present.verifier() == key.verifier());
            if !is_in_place && key::check(&key, Some(registered)).is_ok() {
                return Ok(NextKey { key, is_registered: true, _lock: lock });
            }
            // No log has it, as far as this database says.
            fs::rename(file, file.with_extension("unused")).map_err(unwritable)?;
        }
        Ok(NextKey { key: key::make(file, &self.base)?, is_registered: false, _lock: lock })
    }

    /// Puts the key, which the logs have now, in the place of the present one; returns where it is then. One from the
    /// configuration can only be exchanged there.
    pub fn put_in_place(&self, next: &NextKey) -> Result<&Path, KeyError> {
        debug_assert!(
            key::read_key(&self.place.next)
                .is_ok_and(|key| key.is_some_and(|key| { key.verifier() == next.key.verifier() })),
            "the lock keeps the file what it was"
        );
        let KeySource::File(present) = &self.place.present else { return Ok(&self.place.next) };
        let placed = fs::rename(&self.place.next, present).and_then(|()| sync_folder_of(present));
        placed.map_err(|source| KeyError::Unwritable { file: present.clone(), source })?;
        Ok(present)
    }

    /// It has one, but not the one that the logs have.
    pub fn has_another_key(&self) -> bool {
        self.key.as_ref().is_err_and(|error| matches!(**error, KeyError::Other { .. }))
    }

    pub fn next_signer(&self, next: &NextKey, tenant: &Tenant, epoch: i32) -> Result<LogSigner, KeyError> {
        let key = key::of_log(&next.key, &self.origin(&tenant.name, epoch))?;
        Ok(LogSigner { key, epoch })
    }

    /// What this machine knows was signed last, by whatever key the log had, and whether the log has all of it. Unlike
    /// [`Self::admit`] it does not take this instance's having the key; and as a key that was lost or stolen vouches for
    /// no declared loss, it takes none for granted. The caller holds the head's lock.
    pub async fn standing(
        &self,
        connection: &mut PgConnection,
        tenant: &Tenant,
        head: &Head,
    ) -> Result<(Option<SignedHead>, Result<(), Refusal>), Refusal> {
        let known = registered(&mut *connection, tenant).await?;
        // Perhaps no key of this database, which is from before an earlier change.
        let at_hand = key::at_hand(&self.place.present);
        let last = self.latch.read(tenant, |note| {
            let own = at_hand.as_ref().and_then(|key| key::of_log(key, note.lines().next()?).ok());
            let own = own.map(|own| own.verifier().clone());
            self.open_note(tenant, note, &known.iter().cloned().chain(own).collect::<Vec<_>>())
        })?;
        let has_all = match &last {
            Some(last) => check_has(connection, tenant, last, (head.epoch, head.size, &head.root)).await,
            None => Ok(()),
        };
        Ok((last, has_all))
    }

    /// Whether this instance's key, by which the log was signed in `earlier` epochs, says itself that another signs this
    /// one: it has signed how that begins.
    pub(super) async fn handed_over(
        &self,
        connection: &mut PgConnection,
        tenant: &Tenant,
        epoch: i32,
        earlier: impl Iterator<Item = i32>,
    ) -> Result<bool, Refusal> {
        let first = checkpoints::first_of_epoch(connection, tenant.id, epoch).await?;
        let Some(first) = first.filter(|note| self.open_note(tenant, note, &[]).is_none()) else {
            return Ok(false);
        };
        let former: Result<Vec<_>, _> = earlier.map(|former| self.signer(tenant, former)).collect();
        let former: Vec<_> = former?.iter().map(|former| former.verifier().clone()).collect();
        Ok(note::open(&first, &former).is_ok())
    }
}

/// One command at a time changes the key.
fn lock(next: &Path) -> Result<File, KeyError> {
    let file = next.with_extension("lock");
    let lock = File::create(&file).map_err(|source| KeyError::Unwritable { file: file.clone(), source })?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(KeyError::Busy { file }),
        Err(TryLockError::Error(source)) => Err(KeyError::Unwritable { file, source }),
    }
}

fn sync_folder_of(file: &Path) -> io::Result<()> {
    File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
}
