//! Characters that break lines, drive terminals, reorder text or end strings, wherever a stranger can put them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{ADMIN, PASSWORD, Server, event, tests};
use crate::http::{Client, Response};

tests![
    hostile_text_is_recorded_as_it_is,
    hostile_text_is_refused_in_answers_that_stay_well_formed,
    a_json_log_stays_one_harmless_line_a_record,
    a_plain_log_stays_one_harmless_line_a_record,
];

/// CR, LF, ESC, BEL, DEL, a C1 control, an override of the direction, both separators, a byte order mark.
const HOSTILE: &str = "a\r\nb\u{1b}[31m\u{7}\u{7f}\u{9b}2J\u{202e}c\u{2028}d\u{2029}\u{feff}e";
const TEXT_FIELDS: [&str; 7] =
    ["event_type", "user_identity", "source", "target", "message", "correlation_id", "idempotency_key"];

async fn hostile_text_is_recorded_as_it_is(server: Arc<Server>) {
    // Typed fields cannot hold U+0000, as PostgreSQL's text cannot; the payload is kept byte for byte.
    let sent = format!("{HOSTILE}\0f");
    let stored = format!("{HOSTILE}\u{fffd}f");
    let payload = json!({ sent.as_str(): [sent.as_str()] }).to_string();
    let mut body: Value = TEXT_FIELDS.map(|name| (name, sent.as_str())).into_iter().collect();
    body["event_data"] = serde_json::from_str(&payload).unwrap();
    let recorded = server.client.post("/events").json(body.to_string()).send().await.json(201);
    let id = recorded["id"].as_str().unwrap();

    let one = server.client.get(&format!("/events/{id}")).send().await;
    assert_harmless(&one);
    let listed = server.client.get("/events").send().await;
    assert_harmless(&listed);
    for event in [&one.json(200), &listed.json(200)["events"][0]] {
        for name in TEXT_FIELDS {
            assert_eq!(event[name], stored, "{name}");
        }
        // A list is readable by any parser, so it shows the projection.
        assert_eq!(event["event_data"], json!({ stored.as_str(): [stored.as_str()] }));
    }
    let exact = server.client.get(&format!("/events/{id}/payload")).send().await;
    assert_eq!(exact.text(), payload);

    for name in TEXT_FIELDS.into_iter().filter(|name| *name != "idempotency_key") {
        let query = format!("/events/query?{name}={}", escaped(&stored));
        let found = server.client.get(&query).send().await.json(200);
        assert_eq!(found["events"][0]["id"], id, "{query}");
    }
}

async fn hostile_text_is_refused_in_answers_that_stay_well_formed(server: Arc<Server>) {
    let odd = escaped(&format!("{HOSTILE}\0"));
    let member = json!({"event_type": "t", "user_identity": "u", HOSTILE: 1}).to_string();
    let level = json!({"event_type": "t", "user_identity": "u", "level": HOSTILE}).to_string();
    let filter = json!({"filter": {"field": HOSTILE, "op": HOSTILE, "value": HOSTILE}}).to_string();
    let requests = [
        (Method::GET, format!("/{odd}"), String::new(), 404),
        (Method::GET, format!("/events/{odd}"), String::new(), 400),
        (Method::GET, format!("/events/query?level={odd}"), String::new(), 400),
        (Method::GET, format!("/events/query?x:{odd}=1"), String::new(), 400),
        (Method::GET, format!("/events?cursor={odd}"), String::new(), 400),
        (Method::POST, "/events".to_owned(), member, 422),
        (Method::POST, "/events".to_owned(), level, 422),
        (Method::POST, "/events".to_owned(), format!("{{\"event_type\":\"{HOSTILE}"), 400),
        (Method::POST, "/events/query".to_owned(), filter, 400),
    ];
    for (method, path, body, status) in requests {
        let response = server.client.request(method, &path).json(body).send().await;
        assert_eq!(response.status, status, "{path}: {}", response.text());
        assert_harmless(&response);
        assert!(response.json(status)["code"].is_string(), "{path}");
    }
    let unreadable = format!("Basic {}", STANDARD.encode(format!("{HOSTILE}:x")));
    let response = server.client.get("/events").anonymous().header("authorization", &unreadable).send().await;
    assert_harmless(&response);
    response.problem(401, "malformed_credentials");
}

async fn a_json_log_stays_one_harmless_line_a_record(server: Arc<Server>) {
    let log = log_under_fire(&server, "json").await;
    for line in log.lines() {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(record["timestamp"].is_string() && record["level"].is_string(), "{line}");
    }
}

async fn a_plain_log_stays_one_harmless_line_a_record(server: Arc<Server>) {
    let log = log_under_fire(&server, "pretty").await;
    for line in log.lines() {
        let mut words = line.split_whitespace();
        let time = words.next().and_then(|time| time.strip_suffix('Z')).unwrap_or_default();
        assert!(time.len() > "2026-11-21T09:30:00".len() && time.as_bytes()[10] == b'T', "{line}");
        assert!(["INFO", "WARN", "ERROR"].contains(&words.next().unwrap()), "{line}");
    }
}

