//! `eventlogger verify` on a receipt: the program itself, with the service stopped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Server, tests};

tests![
    a_receipt_outlives_the_service,
    one_byte_of_the_payload_or_one_field_is_noticed,
    no_part_of_a_receipt_can_be_another,
    without_a_pinned_key_it_says_what_it_did_not_check,
    what_is_no_receipt_is_told,
];

const VERIFIED: Option<i32> = Some(0);
const UNUSABLE: Option<i32> = Some(3);
const REFUTED: Option<i32> = Some(6);
const UNCHECKED: Option<i32> = Some(7);

/// Timestamp, alias, level in another case: what the service normalises is no difference.
const EVENT: &str = r#"{"type": "user.login", "user": "Ж", "level": "warning", "timestamp": "2026-11-01T10:00:00+01:00",
 "message": "hello", "ip": "::ffff:10.0.0.7", "event_data": {"n": 1e400, "s": "\u0000", "account_id": 1346}}"#;
const PAYLOAD: &str = r#"{"n": 1e400, "s": "\u0000", "account_id": 1346}"#;

/// What a submitter has kept.
struct Kept {
    folder: TempDir,
    answer: Value,
    vkey: String,
}

impl Kept {
    async fn of(server: &Server) -> Self {
        for n in 0..300 {
            let other = json!({"event_type": "t", "user_identity": "u", "event_data": n}).to_string();
            if n % 100 == 0 {
                server.client.post("/events").json(other).send().await.json(201);
            }
        }
        let key = server.client.get("/integrity/key").send().await.json(200);
        let answer = server.client.post("/events").json(EVENT).send().await.json(201);
        server.stop().await;
        let kept =
            Self { folder: TempDir::new().unwrap(), answer, vkey: key["vkey"].as_str().unwrap().to_owned() };
        kept.file("policy", key["policy"].as_str().unwrap());
        kept.file("event", EVENT);
        kept.file("payload", PAYLOAD);
        kept
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn receipt(&self) -> PathBuf {
        self.file("receipt", &self.answer["receipt"].to_string())
    }

    /// With the pinned key.
    fn verify(&self, receipt: &Path, with: &[&str]) -> Output {
        let policy = self.path("policy");
        run(receipt, &[&["--policy", policy.to_str().unwrap()], with].concat())
    }
}

fn run(receipt: &Path, with: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_eventlogger")).arg("verify").arg(receipt).args(with).output().unwrap()
}

#[track_caller]
fn assert_ends(output: &Output, code: Option<i32>, says: &str) {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), code, "{text}");
    assert!(text.contains(says), "{says:?} is not in: {text}");
}

async fn a_receipt_outlives_the_service(server: Arc<Server>) {
    let kept = Kept::of(&server).await;
    let (event, payload) = (kept.path("event"), kept.path("payload"));
    let receipt = kept.receipt();
    for with in [["--event", event.to_str().unwrap()], ["--payload", payload.to_str().unwrap()]] {
        assert_ends(&kept.verify(&receipt, &with), VERIFIED, "right, by the key that the policy pins");
    }
    // The whole answer will do as well.
    let answer = kept.file("answer", &kept.answer.to_string());
    assert_ends(&kept.verify(&answer, &["--event", event.to_str().unwrap()]), VERIFIED, "seq 3");
}

async fn one_byte_of_the_payload_or_one_field_is_noticed(server: Arc<Server>) {
    let kept = Kept::of(&server).await;
    let receipt = kept.receipt();
    for (from, to) in
        [("1346", "1347"), ("1e400", "1e401"), ("\\u0000", "\\u0001"), (": 1", ":1"), ("}", " }")]
    {
        let file = kept.file("other", &PAYLOAD.replacen(from, to, 1));
        let output = kept.verify(&receipt, &["--payload", file.to_str().unwrap()]);
        assert_ends(&output, REFUTED, "the payload is not the one that was recorded");
    }
    for (from, to) in [
        ("user.login", "user.logout"),
        ("Ж", "ж"),
        ("warning", "error"),
        ("10:00:00", "10:00:01"),
        ("+01:00", "Z"),
        ("hello", "hallo"),
        ("10.0.0.7", "10.0.0.8"),
        ("\"ip\"", "\"target\""),
    ] {
        let file = kept.file("other", &EVENT.replacen(from, to, 1));
        let output = kept.verify(&receipt, &["--event", file.to_str().unwrap()]);
        assert_ends(&output, REFUTED, "a typed field of the event is not the one that was recorded");
    }
}

