//! From a route to an open connection: secret, login, and the proof that the database is the one
//! that was meant.
//!
//! Deliberately the only place of the data plane that connects to PostgreSQL; its few statements stand here and in
//! no store, because they are of a connection and of no feature's data. Invariant: a
//! connection whose database does not carry the expected marker is never given out.

use std::sync::Arc;
use std::time::Duration;

use adapters::secret_store::{SecretError, SecretStore, SecretSubject};
use contract::secret::{Secret, SecretRef};
use contract::tenant::{DATA_ROLE, DatabaseRef, MARKER_SETTING, SCHEMA_ROLE};
use contract::{TenantId, TenantRoute};
use kit::db::{Fault, Login, Server, connect_options};
use kit::migrate::{Opened, Opening};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, PgConnection, Row};
use tokio::sync::OnceCell;

use super::admission;
use super::connections::Session;

/// Statements that a connection keeps prepared.
const PREPARED_STATEMENTS: usize = 64;
/// The marker of this database, as its comment has it.
const COMMENT: &str = "select coalesce(shobj_description(oid, 'pg_database'), '') as marker \
     from pg_database where datname = current_database()";

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The secret could not be had.
    #[error("the tenant's secret could not be had")]
    Secret(#[from] SecretError),
    /// The server refused or did not answer.
    #[error("the database could not be reached")]
    Database(#[from] sqlx::Error),
    /// The server did not answer in time.
    #[error("the database did not answer in time")]
    TimedOut,
    /// The database is not the one that was meant.
    #[error("the database carries the marker {found:?} and not {expected:?}")]
    WrongDatabase {
        /// What the route says.
        expected: String,
        /// What the database says.
        found: String,
    },
    /// The role may not change data, which the route says it may.
    #[error("the tenant's role may not change data")]
    RightsLost,
    /// The opening was broken off with the process.
    #[error("the opening was broken off")]
    Interrupted,
}

impl OpenError {
    /// Whether a newer route may help: the credentials or the database are not what they were.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::WrongDatabase { .. } | Self::RightsLost | Self::Secret(SecretError::NotFound) => {
                true
            }
            Self::Database(error) => matches!(
                Fault::of(error),
                Fault::LoginRefused | Fault::DatabaseGone | Fault::ReadOnly | Fault::RightsLost
            ),
            _ => false,
        }
    }

    /// Whether it stays refused until somebody changes the tenant: its database or its login is not there.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(self, Self::Database(error) if matches!(
            Fault::of(error),
            Fault::LoginRefused | Fault::DatabaseGone
        ))
    }

    /// Whether the server did not take the password.
    fn is_login_refused(&self) -> bool {
        matches!(self, Self::Database(error) if Fault::of(error) == Fault::LoginRefused)
    }

    /// Whether the server had no connection left for us.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Database(error) if Fault::of(error) == Fault::Full)
    }
}

/// Opens connections of one tenant's role to its database.
pub(crate) struct Opener {
    tenant: TenantId,
    database: DatabaseRef,
    credentials: Vec<Credential>,
    rights: Rights,
    secrets: Arc<SecretStore>,
    application: Arc<str>,
}

/// What the tenant's role must be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    Change,
    Read,
}

struct Credential {
    reference: SecretRef,
    secret: OnceCell<Secret>,
}

impl Opener {
    pub(crate) fn new(
        route: &TenantRoute,
        secrets: Arc<SecretStore>,
        application: Arc<str>,
    ) -> Self {
        Self {
            tenant: route.tenant.clone(),
            database: route.database.clone(),
            credentials: route
                .credentials
                .iter()
                .map(|reference| Credential {
                    reference: reference.clone(),
                    secret: OnceCell::new(),
                })
                .collect(),
            rights: if admission::reads(route) {
                Rights::Read
            } else {
                Rights::Change
            },
            secrets,
            application,
        }
    }

