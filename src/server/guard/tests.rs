use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const TIMEOUTS: Timeouts =
    Timeouts { head: Duration::from_secs(10), idle: Duration::from_secs(75), write: Duration::from_secs(30) };

/// What the pipe between client and guard holds.
const PIPE_BYTES: usize = 128;

struct Connection {
    client: DuplexStream,
    guard: Guard<DuplexStream>,
    activity: Arc<Activity>,
}

fn connection() -> Connection {
    let (client, server) = duplex(PIPE_BYTES);
    let activity = Activity::new();
    Connection { client, guard: Guard::new(server, Arc::clone(&activity), TIMEOUTS), activity }
}

impl Connection {
    async fn send(&mut self, text: &str) {
        self.client.write_all(text.as_bytes()).await.unwrap();
    }

    /// What the guard lets through next; nothing at the end.
    async fn through(&mut self) -> String {
        let mut space = [0; 1024];
        let length = self.guard.read(&mut space).await.unwrap();
        String::from_utf8_lossy(&space[..length]).into_owned()
    }
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_head_is_held_back_until_it_is_whole() {
    let mut connection = connection();
    connection.send("GET / HTTP/1.1\r\nHo").await;
    assert!(futures_util::poll!(Box::pin(connection.through())).is_pending());
    connection.send("st: a\r\n\r\n").await;
    assert_eq!(connection.through().await, GET);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_too_slowly_is_replaced_by_a_refusal() {
    let mut connection = connection();
    let begun = Instant::now();
    connection.send("GET / HTTP/1.1\r\n").await;
    assert_eq!(connection.through().await.as_bytes(), REFUSED);
    assert_eq!(begun.elapsed().as_secs(), TIMEOUTS.head.as_secs());
    assert_eq!(connection.activity.next_request(), Some(Refusal::Slow));
    // Nothing that comes later is looked at.
    connection.send("Host: a\r\n\r\n").await;
    assert!(futures_util::poll!(Box::pin(connection.through())).is_pending());
}

#[tokio::test(start_paused = true)]
async fn dripping_bytes_win_no_time() {
    let (client, server) = duplex(PIPE_BYTES);
    let mut guard = Guard::new(server, Activity::new(), TIMEOUTS);
    let (_unread, mut sending) = tokio::io::split(client);
    let drip = tokio::spawn(async move {
        while sending.write_all(b"x").await.is_ok() {
            sleep(1).await;
        }
    });
    let begun = Instant::now();
    let mut space = [0; 1024];
    let length = guard.read(&mut space).await.unwrap();
    assert_eq!(&space[..length], REFUSED);
    assert_eq!(begun.elapsed().as_secs(), TIMEOUTS.head.as_secs());
    drip.abort();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_left_without_an_answer() {
    let mut connection = connection();
    let begun = Instant::now();
    assert_eq!(connection.through().await, "");
    assert_eq!(begun.elapsed().as_secs(), TIMEOUTS.head.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_requests_ends_and_one_with_a_request_stays() {
    let mut connection = connection();
    connection.send(GET).await;
    assert_eq!(connection.through().await, GET);
    let in_flight = connection.activity.begin();
    let mut waiting = Box::pin(async {
        assert_eq!(connection.through().await, "");
        Instant::now()
    });
    tokio::select! {
        _ = &mut waiting => panic!("a request was in flight"),
        () = sleep(1000) => {}
    }
    drop(in_flight);
    let done = Instant::now();
    let idle = waiting.await - done;
    assert!(idle >= TIMEOUTS.idle && idle <= 2 * TIMEOUTS.idle, "{idle:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_comes_after_the_requests_before_it() {
    let mut connection = connection();
    connection.send(GET).await;
    connection.send("GET / HTTP/1.1\r\n\r\n").await;
    connection.send(GET).await;
    assert_eq!(connection.through().await, GET);
    assert_eq!(connection.through().await.as_bytes(), REFUSED);
    assert_eq!(connection.activity.next_request(), None);
    assert!(matches!(connection.activity.next_request(), Some(Refusal::Host(_))));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_off() {
    let mut connection = connection();
    connection.guard.write_all(&[0; PIPE_BYTES]).await.unwrap();
    let begun = Instant::now();
    let error = connection.guard.write_all(&[0; PIPE_BYTES]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(begun.elapsed().as_secs(), TIMEOUTS.write.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_its_answer_slowly_is_not() {
    let mut connection = connection();
    let Connection { client, guard, .. } = &mut connection;
    let answer = [7; 640];
    let mut taken = Vec::new();
    let take = async {
        while taken.len() < answer.len() {
            sleep(20).await;
            taken.push(client.read_u8().await.unwrap());
        }
    };
    let (written, ()) = tokio::join!(guard.write_all(&answer), take);
    written.unwrap();
    assert_eq!(taken, answer);
}

#[tokio::test(start_paused = true)]
async fn a_long_body_and_what_follows_an_upgrade_pass_unseen() {
    let mut connection = connection();
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n").await;
    assert!(connection.through().await.ends_with("\r\n\r\n"));
    for _ in 0..2 {
        connection.send("GET nonsense\r\n\r\n1234").await;
        assert_eq!(connection.through().await.len(), 20);
    }
    connection.activity.set_upgraded();
    connection.send("\0no\r\n\r\nhead").await;
    assert_eq!(connection.through().await, "\0no\r\n\r\nhead");
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_has_time_to_read_the_answer() {
    let Connection { mut client, mut guard, .. } = connection();
    client.write_all(b"\x16\x03\x01 no HTTP \r\n\r\n").await.unwrap();
    let mut space = [0; REFUSED.len()];
    guard.read_exact(&mut space).await.unwrap();
    assert_eq!(&space, REFUSED);
    guard.write_all(b"no").await.unwrap();
    let closing = tokio::spawn(async move { guard.shutdown().await });
    // More than the pipe holds: somebody must be reading.
    client.write_all(&[b'x'; 1000]).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"no");
    drop(client);
    closing.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_still_being_taken_is_no_idleness() {
    let mut connection = connection();
    connection.send(GET).await;
    assert_eq!(connection.through().await, GET);
    // hyper has all of the answer; the client has not.
    drop(connection.activity.begin());
    let Connection { mut client, guard, .. } = connection;
    let (mut reading, mut writing) = tokio::io::split(guard);
    let end = tokio::spawn(async move {
        assert_eq!(reading.read(&mut [0; 8]).await.unwrap(), 0);
        Instant::now()
    });
    let answer = [7; 2 * PIPE_BYTES];
    let take = async {
        for _ in 0..answer.len() {
            sleep(2).await;
            client.read_u8().await.unwrap();
        }
    };
    let write = async {
        writing.write_all(&answer).await.unwrap();
        Instant::now()
    };
    let begun = Instant::now();
    let (written, ()) = tokio::join!(write, take);
    assert!(written - begun > TIMEOUTS.idle, "it took long enough to be a test");
    assert!(end.await.unwrap() - written >= TIMEOUTS.idle);
}
