//! Bodies that come compressed: recorded as if they had come as they are, or refused without harm.

use std::sync::Arc;

use async_compression::tokio::write::{GzipEncoder, ZstdEncoder};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{ADMIN, PASSWORD, Server, event, tests};
use crate::http::{Response, basic};

tests![
    a_gzip_batch_and_a_zstd_event_are_recorded_byte_for_byte,
    a_query_may_be_compressed_too,
    zeros_compressed_twice_are_refused_and_others_are_served_meanwhile,
    a_compressed_batch_is_limited_by_what_it_becomes,
    a_body_that_is_cut_off_records_nothing,
    an_encoding_without_a_login_is_decoded_for_nobody,
    bodies_that_fill_the_memory_set_aside_are_told_to_wait,
];

async fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzipEncoder::new(Vec::new());
    encoder.write_all(bytes.as_ref()).await.unwrap();
    encoder.shutdown().await.unwrap();
    encoder.into_inner()
}

async fn zstd(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = ZstdEncoder::new(Vec::new());
    encoder.write_all(bytes.as_ref()).await.unwrap();
    encoder.shutdown().await.unwrap();
    encoder.into_inner()
}

async fn post(server: &Server, path: &str, encoding: &str, body: Vec<u8>) -> Response {
    server.client.post(path).header("content-encoding", encoding).json(body).send().await
}

async fn recorded(server: &Server) -> usize {
    let page = server.client.get("/events").send().await.json(200);
    page["events"].as_array().unwrap().len()
}

