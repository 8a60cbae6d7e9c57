//! Where the registry itself is: SQL.
//!
//! Deliberately asked of the server and not of the settings, which may name it in another way. Invariant: nothing
//! is changed.

use sqlx::PgConnection;

/// The registry's own database, which tenants' roles must not enter where it is on the same server.
#[derive(Debug)]
pub(crate) struct RegistryDatabase {
    pub(crate) name: String,
    /// The registry's login, which must get in.
    pub(in crate::clusters) login: String,
    pub(crate) server: i64,
}

/// Where the registry is; none where its server does not say which one it is.
pub(crate) async fn registry_database(
    registry: &mut PgConnection,
) -> Result<Option<RegistryDatabase>, sqlx::Error> {
    let found = sqlx::query!(
        r#"select current_database() as "name!", session_user::text as "login!",
               system_identifier as "server!"
           from pg_control_system()"#
    )
    .fetch_one(registry)
    .await;
    match found {
        Ok(row) => Ok(Some(RegistryDatabase {
            name: row.name,
            login: row.login,
            server: row.server,
        })),
        Err(error) if kit::db::Fault::of(&error) == kit::db::Fault::RightsLost => Ok(None),
        Err(error) => Err(error),
    }
}
