//! Templates: closed databases with the newest schema and no data.
//!
//! Deliberately never changed once they are ready: a new schema makes a new template out of the one
//! before. Invariant: a template is `ready` only when every owner's newest version is in it, its
//! rows are frozen and nobody can connect to it.

use contract::SchemaVersions;
use sqlx::{Connection, PgConnection};

use super::connections::{Database, Server};
use super::postgres::{self, DatabaseState, Name, Source, Whose};
use super::store::derived::{self, TemplateRow};
use super::{drops, services};
use crate::platform::Platform;
use crate::replicas::{self, LiveService};
use crate::stop::Stop;

/// Templates have no later copies.
const TEMPLATE_COPY: u32 = 1;

/// The template to copy, made anew where the living services own newer schemas; none before the
/// first service that owns schemas lives.
pub(super) async fn ensure(
    platform: &Platform,
    server: &Server,
) -> Result<Option<TemplateRow>, Stop> {
    let services = services::live(platform).await?;
    let newest = replicas::newest_versions(&services);
    let mut registry = platform.registry.acquire().await?;
    let mut current = derived::newest_template(&mut registry, server.name()).await?;
    if newest.is_empty() {
        return Ok(current);
    }
    if let Some(template) = &current
        && !is_there(&mut *server.acquire().await?, server, template.number).await?
    {
        tracing::warn!(
            cluster = %server.name(), template = %Name::Template(template.number),
            "the template is not on the server any more, and is made anew"
        );
        current = None;
    }
    if let Some(current) = &current
        && services::covers(&current.schema_versions, &newest)
    {
        return Ok(Some(current.clone()));
    }
    let number = derived::template_to_build(&mut registry, server.name()).await?;
    // A migration may be long.
    drop(registry);
    let name = Name::Template(number);
    let previous = current.map(|template| Name::Template(template.number));
    let schema_versions = build(platform, server, &services, &name, previous.as_ref()).await?;
    let mut registry = platform.registry.acquire().await?;
    let built = TemplateRow {
        number,
        schema_versions,
    };
    derived::template_built(&mut registry, server.name(), &built).await?;
    tracing::info!(cluster = %server.name(), template = %name, "template ready");
    Ok(Some(built))
}

/// Whether the server has the template as it was left: complete and closed.
pub(super) async fn is_there(
    connection: &mut PgConnection,
    server: &Server,
    number: i64,
) -> Result<bool, sqlx::Error> {
    let name = Name::Template(number);
    let marker = server.database(&name, TEMPLATE_COPY).marker();
    let found = postgres::look(connection, &name).await?;
    Ok(found.database.is_some_and(|found| {
        found.state == DatabaseState::Closed && found.marker.as_deref() == Some(&marker)
    }))
}

async fn build(
    platform: &Platform,
    server: &Server,
    services: &[LiveService],
    name: &Name,
    previous: Option<&Name>,
) -> Result<SchemaVersions, Stop> {
    let database = server.database(name, TEMPLATE_COPY);
    let mut connection = server.acquire().await?;
    let mut found = postgres::look(&mut connection, name).await?.database;
    // Closed but not known as ready: nobody can tell what is in it.
    if found
        .as_ref()
        .is_some_and(|found| found.state != DatabaseState::Open)
    {
        drops::discard(server, name, Whose::Anybody).await?;
        found = None;
    }
    if found.is_none() {
        let source = previous.map_or(Source::Empty, Source::Template);
        postgres::copy(&mut connection, source, name).await?;
    }
    postgres::furnish_template(&mut connection, name, &database.marker()).await?;
    drop(connection);

    let schema_versions = services::migrate(platform, services, &database).await?;

    let mut inside = server.connect(Database::Ours(name)).await?;
    postgres::freeze(&mut inside).await?;
    inside.close().await?;
    let mut connection = server.acquire().await?;
    postgres::close_template(&mut connection, name).await?;
    // Closing keeps newcomers out; who is still inside would make every copy fail.
    postgres::end_sessions(&mut connection, name).await?;
    Ok(schema_versions)
}
