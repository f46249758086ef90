//! The embedded cluster against real PostgreSQL binaries. As root, everything is run once more as an
//! ordinary user.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use eventlogger::postgres::{Cluster, ClusterError, SUPERUSER, Settings, connect_options};
use rustix::process::{Pid, Signal, geteuid, kill_process, set_child_subreaper};
use sqlx::{Connection, PgConnection, Row};
use tempfile::TempDir;

const NOBODY: u32 = 65534;
const OWNER_DATA_DIR: &str = "CLUSTER_TEST_DATA_DIR";

/// A data directory that the cluster's user can get into. Fails the test that leaves a process behind.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("el").tempdir_in("/tmp").unwrap();
        let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
        fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
        Self { folder }
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn pg(&self) -> PathBuf {
        self.data_dir().join("pg")
    }

    fn settings(&self) -> Settings {
        small(self.data_dir())
    }

    async fn start(&self) -> Cluster {
        Cluster::start(self.settings()).await.unwrap()
    }

    async fn refusal(&self) -> String {
        refusal(self.settings()).await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let left = processes_in(self.folder.path());
        left.iter().for_each(|pid| send(*pid, Signal::KILL));
        assert!(left.is_empty() || std::thread::panicking(), "left behind: {left:?}");
    }
}

/// A process that does not outlive its test.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn small(data_dir: impl Into<PathBuf>) -> Settings {
    let options = vec![("shared_buffers".to_owned(), "16MB".to_owned())];
    Settings { options, ..Settings::new(data_dir) }
}

async fn refusal(settings: Settings) -> String {
    Cluster::start(settings).await.map(|_| "it started").unwrap_err().to_string()
}

fn processes_in(folder: &Path) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder)))
        .collect()
}

fn send(pid: u32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal); // gone already is fine
}

fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !reached() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

async fn connect(cluster: &Cluster) -> PgConnection {
    PgConnection::connect_with(&cluster.connect_options(SUPERUSER, "postgres")).await.unwrap()
}

async fn text(connection: &mut PgConnection, sql: &'static str) -> String {
    sqlx::query(sql).fetch_one(connection).await.unwrap().get(0)
}

async fn run(connection: &mut PgConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

/// What `notes` holds, to see that committed rows are all there.
async fn notes(cluster: &Cluster) -> String {
    text(&mut connect(cluster).await, "select string_agg(note, ' ' order by note) from notes").await
}

async fn with_notes(place: &Place) -> Cluster {
    let cluster = place.start().await;
    run(
        &mut connect(&cluster).await,
        "create table notes (note text); insert into notes values ('a'), ('b')",
    )
    .await;
    cluster
}

/// A process of its own that runs the cluster, to be killed.
struct Owner {
    process: Reaped,
    postmaster: u32,
}

impl Owner {
    fn start(place: &Place) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "owner_process", "--ignored", "--nocapture"])
            .env(OWNER_DATA_DIR, place.data_dir())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let postmaster =
            said.filter_map(|line| line.rsplit_once("postmaster=")?.1.parse().ok()).next().unwrap();
        Self { process: Reaped(process), postmaster }
    }

    fn kill(&mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }
}

