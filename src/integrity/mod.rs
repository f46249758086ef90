//! What makes a log provable: its tree heads are signed, what was signed is remembered outside PostgreSQL, and
//! proofs are read from its tiles.
//!
//! Nothing is signed that does not go on from what was signed before: see [`Integrity::admit`].

mod handover;
mod key;
mod latch;
mod prove;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{PgConnection, PgExecutor, PgPool};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{error, warn};

use crate::auth::Tenant;
use crate::merkle::{Hash, empty_root, root_nodes, tiles_needed, verify_consistency};
use crate::store::log::{self, Head};
use crate::store::log_keys::LogKey;
use crate::store::principals::{DEFAULT_TENANT, find_tenant};
use crate::store::{Store, checkpoints, log_keys, settings, tree};
use crate::tlog::{Checkpoint, Policy, SigningKey, VerifierKey, note};
use handover::Place;
use latch::Latch;

pub use handover::NextKey;
pub use key::{KeyError, KeySource};
pub use prove::{ConsistencyProof, ProveError, Proved};

/// The name under `settings` of what the names of all logs begin with.
const BASE: &str = "origin";
/// How often what was signed is put on disk, and looked through for checkpoints to store.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// How long a service waits for the one before it to let go of the latch.
const PREDECESSOR_MAY_TAKE: Duration = Duration::from_secs(3);

#[derive(Clone)]
pub struct Settings {
    /// What the names of new installations' logs begin with; empty for a random one.
    pub origin: String,
    pub key: KeySource,
    /// The file in which another key waits until all logs have it.
    pub next_key: PathBuf,
    /// Where what was signed is remembered; each folder has all of it.
    pub latch_folders: Vec<PathBuf>,
    /// Folders that another process holds are read, and not written to.
    pub may_join: bool,
}

/// A tree head and its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    pub epoch: i32,
    pub size: u64,
    pub root: Hash,
    /// The checkpoint, a signed note.
    pub note: Arc<str>,
}

/// Signs the tree heads of one log in one epoch.
#[derive(Clone, Debug)]
pub struct LogSigner {
    key: SigningKey,
    epoch: i32,
}

/// Why a log is not signed, and so not written either. The texts are for operators and say what to do.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Key(#[from] Arc<KeyError>),
    #[error(
        "the database is older than its last signed state: {signed} entries were signed and {found} are there. Was a \
         backup restored, or a standby promoted that lagged behind? Bring the newer database back, or declare the \
         loss with: eventlogger epoch open --reason TEXT"
    )]
    Behind { signed: u64, found: u64 },
    #[error(
        "the database contradicts its last signed state: its first {signed} entries are not those that were signed. \
         Find out what changed it before anything else: eventlogger verify"
    )]
    Contradicted { signed: u64 },
    #[error(
        "epoch {0} of the log has no signed beginning, so neither `eventlogger epoch open` nor `eventlogger key \
         change` began it"
    )]
    Undeclared(i32),
    #[error("what was signed last cannot be remembered in {}: {source}", file.display())]
    Forgetful { file: PathBuf, source: std::io::Error },
    #[error(
        "{} says what was signed last, but none of it has the signature of this instance's key. Bring the file back \
         from a backup; only if that cannot be, remove it, and with it the means to notice a database that is too old",
        file.display()
    )]
    Unreadable { file: PathBuf },
    #[error("the database cannot be read: {0}")]
    Database(#[from] sqlx::Error),
}

impl Refusal {
    /// A stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Key(_) => "signing_key",
            Self::Behind { .. } => "database_behind",
            Self::Contradicted { .. } | Self::Undeclared(_) => "database_contradicted",
            Self::Forgetful { .. } | Self::Unreadable { .. } => "latch",
            Self::Database(_) => "database_unavailable",
        }
    }
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum IntegrityError {
    #[error("cannot read how this installation's logs are called: {0}")]
    Database(#[from] sqlx::Error),
    #[error(
        "integrity.origin is {configured:?}, but the logs of this database are called {stored:?}: names cannot be \
         changed, as they are part of every checkpoint. Remove the setting"
    )]
    Renamed { configured: String, stored: String },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the operating system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    #[error("cannot use the folder {} for what was signed: {source}", folder.display())]
    Folder { folder: PathBuf, source: std::io::Error },
    #[error(
        "another EventLogger keeps what it signs in {}: every instance needs a data folder (data_dir) and, where it \
         is set, an integrity.second_latch_dir of its own",
        folder.display()
    )]
    LatchInUse { folder: PathBuf },
}

/// Signs, remembers and proves, for all logs of the installation.
pub struct Integrity {
    store: Store,
    base: String,
    /// What the keys of all logs are derived from; or why this instance may not sign.
    key: Result<SigningKey, Arc<KeyError>>,
    place: Place,
    latch: Latch,
}

