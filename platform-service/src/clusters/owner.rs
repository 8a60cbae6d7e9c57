//! Looks after the login `tn_schema`, which owns the schemas of all tenants on a server. An operator's
//! statements, or what came with an archive, may have run as this role, and a role may change its own
//! password and its own defaults: this puts them back.
//!
//! Deliberately leaves alone what an administrator has set: only what has changed since it was recorded,
//! before such statements ran, counts as their doing. Invariant: afterwards the password that the registry
//! keeps lets in, or the log says at ERROR what an administrator has to do; nothing waits for that.

use std::time::Duration;

use adapters::secret_store::ClusterRole;
use contract::tenant::SCHEMA_ROLE;
use kit::db::Fault;
use kit::error::chain;
use sqlx::Connection as _;

use super::address::Address;
use super::connections::Server;
use super::postgres::defaults::{self, Defaults, PutBack};
use super::postgres::{self, server};
use super::scram::Verifier;
use super::store;
use crate::platform::Platform;
use crate::stop::Stop;

/// With what an administrator lets the platform put the login back, from PostgreSQL 16 on.
pub(crate) const LET_PUT_BACK: &str =
    "grant tn_schema to tn_platform with admin true, inherit false, set false";

/// How often it is looked whether the login lets in.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What had become of the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    AsItWas,
    Changed,
}

/// How the login was before statements of somebody else ran as it, as far as that was noted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before<'a> {
    pub(crate) defaults: Option<&'a Defaults>,
    /// How often it had been set again.
    pub(crate) resets: Option<i32>,
}

/// The defaults that the role has and how often its login was set again, to be noted before statements of
/// somebody else run as it.
pub(crate) async fn look(platform: &Platform, server: &Server) -> Result<(Defaults, i32), Stop> {
    let resets = resets(platform, server).await?;
    let defaults = defaults::of(&mut *server.acquire().await?, SCHEMA_ROLE).await?;
    Ok((defaults, resets))
}

async fn resets(platform: &Platform, server: &Server) -> Result<i32, Stop> {
    let mut registry = platform.registry.acquire().await?;
    Ok(store::schema_login_resets(&mut registry, server.name()).await?)
}

/// Puts the login back as it was. Where it had been changed, all of its sessions end: whoever knew what it was
/// changed to may be in by now, in any tenant's database.
pub(crate) async fn reclaim(
    platform: &Platform,
    server: &Server,
    before: Before<'_>,
) -> Result<Login, Stop> {
    let mut changed = false;
    if let Some(defaults) = before.defaults {
        // Before it is tried: some defaults let it in nowhere.
        changed |= put_back(server, defaults).await? == Login::Changed;
    }
    changed |= let_in(platform, server).await? == Login::Changed;
    if let Some(resets_before) = before.resets {
        // Another replica may have been faster, or this one's keeper.
        changed |= resets(platform, server).await? != resets_before;
    }
    if !changed {
        return Ok(Login::AsItWas);
    }
    postgres::end_sessions_everywhere(&mut *server.acquire().await?, SCHEMA_ROLE).await?;
    Ok(Login::Changed)
}

async fn put_back(server: &Server, before: &Defaults) -> Result<Login, Stop> {
    let mut connection = server.acquire().await?;
    let cluster = server.name();
    match defaults::put_back(&mut connection, SCHEMA_ROLE, before).await? {
        PutBack::Nothing => Ok(Login::AsItWas),
        PutBack::But(left) if left.is_empty() => {
            tracing::error!(%cluster, "the defaults of tn_schema had been changed, and are as they were");
            Ok(Login::Changed)
        }
        PutBack::But(left) => {
            tracing::error!(
                %cluster, ?left, remedy = LET_PUT_BACK,
                "the defaults of tn_schema were changed, and an administrator has to put these back"
            );
            Ok(Login::Changed)
        }
    }
}

/// Lets the owner in again where somebody has changed its login, now and then.
pub(super) async fn keep(platform: &Platform, server: &Server) {
    if !server.is_due(LOOK_EVERY) {
        return;
    }
    if let Err(stop) = let_in(platform, server).await {
        let (cluster, cause) = (server.name(), stop.words());
        tracing::warn!(%cluster, cause, "it is not known whether tn_schema is let in");
    }
}

/// Sees to it that the password of the registry lets in.
async fn let_in(platform: &Platform, server: &Server) -> Result<Login, Stop> {
    let password = server.password(platform, ClusterRole::Schema).await?;
    let address = Address::from(&server.row);
    match address.enter(SCHEMA_ROLE, &password).await {
        Ok(entered) => {
            entered.close().await?;
            return Ok(Login::AsItWas);
        }
        Err(error) if Fault::of(&error) == Fault::LoginRefused => {}
        Err(error) => return Err(error.into()),
    }
    let cluster = server.name();
    // Counted before: whoever finds it put back finds it counted.
    store::count_schema_login_reset(&mut *platform.registry.acquire().await?, cluster).await?;
    let verifier = Verifier::of(&password);
    let mut connection = server.acquire().await?;
    match server::ensure_login(&mut connection, ClusterRole::Schema, &verifier).await {
        Ok(()) => {
            tracing::error!(%cluster, "tn_schema was refused with its password, which is set again");
        }
        Err(error) if Fault::of(&error) == Fault::RightsLost => {
            let cause = chain(&error);
            tracing::error!(
                %cluster, cause, remedy = LET_PUT_BACK,
                "tn_schema is refused with its password, and an administrator has to set it again"
            );
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Login::Changed)
}
