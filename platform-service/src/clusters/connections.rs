//! Connections to clusters, as `tn_platform`.
//!
//! Deliberately small pools to the maintenance database: a tenant's database is only opened to be
//! made. Statements are not logged, because some hold a verifier. Invariant: what a caller gets fits
//! the registry's row of the moment; a changed address or password makes a new pool.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use adapters::secret_store::ClusterRole;
use adapters::secret_store::SecretSubject;
use contract::secret::Secret;
use contract::tenant::{ClusterEndpoint, PLATFORM_ROLE, TlsMode};
use contract::{ClusterName, Code, DatabaseRef};
use kit::db::Login;
use kit::error::Problem;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Postgres};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::address::Address;
use super::postgres::{self, Name};
use super::store::{self, ClusterRow};
use crate::platform::Platform;
use crate::stop::Stop;
use crate::tools::ToolLogin;

/// The database that logins of our own connect to.
pub(super) const MAINTENANCE_DATABASE: &str = "postgres";
/// Connections of this process to one cluster.
pub(crate) const MOST_CONNECTIONS: u32 = 8;
/// Databases that are copied at once on one server: more only wait for each other's writes.
pub(crate) const COPIES_AT_ONCE: usize = 4;
pub(super) const APPLICATION: &str = "platform-service";

/// The connections to all clusters, and the bell of the keepers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    servers: Mutex<HashMap<ClusterName, Arc<Server>>>,
    bell: Notify,
}

impl Connections {
    /// Nothing is connected yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Tells the keepers of templates and stock to look now.
    pub(crate) fn nudge(&self) {
        self.0.bell.notify_one();
    }

    pub(super) async fn nudged(&self) {
        self.0.bell.notified().await;
    }