#[tokio::test]
#[ignore = "not a test: the process that other tests kill"]
async fn owner_process() {
    let Some(data_dir) = std::env::var_os(OWNER_DATA_DIR) else { return };
    let cluster = Cluster::start(small(data_dir)).await.unwrap();
    println!("postmaster={}", cluster.pid().unwrap());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_new_cluster_is_durable_private_and_folds_case() {
    let place = Place::new();
    let cluster = place.start().await;
    let mut connection = connect(&cluster).await;
    let settings = "select string_agg(name || '=' || setting, ' ' order by name) from pg_settings where name in \
                    ('fsync', 'full_page_writes', 'synchronous_commit', 'data_checksums', 'listen_addresses', 'jit', \
                     'server_encoding', 'log_parameter_max_length', 'log_parameter_max_length_on_error')";
    assert_eq!(
        text(&mut connection, settings).await,
        "data_checksums=on fsync=on full_page_writes=on jit=off listen_addresses= log_parameter_max_length=0 \
         log_parameter_max_length_on_error=0 server_encoding=UTF8 synchronous_commit=on"
    );
    assert_eq!(
        text(&mut connection, "select ('Ж' ilike 'ж')::text || (current_user)").await,
        "trueeventlogger"
    );
    let databases = "select string_agg(datname || ' ' || datcollate, ', ' order by datname) from pg_database";
    assert_eq!(text(&mut connection, databases).await, "postgres C, template0 C, template1 C");
    for folder in ["pg", "run"] {
        assert_eq!(fs::metadata(place.data_dir().join(folder)).unwrap().mode() & 0o777, 0o700, "{folder}");
    }
    assert!(text(&mut connection, "show server_version").await.starts_with(cluster.version()));
    cluster.stop().await;
    assert!(!place.pg().join("postmaster.pid").exists());
}

#[tokio::test]
async fn each_of_the_services_roles_and_no_other_can_log_in() {
    let place = Place::new();
    let cluster = place.start().await;
    run(
        &mut connect(&cluster).await,
        "create role eventlogger_reader login; create role stranger superuser login",
    )
    .await;
    let reader = cluster.connect_options("eventlogger_reader", "postgres");
    let stranger = cluster.connect_options("stranger", "postgres");
    PgConnection::connect_with(&reader).await.unwrap();
    let refused = PgConnection::connect_with(&stranger).await.unwrap_err().to_string();
    assert!(refused.contains("Peer authentication failed"), "{refused}");
}

#[tokio::test]
async fn data_survives_a_stop_with_open_sessions_and_a_start() {
    let place = Place::new();
    let cluster = with_notes(&place).await;
    let _open = connect(&cluster).await;
    cluster.stop().await;
    assert_eq!(processes_in(&place.pg()), Vec::<u32>::new());
    assert_eq!(notes(&place.start().await).await, "a b");
}

#[tokio::test]
async fn a_killed_postmaster_is_replaced_even_while_an_orphan_computes() {
    let place = Place::new();
    let cluster = with_notes(&place).await;
    let first = cluster.pid().unwrap();
    // It never looks whether the postmaster still lives.
    let mut busy = connect(&cluster).await;
    let endless =
        tokio::spawn(
            async move { sqlx::raw_sql("do $$ begin loop end loop; end $$").execute(&mut busy).await },
        );
    let mut watcher = connect(&cluster).await;
    let loops = "select count(*)::text from pg_stat_activity where state = 'active' and query like 'do %'";
    while text(&mut watcher, loops).await != "1" {}

    send(first, Signal::KILL);
    wait_until("another postmaster", || cluster.pid().is_some_and(|pid| pid != first));
    assert_eq!(notes(&cluster).await, "a b");
    assert!(endless.await.unwrap().is_err());
}

#[tokio::test]
async fn a_service_that_is_killed_takes_postgres_with_it() {
    let place = Place::new();
    with_notes(&place).await.stop().await;
    let mut owner = Owner::start(&place);
    owner.kill();
    wait_until("postgres stops", || processes_in(&place.pg()).is_empty());
    assert_eq!(notes(&place.start().await).await, "a b");
}

#[tokio::test]
async fn a_start_right_after_the_service_was_killed_waits_for_its_postgres() {
    let place = Place::new();
    with_notes(&place).await.stop().await;
    let mut owner = Owner::start(&place);
    owner.kill();
    let cluster = place.start().await;
    assert_ne!(cluster.pid(), Some(owner.postmaster));
    assert_eq!(notes(&cluster).await, "a b");
}

#[tokio::test]
async fn a_zombie_postmaster_nobody_reaps_does_not_keep_the_next_one_out() {
    set_child_subreaper(Some(Pid::INIT)).unwrap(); // orphans are now ours, and we do not reap them
    let place = Place::new();
    with_notes(&place).await.stop().await;
    let mut owner = Owner::start(&place);
    send(owner.process.0.id(), Signal::STOP); // lest it reap its child or start another
    send(owner.postmaster, Signal::KILL);
    owner.kill();
    let state = || fs::read_to_string(format!("/proc/{}/stat", owner.postmaster)).unwrap();
    wait_until("a zombie", || state().contains(") Z"));
    assert!(place.pg().join("postmaster.pid").exists());
    assert_eq!(notes(&place.start().await).await, "a b");
    assert!(state().contains(") Z"));
}

#[tokio::test]
async fn a_stale_pid_file_that_names_a_foreign_process_is_ignored_and_the_process_left_alone() {
    let place = Place::new();
    with_notes(&place).await.stop().await;
    let owner = fs::metadata(place.pg()).unwrap();
    let mut sleep = Command::new("/bin/sleep");
    if geteuid().is_root() {
        sleep.uid(owner.uid()).gid(owner.gid());
    }
    let mut foreign = Reaped(sleep.arg("600").stdout(Stdio::null()).spawn().unwrap());
    fs::write(place.pg().join("postmaster.pid"), format!("{}\n/elsewhere\n", foreign.0.id())).unwrap();
    fs::write(place.data_dir().join("run/.s.PGSQL.5432.lock"), format!("{}\n", foreign.0.id())).unwrap();
    assert_eq!(notes(&place.start().await).await, "a b");
    assert!(foreign.0.try_wait().unwrap().is_none(), "it was killed");
}

#[tokio::test]
async fn a_live_postmaster_left_over_is_taken_over() {
    let place = Place::new();
    with_notes(&place).await.stop().await;
    let folder = fs::metadata(place.pg()).unwrap();
    let mut command = Command::new(postgres_binary());
    if geteuid().is_root() {
        command.uid(folder.uid()).gid(folder.gid());
    }
    command.arg("-D").arg(place.pg()).args(["-c", "listen_addresses=", "-c"]);
    command.arg(format!("unix_socket_directories={}", place.data_dir().join("run").display()));
    let mut leftover = Reaped(command.current_dir("/").stderr(Stdio::null()).spawn().unwrap());
    let pid_file = place.pg().join("postmaster.pid");
    wait_until("it is up", || fs::read_to_string(&pid_file).is_ok_and(|file| file.contains("ready")));
    let cluster = place.start().await;
    assert_ne!(cluster.pid(), Some(leftover.0.id()));
    assert!(leftover.0.wait().unwrap().success(), "it was not stopped properly");
    assert_eq!(notes(&cluster).await, "a b");
}

fn postgres_binary() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").unwrap().flatten();
    installed.map(|entry| entry.path().join("bin/postgres")).find(|path| path.is_file()).unwrap()
}