    pub(crate) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Whether a connection of the one is a connection of the other.
    pub(crate) fn same_target(&self, other: &Arc<Self>) -> bool {
        std::ptr::eq(self, Arc::as_ptr(other)) || self.database == other.database
    }

    /// Opens a connection; while a password is being rotated, any of the valid ones will do.
    pub(crate) async fn open(self: &Arc<Self>, limit: Duration) -> Result<Session, OpenError> {
        let opening = async {
            let mut postgres = self.connect().await?;
            let proof = prove(&mut postgres, &self.database).await?;
            if self.rights == Rights::Change && !proof.has_data {
                return Err(OpenError::RightsLost);
            }
            Ok(Session {
                postgres,
                process: proof.process,
                server: proof.server,
                opener: Arc::clone(self),
            })
        };
        tokio::time::timeout(limit, opening)
            .await
            .unwrap_or(Err(OpenError::TimedOut))
    }

    pub(super) async fn connect(&self) -> Result<PgConnection, OpenError> {
        let none = || sqlx::Error::Configuration("the route names no credential".into());
        let mut refused = OpenError::Database(none());
        for credential in &self.credentials {
            match self.connect_with(credential).await {
                // While a password is replaced, either of the two may do.
                Err(error @ OpenError::Secret(_)) => refused = error,
                Err(error) if error.is_login_refused() => refused = error,
                connected => return connected,
            }
        }
        match self.credentials.as_slice() {
            // The server may have changed from the one to the other between our tries.
            [first, _, ..] if refused.is_login_refused() => {
                self.connect_with(first).await.or(Err(refused))
            }
            _ => Err(refused),
        }
    }

    async fn connect_with(&self, credential: &Credential) -> Result<PgConnection, OpenError> {
        let opened = credential
            .secret
            .get_or_try_init(|| {
                let subject = SecretSubject::Tenant(self.tenant.clone());
                async move { self.secrets.open(&subject, &credential.reference).await }
            })
            .await;
        let login = Login {
            role: self.tenant.as_str(),
            password: opened?,
            database: &self.database.name,
            application: &self.application,
        };
        Ok(dial(&self.database, login).await?)
    }

    /// Ends one of the role's own sessions on the server and waits until it is gone.
    pub(crate) async fn terminate(
        &self,
        process: i32,
        patience: Duration,
    ) -> Result<(), OpenError> {
        let milliseconds = i64::try_from(patience.as_millis() / 2).unwrap_or(i64::MAX);
        let ending = async {
            let mut postgres = self.connect().await?;
            // None of a server that was started anew has its number.
            let ended = "select pg_terminate_backend($1, $2)
                 or not exists (select from pg_stat_activity where pid = $1)";
            let gone: bool = sqlx::query_scalar(ended)
                .bind(process)
                .bind(milliseconds)
                .fetch_one(&mut postgres)
                .await?;
            Ok(gone)
        };
        match tokio::time::timeout(patience, ending).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Err(error)) => Err(error),
            Ok(Ok(false)) | Err(_) => Err(OpenError::TimedOut),
        }
    }
}

/// A connection of the migration runner's login, with what is known of the run in it.
pub(crate) struct Migrating {
    /// The caller closes it.
    pub(crate) postgres: PgConnection,
    pub(crate) opened: Opened,
}

/// Connects as the migration runner, proves the database and asks what a run asks first, in `limit`.
pub(crate) async fn open_as_schema_owner(
    database: &DatabaseRef,
    login: (&Secret, &str),
    opening: Opening<'_>,
    limit: Duration,
) -> Result<Migrating, OpenError> {
    let (password, application) = login;
    let login = Login {
        role: SCHEMA_ROLE,
        password,
        database: &database.name,
        application,
    };
    let beginning = async {
        let mut postgres = dial(database, login).await?;
        let opened = match prove_and_open(&mut postgres, database, opening).await {
            Err(OpenError::Database(error)) if opening.found_no_history(&error) => {
                let opening = Opening {
                    owner: None,
                    ..opening
                };
                prove_and_open(&mut postgres, database, opening).await?
            }
            opened => opened?,
        };
        Ok(Migrating { postgres, opened })
    };
    tokio::time::timeout(limit, beginning)
        .await
        .unwrap_or(Err(OpenError::TimedOut))
}

