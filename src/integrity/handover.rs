//! From one signing key to the next: when it was stolen or lost, or is old.
//!
//! The next key lies in a file beside the present one until the database names it. So wherever a change breaks off, one
//! of the two is the key that the logs have, and the same command goes on from there.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sqlx::PgConnection;

use super::{Integrity, KeyError, KeySource, LogSigner, Refusal, SignedHead, key, registered};
use crate::auth::Tenant;
use crate::store::log::Head;
use crate::tlog::SigningKey;

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
}

impl Integrity {
    /// Makes the next key, or finds the one with which a change broke off. The caller holds the lock of `log_keys`.
    pub fn next_key(&self, registered: &str) -> Result<NextKey, KeyError> {
        let file = &self.place.next;
        if let Some(key) = key::read_key(file)? {
            if key::check(&key, Some(registered)).is_ok() {
                return Ok(NextKey { key, is_registered: true });
            }
            // Never used by any log.
            fs::remove_file(file).map_err(|source| KeyError::Unwritable { file: file.clone(), source })?;
        }
        Ok(NextKey { key: key::make(file, &self.base)?, is_registered: false })
    }

    /// Puts the key, which the logs have now, in the place of the present one; returns where it is then. One from the
    /// configuration can only be exchanged there.
    pub fn put_in_place(&self, next: &NextKey) -> Result<&Path, KeyError> {
        let KeySource::File(present) = &self.place.present else { return Ok(&self.place.next) };
        match fs::rename(&self.place.next, present).and_then(|()| sync_folder_of(present)) {
            // By another run of the command.
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_in(present, next) => Ok(present),
            Err(source) => Err(KeyError::Unwritable { file: present.clone(), source }),
            Ok(()) => Ok(present),
        }
    }

    pub fn next_signer(&self, next: &NextKey, tenant: &Tenant, epoch: i32) -> Result<LogSigner, KeyError> {
        let key = key::of_log(&next.key, &self.origin(&tenant.name, epoch))?;
        Ok(LogSigner { key, epoch })
    }

    /// What this machine knows was signed last, by whatever key the log had, and whether the log goes on from it. Unlike
    /// [`Self::admit`] it does not take this instance's having the key. The caller holds the head's lock.
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
        let found = (head.epoch, head.size, &head.root);
        let goes_on = self.check_continues(connection, tenant, last.clone(), found).await;
        Ok((last, goes_on))
    }
}

fn is_in(file: &Path, next: &NextKey) -> bool {
    key::read_key(file).is_ok_and(|key| key.is_some_and(|key| key.verifier() == next.key.verifier()))
}

fn sync_folder_of(file: &Path) -> io::Result<()> {
    File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
}
