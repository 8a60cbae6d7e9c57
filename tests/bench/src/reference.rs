//! The reference schema: with `auth` and `entries` it makes 25 tables in every tenant database, as
//! a product of middling size has.
//!
//! Deliberately without routes: it is only ever migrated and copied. Invariant: both sides of the
//! sign-up rows run these very files with the same runner.

use app_service::{App, Module, auth, entries};
use contract::SchemaOwner;
use contract::ids::InvalidId;
use kit::migrate::{Grants, RunLimits};
use refinery::Migration;
use sqlx::PgConnection;

/// Tables of all owners, their migration histories not counted.
pub(crate) const TABLES: i64 = 25;

mod embedded {
    //! The files.
    refinery::embed_migrations!("reference");
}

/// The version of the files.
const FILES: u32 = 12;

/// The version after so many further releases.
pub(crate) const fn newest(releases: u32) -> u32 {
    FILES + releases
}

/// A module that owns the schema `reference`, after so many further releases of one column each.
fn module(releases: u32) -> anyhow::Result<Module> {
    let mut all = migrations();
    for release in 1..=releases {
        all.push(Migration::unapplied(
            &format!("V{}__release_{release}", newest(release)),
            &format!("alter table reference.contact add column release_{release} text;"),
        )?);
    }
    Ok(Module::new("reference", all))
}

fn migrations() -> Vec<Migration> {
    embedded::migrations::runner().get_migrations().clone()
}

/// The app that is measured.
pub(crate) fn app(releases: u32) -> anyhow::Result<App> {
    Ok(App::new()
        .module(auth::module())
        .module(entries::module())
        .module(module(releases)?))
}

/// Runs the migrations of all owners of [`app`], one by one, as a service does in a template.
pub(crate) async fn migrate(connection: &mut PgConnection) -> anyhow::Result<()> {
    let owners: [(Result<SchemaOwner, InvalidId>, Vec<Migration>); 3] = [
        ("auth".parse(), tenant_migrations::auth()),
        ("entries".parse(), tenant_migrations::entries()),
        ("reference".parse(), migrations()),
    ];
    let limits = RunLimits::default();
    kit::migrate::lock(connection, limits.lock_wait).await?;
    for (owner, migrations) in owners {
        kit::migrate::run(
            connection,
            &owner?,
            &migrations,
            Grants::TenantRoles,
            limits,
        )
        .await?;
    }
    Ok(())
}
