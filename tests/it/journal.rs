//! What clients sent and what they were told, and whether the database agrees.
//!
//! Every event carries a tag of its own as correlation id, noted before it is sent. So the journal knows of
//! each whether it must be there, must not, or may.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

use crate::auditor::{self, Hash};
use crate::http::{Client, Response};

/// SplitMix64: the same seed gives the same run, as far as the machine allows.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// 201 or 200: there, under this id.
    Recorded(Uuid),
    /// Refused, or `not_recorded`: not there.
    Absent,
    /// No answer, or `unknown`: there at most once, and if an id was told, then under it.
    InDoubt(Option<Uuid>),
}

struct Submission {
    tag: String,
    key: Option<String>,
    event_data: String,
    /// Events of one atomic batch are all there or none.
    atomic_batch: Option<usize>,
    outcome: Outcome,
}

pub struct Journal {
    name: &'static str,
    random: Mutex<Random>,
    submissions: Mutex<Vec<Submission>>,
    /// The roots that were signed, by size.
    signed: Mutex<BTreeMap<u64, Hash>>,
}

/// Roots computed anew per check, each from all entries before it.
const ROOTS_CHECKED: usize = 12;

/// How many times a repetition is tried until the service has recovered, with a pause between two tries.
const RETRIES: usize = 1_200;
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Over 64 KiB an event has a transaction of its own.
const LARGE: u64 = 65 << 10;

impl Journal {
    pub fn new(name: &'static str, seed: u64) -> Self {
        Self {
            name,
            random: Mutex::new(Random::new(seed)),
            submissions: Mutex::default(),
            signed: Mutex::default(),
        }
    }

    /// Sends something at random and notes the answer. Gives an error if there was none.
    pub async fn write(&self, client: &Client) -> Result<(), ()> {
        let kind = self.below(10);
        let keyed = self.below(2) == 0;
        match kind {
            0 => self.write_batch(client, keyed, false).await,
            1 => self.write_batch(client, keyed, true).await,
            2 => self.write_single(client, keyed, LARGE + self.below(LARGE)).await,
            _ => self.write_single(client, keyed, self.below(600)).await,
        }
    }

    async fn write_single(&self, client: &Client, keyed: bool, bytes: u64) -> Result<(), ()> {
        let index = self.note(keyed, bytes, None);
        let answer = client.post("/events").json(self.body(index)).try_send().await;
        let answer = answer.map_err(drop)?;
        let body = parsed(&answer);
        self.note_receipt(&body);
        self.answered(index, outcome(answer.status.as_u16(), &body));
        Ok(())
    }

    async fn write_batch(&self, client: &Client, keyed: bool, atomic: bool) -> Result<(), ()> {
        let count = 2 + self.below(6) as usize;
        let batch = atomic.then(|| self.submissions().len());
        let indexes: Vec<_> = (0..count).map(|_| self.note(keyed, self.below(600), batch)).collect();
        let bodies: Vec<_> = indexes.iter().map(|&index| self.body(index)).collect();
        let path = format!("/events/batch?atomic={atomic}");
        let answer = client.post(&path).json(format!("[{}]", bodies.join(","))).try_send().await;
        let answer = answer.map_err(drop)?;
        let body = parsed(&answer);
        body["results"].as_array().into_iter().flatten().for_each(|item| self.note_receipt(item));
        for (position, index) in indexes.into_iter().enumerate() {
            self.answered(
                index,
                match body["results"].get(position) {
                    Some(item) => outcome_of_item(item),
                    None => outcome(answer.status.as_u16(), &body),
                },
            );
        }
        Ok(())
    }

    fn note_receipt(&self, recorded: &Value) {
        if let Some(checkpoint) = recorded["receipt"]["checkpoint"].as_str() {
            self.note_checkpoint(checkpoint);
        }
    }

