//! The service behind a Unix socket: for a proxy on the same machine, and for who may write to the file.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::harness::{ADMIN, PASSWORD, Server, event, tests};
use crate::http::basic;

tests![
    events_are_recorded_through_a_socket_that_goes_with_the_service,
    the_socket_of_a_killed_service_is_taken_over_and_a_live_one_is_not,
];

async fn listening_at(server: &Server, socket: &Path) -> Server {
    let address = format!("unix:{}", socket.display()).parse().unwrap();
    server.another_instance_with(|config| config.server.listen.push(address)).await
}

/// The answer to one request, which is the last on its connection.
async fn ask(socket: &Path, head: &str, body: &str) -> String {
    let login = basic(ADMIN, PASSWORD);
    let request = format!(
        "{head} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {login}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = UnixStream::connect(socket).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn events_are_recorded_through_a_socket_that_goes_with_the_service(server: Arc<Server>) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("http.sock");
    let other = listening_at(&server, &socket).await;
    let metadata = fs::metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);

    let answer = ask(&socket, "POST /events", &event("t")).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let page = server.client.get("/events").send().await.json(200);
    assert_eq!(page["events"].as_array().unwrap().len(), 1);

    other.stop().await;
    assert!(!socket.exists());
}

async fn the_socket_of_a_killed_service_is_taken_over_and_a_live_one_is_not(server: Arc<Server>) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("http.sock");
    // Dropping a bare listener leaves the file, as a kill does.
    drop(UnixListener::bind(&socket).unwrap());
    let first = listening_at(&server, &socket).await;

    let mut config = first.config.clone();
    config.server.listen.retain(|address| address.tcp().is_none());
    let error = eventlogger::app::build(config).await.err().unwrap().to_string();
    assert!(error.contains("http.sock is in use by ") && error.contains("server.listen"), "{error}");
    let answer = ask(&socket, "GET /health/live", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    first.stop().await;
}
