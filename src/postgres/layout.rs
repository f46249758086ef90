//! Where things are, and folders with the right owner.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::account::{Account, foreign};
use super::{ClusterError, OWNER, READER, SUPERUSER, Settings, WRITER};

/// Only part of the socket's name; nothing listens on TCP.
pub(super) const PORT: u16 = 5432;

/// The shortest `sun_path` among our systems (104 with its NUL), less `/.s.PGSQL.5432.`.
const SOCKET_DIR_MAX_BYTES: usize = 103 - "/.s.PGSQL.5432".len();

#[derive(Debug)]
pub(super) struct Layout {
    pub(super) data_dir: PathBuf,
    pub(super) pg: PathBuf,
    pub(super) hba: PathBuf,
    pub(super) ident: PathBuf,
    pub(super) sockets: PathBuf,
}

impl Layout {
    /// Of a data directory that is there, and the account that runs or will run its cluster.
    pub(super) fn of(settings: &Settings) -> Result<(Self, Account), ClusterError> {
        let me = Account::of_this_process()?;
        let data_dir = settings.data_dir.canonicalize().map_err(|e| unusable(&settings.data_dir, e, &me))?;
        if data_dir.to_str().is_none() {
            return Err(ClusterError::Path { path: data_dir, reason: "the path is not UTF-8" });
        }
        let pg = resolved(data_dir.join("pg"))?;
        let account = Account::of_cluster(&pg, &me)?;
        let sockets = socket_dir(&data_dir, settings.runtime_dir.as_deref(), &me)?;
        let (hba, ident) = (data_dir.join("pg_hba.conf"), data_dir.join("pg_ident.conf"));
        Ok((Self { data_dir, pg, hba, ident, sockets }, account))
    }

    /// Creates what is missing but the cluster itself, and takes the lock. The lock is held until the file
    /// is dropped, which no crash can prevent.
    pub(super) fn prepare(settings: &Settings) -> Result<(Self, Account, File), ClusterError> {
        let me = Account::of_this_process()?;
        create_data_dir(&settings.data_dir, &me)?;
        let (layout, account) = Self::of(settings)?;
        let lock = lock(&layout.data_dir, &me)?;
        own_folder(&layout.sockets, &account)?;
        layout.write_access(&me, &account)?;
        Ok((layout, account, lock))
    }

    /// Root and the cluster's user can use the 0700 socket folder; the map lets both be any of our roles.
    fn write_access(&self, me: &Account, account: &Account) -> Result<(), ClusterError> {
        let mut users = vec![&me.name, &account.name];
        users.dedup();
        let ident: String = users
            .iter()
            .flat_map(|user| {
                [SUPERUSER, OWNER, WRITER, READER].map(|role| format!("eventlogger \"{user}\" {role}\n"))
            })
            .collect();
        for (path, text) in [(&self.hba, "local all all peer map=eventlogger\n"), (&self.ident, &*ident)] {
            replace(path, text).map_err(|e| ClusterError::io("write", path, e))?;
        }
        Ok(())
    }
}

/// Processes are told apart by the folder's real path. A link to nowhere is a disk that is not mounted, not
/// a cluster yet to be made.
fn resolved(pg: PathBuf) -> Result<PathBuf, ClusterError> {
    if pg.is_symlink() {
        return pg.canonicalize().map_err(|e| ClusterError::io("follow the link", pg, e));
    }
    Ok(pg)
}

/// Never through a link that somebody may have put there.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.set_permissions(Permissions::from_mode(0o644))?; // for the cluster's user to read
    file.write_all(text.as_bytes())
}

fn create_data_dir(path: &Path, me: &Account) -> Result<(), ClusterError> {
    if path.is_dir() {
        return Ok(());
    }
    let mode = if me.is_root() { 0o711 } else { 0o700 };
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(|e| unusable(path, e, me))?;
    // The umask may have taken bits away.
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|e| ClusterError::io("chmod", path, e))
}

