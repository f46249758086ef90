//! The verifier against a running server: an honest one, and one that serves whatever it likes.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use eventlogger::event::{Entry, EntryKind, Timestamp};
use eventlogger::merkle::{Hash, Tree, leaf_hash};
use eventlogger::tlog::{Checkpoint, Policy, SigningKey, bundle};
use eventlogger::verify::Culprit;
use eventlogger::walk::client::{Client, ClientError};
use eventlogger::walk::{Progress, Report, Trusted, server};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::harness::{ADMIN, PASSWORD, Server, event, tests};
use crate::http::basic;

tests![
    the_log_of_a_running_server_is_verified,
    a_server_is_not_believed_beyond_the_pinned_key,
    a_server_that_refuses_or_is_away_is_not_called_dishonest,
    a_server_that_forges_hashes_at_the_right_edge_is_found_out,
    a_server_that_serves_other_entries_or_half_of_them_is_found_out,
    a_server_that_goes_back_or_forks_between_runs_is_found_out,
];

const ORIGIN: &str = "example.org/log/default";

fn policy_of(key: &SigningKey) -> Policy {
    Policy::parse(format!("log {}\nquorum none\n", key.verifier()).as_bytes()).unwrap()
}

fn signing_key() -> SigningKey {
    SigningKey::from_seed(ORIGIN, &[1; 32]).unwrap()
}

async fn walk(client: &Client, policy: &Policy, seen: Option<&str>) -> Report {
    let trusted = Trusted { policy: Some(policy), seen };
    server::walk(client, "default", trusted, &Progress::default()).await.unwrap()
}

async fn the_log_of_a_running_server_is_verified(server: Arc<Server>) {
    let items: Vec<_> =
        (0..600).map(|n| json!({"event_type": "t", "user_identity": "u", "event_data": n})).collect();
    server.client.post("/events/batch").json(json!(items).to_string()).send().await.json(201);
    let key = server.client.get("/integrity/key").send().await.json(200);
    let policy = Policy::parse(key["policy"].as_str().unwrap().as_bytes()).unwrap();
    let url = format!("http://{}", server.client.address());
    let client = Client::new(&url, Some(&basic(ADMIN, PASSWORD)), None).unwrap();
    let report = walk(&client, &policy, None).await;
    assert!(report.is_clean() && report.unchecked.is_empty(), "{report:?}");
    assert_eq!((report.entries_checked, report.signed_size), (600, Some(600)));
    server.client.post("/events").json(event("later")).send().await.json(201);
    let later = walk(&client, &policy, report.verified.as_deref()).await;
    assert!(later.is_clean(), "{later:?}");
    assert_eq!((later.size, later.heads_compared), (601, 1));
    let unpinned = server::walk(&client, "default", Trusted::default(), &Progress::default()).await.unwrap();
    assert!(unpinned.is_clean() && unpinned.unchecked[0].contains("no key is pinned"), "{unpinned:?}");
    assert_eq!(unpinned.verified, None);
}

async fn a_server_that_refuses_or_is_away_is_not_called_dishonest(server: Arc<Server>) {
    let url = format!("http://{}", server.client.address());
    let policy = policy_of(&signing_key());
    let trusted = Trusted { policy: Some(&policy), seen: None };
    let client = Client::new(&url, None, None).unwrap();
    let refused = server::walk(&client, "default", trusted, &Progress::default()).await.unwrap_err();
    assert!(refused.to_string().contains("EVENTLOGGER_USER"), "{refused}");
    let client = Client::new("http://127.0.0.1:9", None, None).unwrap();
    let away = server::walk(&client, "default", trusted, &Progress::default()).await.unwrap_err();
    assert!(matches!(away, ClientError::Unreachable { .. }), "{away}");
}

/// A log that never saw the service, as files that a server could serve.
#[derive(Clone)]
struct Forged {
    files: HashMap<String, Vec<u8>>,
    note: String,
}

fn entry(n: u64) -> Vec<u8> {
    let micros = 1_800_000_000_000_000 + n as i64 * 1_000;
    let entry = Entry {
        kind: EntryKind::Event,
        log_id: Uuid::from_u128(5),
        seq: n,
        received_at: Timestamp::from_micros(micros).unwrap(),
        id: Uuid::from_u128(((micros / 1_000) as u128) << 80 | 7 << 76 | 2 << 62 | u128::from(n)),
        envelope: [3; 32],
        payload: None,
    };
    entry.to_bytes().to_vec()
}

