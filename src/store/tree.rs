//! A log's tree as it is stored: full tiles, and the entries and tile roots that unfinished tiles are made of.
//!
//! All of it is insert-only, so what is read for a size is the same in whatever statement it is read.

use std::collections::BTreeSet;

use sqlx::PgConnection;

use super::values::{corrupt, hash, signed};
use crate::merkle::{Hash, TILE_WIDTH, TileId, Tiles, leaf_hash};

/// The tiles, as far as a tree of `size` leaves has them.
pub async fn tiles(
    connection: &mut PgConnection,
    tenant_id: i32,
    size: u64,
    ids: BTreeSet<TileId>,
) -> Result<Tiles, sqlx::Error> {
    let mut tiles = Tiles::default();
    for id in ids {
        tiles.insert(id, tile(connection, tenant_id, size, id).await?);
    }
    Ok(tiles)
}

/// The hashes of a tile, as far as a tree of `size` leaves has them.
pub async fn tile(
    connection: &mut PgConnection,
    tenant_id: i32,
    size: u64,
    id: TileId,
) -> Result<Vec<Hash>, sqlx::Error> {
    let width = id.width(size);
    let hashes = match (width, id.level) {
        (TILE_WIDTH, _) => full(connection, tenant_id, id).await?,
        (_, 0) => {
            let entries = entries(connection, tenant_id, id.index, width).await?;
            entries.iter().map(|entry| leaf_hash(entry)).collect()
        }
        (_, level) => roots(connection, tenant_id, level - 1, id.index, width).await?,
    };
    if hashes.len() == width { Ok(hashes) } else { Err(corrupt("a tile is missing or has the wrong width")) }
}

async fn full(connection: &mut PgConnection, tenant_id: i32, id: TileId) -> Result<Vec<Hash>, sqlx::Error> {
    let data = sqlx::query_scalar!(
        "SELECT data FROM tiles WHERE tenant_id = $1 AND level = $2 AND index = $3",
        tenant_id,
        i16::from(id.level),
        signed(id.index)
    )
    .fetch_optional(connection)
    .await?;
    data.unwrap_or_default().chunks(32).map(hash).collect()
}

/// The first `width` hashes of the tile above tiles of `level`.
async fn roots(
    connection: &mut PgConnection,
    tenant_id: i32,
    level: u8,
    index: u64,
    width: usize,
) -> Result<Vec<Hash>, sqlx::Error> {
    let first = index * TILE_WIDTH as u64;
    let roots = sqlx::query_scalar!(
        "SELECT root FROM tiles WHERE tenant_id = $1 AND level = $2 AND index >= $3 AND index < $4 ORDER BY index",
        tenant_id,
        i16::from(level),
        signed(first),
        signed(first + width as u64)
    )
    .fetch_all(connection)
    .await?;
    roots.iter().map(|root| hash(root)).collect()
}

/// The first `width` entries under a tile of level 0. The times in it and in the one before spare the other
/// partitions.
pub async fn entries(
    connection: &mut PgConnection,
    tenant_id: i32,
    index: u64,
    width: usize,
) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    let first = index * TILE_WIDTH as u64;
    sqlx::query_scalar!(
        r#"SELECT entry FROM events
           WHERE tenant_id = $1 AND seq >= $2 AND seq < $3
             AND received_at >= COALESCE((SELECT last_received_at FROM tiles
                  WHERE tenant_id = $1 AND level = 0 AND index = $4::bigint - 1), '-infinity')
             AND received_at <= COALESCE((SELECT last_received_at FROM tiles
                  WHERE tenant_id = $1 AND level = 0 AND index = $4), 'infinity')
           ORDER BY seq"#,
        tenant_id,
        signed(first),
        signed(first + width as u64),
        signed(index)
    )
    .fetch_all(connection)
    .await
}
