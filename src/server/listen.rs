//! Listening sockets, and a useful answer when an address is taken.

use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, SockAddr, Socket as RawSocket, Type};
use tracing::warn;

use super::address::ListenAddress;
use super::tls::Tls;

/// Connections that wait until the service takes them; the kernel may allow fewer.
const BACKLOG: i32 = 1024;

/// Whoever may connect to a Unix socket must write to it: the service's user and its group.
const SOCKET_FILE_MODE: u32 = 0o660;

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "{address} is in use{}. Stop that program, or set server.listen (EVENTLOGGER_SERVER__LISTEN) to another address",
        .holder.as_deref().map(|holder| format!(" by {holder}")).unwrap_or_default()
    )]
    InUse { address: ListenAddress, holder: Option<String> },
    #[error(
        "cannot listen on {address}: there is something else than a socket at this path, and it is left alone. \
         Move it away, or set server.listen (EVENTLOGGER_SERVER__LISTEN) to another path"
    )]
    NoSocket { address: ListenAddress },
    #[error("{address} needs a certificate; set server.tls_certificate and server.tls_key")]
    NoCertificate { address: ListenAddress },
    #[error("cannot listen on {address}: {source}")]
    Other { address: ListenAddress, source: io::Error },
    #[error("none of the addresses in server.listen exists on this machine")]
    Nowhere,
}

/// A bound socket that takes connections.
#[derive(Debug)]
pub struct Listener {
    pub socket: Socket,
    /// As bound: with the port that the kernel chose, and saying whether TLS is spoken.
    pub address: ListenAddress,
    /// What an `https://` address speaks.
    pub tls: Option<Arc<Tls>>,
}

#[derive(Debug)]
pub enum Socket {
    Tcp(TcpListener),
    /// The file first, so that it is removed while nobody else can have its inode.
    Unix(SocketFile, UnixListener),
}

/// A socket's name in the file system; dropping this removes it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode, so that nothing is removed that took its place.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours =
            fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            warn!(%error, "cannot remove the socket {}", self.path.display());
        }
    }
}

/// Binds all addresses. One that this machine does not have (no IPv6, say) is skipped as long as another works.
pub fn bind(addresses: &[ListenAddress], tls: Option<&Arc<Tls>>) -> Result<Vec<Listener>, ListenError> {
    let mut listeners = Vec::new();
    for address in addresses {
        let address = &address.resolved(tls.is_some());
        let tls = tls.filter(|_| address.is_https()).cloned();
        if address.is_https() && tls.is_none() {
            return Err(ListenError::NoCertificate { address: address.clone() });
        }
        let bound = match address {
            ListenAddress::Tcp(scheme, tcp) => bind_tcp(*tcp).map(|(listener, bound)| Listener {
                socket: Socket::Tcp(listener),
                address: ListenAddress::Tcp(*scheme, bound),
                tls,
            }),
            ListenAddress::Unix(path) => {
                clear_the_way(path, address)?;
                bind_unix(path).map(|(listener, file)| Listener {
                    socket: Socket::Unix(file, listener),
                    address: address.clone(),
                    tls: None,
                })
            }
        };
        match bound {
            Ok(listener) => listeners.push(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(ListenError::InUse { address: address.clone(), holder: holder_of(address) });
            }
            Err(error) if is_elsewhere(&error) => {
                warn!(%address, %error, "not listening on {address}: this machine does not have it");
            }
            Err(source) => return Err(ListenError::Other { address: address.clone(), source }),
        }
    }
    if listeners.is_empty() { Err(ListenError::Nowhere) } else { Ok(listeners) }
}

