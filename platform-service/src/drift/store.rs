//! The SQL of drift: the tenants to compare, and the catalog of a database.
//!
//! Deliberately the whole catalog in one statement, as text: PostgreSQL's own words are what is
//! compared. Invariant: it is asked for with an empty search path, so that every name is whole.

use contract::operator::fleet::Selection;
use contract::{ClusterName, SchemaVersions, TenantId};
use sqlx::PgConnection;

use super::diff::{Catalog, Kind, Line};
use crate::clusters::postgres::Name;
use crate::registry::{json, number, parsed};
use crate::tenants::store::select_ids;

/// A tenant to compare.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) tenant: TenantId,
    pub(crate) cluster: ClusterName,
    pub(crate) copy: u32,
    pub(crate) versions: SchemaVersions,
    pub(crate) said_by: SaidBy,
}

/// Who says which versions a tenant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SaidBy {
    /// As last reported: behind the database after a migration that failed half-way.
    Registry,
    /// As of a look before.
    Database,
}

/// The selected tenants that have a database, those of a cluster together.
pub(crate) async fn candidates(
    connection: &mut PgConnection,
    selection: &Selection,
) -> Result<Vec<Candidate>, sqlx::Error> {
    let ids: Vec<String> = select_ids(&mut *connection, selection, None, i64::MAX)
        .await?
        .iter()
        .map(ToString::to_string)
        .collect();
    sqlx::query!(
        r#"select id, cluster as "cluster!", copy, schema_versions from registry.tenant
           where id = any($1) and cluster is not null order by cluster, id"#,
        &ids,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|row| {
        Ok(Candidate {
            tenant: parsed("tenant.id", &row.id)?,
            cluster: parsed("tenant.cluster", &row.cluster)?,
            copy: number("tenant.copy", row.copy)?,
            versions: json("tenant.schema_versions", row.schema_versions)?,
            said_by: SaidBy::Registry,
        })
    })
    .collect()
}

/// The clusters that have, or may have, a database of this name that an operation made.
pub(crate) async fn clusters_with(
    connection: &mut PgConnection,
    name: &Name,
) -> Result<Vec<ClusterName>, sqlx::Error> {
    sqlx::query_scalar!(
        "select cluster from registry.kept_database where name = $1",
        name.to_string(),
    )
    .fetch_all(connection)
    .await?
    .iter()
    .map(|cluster| parsed("kept_database.cluster", cluster))
    .collect()
}

/// What a database has in the schemas of these owners.
pub(crate) async fn catalog(
    database: &mut PgConnection,
    owners: &[String],
) -> Result<Catalog, sqlx::Error> {
    sqlx::raw_sql("set search_path = ''; set statement_timeout = '30s'")
        .execute(&mut *database)
        .await?;
    let rows = sqlx::query_file!("src/drift/catalog.sql", owners)
        .fetch_all(database)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let line = Line {
                kind: match row.kind.as_str() {
                    "grant" => Kind::Right,
                    _ => Kind::Object,
                },
                definition: row.definition,
                make: row.make,
                unmake: row.unmake,
            };
            (row.object, line)
        })
        .collect())
}
