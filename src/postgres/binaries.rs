//! Which PostgreSQL: for an existing cluster one of its own major version, for a new one the newest.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::account::Account;
use super::process;
use super::{ClusterError, Settings};

const OLDEST_MAJOR: u32 = 15;

/// Where distributions put them; each may have one `*`.
const USUAL_FOLDERS: [&str; 10] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/lib/postgresql*/bin",
    "/usr/lib64/postgresql-*/bin",
    "/usr/libexec/postgresql*",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Binaries {
    pub(super) folder: PathBuf,
    pub(super) version: String,
    major: u32,
    minor: u32,
}

impl Binaries {
    pub(super) fn find(settings: &Settings, pg: &Path, account: &Account) -> Result<Self, ClusterError> {
        let folders = match &settings.bin_dir {
            Some(folder) => BTreeSet::from([folder.clone()]),
            None => likely_folders(account),
        };
        let found: Vec<Self> = folders.iter().filter_map(|folder| Self::in_folder(folder, account)).collect();
        let made_by = cluster_major(pg)?;
        choose(&found, made_by.as_deref()).cloned().ok_or_else(|| {
            let list = list(found.iter().map(|b| format!("{} in {}", b.version, b.folder.display())));
            match made_by {
                Some(made_by) if !found.is_empty() => {
                    ClusterError::OtherMajor { pg: pg.to_owned(), made_by, found: list }
                }
                made_by => ClusterError::NoBinaries {
                    needed: made_by.unwrap_or_else(|| format!("{OLDEST_MAJOR} or newer")),
                    user: account.name.clone(),
                    found: list,
                    looked: self::list(folders.iter().map(|folder| folder.display().to_string())),
                },
            }
        })
    }

    fn in_folder(folder: &Path, account: &Account) -> Option<Self> {
        // As given, not resolved: postgres finds its own files by the path it was called with.
        let postgres = std::path::absolute(folder).ok()?.join("postgres");
        if !postgres.is_file() || !folder.join("initdb").is_file() {
            return None;
        }
        let output = process::command(&postgres, account).arg("--version").output().ok()?;
        Self::parse(postgres.parent()?, &String::from_utf8(output.stdout).ok()?)
    }

    /// From `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, also `18beta1`.
    fn parse(folder: &Path, answer: &str) -> Option<Self> {
        let version = answer.split("(PostgreSQL) ").nth(1)?.split_whitespace().next()?;
        let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
        let (major, minor) = (numbers.next()?, numbers.next().unwrap_or(0));
        Some(Self { folder: folder.to_owned(), version: version.to_owned(), major, minor })
    }
}

fn choose<'a>(found: &'a [Binaries], made_by: Option<&str>) -> Option<&'a Binaries> {
    let suits = |b: &&Binaries| match made_by {
        Some(major) => b.major.to_string() == major,
        None => b.major >= OLDEST_MAJOR,
    };
    found.iter().filter(suits).max_by_key(|b| (b.major, b.minor))
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

/// None: there is no cluster yet.
fn cluster_major(pg: &Path) -> Result<Option<String>, ClusterError> {
    let path = pg.join("PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(major) => Ok(Some(major.trim().to_owned())),
        Err(e) if e.kind() == ErrorKind::NotFound => match fs::read_dir(pg).into_iter().flatten().next() {
            Some(_) => Err(ClusterError::NotACluster { pg: pg.to_owned() }),
            None => Ok(None),
        },
        Err(e) => Err(ClusterError::io("read", path, e)),
    }
}

fn likely_folders(account: &Account) -> BTreeSet<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: BTreeSet<PathBuf> =
        std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect();
    let told = folders.iter().filter_map(|folder| {
        let output = process::command(&folder.join("pg_config"), account).arg("--bindir").output().ok()?;
        Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
    });
    let told: Vec<PathBuf> = told.collect();
    folders.extend(told);
    folders.extend(USUAL_FOLDERS.iter().flat_map(|pattern| expand(pattern)));
    folders.retain(|folder| folder.is_dir());
    folders
}

fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![pattern.into()] };
    let Some((parent, prefix)) = before.rsplit_once('/') else { return Vec::new() };
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path().join(after.trim_start_matches('/')))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(versions: &[&str], made_by: Option<&str>) -> Option<String> {
        let parse = |v: &&str| {
            Binaries::parse(Path::new("/bin"), &format!("postgres (PostgreSQL) {v} (Debian)")).unwrap()
        };
        let found: Vec<Binaries> = versions.iter().map(parse).collect();
        choose(&found, made_by).map(|b| b.version.clone())
    }

    #[test]
    fn a_new_cluster_gets_the_newest_version_by_number() {
        assert_eq!(chosen(&["15.18", "18beta1", "9.6.24", "17.4"], None).as_deref(), Some("18beta1"));
        assert_eq!(chosen(&["15.9", "15.18"], None).as_deref(), Some("15.18"));
    }

    #[test]
    fn a_new_cluster_is_not_made_with_a_version_too_old() {
        assert_eq!(chosen(&["14.20", "9.6.24"], None), None);
        assert_eq!(chosen(&[], None), None);
    }

    #[test]
    fn an_existing_cluster_gets_its_own_major_version_or_none() {
        assert_eq!(chosen(&["15.18", "16.1", "16.3", "18.4"], Some("16")).as_deref(), Some("16.3"));
        assert_eq!(chosen(&["15.18", "17.1"], Some("18")), None);
    }
}