    /// Whatever was signed for a size, was signed for that size always.
    pub fn note_checkpoint(&self, note: &str) {
        let mut lines = note.lines().skip(1);
        let mut line = || lines.next().expect("a checkpoint");
        let (size, root) = (line().parse().expect("a size"), STANDARD.decode(line()).expect("a root"));
        let root: Hash = root.try_into().expect("32 bytes");
        let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(*signed.entry(size).or_insert(root), root, "two roots were signed for {size} entries");
    }

    /// What was signed is what is there.
    async fn check_signed(&self, database: &PgPool) {
        let entries: Vec<Vec<u8>> = sqlx::query_scalar("SELECT entry FROM events ORDER BY tenant_id, seq")
            .fetch_all(database)
            .await
            .expect("entries");
        let leaves: Vec<Hash> = entries.iter().map(|entry| auditor::leaf(entry)).collect();
        let signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (size, root) in signed.iter().rev().take(ROOTS_CHECKED) {
            let there = leaves.get(..*size as usize).unwrap_or_else(|| panic!("{size} entries were signed"));
            assert_eq!(auditor::tree_root(there), *root, "the first {size} entries are not those signed");
        }
    }

    /// Writes on and on with several clients until `stop` says so or there is no answer.
    pub async fn write_until(&self, clients: &[Client], stop: impl Fn() -> bool) {
        let writers = clients.iter().map(async |client| while !stop() && self.write(client).await.is_ok() {});
        futures_util::future::join_all(writers).await;
    }

