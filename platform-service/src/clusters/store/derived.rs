//! Templates' and stock's SQL in the registry.
//!
//! Deliberately the truth about derived databases: what has no row here is an orphan on its server.
//! Invariant: a copy is claimed by one operation only, and recorded as claimed before it is renamed.

use contract::{ClusterName, OperationId, SchemaVersions, TenantId};
use sqlx::PgConnection;

use crate::clusters::postgres::Name;
use crate::registry::{json, parsed, to_json};

/// Whether an operation has a copy to go on with.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// A ready one, or the number of one that it makes itself.
    Copy(ClaimedCopy),
    /// There is no template to copy.
    NoTemplate,
}

/// Places a tenant that is being made on a cluster, and gives the operation that makes it a ready copy of
/// the newest template that has one there, or the number of a new one. An operation that has one already
/// keeps it. Where there is no template nothing is written.
pub(crate) async fn place(
    connection: &mut PgConnection,
    cluster: &ClusterName,
    operation: OperationId,
    tenant: &TenantId,
) -> Result<Claimed, sqlx::Error> {
    let given = sqlx::query!(
        r#"
        with kept as (
            select number, template from registry.stock where cluster = $1 and claimed_by = $2
        ), ready as (
            select number from registry.stock
            where cluster = $1 and status = 'ready' and not exists (select from kept)
            order by template desc, number limit 1
            for update skip locked
        ), claimed as (
            update registry.stock set status = 'claimed', claimed_by = $2
            from ready where stock.number = ready.number
            returning stock.number, stock.template
        ), newest as (
            select number from registry.template
            where cluster = $1 and status = 'ready'
            order by number desc limit 1
            for key share
        ), made as (
            insert into registry.stock (cluster, template, status, claimed_by)
            select $1, newest.number, 'claimed', $2 from newest
            where not exists (select from claimed) and not exists (select from kept)
            returning number, template
        ), given as (
            select number, template, false as is_ready from kept
            union all select number, template, true from claimed
            union all select number, template, false from made
        ), placed as (
            update registry.tenant
            set cluster = $1, generation = generation + 1, updated_at = now()
            where id = $3 and status = 'provisioning' and cluster is distinct from $1
                and exists (select from given)
        )
        select given.number as "number!", given.template as "template!", given.is_ready as "is_ready!",
            template.schema_versions
        from given
        join registry.template on template.cluster = $1 and template.number = given.template
        "#,
        cluster.as_str(),
        operation.uuid(),
        tenant.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = given else {
        return Ok(Claimed::NoTemplate);
    };
    Ok(Claimed::Copy(ClaimedCopy {
        cluster: cluster.clone(),
        number: row.number,
        template: row.template,
        schema_versions: json("template.schema_versions", row.schema_versions)?,
        made: match row.is_ready {
            true => Made::Ready,
            false => Made::Unknown,
        },
    }))
}

/// The copy that an operation claimed.
#[derive(Debug, Clone)]
pub(crate) struct ClaimedCopy {
    pub(crate) cluster: ClusterName,
    pub(crate) number: i64,
    pub(crate) template: i64,
    /// What the template has.
    pub(crate) schema_versions: SchemaVersions,
    pub(crate) made: Made,
}

/// How far a claimed copy is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// It is a ready one, which was claimed by the process that asks, just now.
    Ready,
    /// Its server knows.
    Unknown,
}

/// The copy that an operation claimed and did not finish with.
pub(crate) async fn claimed_by(
    connection: &mut PgConnection,
    operation: OperationId,
) -> Result<Option<ClaimedCopy>, sqlx::Error> {
    let found = sqlx::query!(
        "select stock.cluster, stock.number, stock.template, template.schema_versions
         from registry.stock
         join registry.template
             on template.cluster = stock.cluster and template.number = stock.template
         where stock.claimed_by = $1",
        operation.uuid(),
    )
    .fetch_optional(connection)
    .await?;
    found
        .map(|row| {
            Ok(ClaimedCopy {
                cluster: parsed("stock.cluster", &row.cluster)?,
                number: row.number,
                template: row.template,
                schema_versions: json("template.schema_versions", row.schema_versions)?,
                made: Made::Unknown,
            })
        })
        .transpose()
}

