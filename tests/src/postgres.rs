//! The PostgreSQL server of a world, and the superuser's look at it.
//!
//! Deliberately nothing of ours is asked here: what a test sees through this is what the server
//! knows. Looks at the databases that stay are made on connections that are kept, because a session of
//! its own costs the server as much as a hundred looks. Invariant: the server and its files are gone
//! with the test process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{MutexGuard, PoisonError};

use postgres_server::{
    Binaries, DataFolder, Port, Profile, Server, ServerConfig, StopMode, Superuser,
};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, Row};
use tokio::runtime;
use tokio::sync::Mutex;

use crate::inside::REGISTRY;

/// Databases that nobody renames or drops under a test.
const LASTING: [&str; 2] = ["postgres", REGISTRY];

/// Idle connections of a server, of all tests that share it.
const MOST_KEPT: usize = 8;

/// Where an idle connection leads, which must be one of [the databases that stay](LASTING), and the
/// runtime that it is of: it ends with the test.
type Kept = (runtime::Id, String);

/// A server of a world.
#[derive(Debug)]
pub struct Postgres {
    server: Mutex<Server>,
    superuser: Superuser,
    /// The oldest first.
    kept: std::sync::Mutex<Vec<(Kept, PgConnection)>>,
    pub(crate) max_connections: u16,
    pub(crate) programs: Binaries,
    /// With the data, the log and the password.
    pub(crate) folder: PathBuf,
}

impl Postgres {
    /// The server of a world.
    pub(crate) async fn first(max_connections: u16) -> Self {
        Self::start(max_connections, DataFolder::Copied).await
    }

    /// A further server of a world, which the platform is to take for another one.
    pub(crate) async fn further(max_connections: u16) -> Self {
        Self::start(max_connections, DataFolder::Temporary).await
    }

    async fn start(max_connections: u16, data: DataFolder) -> Self {
        let binaries = Binaries::of_workspace().await;
        let binaries = binaries.expect("PostgreSQL 15 or newer, found or downloaded");
        let programs = binaries.clone();
        let extra = [
            // Small: several servers run side by side.
            ("shared_buffers", "64MB"),
            ("min_wal_size", "32MB"),
            ("max_wal_size", "128MB"),
            // Statements are searched for secrets.
            ("shared_preload_libraries", "pg_stat_statements"),
        ];
        let (server, report) = Server::start(ServerConfig {
            binaries,
            data,
            port: Port::Free,
            profile: Profile::ThrowAway,
            max_connections,
            extra: extra
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
        })
        .await
        .expect("a server starts");
        let superuser = server.superuser().clone();
        Self {
            server: Mutex::new(server),
            superuser,
            kept: std::sync::Mutex::default(),
            max_connections,
            programs,
            folder: report.folder,
        }
    }

    /// How the superuser logs in.
    pub fn superuser(&self) -> &Superuser {
        &self.superuser
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((self.superuser.host, self.superuser.port))
    }

    /// A connection of the superuser.
    pub async fn connect(&self, database: &str) -> PgConnection {
        // Unlogged: what a test looks for with it is no finding.
        let options = self.superuser.options(database).disable_statement_logging();
        connect(options).await.expect("the superuser may connect")
    }

    /// A connection of any role, if the server lets it in.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn connect_as(
        &self,
        role: &str,
        password: &str,
        database: &str,
    ) -> Result<PgConnection, sqlx::Error> {
        let options = self
            .superuser
            .options(database)
            .username(role)
            .password(password);
        connect(options).await
    }

    /// A transaction of the superuser that has run these statements.
    pub async fn begin(&self, database: &str, sql: &str) -> OpenTransaction {
        let mut transaction = OpenTransaction(self.connect(database).await);
        transaction.run(&format!("begin; {sql}")).await;
        transaction
    }

    /// A transaction that holds a table, so that whoever wants it waits.
    pub async fn lock(&self, database: &str, table: &str) -> OpenTransaction {
        self.begin(database, &format!("lock table {table}")).await
    }

    /// Runs statements as the superuser.
    pub async fn run(&self, database: &str, sql: &str) {
        let mut connection = self.look(database).await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{error}: {sql}"));
        self.keep(database, connection);
    }

    /// The rows of a statement, as the superuser.
    pub async fn rows(&self, database: &str, sql: &str) -> Vec<PgRow> {
        let mut connection = self.look(database).await;
        let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .fetch_all(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{error}: {sql}"));
        self.keep(database, connection);
        rows
    }

    /// A connection as good as new.
    async fn look(&self, database: &str) -> PgConnection {
        loop {
            let Some(mut connection) = self.take(database) else {
                return self.connect(database).await;
            };
            // One that a restart has ended says so here.
            if sqlx::raw_sql("discard all")
                .execute(&mut connection)
                .await
                .is_ok()
            {
                return connection;
            }
        }
    }

    fn take(&self, database: &str) -> Option<PgConnection> {
        let wanted = kept_as(database);
        let mut kept = self.kept();
        let at = kept.iter().rposition(|(kept, _)| *kept == wanted)?;
        Some(kept.remove(at).1)
    }

    fn keep(&self, database: &str, connection: PgConnection) {
        if LASTING.contains(&database) {
            let mut kept = self.kept();
            kept.push((kept_as(database), connection));
            if kept.len() > MOST_KEPT {
                kept.remove(0);
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(Kept, PgConnection)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first column, as texts.
    pub async fn texts(&self, database: &str, sql: &str) -> Vec<String> {
        self.rows(database, sql)
            .await
            .iter()
            .map(|row| row.try_get(0).expect("a text in the first column"))
            .collect()
    }

    /// One number.
    pub async fn number(&self, database: &str, sql: &str) -> i64 {
        let rows = self.rows(database, sql).await;
        rows.first()
            .unwrap_or_else(|| panic!("no row: {sql}"))
            .try_get(0)
            .expect("a bigint in the first column")
    }

    /// Every database and role besides the server's own.
    pub async fn names(&self) -> Vec<String> {
        self.texts(
            "postgres",
            "select 'database ' || datname from pg_database where not datistemplate or datname like '%:%'
             union all select 'role ' || rolname from pg_roles where rolname not like 'pg\\_%'
             order by 1",
        )
        .await
    }

    /// Stops the server and starts it again on its port.
    pub async fn restart(&self, mode: StopMode) {
        let mut server = self.server.lock().await;
        server.restart(mode).await.expect("the server restarts");
    }

    /// Stops the server.
    pub async fn stop(&self, mode: StopMode) {
        let mut server = self.server.lock().await;
        server.stop(mode).await.expect("the server stops");
    }

    /// Starts the server again.
    pub async fn start_again(&self) {
        let mut server = self.server.lock().await;
        server.start_again().await.expect("the server starts again");
    }
}

fn kept_as(database: &str) -> Kept {
    (runtime::Handle::current().id(), database.to_owned())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's own look, past our services"
)]
async fn connect(options: PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    kit::db::open(&options).await
}

/// A transaction of the superuser; dropped, it is rolled back.
#[derive(Debug)]
pub struct OpenTransaction(PgConnection);

impl OpenTransaction {
    /// Runs further statements.
    pub async fn run(&mut self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut self.0)
            .await
            .unwrap_or_else(|error| panic!("{error}: {sql}"));
    }

    /// Commits.
    pub async fn commit(mut self) {
        self.run("commit").await;
    }
}