impl Integrity {
    /// An instance that must not sign starts all the same: it can still be read from.
    pub async fn open(store: Store, settings: Settings) -> Result<Self, IntegrityError> {
        let base = base(&store.control, &settings.origin).await?;
        let key = settle_key(&store, &settings.key, &base).await?;
        if let Err(error) = &key {
            error!(%error, "nothing can be recorded: {error}");
        }
        let latch = open_latch(&settings).await?;
        let place = Place { present: settings.key, next: settings.next_key };
        Ok(Self { store, base, key, place, latch })
    }

    /// What a log is called in its checkpoints.
    pub fn origin(&self, tenant: &str, epoch: i32) -> String {
        origin(&self.base, tenant, epoch)
    }

    pub fn signer(&self, tenant: &Tenant, epoch: i32) -> Result<LogSigner, Refusal> {
        let key = self.key.as_ref().map_err(Arc::clone)?;
        let key = key::of_log(key, &self.origin(&tenant.name, epoch)).map_err(Arc::new)?;
        Ok(LogSigner { key, epoch })
    }

    /// Whether this instance may go on from the log as the database has it: with its key, and from where the log was
    /// when it was last signed. The caller holds the head's lock.
    pub async fn admit(
        &self,
        connection: &mut PgConnection,
        tenant: &Tenant,
        head: &Head,
    ) -> Result<LogSigner, Refusal> {
        let signer = self.signer(tenant, head.epoch)?;
        self.register(connection, tenant, head, signer.verifier()).await?;
        let signed = self.last_signed(&mut *connection, tenant).await?;
        let Head { epoch, size, root, .. } = head;
        self.check_continues(connection, tenant, signed, (*epoch, *size, root)).await?;
        Ok(signer)
    }

    /// Whether this instance has neither signed nor seen anything further of the log than that.
    pub fn is_last_signed(&self, tenant: &Tenant, epoch: i32, size: u64, root: &Hash) -> bool {
        self.latch.is_furthest(tenant, epoch, size, root)
    }

    /// The furthest state of a log that this machine knows of.
    pub async fn last_signed(
        &self,
        executor: impl PgExecutor<'_>,
        tenant: &Tenant,
    ) -> Result<Option<SignedHead>, Refusal> {
        // Without the key nothing could be told of what the files say.
        self.key.as_ref().map_err(Arc::clone)?;
        match self.latch.read(tenant, |note| self.open_note(tenant, note, &[])) {
            // From before the key was changed, perhaps.
            Err(Refusal::Unreadable { .. }) => {
                let former = registered(executor, tenant).await?;
                self.latch.read(tenant, |note| self.open_note(tenant, note, &former))
            }
            read => read,
        }
    }

    /// This instance's own keys of a log, for all epochs that it has signed or could have. Not for those whose registered
    /// key is one of the `replaced`, which the log itself says it had before; nor for the present one if this instance's
    /// key handed over to another.
    pub async fn policy(
        &self,
        connection: &mut PgConnection,
        tenant: &Tenant,
        registered: &[LogKey],
        replaced: &[String],
    ) -> Result<Policy, Refusal> {
        let epochs: BTreeSet<_> = registered.iter().map(|key| key.epoch).collect();
        let is_replaced =
            |epoch| registered.iter().any(|key| key.epoch == epoch && replaced.contains(&key.vkey));
        let mut text = String::new();
        for &epoch in &epochs {
            if !is_replaced(epoch)
                && !self.handed_over(connection, tenant, epoch, epochs.range(..epoch).copied()).await?
            {
                text += &format!("log {}\n", self.signer(tenant, epoch)?.verifier());
            }
        }
        text += "quorum none\n";
        Ok(Policy::parse(text.as_bytes())
            .unwrap_or_else(|_| unreachable!("each log has a sound key of its own")))
    }

    /// Remembers what was signed, before anybody else gets to see it; returns the furthest that is known then. If that
    /// is another, or after an error, the log has to be admitted again before more is signed.
    pub fn remember(&self, tenant: &Tenant, head: &SignedHead) -> Result<SignedHead, Refusal> {
        self.latch.advance(tenant, head)
    }

    /// The keys of all logs come from one; the first instance to write to any of them settles which.
    async fn register(
        &self,
        connection: &mut PgConnection,
        tenant: &Tenant,
        head: &Head,
        own: &VerifierKey,
    ) -> Result<(), Refusal> {
        let is_registered = log_keys::active(connection, tenant.id, head.epoch).await?.is_some();
        if !is_registered {
            log_keys::lock(connection).await?;
        }
        self.check_key(connection, tenant, head.epoch).await?;
        if !is_registered {
            log_keys::register(connection, tenant.id, head.epoch, &own.to_string(), head.size).await?;
        }
        Ok(())
    }

