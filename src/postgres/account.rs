use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

use super::ClusterError;

/// An operating-system user. The name counts: peer authentication goes by it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) name: String,
    pub(super) home: PathBuf,
}

impl Account {
    pub(super) fn of_this_process() -> Result<Self, ClusterError> {
        Self::by_uid(Uid::effective().as_raw())
    }

    /// As whom the cluster runs: as ourselves, or as root's choice of somebody with no power.
    pub(super) fn of_cluster(pg: &Path, me: &Self) -> Result<Self, ClusterError> {
        match fs::metadata(pg) {
            Ok(found) if found.uid() == me.uid && !me.is_root() => Ok(me.clone()),
            Ok(found) if found.uid() == 0 && me.is_root() => {
                Err(ClusterError::OwnedByRoot { pg: pg.to_owned() })
            }
            Ok(found) if me.is_root() => Self::by_uid(found.uid()),
            Ok(found) => Err(someone_elses(pg, found.uid(), me)),
            Err(e) if e.kind() == ErrorKind::NotFound && !me.is_root() => Ok(me.clone()),
            Err(e) if e.kind() == ErrorKind::NotFound => Self::unprivileged(),
            Err(e) => Err(ClusterError::io("look at", pg, e)),
        }
    }

    pub(super) fn is_root(&self) -> bool {
        self.uid == 0
    }

    fn unprivileged() -> Result<Self, ClusterError> {
        let known = |name| User::from_name(name).ok().flatten().filter(|user| !user.uid.is_root());
        ["postgres", "nobody"].into_iter().find_map(known).map(Self::from).ok_or(ClusterError::NoAccount)
    }

    fn by_uid(uid: u32) -> Result<Self, ClusterError> {
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        user.map(Self::from).ok_or(ClusterError::Nameless { uid })
    }
}

impl From<User> for Account {
    fn from(user: User) -> Self {
        Self { uid: user.uid.as_raw(), gid: user.gid.as_raw(), name: user.name, home: user.dir }
    }
}

/// A cluster that belongs to root's choice of user is root's to run, not that user's.
fn someone_elses(pg: &Path, owner: u32, me: &Account) -> ClusterError {
    match pg.parent().and_then(|data_dir| Some((data_dir, fs::metadata(data_dir).ok()?.uid()))) {
        Some((data_dir, 0)) => foreign(data_dir, 0, me),
        _ => foreign(pg, owner, me),
    }
}

/// What to say about a path that is somebody else's.
pub(super) fn foreign(path: &Path, owner: u32, me: &Account) -> ClusterError {
    let owner = Account::by_uid(owner).map_or_else(|_| format!("uid {owner}"), |account| account.name);
    ClusterError::ForeignOwner { path: path.to_owned(), owner, me: me.name.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_without_a_name_is_refused_because_peer_authentication_goes_by_name() {
        let refused = Account::by_uid(3_999_999_999).unwrap_err().to_string();
        assert!(refused.contains("user id 3999999999 has no name"), "{refused}");
    }
}