#[tokio::test]
async fn a_second_instance_is_refused_but_can_reach_the_first() {
    let place = Place::new();
    let cluster = place.start().await;
    let refused = place.refusal().await;
    assert!(refused.contains(&format!("(process {})", std::process::id())), "{refused}");
    let options = connect_options(&place.settings(), SUPERUSER, "postgres").unwrap();
    PgConnection::connect_with(&options).await.unwrap();
    assert!(cluster.pid().is_some());
}

#[tokio::test]
async fn a_dropped_cluster_leaves_no_process() {
    let place = Place::new();
    let cluster = place.start().await;
    assert!(!processes_in(&place.pg()).is_empty());
    drop(cluster);
    assert_eq!(processes_in(&place.pg()), Vec::<u32>::new());
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_no_process() {
    let place = Place::new();
    for milliseconds in [0, 30, 100, 300, 600] {
        let patience = Duration::from_millis(milliseconds);
        drop(tokio::time::timeout(patience, Cluster::start(place.settings())).await);
        assert_eq!(processes_in(&place.pg()), Vec::<u32>::new());
    }
    place.start().await;
}

#[tokio::test]
async fn a_cluster_of_another_major_version_is_refused_untouched() {
    let place = Place::new();
    with_notes(&place).await.stop().await;
    let version = fs::read_to_string(place.pg().join("PG_VERSION")).unwrap();
    fs::write(place.pg().join("PG_VERSION"), "12\n").unwrap();
    let refused = place.refusal().await;
    assert!(
        refused.contains("made by PostgreSQL 12, found only:") && refused.contains("PG_BIN"),
        "{refused}"
    );
    fs::write(place.pg().join("PG_VERSION"), version).unwrap();
    assert_eq!(notes(&place.start().await).await, "a b");
}

#[tokio::test]
async fn a_folder_that_is_no_cluster_is_left_alone() {
    let place = Place::new();
    fs::create_dir_all(place.pg()).unwrap();
    if geteuid().is_root() {
        chown(place.pg(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    fs::write(place.pg().join("thesis.txt"), "mine").unwrap();
    let refused = place.refusal().await;
    assert!(refused.contains("not a PostgreSQL cluster"), "{refused}");
    assert_eq!(fs::read_to_string(place.pg().join("thesis.txt")).unwrap(), "mine");
}

#[tokio::test]
async fn a_cluster_moved_behind_a_link_is_used_and_never_replaced() {
    let place = Place::new();
    with_notes(&place).await.stop().await;
    let moved = place.folder.path().join("moved");
    fs::rename(place.pg(), &moved).unwrap();
    symlink(&moved, place.pg()).unwrap();
    assert_eq!(notes(&place.start().await).await, "a b");

    let unmounted = place.folder.path().join("unmounted");
    fs::rename(&moved, &unmounted).unwrap();
    let refused = place.refusal().await;
    assert!(refused.contains("follow the link"), "{refused}");
    assert!(place.pg().is_symlink());
}

#[tokio::test]
async fn an_interrupted_initdb_is_begun_again() {
    let place = Place::new();
    fs::create_dir_all(place.data_dir().join("pg.init/base")).unwrap();
    if geteuid().is_root() {
        fs::set_permissions(place.data_dir(), Permissions::from_mode(0o711)).unwrap();
    }
    place.start().await;
    assert!(!place.data_dir().join("pg.init").exists());
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_gets_one_elsewhere() {
    let place = Place::new();
    let runtime = tempfile::tempdir().unwrap();
    let long = place.folder.path().join("d".repeat(60)).join("e".repeat(60));
    let settings = Settings { runtime_dir: Some(runtime.path().into()), ..small(&long) };
    let cluster = Cluster::start(settings).await.unwrap();
    let mut connection = connect(&cluster).await;
    let socket = PathBuf::from(text(&mut connection, "show unix_socket_directories").await.trim_matches('"'));
    assert!(!socket.starts_with(&long), "{socket:?}");
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o700);
    drop(connection);
    cluster.stop().await;
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_socket_is_never_put_where_others_could_have_been_first() {
    if geteuid().is_root() {
        return; // root's sockets go to /run, which is root's
    }
    let place = Place::new();
    let long = place.folder.path().join("d".repeat(100));
    let refused = refusal(Settings { runtime_dir: Some("/tmp".into()), ..small(long) }).await;
    assert!(refused.contains("too long for a socket") && refused.contains("XDG_RUNTIME_DIR"), "{refused}");
}

#[tokio::test]
async fn odd_characters_in_the_path_are_no_trouble() {
    let place = Place::new();
    let odd = place.folder.path().join("a \"b\", 'c' = $d;é");
    let cluster = Cluster::start(small(odd)).await.unwrap();
    connect(&cluster).await;
}

#[tokio::test]
async fn without_binaries_the_refusal_says_how_to_get_them() {
    let place = Place::new();
    let refused = refusal(Settings { bin_dir: Some("/usr/share".into()), ..place.settings() }).await;
    assert!(
        refused.contains("no PostgreSQL 15 or newer server that")
            && refused.contains("looked in /usr/share")
            && refused.contains("apt install postgresql"),
        "{refused}"
    );
}

#[tokio::test]
async fn settings_that_risk_events_are_refused_before_anything_starts() {
    let place = Place::new();
    for name in ["fsync", "full_page_writes", "synchronous_commit"] {
        let options = vec![(name.to_owned(), "off".to_owned())];
        let refused = refusal(Settings { options, ..place.settings() }).await;
        assert!(refused.contains(name) && refused.contains("must stay `on`"), "{refused}");
    }
    assert!(!place.pg().exists());
}

#[tokio::test]
async fn a_setting_postgres_refuses_is_reported_in_its_words() {
    let place = Place::new();
    let options = vec![("shared_bufers".to_owned(), "1GB".to_owned())];
    let refused = refusal(Settings { options, ..place.settings() }).await;
    assert!(refused.contains("unrecognized configuration parameter \"shared_bufers\""), "{refused}");
}

#[tokio::test]
async fn somebody_elses_data_directory_is_refused() {
    if geteuid().is_root() {
        let place = Place::new();
        fs::create_dir_all(place.pg()).unwrap();
        chown(place.pg(), Some(0), Some(0)).unwrap();
        let refused = place.refusal().await;
        assert!(refused.contains("belongs to root, as which PostgreSQL refuses to run"), "{refused}");
    } else {
        for path in ["/etc", "/etc/eventlogger/data"] {
            let refused = refusal(Settings::new(path)).await;
            assert!(refused.contains("/etc belongs to `root` and this process runs as"), "{refused}");
        }
    }
}

#[tokio::test]
async fn a_data_directory_under_a_closed_home_is_refused_naming_the_home() {
    if !geteuid().is_root() {
        return; // nobody else needs a second user
    }
    let place = Place::new();
    let home = place.folder.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, Permissions::from_mode(0o700)).unwrap();
    let refused = refusal(small(home.join("share/data"))).await;
    assert!(refused.contains(&format!("may not enter {}:", home.display())), "{refused}");
}

#[tokio::test]
async fn as_root_the_cluster_runs_as_its_folders_owner() {
    if !geteuid().is_root() {
        return; // there is no choice to make
    }
    let place = Place::new();
    fs::create_dir_all(place.pg()).unwrap();
    chown(place.pg(), Some(NOBODY), Some(NOBODY)).unwrap();
    for _ in 0..2 {
        let cluster = place.start().await;
        let process = fs::metadata(format!("/proc/{}", cluster.pid().unwrap())).unwrap();
        assert_eq!(process.uid(), NOBODY);
        connect(&cluster).await;
        cluster.stop().await;
    }
    assert!(matches!(
        Cluster::start(Settings { bin_dir: Some("/".into()), ..place.settings() }).await,
        Err(ClusterError::NoBinaries { .. })
    ));
}

#[test]
fn everything_here_also_holds_for_an_ordinary_user() {
    if !geteuid().is_root() {
        return; // this is that run
    }
    let folder = tempfile::Builder::new().prefix("el").tempdir_in("/tmp").unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("cluster");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let output = Command::new(copy).uid(NOBODY).gid(NOBODY).current_dir("/").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
