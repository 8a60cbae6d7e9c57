//! Real servers: started, adopted, killed, recovered, restarted, wiped. Each test has a folder of its own.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(
    clippy::disallowed_methods,
    reason = "these tests are about the server, not a service"
)]

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use postgres_server::{
    Binaries, DataFolder, Notice, Outcome, Port, Profile, Server, ServerConfig, ServerError,
    StopMode, wipe,
};
use sqlx::{ConnectOptions, Connection, PgConnection};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

async fn config(data: DataFolder) -> ServerConfig {
    ServerConfig {
        binaries: Binaries::of_workspace().await.unwrap(),
        data,
        port: Port::Free,
        profile: Profile::ThrowAway,
        max_connections: 20,
        extra: Vec::new(),
    }
}

/// A folder whose parents are open, and the kept data folder in it.
fn kept() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let data = folder.path().join("local/postgres");
    (folder, data)
}

async fn connect(server: &Server) -> PgConnection {
    server
        .superuser()
        .options("postgres")
        .connect()
        .await
        .unwrap()
}

async fn setting(connection: &mut PgConnection, name: &str) -> String {
    sqlx::query_scalar("select current_setting($1)")
        .bind(name)
        .fetch_one(connection)
        .await
        .unwrap()
}

async fn write_note(server: &Server) {
    let mut connection = connect(server).await;
    sqlx::query("create table note (text text)")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query("insert into note values ('kept')")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

async fn note(server: &Server) -> String {
    sqlx::query_scalar("select text from note")
        .fetch_one(&mut connect(server).await)
        .await
        .unwrap()
}

fn answers(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_temporary_server_is_configured_and_goes_with_its_owner() {
    let (mut server, report) = Server::start(config(DataFolder::Temporary).await)
        .await
        .unwrap();
    assert_eq!(report.outcome, Outcome::Started);
    assert!(report.notices.is_empty());
    let mut connection = connect(&server).await;
    for (name, value) in [
        ("fsync", "off"),
        ("wal_level", "logical"),
        ("max_connections", "20"),
        ("unix_socket_directories", ""),
        ("client_connection_check_interval", "1s"),
        ("server_encoding", "UTF8"),
        ("lc_collate", "C"),
    ] {
        assert_eq!(setting(&mut connection, name).await, value, "{name}");
    }
    let lower: String = sqlx::query_scalar("select lower('ÄÖ')")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(lower, "äö");
    drop(connection);
    let wrong = server
        .superuser()
        .options("postgres")
        .password("wrong")
        .connect()
        .await;
    assert!(wrong.is_err(), "a password is asked for");
    assert!(!format!("{server:?}").contains(password(&report.folder).as_str()));

    let port = server.port();
    write_note(&server).await;
    server.restart(StopMode::Fast).await.unwrap();
    server.restart(StopMode::Immediate).await.unwrap();
    assert_eq!(
        (server.port(), note(&server).await.as_str()),
        (port, "kept")
    );
    server.stop(StopMode::Fast).await.unwrap();
    assert!(!answers(port));
    server.start_again().await.unwrap();
    drop(server);
    assert!(!report.folder.exists() && !answers(port));
}

fn password(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("password")).unwrap()
}

#[tokio::test]
async fn a_second_start_adopts_and_data_survives_kill_9() {
    let (_parent, folder) = kept();
    let durable = ServerConfig {
        profile: Profile::Durable,
        ..config(DataFolder::Kept(folder.clone())).await
    };
    let (first, report) = Server::start(durable.clone()).await.unwrap();
    assert_eq!(
        (report.outcome, &report.folder),
        (Outcome::Started, &folder)
    );
    let mode = std::fs::metadata(folder.join("password"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!folder.join("password.init").exists());
    write_note(&first).await;
    let (port, pid) = (first.port(), first.pid().unwrap());
    drop(first);

    let other_port = ServerConfig {
        port: Port::Exact(1),
        ..durable.clone()
    };
    let (second, report) = Server::start(other_port).await.unwrap();
    assert_eq!(report.outcome, Outcome::Adopted);
    assert_eq!(
        report.notices,
        [Notice::OtherPort {
            wanted: 1,
            used: port
        }]
    );
    assert_eq!(
        (second.pid(), note(&second).await.as_str()),
        (Some(pid), "kept")
    );

    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let (mut third, report) = Server::start(durable.clone()).await.unwrap();
    assert_eq!(report.outcome, Outcome::Started);
    assert_eq!(note(&third).await, "kept");

    kill(Pid::from_raw(third.pid().unwrap()), Signal::SIGKILL).unwrap();
    third.start_again().await.unwrap();
    assert_eq!(note(&third).await, "kept");
    third.stop(StopMode::Fast).await.unwrap();

    let (fourth, _) = Server::start(durable.clone()).await.unwrap();
    assert_eq!(note(&fourth).await, "kept");
    wipe(&folder).await.unwrap();
    assert!(!answers(fourth.port()) && !folder.join("data").exists());
    let (mut fresh, _) = Server::start(durable).await.unwrap();
    assert!(
        sqlx::query("select text from note")
            .execute(&mut connect(&fresh).await)
            .await
            .is_err()
    );
    fresh.stop(StopMode::Immediate).await.unwrap();
}

#[tokio::test]
async fn two_starts_at_once_take_turns() {
    let (_parent, folder) = kept();
    let config = config(DataFolder::Kept(folder.clone())).await;
    let (one, two) = tokio::join!(Server::start(config.clone()), Server::start(config));
    let ((one, first), (two, second)) = (one.unwrap(), two.unwrap());
    assert_eq!(one.pid(), two.pid());
    assert_ne!(first.outcome, second.outcome);
    wipe(&folder).await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = ServerConfig {
        port: Port::Exact(port),
        ..config(DataFolder::Temporary).await
    };
    let error = Server::start(config).await.unwrap_err();
    assert!(matches!(error, ServerError::PortTaken { .. }));
    assert!(
        error
            .to_string()
            .starts_with(&format!("port {port} is taken by another program;")),
        "{error}"
    );
}

#[tokio::test]
async fn a_bad_setting_is_named() {
    let extra = vec![("wal_level".to_owned(), "sideways".to_owned())];
    let error = Server::start(ServerConfig {
        extra,
        ..config(DataFolder::Temporary).await
    })
    .await
    .unwrap_err();
    assert!(
        error.to_string().contains("PostgreSQL did not start:"),
        "{error}"
    );
    assert!(!error.to_string().contains('\n'), "{error}");
}

#[tokio::test]
async fn data_without_its_password_is_refused() {
    let (_parent, folder) = kept();
    let config = config(DataFolder::Kept(folder.clone())).await;
    let (mut server, _) = Server::start(config.clone()).await.unwrap();
    std::fs::write(folder.join("password"), "another").unwrap();
    assert!(matches!(
        Server::start(config.clone()).await,
        Err(ServerError::Password { .. })
    ));
    server.stop(StopMode::Immediate).await.unwrap();
    std::fs::remove_file(folder.join("password")).unwrap();
    assert!(matches!(
        Server::start(config).await,
        Err(ServerError::Password { .. })
    ));
}

#[tokio::test]
async fn root_with_a_closed_parent_is_sent_elsewhere() {
    if !Uid::effective().is_root() {
        return;
    }
    let closed = tempfile::tempdir().unwrap();
    std::fs::set_permissions(closed.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let wanted = closed.path().join("postgres");
    let config = config(DataFolder::Kept(wanted.clone())).await;
    let (mut server, report) = Server::start(config.clone()).await.unwrap();
    let [
        Notice::Elsewhere {
            wanted: asked,
            used,
            ..
        },
    ] = report.notices.as_slice()
    else {
        panic!("{:?}", report.notices)
    };
    assert_eq!((asked, used), (&wanted, &report.folder));
    assert!(!wanted.exists() && report.folder.starts_with(std::env::temp_dir()));
    server.stop(StopMode::Immediate).await.unwrap();
    let (mut again, second) = Server::start(config).await.unwrap();
    assert_eq!(second.folder, report.folder);
    again.stop(StopMode::Immediate).await.unwrap();
    std::fs::remove_dir_all(report.folder).unwrap();
}

/// Run alone by [`a_killed_owner_leaves_nothing`] in a process of its own, which is then killed.
#[tokio::test]
async fn owner() {
    if std::env::var_os("OWNER_TO_BE_KILLED").is_none() {
        return;
    }
    let (server, report) = Server::start(config(DataFolder::Temporary).await)
        .await
        .unwrap();
    let line = format!("\nserver {} {}\n", server.port(), report.folder.display());
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes()).unwrap();
    std::future::pending::<()>().await;
}

#[test]
fn a_killed_owner_leaves_nothing() {
    let mut owner = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner", "--nocapture"])
        .env("OWNER_TO_BE_KILLED", "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let said = lines
        .map(Result::unwrap)
        .find(|line| line.starts_with("server "))
        .unwrap();
    let (port, folder) = said.trim_start_matches("server ").split_once(' ').unwrap();
    let port = port.parse().unwrap();
    assert!(answers(port) && Path::new(folder).exists());
    owner.kill().unwrap();
    owner.wait().unwrap();
    until("server and folder go", || {
        !answers(port) && !Path::new(folder).exists()
    });
}

#[tokio::test]
async fn what_a_dead_owner_left_is_swept() {
    let (server, report) = Server::start(config(DataFolder::Temporary).await)
        .await
        .unwrap();
    let user = std::fs::metadata(&report.folder).unwrap().uid();
    let orphan = std::env::temp_dir().join(format!("tenantry-run-orphan{}", std::process::id()));
    std::fs::create_dir(&orphan).unwrap();
    std::fs::write(orphan.join("owner"), "").unwrap();
    std::os::unix::fs::chown(&orphan, Some(user), None).unwrap();
    let (other, _) = Server::start(config(DataFolder::Temporary).await)
        .await
        .unwrap();
    assert!(!orphan.exists());
    assert!(
        answers(server.port()) && answers(other.port()),
        "the living are left alone"
    );
}

#[tokio::test]
async fn copies_are_servers_of_their_own_in_all_but_their_identity() {
    let (one, other) = tokio::join!(
        Server::start(config(DataFolder::Copied).await),
        Server::start(config(DataFolder::Copied).await)
    );
    let ((one, first), (other, second)) = (one.unwrap(), other.unwrap());
    assert_ne!(first.folder, second.folder);
    let identity = "select system_identifier from pg_control_system()";
    let mut identities = Vec::new();
    for server in [&one, &other] {
        let asked = sqlx::query_scalar::<_, i64>(identity);
        identities.push(asked.fetch_one(&mut connect(server).await).await.unwrap());
    }
    assert_eq!(identities[0], identities[1]);
    write_note(&one).await;
    assert_eq!(note(&one).await, "kept");
    let there = "select count(*) from pg_class where relname = 'note'";
    let there = sqlx::query_scalar::<_, i64>(there);
    let mut connection = connect(&other).await;
    assert_eq!(there.fetch_one(&mut connection).await.unwrap(), 0);
    drop(one);
    assert!(!first.folder.exists());
    assert!(answers(other.port()), "the other one goes on");
}