    /// Closes the connections to a cluster that was removed.
    pub(super) fn forget(&self, name: &ClusterName) {
        self.lock().remove(name);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ClusterName, Arc<Server>>> {
        self.0
            .servers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Platform {
    /// The server of a cluster that something is on, so that it cannot be removed.
    pub(crate) async fn server(&self, name: &ClusterName) -> Result<Arc<Server>, Stop> {
        let gone = || Stop::Fail(Problem::internal("the cluster's row is gone"));
        self.find_server(name).await?.ok_or_else(gone)
    }

    /// The server of a cluster; none where it was removed.
    pub(crate) async fn find_server(
        &self,
        name: &ClusterName,
    ) -> Result<Option<Arc<Server>>, Stop> {
        let row = {
            let mut registry = self.registry.acquire().await?;
            store::find(&mut registry, name).await?
        };
        let Some(row) = row else {
            self.clusters.forget(name);
            return Ok(None);
        };
        if let Some(known) = self
            .clusters
            .lock()
            .get(name)
            .filter(|server| server.row == row)
        {
            return Ok(Some(Arc::clone(known)));
        }
        let subject = SecretSubject::Cluster(name.clone(), ClusterRole::Platform);
        let password = self
            .seal
            .open(&subject, &row.platform_credential)
            .await
            .map_err(|error| Stop::Fail(Problem::internal(error)))?;
        let server = Arc::new(Server::new(row, password));
        self.clusters
            .lock()
            .insert(name.clone(), Arc::clone(&server));
        Ok(Some(server))
    }
}

/// One cluster's server, reached as `tn_platform`.
#[derive(Debug)]
pub(crate) struct Server {
    pub(super) row: ClusterRow,
    password: Secret,
    pool: kit::db::Pool,
    copies: Semaphore,
    /// When it was last looked whether the owner's login lets in.
    looked: Mutex<Option<Instant>>,
}

impl Server {
    fn new(row: ClusterRow, password: Secret) -> Self {
        let options = options(&row, &password, MAINTENANCE_DATABASE);
        Self {
            pool: kit::db::Pool::new(options, MOST_CONNECTIONS),
            copies: Semaphore::new(COPIES_AT_ONCE),
            looked: Mutex::new(None),
            row,
            password,
        }
    }

    /// The cluster's name.
    pub(crate) fn name(&self) -> &ClusterName {
        &self.row.name
    }

    /// Its PostgreSQL, as `server_version_num` says.
    pub(crate) fn version(&self) -> i32 {
        self.row.server_version
    }

    /// Whether its login for questions is made.
    pub(super) fn has_query_login(&self) -> bool {
        self.row.query_credential.is_some()
    }

    /// Connections that all tenants on it may hold together.
    pub(crate) fn connection_budget(&self) -> u32 {
        self.row.connection_budget
    }

    /// A database on this server, as services are told of it.
    pub(crate) fn database(&self, name: &Name, copy: u32) -> DatabaseRef {
        DatabaseRef {
            cluster: ClusterEndpoint {
                name: self.row.name.clone(),
                host: self.row.host.clone(),
                port: self.row.port,
                tls: self.row.tls,
                schema_credential: self.row.schema_credential.clone(),
            },
            name: name.to_string(),
            copy,
        }
    }

    /// A connection of the pool, for statements that are over soon. That none was had in time is told apart
    /// from a server that is away, for which a pool waits just the same.
    pub(crate) async fn acquire(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let acquired = self.pool.acquire().await;
        if let Err(sqlx::Error::PoolTimedOut) = acquired {
            let address = Address::from(&self.row);
            let entered = address.enter(PLATFORM_ROLE, &self.password).await?;
            entered.close().await?;
        }
        acquired
    }

    /// A connection of its own; close it when done.
    pub(crate) async fn connect(
        &self,
        database: Database<'_>,
    ) -> Result<PgConnection, sqlx::Error> {
        let name = match database {
            Database::Maintenance => MAINTENANCE_DATABASE.to_owned(),
            Database::Ours(name) => name.to_string(),
        };
        open(&options(&self.row, &self.password, &name)).await
    }

    /// A connection of its own to a database of ours, as one of our roles; proven to be the one that
    /// is meant before anything else is asked of it. Close it when done.
    pub(crate) async fn connect_as(
        &self,
        platform: &Platform,
        role: ClusterRole,
        database: &DatabaseRef,
    ) -> Result<PgConnection, Stop> {
        let password = self.password(platform, role).await?;
        let mut connection = self.proven(role.as_str(), &password, database).await?;
        if role != ClusterRole::Platform {
            // What is there may need names of `public`: operators of extensions, an operator's question.
            sqlx::raw_sql("set search_path = \"$user\", public")
                .execute(&mut connection)
                .await?;
        }
        Ok(connection)
    }

    /// A connection of its own to a database that is not ours, as one of our roles; proven to be the one
    /// that is meant by its oid. Close it when done.
    pub(crate) async fn connect_foreign(
        &self,
        platform: &Platform,
        role: ClusterRole,
        (oid, name): (u32, &str),
    ) -> Result<PgConnection, Stop> {
        let password = self.password(platform, role).await?;
        let login = Login {
            role: role.as_str(),
            password: &password,
            database: name,
            application: APPLICATION,
        };
        let row = &self.row;
        let mut connection = open(&login_options(&row.host, row.port, row.tls, login)).await?;
        if postgres::contents::oid(&mut connection).await? != oid {
            let detail = format!("Somebody has put another database in the place of {name}.");
            return Err(Stop::Fail(Problem::new(Code::Conflict).detail(detail)));
        }
        Ok(connection)
    }

    /// Opens a tenant's database once with a password of its role.
    pub(crate) async fn try_login(
        &self,
        role: &Name,
        password: &Secret,
        database: &DatabaseRef,
    ) -> Result<(), Stop> {
        let connection = self.proven(&role.to_string(), password, database).await?;
        Ok(connection.close().await?)
    }

    async fn proven(
        &self,
        role: &str,
        password: &Secret,
        database: &DatabaseRef,
    ) -> Result<PgConnection, Stop> {
        let login = Login {
            role,
            password,
            database: &database.name,
            application: APPLICATION,
        };
        let row = &self.row;
        let mut connection = open(&login_options(&row.host, row.port, row.tls, login)).await?;
        let marker = postgres::marker(&mut connection).await?;
        if marker.as_deref() != Some(&database.marker()) {
            let detail = format!(
                "The database {} on {} is not the one that is meant: it is marked {}.",
                database.name,
                self.name(),
                marker.as_deref().unwrap_or("by nobody"),
            );
            return Err(Stop::Retry(
                Problem::new(Code::TenantUnavailable).detail(detail),
            ));
        }
        Ok(connection)
    }

    /// How a program of PostgreSQL logs in.
    pub(crate) async fn login(
        &self,
        platform: &Platform,
        role: ClusterRole,
    ) -> Result<ToolLogin, Stop> {
        Ok(ToolLogin {
            host: self.row.host.clone(),
            port: self.row.port,
            user: role.as_str(),
            password: self.password(platform, role).await?,
            tls: self.row.tls,
        })
    }

    pub(super) async fn password(
        &self,
        platform: &Platform,
        role: ClusterRole,
    ) -> Result<Secret, Stop> {
        let reference = match role {
            ClusterRole::Platform => return Ok(self.password.clone()),
            ClusterRole::Schema => &self.row.schema_credential,
            ClusterRole::Query => {
                let missing = || Stop::Later {
                    wait: std::time::Duration::from_secs(1),
                    reason: "The cluster's login for questions is being made.".into(),
                };
                let reference = self.row.query_credential.as_ref();
                reference.ok_or_else(missing)?
            }
        };
        let subject = SecretSubject::Cluster(self.row.name.clone(), role);
        let opened = platform.seal.open(&subject, reference).await;
        opened.map_err(|error| Stop::Fail(Problem::internal(error)))
    }

    /// Whether a look at the owner's login is due, which is taken for done then.
    pub(super) fn is_due(&self, every: Duration) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = looked.is_none_or(|at| at.elapsed() >= every);
        if is_due {
            *looked = Some(Instant::now());
        }
        is_due
    }

    /// Leave to copy a database on this server.
    pub(super) async fn copy_permit(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.copies.acquire().await.ok()
    }
}

/// Opens a connection outside of the pools; its opener closes it.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this service that opens single connections, to its own databases"
)]
pub(super) async fn open(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    kit::db::open(options).await
}

/// What a connection of its own is opened to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Database<'a> {
    /// Where databases and roles are managed from.
    Maintenance,
    /// A database of ours.
    Ours(&'a Name),
}

fn options(row: &ClusterRow, password: &Secret, database: &str) -> PgConnectOptions {
    let login = Login {
        role: PLATFORM_ROLE,
        password,
        database,
        application: APPLICATION,
    };
    login_options(&row.host, row.port, row.tls, login)
}

/// Options of a connection of ours to a cluster's server. Names without a schema are the server's own: who fills a
/// database may make functions and operators there that fit our statements better than those that are meant.
pub(super) fn login_options(
    host: &str,
    port: u16,
    tls: TlsMode,
    login: Login<'_>,
) -> PgConnectOptions {
    kit::db::connect_options(kit::db::Server { host, port, tls }, login)
        .options([
            ("statement_timeout", "5min"),
            ("lock_timeout", "10s"),
            ("search_path", "pg_catalog"),
        ])
        .disable_statement_logging()
}
