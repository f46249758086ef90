use http::{StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

/// Answers with what came: the refusal, or method, path and body. `/slow` waits for its body first;
/// `/upgrade` becomes an echo; `/client` is answered with whom it comes from.
struct Echo;

impl Handler for Echo {
    async fn answer(&self, mut request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        if let Some(refusal) = request.extensions().get::<Refusal>() {
            return Response::builder().status(400).body(body(format!("{refusal:?}"))).unwrap();
        }
        if request.headers().contains_key(header::UPGRADE) {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrade.await.unwrap());
                let mut word = [0; 5];
                stream.read_exact(&mut word).await.unwrap();
                stream.write_all(&word).await.unwrap();
            });
            let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
            return answer.header(header::UPGRADE, "echo").body(body(String::new())).unwrap();
        }
        if request.uri() == "/client" {
            return Response::new(body(format!("{:?}", peer.client.map(|client| client.ip()))));
        }
        let (head, content) = request.into_parts();
        let said = match content.collect().await {
            Ok(content) => format!("{} {} {}", head.method, head.uri, content.to_bytes().len()),
            Err(_) => "broken body".to_owned(),
        };
        Response::new(body(said))
    }

    fn turn_away(&self) -> Bytes {
        Bytes::from_static(
            b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 4\r\n\r\nfull",
        )
    }
}

fn body(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed()
}

struct Served {
    address: SocketAddr,
    places: Arc<Places>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

fn settings() -> Settings {
    Settings {
        head_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        write_timeout: Duration::from_secs(30),
        shutdown_grace: Duration::from_secs(10),
        trusted_proxies: TrustedProxies::default(),
    }
}

fn start(settings: Settings) -> Served {
    start_with(settings, Places::new(100, 100))
}

fn start_with(settings: Settings, places: Arc<Places>) -> Served {
    let listeners = listen::bind(&["127.0.0.1:0".parse().unwrap()], None).unwrap();
    let address = listeners[0].address.tcp().unwrap();
    let (stop, stopped) = oneshot::channel();
    let counted = Arc::clone(&places);
    let running = tokio::spawn(async move {
        serve(listeners, Arc::new(Echo), settings, counted, async { drop(stopped.await) }).await.unwrap();
    });
    Served { address, places, stop, running }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn ask(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_all(&mut stream).await
    }
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Reads until the answer contains this.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = String::new();
    let mut space = [0; 1024];
    while !answer.contains(end) {
        let length = stream.read(&mut space).await.unwrap();
        assert!(length > 0, "{answer}");
        answer.push_str(std::str::from_utf8(&space[..length]).unwrap());
    }
    answer
}

const LAST: &str = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn requests_in_one_packet_are_answered_in_order() {
    let served = start(settings());
    let requests = format!(
        "POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
         POST /two HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n{LAST}"
    );
    let answers = served.ask(&requests).await;
    let places: Vec<_> = ["POST /one 3", "POST /two 2", "GET /last 0"]
        .iter()
        .map(|said| answers.find(said).unwrap())
        .collect();
    assert!(places.is_sorted(), "{answers}");
}

#[tokio::test]
async fn what_follows_a_refused_request_is_no_request() {
    let served = start(settings());
    let smuggling =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let first = "GET /first HTTP/1.1\r\nHost: a\r\n\r\n";
    let answers = served.ask(&format!("{first}{smuggling}{LAST}")).await;
    assert!(answers.contains("GET /first 0") && answers.contains("Framing("), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{answers}");
    assert!(answers.contains("connection: close"), "{answers}");
}

#[tokio::test]
async fn a_connection_can_become_another_protocol() {
    let served = start(settings());
    let mut stream = served.connect().await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    stream.write_all(b"\r\n\r\n\0").await.unwrap();
    assert_eq!(read_all(&mut stream).await, "\r\n\r\n\0");
}

#[tokio::test]
async fn a_long_body_arrives_whole() {
    let served = start(settings());
    let length = 3 << 20;
    let mut stream = served.connect().await;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; length]).await.unwrap();
    assert!(read_all(&mut stream).await.ends_with(&format!("POST / {length}")));
}

#[tokio::test]
async fn one_address_cannot_have_all_connections() {
    let served = start_with(settings(), Places::new(100, 2));
    let mut held = [served.connect().await, served.connect().await];
    for stream in &mut held {
        // Answered, so it has been accepted.
        stream.write_all(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        read_until(stream, "GET /held 0").await;
    }
    assert!(served.ask(LAST).await.starts_with("HTTP/1.1 503 "));
    assert_eq!(served.places.turned_away(), 1);
    let [stays, goes] = held;
    drop(goes);
    while !served.ask(LAST).await.contains("GET /last 0") {
        tokio::task::yield_now().await;
    }
    drop(stays);
}

#[tokio::test]
async fn a_stop_finishes_what_is_under_way_and_ends_what_is_idle() {
    let served = start(settings());
    let mut idle = served.connect().await;
    idle.write_all(b"GET /idle HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut idle, "GET /idle 0").await;
    let mut busy = served.connect().await;
    busy.write_all(b"POST /busy HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        .await
        .unwrap();
    // The handler reads the body: the request is under way.
    read_until(&mut busy, "100 Continue").await;
    served.stop.send(()).unwrap();
    assert_eq!(read_all(&mut idle).await, "");
    assert!(TcpStream::connect(served.address).await.is_err(), "nobody listens any more");
    busy.write_all(b"ab").await.unwrap();
    assert!(read_all(&mut busy).await.ends_with("POST /busy 2"));
    served.running.await.unwrap();
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let served = start(Settings { shutdown_grace: Duration::from_millis(50), ..settings() });
    let mut stuck = served.connect().await;
    stuck
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut stuck, "100 Continue").await;
    served.stop.send(()).unwrap();
    served.running.await.unwrap();
    assert_eq!(read_all(&mut stuck).await, "");
}

#[tokio::test]
async fn only_a_trusted_proxy_says_whom_a_request_comes_from() {
    let request = "GET /client HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
                   X-Forwarded-For: 10.1.1.1, 203.0.113.7\r\n\r\n";
    let stranger = start(settings());
    assert!(stranger.ask(request).await.ends_with("Some(127.0.0.1)"));
    let trusted_proxies = ["127.0.0.0/8".parse().unwrap()].into_iter().collect();
    let proxy = start(Settings { trusted_proxies, ..settings() });
    assert!(proxy.ask(request).await.ends_with("Some(203.0.113.7)"));
}

#[tokio::test]
async fn the_connections_of_a_trusted_proxy_only_count_among_all() {
    let trusted_proxies = ["127.0.0.1".parse().unwrap()].into_iter().collect();
    let served = start_with(Settings { trusted_proxies, ..settings() }, Places::new(2, 1));
    let _first = served.connect().await;
    assert!(served.ask(LAST).await.contains("200 OK"));
}
