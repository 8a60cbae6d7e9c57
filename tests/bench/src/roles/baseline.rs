//! The baseline: the least code that answers `GET /v1/entries/{id}` from PostgreSQL.
//!
//! Deliberately no token, no tenancy, no limits, no logs. Invariant: its statement, its answer and
//! the password check of its logins are the same as ours.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection, PgConnection};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::process::{input, tell, until_told_to_stop};

/// The statement of `entries::store::find`.
const FIND: &str = "
        select id, title, body, version, created_by, created_at, updated_at
        from entries.entry
        where id = $1
        ";

/// What a baseline is told on its standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// The server.
    pub(crate) server: SocketAddr,
    /// Who may log in where.
    pub(crate) logins: Vec<Login>,
    /// How it gets a connection.
    pub(crate) way: Way,
}

/// A role and its database, which has the same name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Login {
    /// Both names.
    pub(crate) name: String,
    /// The role's password.
    pub(crate) password: String,
}

/// How a baseline gets a connection.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Way {
    /// From a pool on the database of the first login, of so many connections.
    Pool(u32),
    /// A new one for each request, on the database that its header names, so many at once.
    Connect(usize),
}

struct Connecting {
    options: HashMap<String, PgConnectOptions>,
    permits: Semaphore,
}

#[derive(Serialize, sqlx::FromRow)]
struct Entry {
    #[serde(serialize_with = "prefixed")]
    id: Uuid,
    title: String,
    body: sqlx::types::Json<Box<RawValue>>,
    version: i64,
    created_by: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
}

fn prefixed<S: serde::Serializer>(id: &Uuid, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("ent_{}", id.simple()))
}

/// Serves until the parent says stop.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let setup: Setup = serde_json::from_str(&input()?)?;
    let router = match setup.way {
        Way::Pool(connections) => from_pool(&setup, connections).await?,
        Way::Connect(permits) => by_connecting(&setup, permits),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    tell(&[listener.local_addr()?]);
    axum::serve(listener, router)
        .with_graceful_shutdown(until_told_to_stop())
        .await?;
    Ok(())
}

fn options(server: SocketAddr, login: &Login) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host(&server.ip().to_string())
        .port(server.port())
        .ssl_mode(PgSslMode::Disable)
        .username(&login.name)
        .password(&login.password)
        .database(&login.name)
        .application_name("baseline")
}

async fn from_pool(setup: &Setup, connections: u32) -> anyhow::Result<Router> {
    let login = setup
        .logins
        .first()
        .ok_or_else(|| anyhow::anyhow!("a baseline needs a login"))?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the baseline is a pool without a budget"
    )]
    let pool = PgPoolOptions::new()
        .min_connections(connections)
        .max_connections(connections)
        .test_before_acquire(false)
        .connect_with(options(setup.server, login))
        .await?;
    Ok(Router::new()
        .route("/v1/entries/{id}", get(show_from_pool))
        .with_state(pool))
}

async fn show_from_pool(
    State(pool): State<PgPool>,
    Path(id): Path<String>,
) -> Result<Json<Entry>, StatusCode> {
    let mut connection = pool.acquire().await.map_err(failed)?;
    find(&mut connection, &id).await
}

fn by_connecting(setup: &Setup, permits: usize) -> Router {
    let options = setup
        .logins
        .iter()
        .map(|login| (login.name.clone(), options(setup.server, login)))
        .collect();
    let state = Arc::new(Connecting {
        options,
        permits: Semaphore::new(permits),
    });
    Router::new()
        .route("/v1/entries/{id}", get(show_by_connecting))
        .with_state(state)
}

async fn show_by_connecting(
    State(connecting): State<Arc<Connecting>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<Entry>, StatusCode> {
    let options = headers
        .get("x-tenant-id")
        .and_then(|name| name.to_str().ok())
        .and_then(|name| connecting.options.get(name))
        .ok_or(StatusCode::BAD_REQUEST)?;
    let _permit = connecting
        .permits
        .acquire()
        .await
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the baseline has no tenancy to go through"
    )]
    let mut connection = options.connect().await.map_err(failed)?;
    let found = find(&mut connection, &id).await;
    connection.close().await.map_err(failed)?;
    found
}

async fn find(connection: &mut PgConnection, id: &str) -> Result<Json<Entry>, StatusCode> {
    let id: Uuid = id
        .strip_prefix("ent_")
        .and_then(|id| id.parse().ok())
        .ok_or(StatusCode::BAD_REQUEST)?;
    sqlx::query_as::<_, Entry>(FIND)
        .bind(id)
        .fetch_optional(connection)
        .await
        .map_err(failed)?
        .map(Json)
        .ok_or(StatusCode::NOT_FOUND)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "`map_err` hands the error over"
)]
fn failed(error: sqlx::Error) -> StatusCode {
    crate::process::say(&error.to_string());
    StatusCode::INTERNAL_SERVER_ERROR
}