/// Forgets the copy that an operation claimed: it has become a tenant's database, or is gone.
pub(crate) async fn delete_claimed(
    connection: &mut PgConnection,
    operation: OperationId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from registry.stock where claimed_by = $1",
        operation.uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A template that can be copied.
#[derive(Debug, Clone)]
pub(crate) struct TemplateRow {
    pub(crate) number: i64,
    pub(crate) schema_versions: SchemaVersions,
}

/// The newest template of a cluster that can be copied.
pub(crate) async fn newest_template(
    connection: &mut PgConnection,
    cluster: &ClusterName,
) -> Result<Option<TemplateRow>, sqlx::Error> {
    sqlx::query!(
        "select number, schema_versions from registry.template
         where cluster = $1 and status = 'ready' order by number desc limit 1",
        cluster.as_str(),
    )
    .fetch_optional(connection)
    .await?
    .map(|row| {
        Ok(TemplateRow {
            number: row.number,
            schema_versions: json("template.schema_versions", row.schema_versions)?,
        })
    })
    .transpose()
}

/// The number of the template that is being built; a new one where none is.
pub(crate) async fn template_to_build(
    connection: &mut PgConnection,
    cluster: &ClusterName,
) -> Result<i64, sqlx::Error> {
    let building = sqlx::query_scalar!(
        "select number from registry.template where cluster = $1 and status = 'building'
         order by number desc limit 1",
        cluster.as_str(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(number) = building {
        return Ok(number);
    }
    sqlx::query_scalar!(
        "insert into registry.template (cluster, schema_versions, status)
         values ($1, '{}', 'building') returning number",
        cluster.as_str(),
    )
    .fetch_one(connection)
    .await
}

/// A template can be copied from now on.
pub(crate) async fn template_built(
    connection: &mut PgConnection,
    cluster: &ClusterName,
    template: &TemplateRow,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.template set status = 'ready', schema_versions = $3
         where cluster = $1 and number = $2",
        cluster.as_str(),
        template.number,
        to_json(&template.schema_versions)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records copies of a template that are to be made, as many as are missing to `level`; gives all
/// numbers that are to be made or were left half-made.
pub(crate) async fn stock_to_make(
    connection: &mut PgConnection,
    cluster: &ClusterName,
    template: i64,
    level: u32,
) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query!(
        "insert into registry.stock (cluster, template, status)
         select $1, $2, 'making'
         from generate_series(1, $3 - (
             select count(*) from registry.stock
             where cluster = $1 and template = $2 and status in ('making', 'ready')))",
        cluster.as_str(),
        template,
        i64::from(level),
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query_scalar!(
        "select number from registry.stock
         where cluster = $1 and template = $2 and status = 'making' order by number",
        cluster.as_str(),
        template,
    )
    .fetch_all(connection)
    .await
}

/// A copy can be claimed from now on.
pub(crate) async fn stock_made(
    connection: &mut PgConnection,
    stock: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.stock set status = 'ready' where number = $1 and status = 'making'",
        stock,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets copies and templates that a newer template replaced and that no operation uses, and gives
/// how many; what they leave on the server is an orphan from then on.
pub(crate) async fn delete_replaced(
    connection: &mut PgConnection,
    cluster: &ClusterName,
    current: i64,
) -> Result<u64, sqlx::Error> {
    let copies = sqlx::query!(
        "delete from registry.stock
         where cluster = $1 and template <> $2 and status in ('making', 'ready')",
        cluster.as_str(),
        current,
    )
    .execute(&mut *connection)
    .await?;
    let templates = sqlx::query!(
        "delete from registry.template
         where cluster = $1 and number < $2 and not exists (
             select from registry.stock
             where stock.cluster = template.cluster and stock.template = template.number)",
        cluster.as_str(),
        current,
    )
    .execute(connection)
    .await?;
    Ok(copies.rows_affected() + templates.rows_affected())
}

/// The derived names that a cluster has rows for.
pub(crate) async fn derived_names(
    connection: &mut PgConnection,
    cluster: &ClusterName,
) -> Result<Vec<Name>, sqlx::Error> {
    let stock = sqlx::query_scalar!(
        "select number from registry.stock where cluster = $1",
        cluster.as_str(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let templates = sqlx::query_scalar!(
        "select number from registry.template where cluster = $1",
        cluster.as_str(),
    )
    .fetch_all(connection)
    .await?;
    let stock = stock.into_iter().map(Name::Stock);
    Ok(stock
        .chain(templates.into_iter().map(Name::Template))
        .collect())
}

/// Forgets all copies and templates of a cluster.
pub(crate) async fn forget_cluster(
    connection: &mut PgConnection,
    cluster: &ClusterName,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from registry.stock where cluster = $1",
        cluster.as_str(),
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "delete from registry.template where cluster = $1",
        cluster.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