    /// This instance's key must be the one that is registered for the log; or, if none is, for any other.
    async fn check_key(
        &self,
        connection: &mut PgConnection,
        tenant: &Tenant,
        epoch: i32,
    ) -> Result<(), Refusal> {
        let key = self.key.as_ref().map_err(Arc::clone)?;
        let registered = match log_keys::active(connection, tenant.id, epoch).await? {
            None => log_keys::any_active(connection).await?,
            known => known,
        };
        Ok(key::check(key, registered.as_deref()).map_err(Arc::new)?)
    }

    /// The log in the database, of that epoch, size and root, must go on from what was signed last. It is not enough that
    /// the root of back then can still be computed: what is to be signed now might not have it inside.
    async fn check_continues(
        &self,
        connection: &mut PgConnection,
        tenant: &Tenant,
        signed: Option<SignedHead>,
        (epoch, size, root): (i32, u64, &Hash),
    ) -> Result<(), Refusal> {
        let Some(mut signed) = signed else { return Ok(()) };
        let found = (epoch, size, root);
        if signed.epoch < epoch {
            let beginning = self.beginning(connection, tenant, epoch).await?;
            // Declared it is; but whoever declared it need not have known of as much as this instance.
            if let Err(refusal) = check_has(connection, tenant, &signed, found).await {
                error!(
                    tenant = tenant.name, last_signed = %signed.note,
                    "epoch {epoch} of the log of {} begins without {} entries that this instance knows to have been \
                     signed: {refusal}", tenant.name, signed.size
                );
            }
            signed = beginning;
        }
        check_has(connection, tenant, &signed, found).await
    }

    /// With what a declared epoch begins. Whoever can write to the database only cannot declare one.
    async fn beginning(
        &self,
        connection: &mut PgConnection,
        tenant: &Tenant,
        epoch: i32,
    ) -> Result<SignedHead, Refusal> {
        let note = checkpoints::first_of_epoch(connection, tenant.id, epoch).await?;
        let first = note.and_then(|note| self.open_note(tenant, &note, &[]));
        first.filter(|first| first.epoch == epoch).ok_or(Refusal::Undeclared(epoch))
    }

    /// A checkpoint of the tenant's log, if this instance's key has signed it, or one of those.
    fn open_note(&self, tenant: &Tenant, note: &str, others: &[VerifierKey]) -> Option<SignedHead> {
        let origin = note.lines().next()?;
        let epoch = self.epoch_of(&tenant.name, origin)?;
        let own = self.key.as_ref().ok().and_then(|key| key::of_log(key, origin).ok());
        let keys: Vec<_> = own.iter().map(SigningKey::verifier).chain(others).cloned().collect();
        let Checkpoint { size, root, .. } = Checkpoint::open(note, &keys).ok()?;
        Some(SignedHead { epoch, size, root, note: note.into() })
    }

    fn epoch_of(&self, tenant: &str, origin: &str) -> Option<i32> {
        let rest = origin.strip_prefix(&self.origin(tenant, 0))?;
        let epoch = if rest.is_empty() { 0 } else { rest.strip_prefix("/e")?.parse().ok()? };
        (self.origin(tenant, epoch) == origin).then_some(epoch)
    }

    /// Puts on disk what was signed, and a checkpoint a minute into the database, until `stop` completes.
    pub async fn keep(self: Arc<Self>, stop: impl Future<Output = ()>) {
        let mut ticks = interval(KEEP_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.sync_and_store(false).await,
                () = &mut stop => break,
            }
        }
    }

    /// When the last event has been recorded: nothing that was signed is left in memory alone.
    pub async fn keep_all(self: &Arc<Self>) {
        self.sync_and_store(true).await;
    }

    async fn sync_and_store(self: &Arc<Self>, at_the_end: bool) {
        let this = Arc::clone(self);
        let synced = tokio::task::spawn_blocking(move || this.latch.sync()).await;
        if let Ok(Err(error)) = synced {
            warn!(%error, "{error}");
        }
        for (tenant_id, head) in self.latch.take_due(at_the_end) {
            let stored = checkpoints::store(
                &self.store.control,
                tenant_id,
                (head.epoch, head.size),
                &head.note,
                at_the_end,
            );
            if let Err(error) = stored.await {
                warn!(%error, "a checkpoint was not stored");
            }
        }
    }
}

impl LogSigner {
    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    pub fn verifier(&self) -> &VerifierKey {
        self.key.verifier()
    }

    /// The note of a head that another has signed, signed by this log too: that it goes on as the other.
    pub fn countersign(&self, head: &SignedHead) -> String {
        let signed = note::text(&head.note).and_then(|text| self.key.signature_line(text));
        let both = signed.and_then(|line| note::append(&head.note, &line));
        both.unwrap_or_else(|_| unreachable!("a signed head is a sound note"))
    }

