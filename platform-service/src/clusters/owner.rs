//! The login of the schemas' owner, after statements of somebody else ran as it: a role may change its own
//! password and its own defaults, and this one is every tenant's on its server.
//!
//! Deliberately looks before it changes anything. Invariant: afterwards the password that the registry keeps
//! lets in again, and the role has no defaults.

use contract::tenant::SCHEMA_ROLE;
use kit::db::Fault;
use sqlx::Connection as _;

use adapters::secret_store::ClusterRole;

use super::address::Address;
use super::connections::{As, Server};
use super::postgres::server;
use super::scram::Verifier;
use crate::operations::Stop;
use crate::platform::Platform;

/// What had become of the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    AsItWas,
    /// It was changed, and is as it was again.
    PutBack,
}

/// Puts the login back as it was.
pub(crate) async fn reclaim(platform: &Platform, server: &Server) -> Result<Login, Stop> {
    let password = server.password(platform, As::Schema).await?;
    let mut connection = server.acquire().await?;
    let mut login = Login::AsItWas;
    if server::forget_defaults(&mut connection, SCHEMA_ROLE).await? {
        login = Login::PutBack;
    }
    match Address::from(&server.row)
        .enter(SCHEMA_ROLE, &password)
        .await
    {
        Ok(entered) => entered.close().await?,
        Err(error) if Fault::of(&error) == Fault::LoginRefused => {
            let verifier = Verifier::of(&password);
            server::ensure_login(&mut connection, ClusterRole::Schema, &verifier).await?;
            login = Login::PutBack;
        }
        Err(error) => return Err(error.into()),
    }
    if login == Login::PutBack {
        tracing::warn!(cluster = %server.name(), "statements had changed the login of the schemas' owner");
    }
    Ok(login)
}
