//! Listening sockets, and a useful answer when an address is taken.

use std::net::{SocketAddr, TcpListener};
use std::{fs, io};

use tracing::warn;

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "{address} is in use{}. Stop that program, or set server.listen (EVENTLOGGER_SERVER__LISTEN) to another address",
        .holder.as_deref().map(|holder| format!(" by {holder}")).unwrap_or_default()
    )]
    InUse { address: SocketAddr, holder: Option<String> },
    #[error("cannot listen on {address}: {source}")]
    Other { address: SocketAddr, source: io::Error },
    #[error("none of the addresses in server.listen exists on this machine")]
    Nowhere,
}

/// Binds all addresses. One that this machine does not have (no IPv6, say) is skipped as long as another works.
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, ListenError> {
    let mut listeners = Vec::new();
    for &address in addresses {
        match TcpListener::bind(address) {
            Ok(listener) => {
                listener.set_nonblocking(true).map_err(|source| ListenError::Other { address, source })?;
                listeners.push(listener);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(ListenError::InUse { address, holder: holder_of(address.port()) });
            }
            Err(error)
                if error.kind() == io::ErrorKind::AddrNotAvailable
                    || error.raw_os_error() == Some(libc::EAFNOSUPPORT) =>
            {
                warn!(%address, %error, "not listening on {address}: this machine does not have it");
            }
            Err(source) => return Err(ListenError::Other { address, source }),
        }
    }
    if listeners.is_empty() { Err(ListenError::Nowhere) } else { Ok(listeners) }
}

/// The program that listens on a local port, as far as /proc tells this user.
fn holder_of(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(|line| listening_inode(line, port)).collect::<Vec<_>>())
        .collect();
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

/// The inode of a socket in state LISTEN on `port`, from a line of /proc/net/tcp.
fn listening_inode(line: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let columns: Vec<&str> = line.split_whitespace().collect();
    let (_, local_port) = columns.get(1)?.rsplit_once(':')?;
    let listens = columns.get(3) == Some(&LISTEN) && u16::from_str_radix(local_port, 16) == Ok(port);
    listens.then(|| columns.get(9).map(|inode| (*inode).to_owned())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_names_the_program_that_listens_there() {
        let taken = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = taken[0].local_addr().unwrap();
        let error = bind(&[address]).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        assert!(error.contains("server.listen"), "{error}");
    }

    #[test]
    fn an_address_of_another_machine_alone_is_an_error() {
        assert!(matches!(bind(&["192.0.2.1:0".parse().unwrap()]), Err(ListenError::Nowhere)));
    }
}
