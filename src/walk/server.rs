//! The log of a running server, by its C2SP tiles: every entry against the checkpoint that its key signed.
//!
//! The right edge of the tree is authenticated first, so that a server with a false checkpoint is found out at once;
//! then the whole tree is recomputed from the entries and compared with each tile on the way.

use std::collections::BTreeSet;
use std::num::NonZeroU8;

use futures_util::{StreamExt, TryStreamExt, stream};
use http::StatusCode;
use serde::Deserialize;

use super::client::{Client, ClientError};
use super::{Progress, Report, Trusted, UNPINNED};
use crate::merkle::{Hash, TILE_WIDTH, TileId, Tiles, tiles_to_root};
use crate::tlog::{Checkpoint, TileKind, TilePath, note, parse_bundle};
use crate::verify::log::{Head, Log, Outcome, StoredTile};
use crate::verify::row::{Opener, Row};
use crate::verify::signed::{Keys, epoch_of};
use crate::verify::{Culprit, Findings};

const WIDTH: u64 = TILE_WIDTH as u64;
/// Bundles that are under way at a time.
const AT_ONCE: usize = 8;
const NOTE_MAX_BYTES: usize = 64 * 1024;
/// Entries have 118 bytes; a bundle of the longest that its format allows.
const BUNDLE_MAX_BYTES: usize = TILE_WIDTH * (2 + 0xffff);
const TILE_MAX_BYTES: usize = TILE_WIDTH * 32;

/// Checks the whole log of a tenant. What cannot be fetched for reasons that are not the log's is an error.
pub async fn walk(
    client: &Client,
    tenant: &str,
    trusted: Trusted<'_>,
    progress: &Progress,
) -> Result<Report, ClientError> {
    let keys = Keys::pinned(trusted.policy, tenant);
    let mut findings = Findings::new(tenant);
    let reader = Reader { client, prefix: prefix(&keys, tenant) };
    let Some((reader, note)) = reader.checkpoint(tenant, &keys).await? else {
        let what = match keys.origins(tenant).last() {
            Some(origin) => format!("the server has no log under {}, where {origin} belongs", reader.prefix),
            None => format!("the server shows no log under {}", reader.prefix),
        };
        findings.add(None, Culprit::Server, what);
        return Ok(nothing(tenant, findings));
    };
    let checkpoint = match read_checkpoint(&note, &keys, trusted) {
        Ok(checkpoint) => checkpoint,
        Err(what) => {
            findings.add(None, Culprit::Server, what);
            return Ok(nothing(tenant, findings));
        }
    };
    progress.begin(checkpoint.size);
    if let Err(what) = reader.check_edge(&checkpoint).await? {
        findings.add(None, Culprit::Server, what);
        return Ok(nothing(tenant, findings));
    }
    let log = Log::new(tenant, None, checkpoint.size, Culprit::Server);
    let mut log = with_seen(log, trusted, &checkpoint);
    reader.feed(&mut log, checkpoint.size, progress).await?;
    let head = Head { size: checkpoint.size, root: checkpoint.root.to_vec(), stored: None };
    let mut report = Report::new(tenant, checkpoint.size, log.finish(&head));
    report.notes.push(
        "content stays with the server: that it opens the entries is shown by --database and by receipts"
            .to_owned(),
    );
    if !keys.is_pinned() {
        report.unchecked.push(UNPINNED.to_owned());
    } else if report.is_clean() {
        report.signed_size = Some(checkpoint.size);
        report.verified = Some(note);
    }
    Ok(report)
}

fn nothing(tenant: &str, findings: Findings) -> Report {
    let unchecked = vec!["the entries: there is no checkpoint to check them against".to_owned()];
    let outcome = Outcome { entries: 0, tree: None, heads_compared: 0, findings, unchecked };
    Report::new(tenant, 0, outcome)
}

/// Where the log lies: in the epoch of the newest pinned key.
fn prefix(keys: &Keys, tenant: &str) -> String {
    let epoch = keys.origins(tenant).last().and_then(|origin| epoch_of(origin, tenant));
    match epoch {
        None | Some(0) => format!("/tlog/{tenant}"),
        Some(epoch) => format!("/tlog/{tenant}/e{epoch}"),
    }
}