    pub fn sign(&self, size: u64, root: Hash) -> SignedHead {
        let checkpoint = Checkpoint { origin: self.key.name().to_owned(), size, root };
        let note =
            checkpoint.sign(&self.key).unwrap_or_else(|_| unreachable!("a key's own name is a sound origin"));
        SignedHead { epoch: self.epoch, size, root, note: note.into() }
    }
}

/// The key that this instance signs with; or why, though there is one to be had, it may not sign. The first instance to
/// start registers its key, and others wait for that, so that none makes or uses another.
async fn settle_key(
    store: &Store,
    source: &KeySource,
    base: &str,
) -> Result<Result<SigningKey, Arc<KeyError>>, IntegrityError> {
    // Before the transaction: there may be a single connection.
    let tenant = find_tenant(&store.control, DEFAULT_TENANT).await?;
    let mut transaction = store.control.begin().await?;
    log_keys::lock(&mut transaction).await?;
    let registered = log_keys::any_active(&mut transaction).await?;
    let key = match key::load(source, base, registered.as_deref()) {
        Ok(key) => key,
        Err(error) if error.is_about_another_key() => return Ok(Err(Arc::new(error))),
        Err(error) => return Err(error.into()),
    };
    if let (None, Some(tenant)) = (registered, tenant) {
        let (epoch, size) = log::position(&mut *transaction, tenant.tenant_id).await?;
        let own = key::of_log(&key, &origin(base, &tenant.name, epoch))?;
        let vkey = own.verifier().to_string();
        log_keys::register(&mut transaction, tenant.tenant_id, epoch, &vkey, size).await?;
    }
    transaction.commit().await?;
    Ok(Ok(key))
}

/// The log of that epoch, size and root must have all that was signed.
async fn check_has(
    connection: &mut PgConnection,
    tenant: &Tenant,
    signed: &SignedHead,
    (epoch, size, root): (i32, u64, &Hash),
) -> Result<(), Refusal> {
    if signed.epoch > epoch || signed.size > size {
        return Err(Refusal::Behind { signed: signed.size, found: size });
    }
    let proof = prove::consistency(connection, tenant.id, signed.size, size).await?;
    verify_consistency(signed.size, &signed.root, size, root, &proof)
        .map_err(|_| Refusal::Contradicted { signed: signed.size })
}

/// The public keys that a log ever had, in the database's words.
async fn registered(executor: impl PgExecutor<'_>, tenant: &Tenant) -> Result<Vec<VerifierKey>, sqlx::Error> {
    let vkeys = log_keys::vkeys(executor, tenant.id).await?;
    Ok(vkeys.iter().filter_map(|vkey| vkey.parse().ok()).collect())
}

fn origin(base: &str, tenant: &str, epoch: i32) -> String {
    match epoch {
        0 => format!("{base}/{tenant}"),
        _ => format!("{base}/{tenant}/e{epoch}"),
    }
}

/// The root over the first `size` entries, from what is stored of them.
async fn root_at(connection: &mut PgConnection, tenant_id: i32, size: u64) -> Result<Hash, sqlx::Error> {
    let nodes = root_nodes(size);
    if nodes.is_empty() {
        return Ok(empty_root());
    }
    let tiles = tree::tiles(connection, tenant_id, size, tiles_needed(nodes.iter().copied())).await?;
    tiles.fold(&nodes).ok_or_else(|| sqlx::Error::Decode("the stored tiles do not make a tree".into()))
}

/// A service that is just ending is waited for.
async fn open_latch(settings: &Settings) -> Result<Latch, IntegrityError> {
    let given_up = Instant::now() + PREDECESSOR_MAY_TAKE;
    loop {
        match Latch::open(settings.latch_folders.clone(), settings.may_join) {
            Err(IntegrityError::LatchInUse { .. }) if Instant::now() < given_up => {
                sleep(PREDECESSOR_MAY_TAKE / 50).await;
            }
            opened => return opened,
        }
    }
}

/// What the names of all logs begin with: settled by the first instance to start.
async fn base(control: &PgPool, configured: &str) -> Result<String, IntegrityError> {
    let fresh = match configured {
        "" => random_base()?,
        configured => configured.to_owned(),
    };
    let stored = settings::get_or_insert(control, BASE, fresh.as_bytes()).await?;
    let stored = String::from_utf8_lossy(&stored).into_owned();
    if !configured.is_empty() && configured != stored {
        return Err(IntegrityError::Renamed { configured: configured.to_owned(), stored });
    }
    Ok(stored)
}

fn random_base() -> Result<String, getrandom::Error> {
    let mut random = [0; 8];
    getrandom::fill(&mut random)?;
    Ok(format!("eventlogger.local/{:016x}", u64::from_be_bytes(random)))
}