fn path(kind: &str, index: u64, width: usize) -> String {
    let thousands = if index < 1_000 { String::new() } else { format!("x{:03}/", index / 1_000) };
    let partial = if width == 256 { String::new() } else { format!(".p/{width}") };
    format!("/tlog/default/tile/{kind}/{thousands}{:03}{partial}", index % 1_000)
}

impl Forged {
    fn of(entries: &[Vec<u8>], key: &SigningKey) -> Self {
        let mut tree = Tree::new();
        let mut files = HashMap::new();
        for (index, entries) in entries.chunks(256).enumerate() {
            files.insert(path("entries", index as u64, entries.len()), bundle(entries).unwrap());
            for tile in entries.iter().flat_map(|entry| tree.append(leaf_hash(entry))) {
                files.insert(path(&tile.level.to_string(), tile.index, 256), tile.data);
            }
        }
        for (level, hashes) in tree.partial().iter().enumerate().filter(|(_, hashes)| !hashes.is_empty()) {
            let index = tree.size() >> (8 * (level + 1));
            files.insert(path(&level.to_string(), index, hashes.len()), hashes.concat());
        }
        let mut forged = Self { files, note: String::new() };
        forged.sign(tree.size(), tree.root(), key);
        forged
    }

    fn sized(size: u64) -> Self {
        Self::of(&(0..size).map(entry).collect::<Vec<_>>(), &signing_key())
    }

    fn sign(&mut self, size: u64, root: Hash, key: &SigningKey) {
        self.note = Checkpoint { origin: key.name().to_owned(), size, root }.sign(key).unwrap();
        self.files.insert("/tlog/default/checkpoint".to_owned(), self.note.clone().into_bytes());
    }

    fn file(&mut self, path: &str) -> &mut Vec<u8> {
        self.files.get_mut(&format!("/tlog/default/tile/{path}")).unwrap_or_else(|| panic!("no {path}"))
    }

    async fn report(self, seen: Option<&str>) -> Report {
        walk(&self.serve().await, &policy_of(&signing_key()), seen).await
    }

    /// As simple a server as there can be.
    async fn serve(self) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()), None, None).unwrap();
        let files = Arc::new(self.files);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let files = Arc::clone(&files);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while let Ok(byte) = stream.read_u8().await {
                        head.push(byte);
                        if !head.ends_with(b"\r\n\r\n") {
                            continue;
                        }
                        let text = String::from_utf8_lossy(&head);
                        let found = files.get(text.split(' ').nth(1).unwrap_or_default());
                        let status = if found.is_some() { "200 OK" } else { "404 Not Found" };
                        let body = found.map_or(&b""[..], Vec::as_slice);
                        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
                        let sent = stream.write_all(&[answer.as_bytes(), body].concat()).await;
                        if sent.is_err() {
                            return;
                        }
                        head.clear();
                    }
                });
            }
        });
        client
    }
}

/// More perfect subtrees than tiles at the right edge, where CVE-2026-56865 let forged hashes through.
static TREES: LazyLock<[Forged; 2]> = LazyLock::new(|| [65_648, 70_000].map(Forged::sized));

async fn a_server_that_forges_hashes_at_the_right_edge_is_found_out(_: Arc<Server>) {
    for (tree, edge) in TREES
        .iter()
        .zip([["0/256.p/112", "1/001.p/0", "2/000.p/1"], ["0/273.p/112", "1/001.p/17", "2/000.p/1"]])
    {
        assert!(tree.clone().report(None).await.is_clean());
        for tile in edge.into_iter().filter(|tile| !tile.ends_with(".p/0")) {
            let hashes = tree.clone().file(tile).len() / 32;
            for at in [0, hashes / 2, hashes - 1] {
                let mut forged = tree.clone();
                forged.file(tile)[at * 32] ^= 1;
                let report = forged.report(None).await;
                let finding = &report.findings[0];
                assert!(finding.what.contains("not those of the checkpoint"), "{tile} {at}: {report:?}");
                assert_eq!((finding.culprit, report.entries_checked), (Culprit::Server, 0));
            }
        }
        // A full tile further to the left.
        let mut forged = tree.clone();
        forged.file("0/100")[64] ^= 1;
        let report = forged.report(None).await;
        assert_eq!(report.findings.iter().map(|it| it.seq).collect::<Vec<_>>(), [Some(25_602)], "{report:?}");
    }
}