/// With pinned keys only what the policy accepts, of a log whose origin is pinned.
fn read_checkpoint(note: &str, keys: &Keys, trusted: Trusted<'_>) -> Result<Checkpoint, String> {
    match trusted.policy.filter(|_| keys.is_pinned()) {
        Some(policy) => {
            let verified = policy
                .check(note)
                .map_err(|error| format!("the checkpoint is not to be believed: {error}"))?;
            // The policy may list other logs too; theirs is not this tenant's.
            keys.open(note).map_err(|error| format!("the checkpoint is another log's: {error}"))?;
            Ok(verified.checkpoint)
        }
        None => note::text(note)
            .map_err(|error| error.to_string())
            .and_then(|text| Checkpoint::parse(text).map_err(|error| error.to_string()))
            .map_err(|error| format!("the checkpoint cannot be read: {error}")),
    }
}

/// With the checkpoint of an earlier run, which this log must be the continuation of.
fn with_seen(mut log: Log, trusted: Trusted<'_>, checkpoint: &Checkpoint) -> Log {
    let Some(seen) = trusted.seen else { return log };
    let read = trusted.policy.map(|policy| policy.check(seen).map(|verified| verified.checkpoint));
    match read {
        Some(Ok(seen)) if seen.origin != checkpoint.origin => log.add(
            None,
            format!("the last run verified {}, and the server now shows {}", seen.origin, checkpoint.origin),
        ),
        // An older state can be shown without any key.
        Some(Ok(seen)) if seen.size > checkpoint.size => log.add(
            None,
            format!(
                "the last run verified {} entries, and the server now shows {}: its end was cut off, or an older state restored",
                seen.size, checkpoint.size
            ),
        ),
        Some(Ok(seen)) => log.expect(crate::verify::log::Expected {
            size: seen.size,
            root: seen.root,
            what: "the checkpoint that was verified last time".to_owned(),
            culprit: Culprit::KeyHolder,
        }),
        Some(Err(error)) => log.add(None, format!("the checkpoint of the last run is no longer believed: {error}")),
        None => {}
    }
    log
}

struct Reader<'a> {
    client: &'a Client,
    /// Of the log's addresses.
    prefix: String,
}

/// The problem that a server answers with if it serves the log in another epoch.
#[derive(Deserialize)]
struct OtherEpoch {
    prefix: String,
}

/// What is served for 256 entries.
struct Bundle {
    index: u64,
    entries: Result<Vec<u8>, String>,
    tiles: Vec<(TileId, StoredTile)>,
}

impl<'a> Reader<'a> {
    /// The current checkpoint and where its tiles lie; `None` if there is no such log.
    async fn checkpoint(
        &self,
        tenant: &str,
        keys: &Keys,
    ) -> Result<Option<(Reader<'a>, String)>, ClientError> {
        let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
        let here = self.client.get(&format!("{}/checkpoint", self.prefix), NOTE_MAX_BYTES).await?;
        if here.status == StatusCode::OK {
            let reader = Reader { client: self.client, prefix: self.prefix.clone() };
            return Ok(Some((reader, text(&here.body))));
        }
        // Where a key is pinned, so is the epoch. Elsewhere the server may say which one it is in, and no more.
        let other = serde_json::from_slice::<OtherEpoch>(&here.body).ok().filter(|_| !keys.is_pinned());
        let Some(prefix) = other.map(|other| other.prefix).filter(|prefix| is_prefix(prefix, tenant)) else {
            return Ok(None);
        };
        let there = self.client.get(&format!("{prefix}/checkpoint"), NOTE_MAX_BYTES).await?;
        let found = there.status == StatusCode::OK;
        Ok(found.then(|| (Reader { client: self.client, prefix }, text(&there.body))))
    }

    async fn fetch(&self, path: TilePath, limit: usize) -> Result<Result<Vec<u8>, String>, ClientError> {
        let answer = self.client.get(&format!("{}/{path}", self.prefix), limit).await?;
        Ok(match answer.status {
            StatusCode::OK => Ok(answer.body.to_vec()),
            _ => Err(format!("{path} is not there")),
        })
    }

