//! A log's tree as it is stored: full tiles, and the entries and tile roots that unfinished tiles are made of.
//!
//! All of it is insert-only, so what is read for a size is the same in whatever statement it is read.

use std::collections::BTreeSet;

use sqlx::PgConnection;

use super::values::{corrupt, hash, signed};
use crate::merkle::{Hash, TILE_WIDTH, TileId, Tiles, leaf_hash};

/// The tiles, as far as a tree of `size` leaves has them: the full ones, of which there may be thousands, at once.
pub async fn tiles(
    connection: &mut PgConnection,
    tenant_id: i32,
    size: u64,
    ids: BTreeSet<TileId>,
) -> Result<Tiles, sqlx::Error> {
    let (full_ones, partial): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| id.width(size) == TILE_WIDTH);
    let mut tiles = Tiles::default();
    for (id, hashes) in full(connection, tenant_id, &full_ones).await? {
        tiles.insert(id, whole(hashes, TILE_WIDTH)?);
    }
    for id in partial {
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
        (TILE_WIDTH, _) => {
            full(connection, tenant_id, &[id]).await?.pop().map_or_else(Vec::new, |(_, it)| it)
        }
        (_, 0) => {
            let entries = entries(connection, tenant_id, id.index, width).await?;
            entries.iter().map(|entry| leaf_hash(entry)).collect()
        }
        (_, level) => roots(connection, tenant_id, level - 1, id.index, width).await?,
    };
    whole(hashes, width)
}

fn whole(hashes: Vec<Hash>, width: usize) -> Result<Vec<Hash>, sqlx::Error> {
    if hashes.len() == width { Ok(hashes) } else { Err(corrupt("a tile is missing or has the wrong width")) }
}

/// Those of the full tiles that are stored.
async fn full(
    connection: &mut PgConnection,
    tenant_id: i32,
    ids: &[TileId],
) -> Result<Vec<(TileId, Vec<Hash>)>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let (levels, indices): (Vec<_>, Vec<_>) =
        ids.iter().map(|id| (i16::from(id.level), signed(id.index))).unzip();
    let stored = sqlx::query!(
        r#"SELECT asked.place AS "place!", t.data
           FROM UNNEST($2::smallint[], $3::bigint[]) WITH ORDINALITY AS asked (level, index, place)
           JOIN tiles t ON t.tenant_id = $1 AND t.level = asked.level AND t.index = asked.index"#,
        tenant_id,
        &levels,
        &indices
    )
    .fetch_all(connection)
    .await?;
    let tile = stored.into_iter().map(|row| {
        let id = usize::try_from(row.place).ok().and_then(|place| ids.get(place.checked_sub(1)?));
        let id = *id.ok_or_else(|| corrupt("a tile that was not asked for"))?;
        Ok((id, row.data.chunks(32).map(hash).collect::<Result<_, _>>()?))
    });
    tile.collect()
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
