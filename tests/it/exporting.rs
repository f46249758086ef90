//! Exports, and what `eventlogger verify` says of a bundle.

use std::fs;
use std::process::{Command, Output};
use std::sync::Arc;

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use eventlogger::tlog::SigningKey;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::evidence::open;
use crate::harness::{ADMIN, PASSWORD, Server, assert_says, event, record, tests, vkey};
use crate::http::basic;

tests![
    an_export_has_everything_in_order_and_a_manifest,
    an_export_of_many_pages_is_whole,
    an_export_is_recorded_when_it_begins_and_when_it_ends,
    a_table_is_for_spreadsheets,
    a_bundle_proves_itself,
    a_bundle_that_was_changed_is_found_out,
    a_compressed_export_is_the_same,
    what_an_export_cannot_do_is_said,
    a_client_that_leaves_ends_its_export_and_that_is_recorded,
    the_command_saves_what_is_whole,
];

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn export(server: &Server, query: &str) -> String {
    let response = server.client.get(&format!("/events/export{query}")).send().await;
    assert_eq!(response.status, 200, "{}", response.text());
    response.text()
}

fn numbered(n: usize) -> String {
    json!({"event_type": "t", "user_identity": "u", "level": if n.is_multiple_of(2) { "WARN" } else { "INFO" }, "event_data": {"n": n}})
        .to_string()
}

async fn record_numbered(server: &Server, count: usize) {
    let items: Vec<_> = (0..count).map(numbered).collect();
    for chunk in items.chunks(5_000) {
        let body = format!("[{}]", chunk.join(","));
        server.client.post("/events/batch?receipt=none").json(body).send().await.json(201);
    }
}

async fn an_export_has_everything_in_order_and_a_manifest(server: Arc<Server>) {
    record_numbered(&server, 300).await;
    let text = export(&server, "?level=warn").await;
    let (events, last) = text.trim_end().rsplit_once('\n').unwrap();
    let manifest = serde_json::from_str::<Value>(last).unwrap()["manifest"].clone();
    let events = lines(&format!("{events}\n"));
    let of_data: Vec<_> = events.iter().map(|event| event["event_data"]["n"].as_u64().unwrap()).collect();
    assert_eq!(of_data, (0..300).step_by(2).collect::<Vec<_>>());
    assert_eq!(
        (&manifest["count"], &manifest["first_seq"], &manifest["last_seq"]),
        (&json!(150), &json!(0), &json!(298))
    );
    let before = &text[..text.len() - last.len() - 1];
    let hash: String = Sha256::digest(before).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(manifest["sha256"], hash);
    assert_eq!(open(manifest["checkpoint"].as_str().unwrap(), &vkey(&server).await).size, 300);
    assert_eq!(manifest["log_size"], 300);
    // As lists show them.
    let one = server.client.get("/events?seq=298").send().await.json(200);
    assert_eq!(one["events"][0], events[149]);
    // A number that no float holds does not make it another filter.
    let huge = lines(&export(&server, "?n:lt=9e308&format=bundle").await);
    assert_eq!((&huge[0]["filter"], huge.len()), (&huge[301]["manifest"]["filter"], 302));
    assert!(huge[0]["filter"].as_str().unwrap().contains("9e308"), "{}", huge[0]["filter"]);
    // Of nothing there is a manifest, too.
    let nothing = lines(&export(&server, "?type=none").await);
    assert_eq!((nothing.len(), &nothing[0]["manifest"]["count"]), (1, &json!(0)));
}

async fn an_export_of_many_pages_is_whole(server: Arc<Server>) {
    record_numbered(&server, 12_345).await;
    for (query, expected) in [("", 12_345), ("?level=warn", 6_173), ("?n:gte=12000", 345)] {
        let lines = lines(&export(&server, query).await);
        assert_eq!(lines.len(), expected + 1, "{query}");
        assert!(lines[..expected].windows(2).all(|pair| pair[0]["seq"].as_u64() < pair[1]["seq"].as_u64()));
        assert_eq!(lines[expected]["manifest"]["count"], expected, "{query}");
    }
}