async fn a_server_that_serves_other_entries_or_half_of_them_is_found_out(_: Arc<Server>) {
    let tree = Forged::sized(700);
    let report = async |change: &dyn Fn(&mut Forged)| {
        let mut forged = tree.clone();
        change(&mut forged);
        let report = forged.report(None).await;
        assert_eq!(report.verified, None);
        report.findings.into_iter().map(|it| (it.seq, it.what)).collect::<Vec<_>>()
    };
    let found = report(&|it| it.file("entries/001")[2 + 60] ^= 1).await;
    assert!(found.iter().any(|(seq, what)| *seq == Some(256) && what.contains("tile 0/1")), "{found:?}");
    let found = report(&|it| it.file("entries/002.p/188")[2 + 60] ^= 1).await;
    assert!(found.iter().any(|(_, what)| what.contains("the root of the head")), "{found:?}");
    let found = report(&|it| it.file("entries/001").truncate(1_000)).await;
    assert!(found.iter().any(|(seq, what)| *seq == Some(256) && what.contains("ends within")), "{found:?}");
    let found = report(&|it| it.file("entries/001").push(0)).await;
    assert!(found.iter().any(|(seq, what)| *seq == Some(256) && what.contains("goes on")), "{found:?}");
    let found = report(&|it| drop(it.files.remove(&path("entries", 1, 256)))).await;
    assert!(found.iter().any(|(seq, what)| *seq == Some(256) && what.contains("is not there")), "{found:?}");
    let found = report(&|it| drop(it.files.remove(&path("0", 1, 256)))).await;
    assert!(found.iter().any(|(seq, what)| *seq == Some(256) && what.contains("is missing")), "{found:?}");
    // Entries and tiles that fit each other, but not what was signed.
    let mut entries: Vec<_> = (0..700).map(entry).collect();
    entries[300] = Entry { envelope: [9; 32], ..Entry::parse(&entries[300]).unwrap() }.to_bytes().to_vec();
    let mut other = Forged::of(&entries, &signing_key());
    other.files.insert("/tlog/default/checkpoint".to_owned(), tree.note.clone().into_bytes());
    assert!(!other.report(None).await.is_clean());
}

async fn a_server_is_not_believed_beyond_the_pinned_key(_: Arc<Server>) {
    let entries: Vec<_> = (0..300).map(entry).collect();
    let names = |name: &str| SigningKey::from_seed(name, &[1; 32]).unwrap();
    let thief = SigningKey::from_seed(ORIGIN, &[2; 32]).unwrap();
    for key in [thief, names("example.org/log/other"), names("example.com/log/default")] {
        let report = Forged::of(&entries, &key).report(None).await;
        assert!(report.findings[0].what.contains("not to be believed"), "{report:?}");
        assert_eq!(report.verified, None);
    }
    // Another log of the same policy is still another log.
    let other = names("example.org/log/other");
    let both = format!(
        "log {}\nlog {}\nquorum none\n",
        signing_key().verifier(),
        SigningKey::from_seed(other.name(), &[3; 32]).unwrap().verifier()
    );
    let policy = Policy::parse(both.as_bytes()).unwrap();
    let key = SigningKey::from_seed("example.org/log/other", &[3; 32]).unwrap();
    let client = Forged::of(&entries, &key).serve().await;
    let report = walk(&client, &policy, None).await;
    assert!(report.findings[0].what.contains("another log's"), "{report:?}");
    let mut nowhere = Forged::of(&entries, &signing_key());
    nowhere.files.remove("/tlog/default/checkpoint");
    let report = nowhere.report(None).await;
    assert!(report.findings[0].what.contains("the server has no log"), "{report:?}");
}

async fn a_server_that_goes_back_or_forks_between_runs_is_found_out(_: Arc<Server>) {
    let (before, after) = (Forged::sized(300), Forged::sized(400));
    let seen = before.clone().report(None).await.verified.unwrap();
    let report = after.clone().report(Some(&seen)).await;
    assert!(report.is_clean() && report.heads_compared == 1, "{report:?}");
    let seen = report.verified.unwrap();
    let report = before.report(Some(&seen)).await;
    assert!(report.findings[0].what.contains("the last run verified 400"), "{report:?}");
    assert_eq!(report.verified, None);
    let mut entries: Vec<_> = (0..500).map(entry).collect();
    entries[350] = Entry { envelope: [9; 32], ..Entry::parse(&entries[350]).unwrap() }.to_bytes().to_vec();
    let report = Forged::of(&entries, &signing_key()).report(Some(&seen)).await;
    assert_eq!((report.findings.len(), report.findings[0].culprit), (1, Culprit::KeyHolder), "{report:?}");
}
