//! The registry's database: reaching it and bringing its schema up to date.
//!
//! Deliberately no feature's statements. Invariant: two processes that start at once migrate one
//! after the other.

use std::str::FromStr;

use anyhow::Context as _;
use contract::SchemaOwner;
use kit::db::Pool;
use kit::migrate::{Grants, RunLimits};
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;

use crate::config::Settings;

const APPLICATION: &str = "platform-service";
/// How long a session may say nothing in a transaction, and how long it waits for a lock. Nobody but a process
/// that stands still, or is cut off, is silent for so long while it holds a lock that others need: what waits
/// for a server or a store meanwhile asks for longer with [`kit::db::may_idle`].
const BOUNDS: [(&str, &str); 2] = [
    ("idle_in_transaction_session_timeout", "10s"),
    ("lock_timeout", "10s"),
];

/// A pool of at most `most` connections to the registry; nothing is connected yet.
pub(crate) fn registry(settings: &Settings, most: u32) -> anyhow::Result<Pool> {
    // The parser's words may repeat the URL, which holds a password.
    let options = PgConnectOptions::from_str(settings.registry.url.expose())
        .map_err(|_| anyhow::anyhow!("registry.url is not a PostgreSQL URL"))?
        .application_name(APPLICATION)
        .options(BOUNDS);
    Ok(Pool::new(kit::db::kept_alive(options), most))
}

fn owner() -> Result<SchemaOwner, sqlx::Error> {
    platform_migrations::SCHEMA
        .parse()
        .map_err(|error: contract::ids::InvalidId| sqlx::Error::Configuration(error.into()))
}

/// Whether the registry's schema is as new as this code.
pub(crate) async fn is_current(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let found = kit::migrate::version(connection, &owner()?).await?;
    Ok(found >= Some(newest_version()))
}

fn newest_version() -> i32 {
    platform_migrations::migrations()
        .iter()
        .map(|migration| migration.version())
        .max()
        .unwrap_or(0)
}

/// Brings the registry's schema up to date and gives its version.
pub(crate) async fn migrate(registry: &Pool) -> anyhow::Result<i32> {
    // Out of the pool and closed at the end: the lock and the timeouts of the run end with it.
    let mut connection = registry
        .acquire()
        .await
        .context("the registry cannot be reached")?
        .detach();
    let limits = RunLimits::default();
    let owner = owner()?;
    let migrations = platform_migrations::migrations();
    let version = async {
        kit::migrate::lock(&mut connection, limits.lock_wait).await?;
        kit::migrate::run(&mut connection, &owner, &migrations, Grants::None, limits).await
    }
    .await;
    sqlx::Connection::close(connection).await?;
    version.context("the registry could not be migrated")
}

/// Refuses a registry whose schema is older than this code.
pub(crate) async fn check(registry: &Pool) -> anyhow::Result<()> {
    let mut connection = registry
        .acquire()
        .await
        .context("the registry cannot be reached")?;
    anyhow::ensure!(
        is_current(&mut connection).await?,
        "the registry's schema is older than this code: run `platform-service migrate`"
    );
    Ok(())
}