async fn no_part_of_a_receipt_can_be_another(server: Arc<Server>) {
    let kept = Kept::of(&server).await;
    let event = kept.path("event");
    let mut refuted = 0;
    let mut try_with = |change: &dyn Fn(&mut Value)| {
        let mut receipt = kept.answer["receipt"].clone();
        change(&mut receipt);
        let file = kept.file("changed", &receipt.to_string());
        let output = kept.verify(&file, &["--event", event.to_str().unwrap()]);
        assert!([REFUTED, UNUSABLE].contains(&output.status.code()), "{receipt}");
        refuted += i32::from(output.status.code() == REFUTED);
    };
    for member in ["entry", "envelope_salt", "payload_salt"] {
        for at in [0, 4, 5, 15, 29, 37, 53, 54, 85, 86, 117] {
            try_with(&|receipt| {
                let mut bytes = STANDARD.decode(receipt[member].as_str().unwrap()).unwrap();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1;
                } else {
                    bytes.pop();
                }
                receipt[member] = STANDARD.encode(bytes).into();
            });
        }
    }
    try_with(&|receipt| {
        receipt["envelope"] = receipt["envelope"].as_str().unwrap().replace("hello", "hallo").into()
    });
    try_with(&|receipt| drop(receipt.as_object_mut().unwrap().remove("payload_salt")));
    try_with(&|receipt| drop(receipt["inclusion_path"].as_array_mut().unwrap().pop()));
    try_with(&|receipt| receipt["inclusion_path"].as_array_mut().unwrap().reverse());
    try_with(&|receipt| {
        receipt["inclusion_path"].as_array_mut().unwrap().push(STANDARD.encode([0; 32]).into())
    });
    let note = |change: &dyn Fn(&str) -> String| {
        let changed = change(kept.answer["receipt"]["checkpoint"].as_str().unwrap());
        move |receipt: &mut Value| receipt["checkpoint"] = changed.clone().into()
    };
    try_with(&note(&|note| note.replacen("\n4\n", "\n5\n", 1)));
    try_with(&note(&|note| note.replacen("\n4\n", "\n04\n", 1)));
    try_with(&note(&|note| note.replacen("/default\n", "/other\n", 1)));
    try_with(&note(&|note| note.replace('\n', "\r\n")));
    try_with(&note(&|note| format!("{note}x")));
    try_with(&note(&|note| note.split("— ").next().unwrap().to_owned()));
    assert!(refuted > 20, "{refuted} of them are well-formed and wrong");
    // Of another installation: the same in every respect but the key.
    let other_key = kept.vkey.replace("+A", "+B");
    let policy = kept.file("policy", &format!("log {other_key}\nquorum none\n"));
    let output = run(&kept.receipt(), &["--policy", policy.to_str().unwrap()]);
    assert!(!output.status.success());
}

async fn without_a_pinned_key_it_says_what_it_did_not_check(server: Arc<Server>) {
    let kept = Kept::of(&server).await;
    let event = kept.path("event");
    let output = run(&kept.receipt(), &["--event", event.to_str().unwrap()]);
    assert_ends(&output, UNCHECKED, "NOT checked: no key is pinned");
    assert_ends(&kept.verify(&kept.receipt(), &[]), UNCHECKED, "NOT compared");
}

async fn what_is_no_receipt_is_told(server: Arc<Server>) {
    let kept = Kept::of(&server).await;
    for (text, says) in [("", "no JSON"), ("[]", "no receipt"), ("{\"id\":1}", "missing field `entry`")] {
        let file = kept.file("none", text);
        assert_ends(&kept.verify(&file, &[]), UNUSABLE, says);
    }
    assert_ends(&kept.verify(&kept.path("absent"), &[]), UNUSABLE, "cannot read");
    let policy = kept.file("policy", "log x\n");
    assert_ends(&run(&kept.receipt(), &["--policy", policy.to_str().unwrap()]), UNUSABLE, "line 1");
    let both = run(&kept.receipt(), &["--payload", "a", "--event", "b"]);
    assert_ends(&both, Some(2), "cannot be used with");
}
