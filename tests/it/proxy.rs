//! A proxy before PostgreSQL that can lose a COMMIT or the answer to it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What happens to the next COMMIT. Faults come in pairs: the transaction is committed, or it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks before COMMIT gets to the database.
    LoseCommit,
    /// The connection breaks after the database has committed.
    LoseAnswer,
    /// COMMIT is held back until `release`; then the connection breaks.
    HoldCommit,
    /// The database commits at once, but its answer is held back until `release`.
    HoldAnswer,
}

pub struct Proxy {
    folder: TempDir,
    armed: Arc<Mutex<Option<Fault>>>,
    release: watch::Sender<bool>,
    accepting: AbortHandle,
}

/// What one connection needs to know.
#[derive(Clone)]
struct Connection {
    upstream: PathBuf,
    armed: Arc<Mutex<Option<Fault>>>,
    released: watch::Receiver<bool>,
}

impl Proxy {
    /// Before the server whose socket is in `folder`, on a socket of the same name.
    pub fn before(folder: &Path, port: u16) -> Self {
        let name = format!(".s.PGSQL.{port}");
        let own = tempfile::Builder::new().prefix("eventlogger-proxy-").tempdir().expect("a folder");
        let listener = UnixListener::bind(own.path().join(&name)).expect("a socket");
        let armed = Arc::new(Mutex::new(None));
        let (release, released) = watch::channel(false);
        let connection = Connection { upstream: folder.join(name), armed: Arc::clone(&armed), released };
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection.clone().serve(client));
            }
        });
        Self { folder: own, armed, release, accepting: accepting.abort_handle() }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The next COMMIT on any connection meets this fault.
    pub fn arm(&self, fault: Fault) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    pub fn release(&self) {
        self.release.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Connection {
    /// Ends with the first error, which closes both sides.
    async fn serve(mut self, mut client: UnixStream) -> io::Result<()> {
        let mut server = UnixStream::connect(&self.upstream).await?;
        let (mut question, mut answer) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        loop {
            tokio::select! {
                read = client.read(&mut question) => {
                    let question = some(&question, read?)?;
                    match self.fault_for(question) {
                        None => server.write_all(question).await?,
                        Some(Fault::LoseCommit) => return Ok(()),
                        Some(Fault::HoldCommit) => return self.released().await,
                        Some(fault) => {
                            server.write_all(question).await?;
                            let read = server.read(&mut answer).await?;
                            if fault == Fault::LoseAnswer {
                                return Ok(());
                            }
                            self.released().await?;
                            client.write_all(some(&answer, read)?).await?;
                        }
                    }
                }
                read = server.read(&mut answer) => client.write_all(some(&answer, read?)?).await?,
            }
        }
    }

    fn fault_for(&self, question: &[u8]) -> Option<Fault> {
        let is_commit = question.first() == Some(&b'Q') && question.ends_with(b"COMMIT\0");
        is_commit.then(|| self.armed.lock().unwrap_or_else(PoisonError::into_inner).take()).flatten()
    }

    async fn released(&mut self) -> io::Result<()> {
        self.released.wait_for(|released| *released).await.map(drop).map_err(io::Error::other)
    }
}

fn some(buffer: &[u8], read: usize) -> io::Result<&[u8]> {
    if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(&buffer[..read]) }
}
