//! What comes in over the wire and is no ordinary request: smuggled, endless, slow, broken off, too many.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{ADMIN, PASSWORD, Server, count, event, tests};
use crate::http::{Client, basic};

tests![
    a_request_cannot_hide_in_another_one,
    what_is_not_http_is_told_so,
    a_hundred_thousand_header_fields_are_refused,
    slow_header_fields_end_by_themselves_and_hold_up_nobody,
    a_slow_body_ends_by_itself_and_holds_up_nobody,
    an_address_with_too_many_connections_is_told_so_and_others_are_not,
    http_2_works_without_tls,
    http_2_names_one_host,
    clients_that_vanish_at_any_byte_harm_only_themselves,
    refusals_of_the_loop_are_logged_and_counted,
];

const HEAD: &str = "POST /events HTTP/1.1\r\nHost: log\r\nContent-Type: application/json\r\n";

fn login() -> String {
    format!("Authorization: {}\r\n", basic(ADMIN, PASSWORD))
}

/// The answers on a connection: status and body of each.
fn answers(mut raw: &str) -> Vec<(u16, String)> {
    let mut answers = Vec::new();
    while let Some((head, rest)) = raw.split_once("\r\n\r\n") {
        let status = head["HTTP/1.1 ".len()..][..3].parse().unwrap();
        let length = head.to_lowercase();
        let length =
            length.split_once("content-length: ").unwrap().1.lines().next().unwrap().parse().unwrap();
        let (body, next) = rest.split_at(length);
        answers.push((status, body.to_owned()));
        raw = next;
    }
    answers
}

#[track_caller]
fn assert_refused(raw: &str, status: u16, code: &str, context: &str) {
    let answers = answers(raw);
    let [(found, body)] = &answers[..] else { panic!("{context}: {} answers: {raw}", answers.len()) };
    assert_eq!(*found, status, "{context}: {raw}");
    let problem: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{context}: {raw}"));
    assert_eq!(problem["code"], code, "{context}");
    let raw = raw.to_lowercase();
    for header in ["content-type: application/problem+json", "connection: close", "x-request-id: "] {
        assert!(raw.contains(header), "{context}: {raw}");
    }
}

