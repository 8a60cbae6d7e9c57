//! Sets how many connections the roles of tenants may have at once.
//!
//! Deliberately touches only roles that have a tenant's database of ours. Invariant: a few are changed at a
//! time, so that whoever else changes one of these roles waits only for those few.

use contract::TenantId;
use contract::tenant::PLATFORM_ROLE;
use sqlx::{AssertSqlSafe, PgConnection};

use super::{Name, ident, literal, run};

/// Roles that are changed in one transaction.
const AT_ONCE: usize = 50;

/// Lets the role of each tenant there have so many connections; gives how many had another limit.
pub(crate) async fn set_limits(
    connection: &mut PgConnection,
    limit: u32,
) -> Result<usize, sqlx::Error> {
    let mut changed = 0;
    loop {
        let roles = others(&mut *connection, limit).await?;
        if roles.is_empty() {
            return Ok(changed);
        }
        changed += roles.len();
        let statements = roles.iter().map(|role| {
            let role = ident(role);
            format!("alter role {role} connection limit {limit};\n")
        });
        run(&mut *connection, statements.collect()).await?;
    }
}

/// Some of the roles that have another limit.
async fn others(connection: &mut PgConnection, limit: u32) -> Result<Vec<Name>, sqlx::Error> {
    let found = sqlx::query_scalar::<_, String>(AssertSqlSafe(format!(
        "select role.rolname::text from pg_roles role
         join pg_database database on database.datname = role.rolname
         join pg_roles owner on owner.oid = database.datdba
         where owner.rolname = {} and role.rolname ~ '^t_' and role.rolconnlimit <> {limit}
         order by 1 limit {AT_ONCE}",
        literal(PLATFORM_ROLE)
    )))
    .fetch_all(connection)
    .await?;
    let tenants = found
        .iter()
        .filter_map(|role| role.parse::<TenantId>().ok());
    Ok(tenants.map(Name::Tenant).collect())
}
