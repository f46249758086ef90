//! Proofs, read from the tiles of a log.

use sqlx::PgConnection;

use super::{Integrity, Refusal, SignedHead, root_at};
use crate::auth::Tenant;
use crate::merkle::{Hash, Node, TileId, consistency_nodes, inclusion_nodes, tiles_needed};
use crate::store::{bounded, living_session, log, tree};

/// Leaves whose paths are read from the same tiles in one go: at 256 hashes a tile, a few megabytes at worst.
const PATHS_AT_ONCE: usize = 256;

/// Where leaves are in the log, shown against one checkpoint.
#[derive(Clone, Debug)]
pub struct Proved {
    pub head: SignedHead,
    /// For each leaf that was asked for.
    pub paths: Vec<Vec<Hash>>,
}

/// That one tree head is the continuation of another.
#[derive(Clone, Debug)]
pub struct ConsistencyProof {
    pub first_root: Hash,
    pub second_root: Hash,
    pub hashes: Vec<Hash>,
}

#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    #[error("the log has only {size} entries")]
    Beyond { size: u64 },
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<sqlx::Error> for ProveError {
    fn from(error: sqlx::Error) -> Self {
        Self::Refused(error.into())
    }
}

impl Integrity {
    /// The current checkpoint of a log.
    ///
    /// What a lane of this instance committed, it has signed itself. What another instance did is signed here as
    /// well, once it is seen to go on from what is known; never on the head's word alone.
    pub async fn checkpoint(&self, tenant: &Tenant) -> Result<SignedHead, Refusal> {
        bounded(&self.store.query, self.read_checkpoint(tenant)).await
    }

    async fn read_checkpoint(&self, tenant: &Tenant) -> Result<SignedHead, Refusal> {
        // Before the head is read: what a lane signs in between is no sign of a database that fell behind.
        let signed = self.last_signed(&self.store.query, tenant).await?;
        let mut connection = living_session(&self.store.query).await?;
        let (epoch, size) = log::position(&mut *connection, tenant.id).await?;
        if let Some(signed) = &signed
            && (signed.epoch, signed.size) == (epoch, size)
        {
            return Ok(signed.clone());
        }
        let signer = self.signer(tenant, epoch)?;
        self.check_key(&mut connection, tenant, epoch).await?;
        let root = root_at(&mut connection, tenant.id, size).await?;
        self.check_continues(&mut connection, tenant, signed, (epoch, size, &root)).await?;
        // If a lane has been faster, its head is as good, and further.
        self.remember(tenant, &signer.sign(size, root))
    }

    /// Where these entries are in the log, against its current checkpoint.
    pub async fn prove(&self, tenant: &Tenant, seqs: &[u64]) -> Result<Proved, ProveError> {
        let head = self.checkpoint(tenant).await?;
        let paths = self.paths(tenant, head.size, seqs).await?;
        Ok(Proved { head, paths })
    }

    /// Where these entries are in the log of `size` entries, which it has.
    pub async fn paths(
        &self,
        tenant: &Tenant,
        size: u64,
        seqs: &[u64],
    ) -> Result<Vec<Vec<Hash>>, ProveError> {
        let mut paths = Vec::with_capacity(seqs.len());
        for seqs in seqs.chunks(PATHS_AT_ONCE) {
            let nodes: Option<Vec<_>> = seqs.iter().map(|&seq| inclusion_nodes(seq, size)).collect();
            let nodes = nodes.ok_or(ProveError::Beyond { size })?;
            paths.extend(bounded(&self.store.query, self.hashes(tenant.id, size, &nodes)).await?);
        }
        Ok(paths)
    }

    async fn hashes(
        &self,
        tenant_id: i32,
        size: u64,
        proofs: &[Vec<Vec<Node>>],
    ) -> Result<Vec<Vec<Hash>>, ProveError> {
        let mut connection = living_session(&self.store.query).await?;
        Ok(hashes(&mut connection, tenant_id, size, proofs).await?)
    }