async fn a_request_cannot_hide_in_another_one(server: Arc<Server>) {
    let hidden =
        format!("{HEAD}{}Content-Length: {}\r\n\r\n{}", login(), event("hidden").len(), event("hidden"));
    let chunked = format!("0\r\n\r\n{hidden}");
    let length = chunked.len();
    for (fields, code) in [
        (format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"), "ambiguous_length"),
        (format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"), "ambiguous_length"),
        (format!("Content-Length: 0\r\nContent-Length: {length}\r\n"), "ambiguous_length"),
        (format!("Content-Length: {length}, 0\r\n"), "ambiguous_length"),
        ("Transfer-Encoding: chunked, identity\r\n".to_owned(), "ambiguous_length"),
        ("Transfer-Encoding: xchunked\r\n".to_owned(), "ambiguous_length"),
        (format!("Transfer-Encoding : chunked\r\nContent-Length: {length}\r\n"), "malformed_request"),
        (format!("X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"), "malformed_request"),
        (format!("X: y\nTransfer-Encoding: chunked\r\nContent-Length: {length}\r\n"), "malformed_request"),
        (format!("Transfer-Encoding:\u{b}chunked\r\nContent-Length: {length}\r\n"), "malformed_request"),
        (format!("Host: other\r\nContent-Length: {length}\r\n"), "bad_host"),
    ] {
        let request = format!("{HEAD}{}{fields}\r\n{chunked}", login());
        assert_refused(&server.client.raw(&request).await, 400, code, &fields);
    }
    for line in ["POST /events HTTP/1.1\r\n", "POST http://other/events HTTP/1.1\r\nHost: log\r\n"] {
        let request = format!("{line}{}Content-Length: {length}\r\n\r\n{chunked}", login());
        assert_refused(&server.client.raw(&request).await, 400, "bad_host", line);
    }
    // A chunk that is none ends the connection with the request it belongs to.
    let request = format!("{HEAD}{}Transfer-Encoding: chunked\r\n\r\n1\nx\r\n{chunked}", login());
    let raw = server.client.raw(&request).await;
    assert_eq!(answers(&raw).len(), 1, "{raw}");
    assert!(raw.starts_with("HTTP/1.1 400 "), "{raw}");
    assert_eq!(count(&server.database, "SELECT count(*) FROM events").await, 0);
}

async fn what_is_not_http_is_told_so(server: Arc<Server>) {
    let over_tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec();
    for (request, status, code) in [
        (over_tls, 400, "malformed_request"),
        (b"GET /\r\n\r\n".to_vec(), 400, "malformed_request"),
        (b"GET / HTTP/3.0\r\nHost: log\r\n\r\n".to_vec(), 505, "http_version"),
        (b"GET /\xff HTTP/1.1\r\nHost: log\r\n\r\n".to_vec(), 400, "malformed_request"),
        (b"GET / HTTP/1.1\r\nHost: log\r\nX: \0\r\n\r\n".to_vec(), 400, "malformed_request"),
        (b"GET / HTTP/1.1\r\nHost: log\r\nX: \x1b[2J\r\n\r\n".to_vec(), 400, "malformed_request"),
    ] {
        let context = String::from_utf8_lossy(&request).into_owned();
        assert_refused(&server.client.raw(&request).await, status, code, &context);
    }
    let old = server.client.raw("GET /health/live HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200 "), "{old}");
}

async fn a_hundred_thousand_header_fields_are_refused(server: Arc<Server>) {
    let request = format!("GET / HTTP/1.1\r\nHost: log\r\n{}\r\n", "a: b\r\n".repeat(100_000));
    assert_refused(&server.client.raw(&request).await, 431, "head_too_large", "600 kB");
    let request = format!("GET / HTTP/1.1\r\nHost: log\r\n{}\r\n", "a: b\r\n".repeat(100));
    assert_refused(&server.client.raw(&request).await, 431, "head_too_large", "101 fields");
    let request = format!("GET / HTTP/1.1\r\nHost: log\r\nx: {}\r\n\r\n", "y".repeat(60_000));
    assert_refused(&server.client.raw(&request).await, 431, "head_too_large", "one long field");
    server.client.post("/events").json(event("after")).send().await.json(201);
}

const SLOW_CLIENTS: usize = 100;

/// Sends a first part, then a byte at a time; the answer once the server has enough.
async fn drip(client: Client, first: String) -> String {
    let (mut reading, mut sending) = TcpStream::connect(client.address()).await.unwrap().into_split();
    sending.write_all(first.as_bytes()).await.unwrap();
    let dripping = tokio::spawn(async move {
        while sending.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut answer = Vec::new();
    let _ = reading.read_to_end(&mut answer).await;
    dripping.abort();
    String::from_utf8_lossy(&answer).into_owned()
}

/// While so many drip, others record; then all who dripped have this answer.
async fn assert_slow_ones_end(client: &Client, first: String, status: &str, code: &str) {
    let slow: Vec<_> = (0..SLOW_CLIENTS).map(|_| tokio::spawn(drip(client.clone(), first.clone()))).collect();
    let mut recorded = 0;
    while slow.iter().any(|slow| !slow.is_finished()) {
        client.post("/events").json(event("meanwhile")).send().await.json(201);
        recorded += usize::from(slow.iter().any(|slow| !slow.is_finished()));
    }
    assert!(recorded > 0, "nothing was recorded meanwhile");
    for slow in slow {
        let answer = slow.await.unwrap();
        assert!(answer.starts_with(status) && answer.contains(code), "{answer}");
    }
}

async fn slow_header_fields_end_by_themselves_and_hold_up_nobody(server: Arc<Server>) {
    let strict =
        |config: &mut eventlogger::config::Config| config.server.head_timeout = Duration::from_secs(3);
    let strict = server.another_instance_with(strict).await;
    let first = "GET / HTTP/1.1\r\nHost: log\r\nx: ".to_owned();
    assert_slow_ones_end(&strict.client, first, "HTTP/1.1 408 ", "head_timeout").await;
    strict.stop().await;
}

async fn a_slow_body_ends_by_itself_and_holds_up_nobody(server: Arc<Server>) {
    let strict =
        |config: &mut eventlogger::config::Config| config.server.request_timeout = Duration::from_secs(3);
    let strict = server.another_instance_with(strict).await;
    let first = format!("{HEAD}{}Content-Length: 1000000\r\n\r\n{{", login());
    assert_slow_ones_end(&strict.client, first, "HTTP/1.1 408 ", "body_timeout").await;
    strict.stop().await;
}

async fn connect_from(source: &str, client: &Client) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(client.address()).await.unwrap()
}

async fn ask(stream: &mut TcpStream, end: &str) -> String {
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: log\r\n\r\n").await.unwrap();
    let (mut answer, mut space) = (String::new(), [0; 1024]);
    while !answer.contains(end) {
        match stream.read(&mut space).await.unwrap() {
            0 => break,
            length => answer.push_str(std::str::from_utf8(&space[..length]).unwrap()),
        }
    }
    answer
}

async fn an_address_with_too_many_connections_is_told_so_and_others_are_not(server: Arc<Server>) {
    let strict = server.another_instance_with(|config| config.server.connections_per_address = 3).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = connect_from("127.0.0.9", &strict.client).await;
        assert!(ask(&mut stream, "\"ok\"").await.starts_with("HTTP/1.1 200 "));
        held.push(stream);
    }
    let refused = ask(&mut connect_from("127.0.0.9", &strict.client).await, "never").await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("too_many_connections"), "{refused}");
    assert!(refused.to_lowercase().contains("retry-after: 1\r\n"), "{refused}");
    strict.client.get("/health/live").send().await.json(200);
    let metrics = strict.client.get("/metrics").send().await.text();
    assert!(metrics.contains("eventlogger_connections_turned_away_total 1\n"), "{metrics}");
    drop(held);
    strict.stop().await;
}