/// The log of a process of its own, after requests with hostile text wherever HTTP lets it in.
async fn log_under_fire(server: &Server, format: &str) -> String {
    let mut service = Service::start(server, format).await;
    let odd = escaped(&format!("{HOSTILE}\0"));
    let mut asked = BTreeSet::new();
    for (number, (path, login, headers)) in [
        (format!("/%0A{{\"level\":\"forged\"}}/{odd}"), (ADMIN, PASSWORD), vec![]),
        (format!("/events/query?user_identity={odd}&marker="), (ADMIN, PASSWORD), vec![]),
        ("/events".to_owned(), ("\u{202e}nimda\u{2028}", "x"), vec![]),
        ("/events".to_owned(), ("a\r\nb\u{1b}[31m", "x"), vec![]),
        ("/events".to_owned(), ("\u{2029}\u{feff}/\u{202e}", "x"), vec![]),
        ("/events".to_owned(), (ADMIN, PASSWORD), vec![("x-request-id", "\u{202e}\u{2028}\u{9b}")]),
        ("/events".to_owned(), (ADMIN, PASSWORD), vec![("x-request-id", "a\tb")]),
        ("/events".to_owned(), (ADMIN, PASSWORD), vec![("user-agent", "\u{202e}\u{2028}\u{9b}31m\t")]),
        ("/events".to_owned(), (ADMIN, PASSWORD), vec![("x-tenant", "\u{202e}\u{2028}")]),
        ("/events".to_owned(), (ADMIN, PASSWORD), vec![("idempotency-key", "\u{202e}\u{2028}")]),
    ]
    .into_iter()
    .enumerate()
    {
        for method in ["GET", "POST", "\u{21}$%"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let separator = if path.contains('?') { "&" } else { "?" };
            let mut request = service
                .client
                .request(method.clone(), &format!("{path}{separator}request={number}"))
                .user(login.0, login.1)
                .json(event(HOSTILE));
            for (name, value) in &headers {
                request = request.header(name, value);
            }
            let response = request.send().await;
            assert_harmless(&response);
            let id = response.header("x-request-id").expect("an id").to_owned();
            assert!(asked.insert(id), "each request has an id of its own");
        }
    }
    // What no client of ours would send. Some of it never becomes a request; then it is no line either.
    for raw in [
        "GET /\u{202e}\u{2028}\u{9b}31m?x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \u{202e}\u{2028}\r\nConnection: close\r\n\r\n",
        "GET /\u{1b}[31m\nlevel=forged HTTP/1.1\r\nHost: x\r\n\r\n",
        "\0\0\u{1b}[2J\r\n\r\n",
    ] {
        service.client.raw(raw).await;
    }
    let log = service.stop().await;
    for line in log.lines() {
        let unsafe_character = line.chars().find(|character| is_hostile(*character));
        assert_eq!(unsafe_character, None, "{line:?}");
    }
    assert!(log.ends_with('\n') && !log.contains('\r'), "{log:?}");
    for id in asked {
        assert_eq!(
            log.matches(&format!("\"{id}\"")).count() + log.matches(&format!("={id} ")).count(),
            1,
            "{id}"
        );
    }
    log
}

fn is_hostile(character: char) -> bool {
    character.is_control() || (HOSTILE.contains(character) && !character.is_ascii())
}

/// Headers hold no control character, and the body none that JSON would not escape.
fn assert_harmless(response: &Response) {
    for (name, value) in &response.headers {
        assert!(value.as_bytes().iter().all(|byte| (0x20..0x7f).contains(byte)), "{name}: {value:?}");
    }
    let text = String::from_utf8(response.body.to_vec()).expect("UTF-8");
    assert!(!text.contains(|character: char| character < ' '), "{text:?}");
    if !text.is_empty() {
        let read: Result<Value, _> = serde_json::from_str(&text);
        assert!(read.is_ok(), "{text}");
    }
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// An instance in a process of its own, over a test's database, whose log is a file.
struct Service {
    process: Child,
    log: PathBuf,
    client: Client,
}

impl Service {
    async fn start(server: &Server, format: &str) -> Self {
        let log = server.config.data_dir.join(format!("{format}.log"));
        let file = File::create(&log).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_eventlogger"))
            .arg("serve")
            .env("EVENTLOGGER_DATABASE__URL", server.config.database.url.reveal())
            .env("EVENTLOGGER_DATA_DIR", server.folder_for_another())
            .env("EVENTLOGGER_SERVER__LISTEN", "127.0.0.1:0")
            .env("EVENTLOGGER_LOG__FORMAT", format)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut service = Self { process, client: Client::new(([127, 0, 0, 1], 1).into()), log };
        loop {
            if let Some(address) = address_in(&service.log) {
                service.client = Client::new(address);
                return service;
            }
            assert_eq!(service.process.try_wait().unwrap(), None, "{}", service.said());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn said(&self) -> String {
        String::from_utf8(fs::read(&self.log).unwrap()).expect("UTF-8")
    }

    /// SIGTERM and a clean end; returns the log.
    async fn stop(&mut self) -> String {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                assert!(status.success(), "{status}: {}", self.said());
                return self.said();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn address_in(log: &Path) -> Option<std::net::SocketAddr> {
    let said = fs::read_to_string(log).ok()?;
    let (_, rest) = said.split_once("listening on http://")?;
    rest.split(|end: char| !end.is_ascii_digit() && !".:".contains(end)).next()?.parse().ok()
}