    /// Notes an event as sent. What is noted but never answered is in doubt.
    pub fn note(&self, keyed: bool, bytes: u64, atomic_batch: Option<usize>) -> usize {
        let filling = "x".repeat(bytes as usize);
        let mut submissions = self.submissions();
        let index = submissions.len();
        let tag = format!("{}-{index}", self.name);
        submissions.push(Submission {
            key: keyed.then(|| format!("key of {tag}")),
            event_data: format!(r#"{{"n": {index}, "filling":"{filling}"}}"#),
            tag,
            atomic_batch,
            outcome: Outcome::InDoubt(None),
        });
        index
    }

    /// The request that submits a noted event.
    pub fn body(&self, index: usize) -> String {
        let Submission { tag, key, event_data, .. } = &self.submissions()[index];
        let key =
            key.as_ref().map_or_else(String::new, |key| format!(r#""idempotency_key":{},"#, json!(key)));
        format!(
            r#"{{"event_type":"fault","user_identity":"u","correlation_id":"{tag}",{key}"event_data":{event_data}}}"#
        )
    }

    fn answered(&self, index: usize, outcome: Outcome) {
        self.submissions()[index].outcome = outcome;
    }

    /// How many events were answered to be recorded.
    pub fn recorded(&self) -> usize {
        let submissions = self.submissions();
        submissions.iter().filter(|submission| matches!(submission.outcome, Outcome::Recorded(_))).count()
    }

    /// Repeats what has a key and is not known to be recorded, until it is. At the end, repeats also the last
    /// recorded ones, which must be answered with what is there.
    pub async fn repeat(&self, client: &Client) {
        let repeated: Vec<usize> = {
            let submissions = self.submissions();
            let keyed = |index: &usize| submissions[*index].key.is_some();
            let open = |index: &usize| !matches!(submissions[*index].outcome, Outcome::Recorded(_));
            let all = 0..submissions.len();
            let last_recorded = all.clone().rev().filter(|index| keyed(index) && !open(index)).take(5);
            all.filter(|index| keyed(index) && open(index)).chain(last_recorded).collect()
        };
        for index in repeated {
            let before = self.submissions()[index].outcome;
            let (status, id) = send_until_recorded(client, &self.body(index)).await;
            match before {
                Outcome::Recorded(known) => {
                    assert_eq!((status, id), (200, known), "repeating what is recorded")
                }
                // If the id was told and the event is there, then under that id: else it is a new one.
                Outcome::InDoubt(Some(told)) if status == 200 => {
                    assert_eq!(id, told, "there under the id told")
                }
                Outcome::Absent => assert_eq!(status, 201, "what was not recorded was there after all"),
                Outcome::InDoubt(_) => {}
            }
            self.answered(index, Outcome::Recorded(id));
        }
    }

    /// Compares with the database. Whatever is there must have been sent by this journal if it has a tag of it.
    pub async fn check(&self, database: &PgPool) {
        self.check_signed(database).await;
        let rows: Vec<(String, Uuid, Vec<u8>)> = sqlx::query_as(
            "SELECT correlation_id, id, sha256(payload) FROM events WHERE starts_with(correlation_id, $1)",
        )
        .bind(format!("{}-", self.name))
        .fetch_all(database)
        .await
        .expect("events");
        let count = rows.len();
        let found: HashMap<_, _> = rows.into_iter().map(|(tag, id, sha256)| (tag, (id, sha256))).collect();
        assert_eq!(found.len(), count, "an event is there twice");
        let submissions = self.submissions();
        let mut batches: HashMap<usize, bool> = HashMap::new();
        for Submission { tag, event_data, atomic_batch, outcome, key } in submissions.iter() {
            let there = found.get(tag);
            match (outcome, there) {
                (Outcome::Recorded(id), Some((found, _))) => assert_eq!(id, found, "{tag}: another id"),
                (Outcome::Recorded(_), None) => panic!("{tag}: acknowledged, but not there"),
                (Outcome::Absent, Some(_)) => panic!("{tag}: not recorded, but there"),
                (Outcome::InDoubt(Some(id)), Some((found, _))) => assert_eq!(id, found, "{tag}: another id"),
                (Outcome::Absent | Outcome::InDoubt(_), None) | (Outcome::InDoubt(None), Some(_)) => {}
            }
            if let Some((_, sha256)) = there {
                assert_eq!(
                    sha256.as_slice(),
                    Sha256::digest(event_data).as_slice(),
                    "{tag}: another payload"
                );
            }
            // Repetitions fill up a batch with keys, one by one.
            if let (Some(batch), None) = (atomic_batch, key) {
                let whole = *batches.entry(*batch).or_insert(there.is_some());
                assert_eq!(whole, there.is_some(), "{tag}: half of an atomic batch");
            }
        }
        let known = submissions.iter().filter(|submission| found.contains_key(&submission.tag)).count();
        assert_eq!(known, count, "an event is there that nobody sent");
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).below(bound)
    }

    fn submissions(&self) -> MutexGuard<'_, Vec<Submission>> {
        self.submissions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends until the answer is 200 or 201, as a client would that has to get its event recorded.
pub async fn send_until_recorded(client: &Client, body: &str) -> (u16, Uuid) {
    let mut last = String::new();
    for _ in 0..RETRIES {
        match client.post("/events").json(body.to_owned()).try_send().await {
            Ok(answer) if answer.status.is_success() => {
                return (answer.status.as_u16(), id_of(&parsed(&answer)).expect("an id"));
            }
            Ok(answer) => last = answer.text(),
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    panic!("the service does not recover: {last}");
}

fn parsed(answer: &Response) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
}

fn id_of(body: &Value) -> Option<Uuid> {
    body["id"].as_str().map(|id| id.parse().expect("a UUID"))
}

fn outcome_of_item(item: &Value) -> Outcome {
    let status = item["status"].as_u64().expect("a status") as u16;
    outcome(status, if item["problem"].is_null() { item } else { &item["problem"] })
}

/// What an answer promises. Under faults there are no others than these.
fn outcome(status: u16, body: &Value) -> Outcome {
    match (status, body["code"].as_str()) {
        (200 | 201, _) => Outcome::Recorded(id_of(body).expect("an id")),
        (503, Some("unknown")) => {
            assert!(id_of(body).is_some(), "a commit in doubt names its id: {body:#}");
            Outcome::InDoubt(id_of(body))
        }
        (503, Some("not_recorded" | "database_unavailable" | "shutting_down")) => Outcome::Absent,
        (422, Some("atomic_aborted")) | (429, Some("queue_full")) => Outcome::Absent,
        _ => panic!("no fault explains {status}: {body:#}"),
    }
}