fn is_elsewhere(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn bind_tcp(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A port whose last connections are still closing is free to be listened on.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from(socket);
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// The mode is set before the socket listens, so nobody can slip in by the mode that it was made with.
fn bind_unix(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let made = fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.to_owned(), identity: (made.dev(), made.ino()) };
    fs::set_permissions(path, Permissions::from_mode(SOCKET_FILE_MODE))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((UnixListener::from(socket), file))
}

/// Removes the socket of a service that was killed; everything else at the path is an error.
fn clear_the_way(path: &Path, address: &ListenAddress) -> Result<(), ListenError> {
    let other = |source| ListenError::Other { address: address.clone(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(other(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ListenError::NoSocket { address: address.clone() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(other)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Its queue is full, so it has an owner.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(ListenError::InUse { address: address.clone(), holder: holder_of(address) })
        }
        Err(error) => Err(other(error)),
        Ok(_) => Err(ListenError::InUse { address: address.clone(), holder: holder_of(address) }),
    }
}

/// The program that listens on an address, as far as /proc tells this user.
fn holder_of(address: &ListenAddress) -> Option<String> {
    let inodes: Vec<String> = match address {
        ListenAddress::Tcp(_, tcp) => {
            inodes(&["/proc/net/tcp", "/proc/net/tcp6"], |line| listening_inode(line, tcp.port()))
        }
        ListenAddress::Unix(path) => inodes(&["/proc/net/unix"], |line| socket_inode(line, path)),
    };
    let pid = fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid = process.file_name().into_string().ok()?.parse::<u32>().ok()?;
        let sockets = fs::read_dir(process.path().join("fd")).ok()?;
        let holds = sockets.flatten().filter_map(|socket| fs::read_link(socket.path()).ok()).any(|target| {
            inodes.iter().any(|inode| target.as_os_str() == format!("socket:[{inode}]").as_str())
        });
        holds.then_some(pid)
    })?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("{} (pid {pid})", name.trim()))
}

fn inodes(tables: &[&str], inode: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let tables = tables.iter().filter_map(|table| fs::read_to_string(table).ok());
    tables.flat_map(|table| table.lines().filter_map(&inode).collect::<Vec<_>>()).collect()
}

/// The inode of a socket in state LISTEN on `port`, from a line of /proc/net/tcp.
fn listening_inode(line: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let columns: Vec<&str> = line.split_whitespace().collect();
    let (_, local_port) = columns.get(1)?.rsplit_once(':')?;
    let listens = columns.get(3) == Some(&LISTEN) && u16::from_str_radix(local_port, 16) == Ok(port);
    listens.then(|| columns.get(9).map(|inode| (*inode).to_owned())).flatten()
}

/// The inode of a socket that listens at `path`, from a line of /proc/net/unix.
fn socket_inode(line: &str, path: &Path) -> Option<String> {
    const ACCEPTS_CONNECTIONS: u32 = 1 << 16;
    let path = path.to_str()?;
    let columns: Vec<&str> = line.strip_suffix(path)?.split_whitespace().collect();
    let flags = u32::from_str_radix(columns.get(3)?, 16).ok()?;
    let listens = columns.len() == 7 && flags & ACCEPTS_CONNECTIONS != 0;
    listens.then(|| columns[6].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_bind(address: &str) -> Result<Vec<Listener>, ListenError> {
        bind(&[address.parse().unwrap()], None)
    }

    fn own_pid() -> String {
        format!("pid {}", std::process::id())
    }

    /// A folder, and the address of a socket in it.
    fn folder() -> (tempfile::TempDir, PathBuf, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        let address = format!("unix:{}", path.display());
        (folder, path, address)
    }

    #[test]
    fn an_address_in_use_names_the_program_that_listens_there() {
        let taken = try_bind("127.0.0.1:0").unwrap();
        let error = bind(&[taken[0].address.clone()], None).unwrap_err().to_string();
        assert!(error.contains(&own_pid()), "{error}");
        assert!(error.contains("server.listen"), "{error}");
    }

    #[test]
    fn an_address_of_another_machine_alone_is_an_error() {
        assert!(matches!(try_bind("192.0.2.1:0"), Err(ListenError::Nowhere)));
    }

    #[test]
    fn an_address_for_tls_is_not_bound_without_a_certificate() {
        let error = try_bind("https://127.0.0.1:0").unwrap_err().to_string();
        assert!(error.contains("server.tls_certificate"), "{error}");
    }

    #[test]
    fn the_bound_address_has_the_port_that_the_kernel_chose() {
        let bound = try_bind("127.0.0.1:0").unwrap();
        let Socket::Tcp(listener) = &bound[0].socket else { panic!("{bound:?}") };
        assert_ne!(listener.local_addr().unwrap().port(), 0);
        assert_eq!(bound[0].address.to_string(), format!("http://{}", listener.local_addr().unwrap()));
    }

    #[test]
    fn a_socket_is_for_owner_and_group_and_goes_with_its_listener() {
        let (_folder, path, address) = folder();
        let bound = try_bind(&address).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        UnixStream::connect(&path).unwrap();
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_live_socket_is_left_alone_and_its_owner_named() {
        let (_folder, path, address) = folder();
        let _live = try_bind(&address).unwrap();
        let error = try_bind(&address).unwrap_err().to_string();
        assert!(error.contains(&own_pid()) && error.contains(&address), "{error}");
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn the_socket_of_a_killed_service_is_replaced() {
        let (_folder, path, address) = folder();
        // Dropping a bare listener leaves the file, as a kill does.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _bound = try_bind(&address).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn what_is_no_socket_is_never_removed() {
        let (_folder, path, address) = folder();
        fs::write(&path, "precious").unwrap();
        let error = try_bind(&address).unwrap_err().to_string();
        assert!(error.contains("left alone"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

        // Nor is a link followed to a socket elsewhere.
        fs::remove_file(&path).unwrap();
        let elsewhere = path.with_file_name("elsewhere");
        drop(UnixListener::bind(&elsewhere).unwrap());
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(matches!(try_bind(&address), Err(ListenError::NoSocket { .. })));
        assert!(elsewhere.exists());
    }

    #[test]
    fn a_successors_socket_is_not_removed() {
        let (_folder, path, address) = folder();
        let first = try_bind(&address).unwrap();
        fs::remove_file(&path).unwrap();
        let _second = try_bind(&address).unwrap();
        drop(first);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_folder_that_is_missing_is_named_in_the_error() {
        let error = try_bind("unix:/nowhere/http.sock").unwrap_err().to_string();
        assert!(error.contains("unix:/nowhere/http.sock") && error.contains("No such file"), "{error}");
    }
}