async fn an_export_is_recorded_when_it_begins_and_when_it_ends(server: Arc<Server>) {
    record(&server, 3).await;
    server.add_user("rita", PASSWORD, "reader").await;
    let response = server.client.get("/events/export?type=t").user("rita", PASSWORD).send().await;
    let manifest = lines(&response.text()).pop().unwrap()["manifest"].clone();
    let of = async |event_type: &str| {
        let url =
            format!("/events?event_type={event_type}&export_id={}", manifest["export_id"].as_str().unwrap());
        loop {
            let page = server.client.get(&url).send().await.json(200);
            if let Some(event) = page["events"].get(0) {
                return event.clone();
            }
        }
    };
    assert_eq!(response.header("export-id"), manifest["export_id"].as_str());
    let begun = of("eventlogger.export_started").await;
    assert_eq!((&begun["user_identity"], &begun["outcome"]), (&json!("rita"), &json!("unknown")));
    let ended = of("eventlogger.exported").await;
    assert_eq!((&ended["event_data"], &ended["outcome"]), (&manifest, &json!("success")));
    assert_eq!(ended["message"], "3 events were exported.");
    server.add_user("wim", PASSWORD, "writer").await;
    server.client.get("/events/export").user("wim", PASSWORD).send().await.problem(403, "role_missing");
}

async fn a_table_is_for_spreadsheets(server: Arc<Server>) {
    let body = json!({
        "event_type": "=cmd()", "user_identity": "a, \"b\"", "message": "two\nlines", "ip": "10.0.0.7",
        "event_data": {"amount": -12.5, "note": "@x", "odd,key": [1, "2"], "gone": null},
    });
    server.client.post("/events").json(body.to_string()).send().await.json(201);
    let columns = "seq,event_type,user_identity,message,ip,source,event_data.amount,event_data.note,event_data.\"odd,key\",event_data.gone";
    let encoded = columns.replace('"', "%22");
    let response = server.client.get(&format!("/events/export?format=csv&columns={encoded}")).send().await;
    assert!(response.header("content-type").unwrap().starts_with("text/csv"));
    assert_eq!(
        response.text(),
        format!(
            "{}\r\n0,'=cmd(),\"a, \"\"b\"\"\",\"two\nlines\",10.0.0.7,,-12.5,'@x,\"[1,\"\"2\"\"]\",\r\n",
            columns.replace("event_data.\"odd,key\"", "\"event_data.\"\"odd,key\"\"\"")
        )
    );
    let all = export(&server, "?format=csv").await;
    assert!(all.starts_with("seq,id,received_at,timestamp,event_type,"), "{all}");
    assert_eq!(all.matches("\r\n").count(), 2 + 2, "the header, and three events by now: {all}");
}