    /// That the log of `second` entries begins with the log of `first` entries.
    pub async fn consistency(
        &self,
        tenant: &Tenant,
        first: u64,
        second: u64,
    ) -> Result<ConsistencyProof, ProveError> {
        bounded(&self.store.query, self.read_consistency(tenant, first, second)).await
    }

    async fn read_consistency(
        &self,
        tenant: &Tenant,
        first: u64,
        second: u64,
    ) -> Result<ConsistencyProof, ProveError> {
        let mut connection = living_session(&self.store.query).await?;
        let (_, size) = log::position(&mut *connection, tenant.id).await?;
        if first > second || second > size {
            return Err(ProveError::Beyond { size });
        }
        Ok(ConsistencyProof {
            first_root: root_at(&mut connection, tenant.id, first).await?,
            second_root: root_at(&mut connection, tenant.id, second).await?,
            hashes: consistency(&mut connection, tenant.id, first, second).await?,
        })
    }

    /// The first `width` hashes of a tile; all that there are if no width is given, provided that it is full.
    pub async fn tile(&self, tenant: &Tenant, id: TileId, width: usize) -> Result<Vec<Hash>, ProveError> {
        bounded(&self.store.query, self.read_tile(tenant, id, width)).await
    }

    async fn read_tile(&self, tenant: &Tenant, id: TileId, width: usize) -> Result<Vec<Hash>, ProveError> {
        let mut connection = living_session(&self.store.query).await?;
        let size = self.size_with(&mut connection, tenant, id, width).await?;
        let mut hashes = tree::tile(&mut connection, tenant.id, size, id).await?;
        hashes.truncate(width);
        Ok(hashes)
    }

    /// The first `width` entries under a tile of level 0.
    pub async fn entries(
        &self,
        tenant: &Tenant,
        index: u64,
        width: usize,
    ) -> Result<Vec<Vec<u8>>, ProveError> {
        bounded(&self.store.query, self.read_entries(tenant, index, width)).await
    }

    async fn read_entries(
        &self,
        tenant: &Tenant,
        index: u64,
        width: usize,
    ) -> Result<Vec<Vec<u8>>, ProveError> {
        let mut connection = living_session(&self.store.query).await?;
        self.size_with(&mut connection, tenant, TileId { level: 0, index }, width).await?;
        let entries = tree::entries(&mut connection, tenant.id, index, width).await?;
        // It will be cached for good.
        match entries.len() == width {
            true => Ok(entries),
            false => Err(sqlx::Error::Decode("entries under a tile are missing".into()).into()),
        }
    }

    /// The size of the log, if it has that much of the tile.
    async fn size_with(
        &self,
        connection: &mut PgConnection,
        tenant: &Tenant,
        id: TileId,
        width: usize,
    ) -> Result<u64, ProveError> {
        let (_, size) = log::position(connection, tenant.id).await?;
        if id.width(size) < width { Err(ProveError::Beyond { size }) } else { Ok(size) }
    }
}

/// The hashes of several proofs.
async fn hashes(
    connection: &mut PgConnection,
    tenant_id: i32,
    size: u64,
    proofs: &[Vec<Vec<Node>>],
) -> Result<Vec<Vec<Hash>>, sqlx::Error> {
    let needed = tiles_needed(proofs.iter().flatten().flatten().copied());
    let tiles = tree::tiles(connection, tenant_id, size, needed).await?;
    let paths: Option<_> = proofs.iter().map(|nodes| tiles.path(nodes)).collect();
    paths.ok_or_else(|| sqlx::Error::Decode("the stored tiles do not make a tree".into()))
}

/// The hashes of a consistency proof from what is stored of the log of `second` entries.
pub(super) async fn consistency(
    connection: &mut PgConnection,
    tenant_id: i32,
    first: u64,
    second: u64,
) -> Result<Vec<Hash>, sqlx::Error> {
    let nodes = consistency_nodes(first, second).unwrap_or_default();
    Ok(hashes(connection, tenant_id, second, &[nodes]).await?.pop().unwrap_or_default())
}