async fn http_2_works_without_tls(server: Arc<Server>) {
    let client = server.client.over_http2();
    let recorded = client.post("/events").json(event("over_http_2")).send().await.json(201);
    let path = format!("/events/{}", recorded["id"].as_str().unwrap());
    assert_eq!(client.get(&path).send().await.json(200)["event_type"], "over_http_2");
    client.get("/events").anonymous().send().await.problem(401, "unauthenticated");
    let many = (0..200).map(|n| client.post("/events").json(event(&format!("t{n}"))).send());
    for answer in futures_util::future::join_all(many).await {
        answer.json(201);
    }
}

async fn http_2_names_one_host(server: Arc<Server>) {
    let client = server.client.over_http2();
    let other = client.get("/health/live").header("host", "elsewhere").send().await;
    other.problem(400, "bad_host");
    client.get("/health/live").header("host", &server.client.address().to_string()).send().await.json(200);
}

/// Numbers that look random and are the same in each run.
fn scattered(n: usize, below: usize) -> usize {
    (n * 2_654_435_761 + 40_503) % below
}

async fn clients_that_vanish_at_any_byte_harm_only_themselves(server: Arc<Server>) {
    let body = event("vanishing");
    let request = format!("{HEAD}{}Content-Length: {}\r\n\r\n{body}", login(), body.len());
    let mut vanishing = Vec::new();
    for n in 0..200 {
        let (address, request) = (server.client.address(), request.clone());
        vanishing.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let _ = stream.write_all(&request.as_bytes()[..scattered(n, request.len() + 1)]).await;
        }));
    }
    for _ in 0..20 {
        server.client.post("/events").json(event("staying")).send().await.json(201);
    }
    for client in vanishing {
        client.await.unwrap();
    }
    // What arrived whole may be recorded; nothing else is, and nothing that was answered is missing.
    let staying = "SELECT count(*) FROM events WHERE event_type = 'staying'";
    assert_eq!(count(&server.database, staying).await, 20);
    server.client.request(Method::GET, "/health/ready").send().await.json(200);
}

async fn refusals_of_the_loop_are_logged_and_counted(server: Arc<Server>) {
    server.client.raw("GET / HTTP/1.1\r\n\r\n").await;
    let metrics = server.client.get("/metrics").send().await.text();
    let line = "requests_total{method=\"other\",operation=\"other\",status=\"4xx\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    assert!(metrics.contains("eventlogger_connections "), "{metrics}");
}