async fn a_gzip_batch_and_a_zstd_event_are_recorded_byte_for_byte(server: Arc<Server>) {
    let payload = r#"{"b": 1.10, "a":[1e2 ,"\u00e9"]}"#;
    let one = format!(r#"{{"event_type":"one","user_identity":"u","event_data":{payload}}}"#);
    let answer = post(&server, "/events", "zstd", zstd(&one).await).await.json(201);
    let batch = format!("{one}\n{}\n", one.replace("one", "two"));
    let request = server.client.post("/events/batch").header("content-encoding", "gzip");
    let answers = request.ndjson(gzip(batch).await).send().await.json(201);
    let mut ids = vec![answer["id"].clone()];
    ids.extend(answers["results"].as_array().unwrap().iter().map(|item| item["id"].clone()));
    assert_eq!(ids.len(), 3);
    for id in ids {
        let path = format!("/events/{}/payload", id.as_str().unwrap());
        assert_eq!(server.client.get(&path).send().await.text(), payload);
    }
}

async fn a_query_may_be_compressed_too(server: Arc<Server>) {
    for k in [1, 2] {
        let event = json!({"event_type": "t", "user_identity": "u", "event_data": {"k": k}});
        server.client.post("/events").json(event.to_string()).send().await.json(201);
    }
    let query = r#"{"filter": {"field": "k", "value": 2}}"#;
    let page = post(&server, "/events/query", "gzip", gzip(query).await).await.json(200);
    assert_eq!(page["events"].as_array().unwrap().len(), 1);
}

async fn zeros_compressed_twice_are_refused_and_others_are_served_meanwhile(server: Arc<Server>) {
    let zeros = vec![0; 10 << 20];
    let once = gzip(&zeros).await;
    let twice = gzip(&once).await;
    let bombs = (0..8).map(|_| async {
        let named = post(&server, "/events", "gzip, gzip", twice.clone()).await;
        named.problem(415, "content_encoding");
        assert_eq!(named.header("accept-encoding"), Some("gzip, zstd"));
        post(&server, "/events", "gzip", twice.clone()).await.problem(400, "malformed_json");
        post(&server, "/events", "gzip", once.clone()).await.problem(413, "compression_ratio");
        post(&server, "/events/batch", "gzip", once.clone()).await.problem(413, "compression_ratio");
    });
    let healthy = async {
        for n in 0..20 {
            server.client.post("/events").json(event(&format!("t{n}"))).send().await.json(201);
        }
    };
    futures_util::join!(futures_util::future::join_all(bombs), healthy);
    assert_eq!(recorded(&server).await, 20);
}

async fn a_compressed_batch_is_limited_by_what_it_becomes(server: Arc<Server>) {
    // Noise, or it would be taken for a bomb.
    let data: String =
        (0..90_000_u64).map(|n| format!("{:x},", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let small = server.another_instance_with(|config| config.limits.batch_body_bytes = 1 << 20).await;
    let (one, two) = data.split_at(data.len() / 2);
    let events = [one, two].map(|x| json!({"event_type": "t", "user_identity": "u", "event_data": {"x": x}}));
    let batch = json!(events).to_string();
    let body = zstd(&batch).await;
    assert!(batch.len() > 1 << 20 && body.len() < 1 << 20, "{} {}", batch.len(), body.len());
    let problem = post(&small, "/events/batch", "zstd", body.clone()).await.problem(413, "body_too_large");
    assert_eq!(problem["limit_bytes"], 1 << 20);
    assert!(problem["detail"].as_str().unwrap().contains("decompressed"), "{problem:#}");
    post(&server, "/events/batch", "zstd", body).await.json(201);
    small.stop().await;
}

async fn a_body_that_is_cut_off_records_nothing(server: Arc<Server>) {
    let whole = gzip(format!("[{}]", event("t"))).await;
    for body in [&whole[..whole.len() - 1], &whole[..12], &[whole.as_slice(), b"x"].concat()] {
        let problem = post(&server, "/events/batch", "gzip", body.to_vec()).await;
        let problem = problem.problem(400, "malformed_encoding");
        assert!(problem["detail"].as_str().unwrap().contains("Nothing was recorded"), "{problem:#}");
    }
    assert_eq!(recorded(&server).await, 0);
}

async fn an_encoding_without_a_login_is_decoded_for_nobody(server: Arc<Server>) {
    let request = server.client.post("/events").anonymous().header("content-encoding", "zstd");
    request.json("no zstd at all").send().await.problem(401, "unauthenticated");
}

/// A client that has sent almost as much as fits and goes on holding it, and the answer to one for whom there
/// is no room. `None` if the holder lost the race for the room.
async fn refused_beside_a_holder(server: &Server) -> Option<(TcpStream, Response)> {
    let almost = format!("[{}", " ".repeat((1 << 20) - 10));
    let login = basic(ADMIN, PASSWORD);
    let request = format!(
        "POST /events/batch HTTP/1.1\r\nhost: log\r\ncontent-type: application/json\r\n\
         authorization: {login}\r\ncontent-length: {}\r\n\r\n{almost}",
        1 << 20
    );
    let mut holder = TcpStream::connect(server.client.address()).await.unwrap();
    holder.write_all(request.as_bytes()).await.unwrap();
    loop {
        let answer = server.client.post("/events").json(event("t")).send().await;
        if answer.status != 201 {
            return Some((holder, answer));
        }
        if holder.try_read(&mut [0]).is_ok() {
            return None;
        }
    }
}

async fn bodies_that_fill_the_memory_set_aside_are_told_to_wait(server: Arc<Server>) {
    let small = server
        .another_instance_with(|config| {
            config.limits.batch_body_bytes = 1 << 20;
            config.limits.bodies_bytes = 1 << 20;
        })
        .await;
    let (holder, refused) = loop {
        if let Some(found) = refused_beside_a_holder(&small).await {
            break found;
        }
    };
    refused.problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("2"));
    // What has no body goes on, and the room is free again when the holder is gone.
    small.client.get("/events?limit=1").send().await.json(200);
    drop(holder);
    let answer: Value = loop {
        let answer = small.client.post("/events").json(event("t")).send().await;
        if answer.status != 503 {
            break answer.json(201);
        }
    };
    assert!(answer["id"].is_string());
    small.stop().await;
}