    /// The unfinished tiles give the root of the checkpoint.
    async fn check_edge(&self, checkpoint: &Checkpoint) -> Result<Result<(), String>, ClientError> {
        let mut tiles = Tiles::default();
        for id in tiles_to_root(&BTreeSet::new(), checkpoint.size) {
            let path = hashes_path(id, id.width(checkpoint.size));
            match self.fetch(path, TILE_MAX_BYTES).await? {
                Ok(data) => tiles.insert(id, hashes(&data)),
                Err(what) => return Ok(Err(what)),
            }
        }
        let root = tiles.authenticate(checkpoint.size, &checkpoint.root);
        Ok(root.map_err(|error| format!("the tiles are not those of the checkpoint: {error}")))
    }

    async fn feed(&self, log: &mut Log, size: u64, progress: &Progress) -> Result<(), ClientError> {
        let bundles = stream::iter(0..size.div_ceil(WIDTH)).map(|index| self.bundle(index, size));
        let mut bundles = bundles.buffered(AT_ONCE);
        while let Some(bundle) = bundles.try_next().await? {
            feed_bundle(log, bundle, size);
            progress.set(log.next());
        }
        Ok(())
    }

    /// The entries under a tile of level 0, and the full tiles that they complete.
    async fn bundle(&self, index: u64, size: u64) -> Result<Bundle, ClientError> {
        let width = TileId { level: 0, index }.width(size);
        let path = TilePath { kind: TileKind::Entries, index, partial: partial(width) };
        let entries = self.fetch(path, BUNDLE_MAX_BYTES).await?;
        let mut tiles = Vec::new();
        let mut id = TileId { level: 0, index };
        while id.width(size) == TILE_WIDTH {
            // A tile that is not served is missing, which the verifier says.
            if let Ok(data) = self.fetch(hashes_path(id, TILE_WIDTH), TILE_MAX_BYTES).await? {
                tiles.push((id, StoredTile { root: None, data, times: None }));
            }
            // The tile above is complete with the last of its 256.
            if id.index % WIDTH != WIDTH - 1 {
                break;
            }
            id = TileId { level: id.level + 1, index: id.index / WIDTH };
        }
        Ok(Bundle { index, entries, tiles })
    }
}

fn feed_bundle(log: &mut Log, bundle: Bundle, size: u64) {
    let first = bundle.index * WIDTH;
    log.give_tiles(bundle.tiles);
    let width = TileId { level: 0, index: bundle.index }.width(size);
    let entries = bundle.entries.as_deref().map_err(Clone::clone);
    let entries = entries.and_then(|bytes| parse_bundle(bytes, width).map_err(|error| error.to_string()));
    match entries {
        Ok(entries) => {
            let mut opener = Opener::default();
            for (seq, entry) in (first..).zip(entries) {
                log.feed(opener.open(Row { seq, entry: entry.to_vec(), columns: None }));
            }
        }
        Err(what) => log.add(Some(first), format!("the bundle of entries that begins here: {what}")),
    }
}

fn is_prefix(prefix: &str, tenant: &str) -> bool {
    let epoch = prefix.strip_prefix("/tlog/").and_then(|rest| rest.strip_prefix(tenant)?.strip_prefix("/e"));
    epoch.is_some_and(|epoch| epoch.parse::<u32>().is_ok_and(|number| number.to_string() == epoch))
}

fn hashes_path(id: TileId, width: usize) -> TilePath {
    TilePath { kind: TileKind::Hashes { level: id.level }, index: id.index, partial: partial(width) }
}

fn partial(width: usize) -> Option<NonZeroU8> {
    u8::try_from(width).ok().and_then(NonZeroU8::new)
}

/// Half a hash at the end is one of the wrong value, which no tree has room for.
fn hashes(data: &[u8]) -> Vec<Hash> {
    let (hashes, rest) = data.as_chunks();
    let mut hashes = hashes.to_vec();
    if !rest.is_empty() {
        hashes.push([0; 32]);
    }
    hashes
}
