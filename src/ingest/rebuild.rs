//! Reading a log's tree back: what a writer does when its memory and the head disagree.

use sqlx::PgConnection;

use crate::event::{Entry, Timestamp};
use crate::merkle::{Hash, TILE_WIDTH, Tree, leaf_hash, tile_width};
use crate::store::log::{self, Head};

pub(super) enum RebuildError {
    Database(sqlx::Error),
    Inconsistent(&'static str),
}

impl From<sqlx::Error> for RebuildError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// A tree, and when the first event of its unfinished level-0 tile was received.
pub(super) type Rebuilt = (Tree, Option<Timestamp>);

/// The tree under `head`, whose lock the caller holds. At most 255 entries and 255 roots a level are read.
pub(super) async fn read(
    connection: &mut PgConnection,
    tenant_id: i32,
    head: &Head,
) -> Result<Rebuilt, RebuildError> {
    let (leaves, tile_start) = tail(connection, tenant_id, head).await?;
    let mut partial = vec![leaves];
    let mut full_below = head.size / TILE_WIDTH as u64;
    let mut level = 0_u8;
    while full_below > 0 {
        let width = tile_width(head.size, usize::from(level) + 1);
        let roots = log::tile_roots_from(connection, tenant_id, level, full_below - width as u64).await?;
        if roots.len() != width {
            return Err(RebuildError::Inconsistent("a tile is missing"));
        }
        partial.push(roots);
        full_below /= TILE_WIDTH as u64;
        level += 1;
    }
    let tree = Tree::restore(head.size, &head.frontier, partial)
        .map_err(|_| RebuildError::Inconsistent("frontier and tiles do not belong together"))?;
    if tree.root() != head.root {
        return Err(RebuildError::Inconsistent("the frontier does not hash to the root"));
    }
    Ok((tree, tile_start))
}

/// Leaf hashes of the partial level-0 tile, and when its first event was received.
async fn tail(
    connection: &mut PgConnection,
    tenant_id: i32,
    head: &Head,
) -> Result<(Vec<Hash>, Option<Timestamp>), RebuildError> {
    let width = tile_width(head.size, 0);
    if width == 0 {
        return Ok((Vec::new(), None));
    }
    let first_seq = head.size - width as u64;
    let since = match first_seq / TILE_WIDTH as u64 {
        0 => None,
        full => log::tile_end(connection, tenant_id, full - 1).await?,
    };
    let entries = log::entries_from(connection, tenant_id, first_seq, since).await?;
    if entries.len() != width {
        return Err(RebuildError::Inconsistent("an event of the last tile is missing"));
    }
    let start = Entry::parse(&entries[0]).map(|entry| entry.received_at);
    Ok((entries.iter().map(|entry| leaf_hash(entry)).collect(), start))
}