fn lock(data_dir: &Path, me: &Account) -> Result<File, ClusterError> {
    let path = data_dir.join("pg.lock");
    let mut file = File::options()
        .create(true)
        // Whoever can open the file can lock it, and keep the service from starting.
        .mode(0o600)
        .truncate(false)
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .map_err(|e| unusable(data_dir, e, me))?;
    match lock_patiently(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.take(20).read_to_string(&mut pid); // only makes the message better
            let holder = if pid.is_empty() { pid } else { format!(" (process {})", pid.trim()) };
            return Err(ClusterError::InUse { data_dir: data_dir.to_owned(), holder });
        }
        Err(TryLockError::Error(e)) => return Err(ClusterError::io("lock", path, e)),
    }
    let write = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    write.map_err(|e| ClusterError::io("write", path, e))?;
    Ok(file)
}

/// A process that is just being started has, until it becomes another program, all that its parent had open: a lock that
/// was let go can be held that little longer.
fn lock_patiently(file: &File) -> Result<(), TryLockError> {
    for _ in 0..10 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(10)),
            done => return done,
        }
    }
    file.try_lock()
}

/// Makes the folder if need be, and it private to `owner`.
pub(super) fn own_folder(path: &Path, owner: &Account) -> Result<(), ClusterError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(ClusterError::io("create", path, e)),
        _ => {}
    }
    let open = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_DIRECTORY).open(path);
    let own = open.and_then(|folder| {
        if folder.metadata()?.uid() != owner.uid {
            fchown(&folder, Some(owner.uid), Some(owner.gid))?;
        }
        folder.set_permissions(Permissions::from_mode(0o700))
    });
    own.map_err(|e| ClusterError::io("own the folder", path, e))
}

/// `run` in the data directory or, where that path is too long for a socket, a folder named after it in a
/// place where nobody else could have made it first. (`/tmp` is none.)
fn socket_dir(data_dir: &Path, runtime_dir: Option<&Path>, me: &Account) -> Result<PathBuf, ClusterError> {
    let fits = |path: &PathBuf| path.as_os_str().len() <= SOCKET_DIR_MAX_BYTES;
    let name = format!(".{}", name_for(data_dir));
    let own = PathBuf::from(format!("/run/user/{}", me.uid));
    // Root's own runtime folder and home are closed to the cluster's user.
    let parents: Vec<&Path> = match me.is_root() {
        true => vec![Path::new("/run"), Path::new("/var/run")],
        false => runtime_dir.into_iter().chain([&*own, &*me.home]).collect(),
    };
    let elsewhere =
        parents.into_iter().filter(|parent| only_ours(parent, me)).map(|parent| parent.join(&name));
    std::iter::once(data_dir.join("run")).chain(elsewhere).find(fits).ok_or_else(|| ClusterError::Path {
        path: data_dir.to_owned(),
        reason: "the path is too long for a socket in it (set XDG_RUNTIME_DIR for it to live elsewhere)",
    })
}

/// Tells this path's things from those of other instances on the machine.
pub(super) fn name_for(path: &Path) -> String {
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    digest[..8].iter().fold(String::from("eventlogger-"), |name, byte| format!("{name}{byte:02x}"))
}

fn only_ours(folder: &Path, me: &Account) -> bool {
    fs::metadata(folder)
        .is_ok_and(|found| found.is_dir() && [0, me.uid].contains(&found.uid()) && found.mode() & 0o022 == 0)
}

/// Permission denied is mostly a question of whose folder it is, so say whose.
fn unusable(path: &Path, error: std::io::Error, me: &Account) -> ClusterError {
    let owner =
        path.ancestors().find_map(|folder| fs::metadata(folder).ok().map(|found| (folder, found.uid())));
    match owner {
        Some((folder, uid)) if error.kind() == ErrorKind::PermissionDenied && uid != me.uid => {
            foreign(folder, uid, me)
        }
        _ => ClusterError::io("use data directory", path, error),
    }
}