async fn verify(bundle: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("b.bundle");
    fs::write(&file, bundle).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_eventlogger"));
    command.arg("verify").arg(&file).args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn a_bundle_proves_itself(server: Arc<Server>) {
    record_numbered(&server, 600).await;
    let bare = server.client.post("/events").json(event("bare")).send().await.json(201);
    for id in [&bare["id"]] {
        let path = format!("/events/{}?reason=test&scope=all", id.as_str().unwrap());
        server.client.request(http::Method::DELETE, &path).send().await.json(200);
    }
    let key = vkey(&server).await;
    let bundle = export(&server, "?format=bundle").await;
    let verified = verify(&bundle, &["--key", &key]).await;
    assert_says(&verified, 0, "602, each as it was recorded");
    assert_says(&verify(&bundle, &[]).await, 7, "NOT checked");
    let part = export(&server, "?format=bundle&n:gte=590").await;
    assert_says(&verify(&part, &["--key", &key]).await, 0, "10, each as it was recorded");
    // The redaction lies outside of it.
    let redacted = export(&server, "?format=bundle&seq=600").await;
    assert_says(
        &verify(&redacted, &["--key", &key]).await,
        7,
        "1 events, by entries that are not in the bundle",
    );
    // A later state of the log has it all the same.
    record(&server, 300).await;
    assert_says(&verify(&bundle, &["--key", &key]).await, 0, "each as it was recorded");
    let other = another_key(&key);
    assert_says(&verify(&bundle, &["--key", &other]).await, 6, "the checkpoint");
}

/// A key of the same name that has signed nothing.
fn another_key(vkey: &str) -> String {
    let name = vkey.split('+').next().unwrap();
    SigningKey::from_seed(name, &[7; 32]).unwrap().verifier().to_string()
}

async fn a_bundle_that_was_changed_is_found_out(server: Arc<Server>) {
    record_numbered(&server, 300).await;
    let key = vkey(&server).await;
    let bundle = export(&server, "?format=bundle").await;
    let lines: Vec<&str> = bundle.lines().collect();
    let with = |n: usize, line: String| {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        lines[n] = line;
        lines.join("\n") + "\n"
    };
    let entry_of = |n: usize| serde_json::from_str::<Value>(lines[n]).unwrap()["entry"].to_string();
    for (changed, says) in [
        (with(8, lines[8].replace(r#"{\"n\":7}"#, r#"{\"n\":8}"#)), "does not commit to the payload"),
        (with(8, lines[8].replace("INFO", "WARN")), "does not commit to the envelope"),
        (with(8, lines[8].replace(&entry_of(8), &entry_of(9))), "its entry is that of seq 8"),
        (with(8, lines[8].replace("\"seq\":7", "\"seq\":9")), "its entry is that of seq 7"),
        (with(8, lines[9].to_owned()), "or twice"),
        (with(301, lines[301].replace("\"count\":300", "\"count\":299")), "the manifest tells of 299"),
        (bundle.replace(&format!("{}\n", lines[8]), ""), "another SHA-256"),
    ] {
        assert_ne!(changed, bundle, "{says}");
        assert_says(&verify(&changed, &["--key", &key]).await, 6, says);
    }
    let missing = {
        let mut line: Value = serde_json::from_str(lines[8]).unwrap();
        line.as_object_mut().unwrap().retain(|name, _| !name.starts_with("payload"));
        with(8, line.to_string())
    };
    assert_says(&verify(&missing, &["--key", &key]).await, 6, "nothing says that it was redacted");
    for (broken, says) in [
        (lines[..200].join("\n") + "\n", "cut short"),
        (bundle[..bundle.len() / 2].to_owned(), "line 1"),
        (format!("{bundle}{}\n", lines[8]), "after the end"),
        (bundle.replacen("\"bundle\":1", "\"bundle\":2", 1), "version 2"),
        (with(8, "{}".to_owned()), "line 9"),
        (with(8, lines[8].replacen('{', r#"{"received_at":"1999","#, 1)), "unknown field"),
        (with(8, lines[8].replacen('{', "{\"redacted\":\"\\u001b[2J\",", 1)), "\\u001b[2J"),
    ] {
        assert_says(&verify(&broken, &["--key", &key]).await, 3, says);
    }
}

async fn a_compressed_export_is_the_same(server: Arc<Server>) {
    record_numbered(&server, 3_000).await;
    let plain = export(&server, "?n:lt=2900").await;
    let events = |text: &str| text.rsplit_once("{\"manifest\"").unwrap().0.to_owned();
    for (name, media_type) in [("gzip", "application/gzip"), ("zstd", "application/zstd")] {
        let response = server.client.get(&format!("/events/export?n:lt=2900&compress={name}")).send().await;
        assert_eq!(response.header("content-type"), Some(media_type));
        assert!(response.body.len() * 5 < plain.len(), "{} of {}", response.body.len(), plain.len());
        let mut text = String::new();
        match name {
            "gzip" => GzipDecoder::new(&response.body[..]).read_to_string(&mut text).await.unwrap(),
            _ => ZstdDecoder::new(&response.body[..]).read_to_string(&mut text).await.unwrap(),
        };
        assert_eq!(events(&text), events(&plain));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("packed");
        fs::write(&file, &response.body).unwrap();
        assert_says(&verify_file(&file).await, 3, "is compressed");
    }
}

async fn verify_file(file: &std::path::Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eventlogger"));
    command.arg("verify").arg(file);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn what_an_export_cannot_do_is_said(server: Arc<Server>) {
    for (query, code, parameter) in [
        ("limit=5", "invalid_query", "limit"),
        ("cursor=x", "invalid_query", "cursor"),
        ("level=wrn", "invalid_query", "level"),
        ("format=xml", "invalid_parameter", "format"),
        ("compress=rar", "invalid_parameter", "compress"),
        ("columns=seq", "invalid_parameter", "columns"),
        ("format=csv&columns=a..b", "invalid_query", "columns"),
        ("format=csv&columns=", "invalid_query", "columns"),
        ("format=csv&columns=seq,data.a,event_data.a", "invalid_query", "columns"),
    ] {
        let problem = server.client.get(&format!("/events/export?{query}")).send().await.problem(400, code);
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{query}: {problem:#}");
    }
}

async fn a_client_that_leaves_ends_its_export_and_that_is_recorded(server: Arc<Server>) {
    // More than the sockets between hold.
    let long = json!({"event_type": "t", "user_identity": "u", "event_data": "x".repeat(50_000)}).to_string();
    for _ in 0..10 {
        let items = vec![long.as_str(); 60].join(",");
        server.client.post("/events/batch?receipt=none").json(format!("[{items}]")).send().await.json(201);
    }
    let login = basic(ADMIN, PASSWORD);
    let request = format!("GET /events/export HTTP/1.1\r\nHost: x\r\nAuthorization: {login}\r\n\r\n");
    let mut readers = Vec::new();
    for _ in 0..8 {
        let mut connection = tokio::net::TcpStream::connect(server.client.address()).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        connection.read_exact(&mut [0; 1000]).await.unwrap();
        readers.push(connection);
    }
    // As many as there may be.
    let refused = server.client.get("/events/export").send().await;
    refused.problem(429, "too_many_exports");
    assert!(refused.header("retry-after").is_some());
    drop(readers);
    let ended = loop {
        let page = server.client.get("/events?event_type=eventlogger.exported").send().await.json(200);
        match page["events"].as_array().unwrap().as_slice() {
            events if events.len() == 8 => break events.to_vec(),
            _ => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    };
    for ended in ended {
        let data = &ended["event_data"];
        assert_eq!((&ended["outcome"], &data["error"]), (&json!("failure"), &json!("the client went away")));
        assert!(data["count"].as_u64() < Some(600), "{ended:#}");
        assert!(data["sha256"].is_null());
    }
    assert_eq!(server.client.get("/events/export?type=none").send().await.status, 200);
}

async fn the_command_saves_what_is_whole(server: Arc<Server>) {
    record_numbered(&server, 6_000).await;
    let folder = tempfile::tempdir().unwrap();
    let run = async |out: &str, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eventlogger"));
        command.arg("export").arg("--url").arg(format!("http://{}", server.client.address()));
        command.arg("--out").arg(folder.path().join(out)).args(arguments);
        command.env("EVENTLOGGER_USER", ADMIN).env("EVENTLOGGER_PASSWORD", PASSWORD);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    assert_says(&run("all.ndjson", &[]).await, 0, "6000 events, ");
    assert!(!folder.path().join("all.ndjson.part").exists());
    assert_says(&run("all.ndjson", &[]).await, 3, "is there already");
    assert_says(&run("one", &["--format", "bundle", "n:gte=5990", "q=level:warn"]).await, 0, "5 events, ");
    let bundle = fs::read_to_string(folder.path().join("one")).unwrap();
    assert_says(&verify(&bundle, &["--key", &vkey(&server).await]).await, 0, "5, each as it was recorded");
    assert_says(
        &run("t.csv", &["--format", "csv", "--columns", "seq,event_data.n", "n=7"]).await,
        0,
        "2 lines, ",
    );
    assert_eq!(fs::read_to_string(folder.path().join("t.csv")).unwrap(), "seq,event_data.n\r\n7,7\r\n");
    assert_says(&run("x", &["level=wrn"]).await, 4, "did you mean WARN?");
    assert_says(&run("x", &["level"]).await, 2, "NAME=VALUE");
    assert_says(&run("x/y", &[]).await, 3, "cannot write");
}
