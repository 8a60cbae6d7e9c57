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
use super::connections::{As, Server};
use super::postgres::defaults::{self, Defaults, PutBack};
use super::postgres::server;
use super::scram::Verifier;
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

/// The defaults that the role has, to be kept before statements of somebody else run as it.
pub(crate) async fn look(server: &Server) -> Result<Defaults, Stop> {
    Ok(defaults::of(&mut *server.acquire().await?, SCHEMA_ROLE).await?)
}

/// Puts the login back as it was; its defaults only where it is known what they were.
pub(crate) async fn reclaim(
    platform: &Platform,
    server: &Server,
    before: Option<&Defaults>,
) -> Result<Login, Stop> {
    let login = let_in(platform, server).await?;
    let Some(before) = before else {
        return Ok(login);
    };
    let mut connection = server.acquire().await?;
    let cluster = server.name();
    match defaults::put_back(&mut connection, SCHEMA_ROLE, before).await? {
        PutBack::Nothing => Ok(login),
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
        let (cluster, error) = (server.name(), stop.words());
        tracing::warn!(%cluster, error, "it is not known whether tn_schema is let in");
    }
}

/// Sees to it that the password of the registry lets in.
async fn let_in(platform: &Platform, server: &Server) -> Result<Login, Stop> {
    let password = server.password(platform, As::Schema).await?;
    let address = Address::from(&server.row);
    match address.enter(SCHEMA_ROLE, &password).await {
        Ok(entered) => {
            entered.close().await?;
            return Ok(Login::AsItWas);
        }
        Err(error) if Fault::of(&error) == Fault::LoginRefused => {}
        Err(error) => return Err(error.into()),
    }
    let verifier = Verifier::of(&password);
    let mut connection = server.acquire().await?;
    let cluster = server.name();
    match server::ensure_login(&mut connection, ClusterRole::Schema, &verifier).await {
        Ok(()) => {
            tracing::error!(%cluster, "tn_schema was refused with its password, which is set again");
        }
        Err(error) if Fault::of(&error) == Fault::RightsLost => {
            let error = chain(&error);
            tracing::error!(
                %cluster, error, remedy = LET_PUT_BACK,
                "tn_schema is refused with its password, and an administrator has to set it again"
            );
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Login::Changed)
}