/// The marker and what a run asks first, in one message. The comment is asked where the setting does not
/// prove the database.
async fn prove_and_open(
    postgres: &mut PgConnection,
    database: &DatabaseRef,
    opening: Opening<'_>,
) -> Result<Opened, OpenError> {
    let expected = database.marker();
    let mut found = String::new();
    // Shown and not selected: a session that has nothing cached would look for a function and an operator.
    for question in [format!("show {MARKER_SETTING}"), COMMENT.to_owned()] {
        let message = format!("{question}; {}", opening.statements());
        let rows = match sqlx::raw_sql(AssertSqlSafe(message))
            .fetch_all(&mut *postgres)
            .await
        {
            Err(error) if is_unset(&error) => continue,
            rows => rows?,
        };
        let (marker, rest) = rows.split_first().ok_or(sqlx::Error::RowNotFound)?;
        found = marker.try_get(0)?;
        if found == expected {
            return Ok(opening.read(rest)?);
        }
    }
    Err(OpenError::WrongDatabase { expected, found })
}

/// Whether a setting could not be shown because nobody has set it.
fn is_unset(error: &sqlx::Error) -> bool {
    const UNDEFINED_OBJECT: &str = "42704";
    error
        .as_database_error()
        .and_then(|refused| refused.code())
        .is_some_and(|code| code == UNDEFINED_OBJECT)
}

async fn dial(database: &DatabaseRef, login: Login<'_>) -> Result<PgConnection, sqlx::Error> {
    let server = Server {
        host: &database.cluster.host,
        port: database.cluster.port,
        tls: database.cluster.tls,
    };
    let options: PgConnectOptions =
        connect_options(server, login).statement_cache_capacity(PREPARED_STATEMENTS);
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that connects to a tenant's database"
    )]
    kit::db::open(&options).await
}

/// What a fresh connection of a tenant's role says of itself.
struct Proof {
    process: i32,
    server: ServerMode,
    has_data: bool,
}

/// Proves the database, mostly in one round trip, with the server's process, whether the server takes
/// writes, and whether the role may change data. Asked of a session that nobody has had: whoever has one
/// may set the marker for themselves.
async fn prove(postgres: &mut PgConnection, database: &DatabaseRef) -> Result<Proof, OpenError> {
    let question = format!(
        "select coalesce(current_setting('{MARKER_SETTING}', true), '') as marker,
             pg_backend_pid() as process,
             current_setting('transaction_read_only')::boolean as is_read_only,
             pg_has_role(current_user, '{DATA_ROLE}', 'member') as has_data"
    );
    let row = sqlx::raw_sql(AssertSqlSafe(question))
        .fetch_one(&mut *postgres)
        .await?;
    let marker: String = row.try_get("marker")?;
    if marker != database.marker() {
        let comment = sqlx::raw_sql(COMMENT).fetch_one(postgres).await?;
        let (expected, found) = (database.marker(), comment.try_get("marker")?);
        if found != expected {
            return Err(OpenError::WrongDatabase { expected, found });
        }
    }
    Ok(Proof {
        process: row.try_get("process")?,
        server: ServerMode::of(&row)?,
        has_data: row.try_get("has_data")?,
    })
}

/// Whether a server takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerMode {
    Writable,
    /// A standby, or one that was made read-only.
    ReadOnly,
}

impl ServerMode {
    /// The question, as a statement by itself.
    pub(super) const QUESTION: &'static str =
        "select current_setting('transaction_read_only')::boolean as is_read_only";

    /// Reads the answer.
    pub(super) fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(match row.try_get("is_read_only")? {
            true => Self::ReadOnly,
            false => Self::Writable,
        })
    }
}
