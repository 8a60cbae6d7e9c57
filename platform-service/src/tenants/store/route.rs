//! The SQL of routes.
//!
//! Deliberately one statement: a route is one moment of tenant, tier and cluster. Invariant: no
//! password, only references.

use std::sync::Arc;

use contract::secret::SecretRef;
use contract::tenant::{ClusterEndpoint, Hold, RolloutGate, Suspension};
use contract::{DatabaseRef, TenantId, TenantRoute, TenantStatus, TierGrant};
use sqlx::PgConnection;

use crate::registry::{json, number, parsed};
use crate::tenants::overrides::Overrides;

/// The route of a tenant; none for an id that nobody has or a tenant that is not placed yet.
pub(crate) async fn route(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<Option<TenantRoute>, sqlx::Error> {
    let found = sqlx::query!(
        r#"
        select tenant.id, tenant.slug, tenant.company, tenant.status, tenant.generation,
            tenant.region, tenant.time_zone, tenant.overrides, tenant.copy, tenant.credentials,
            tenant.schema_versions, tenant.wall, tenant.suspended_reason, tenant.suspended_until,
            tenant.held_until,
            exists (select from registry.rollout where state = 'halted') as "is_halted!",
            tier.name as tier, tier.weight, tier.limits, tier.features,
            cluster.name as cluster, cluster.host, cluster.port, cluster.tls,
            cluster.schema_credential
        from registry.tenant
        join registry.tier on tier.name = tenant.tier
        join registry.cluster on cluster.name = tenant.cluster
        where tenant.id = $1
        "#,
        id.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = found else {
        return Ok(None);
    };
    let tier = TierGrant {
        name: row.tier,
        weight: number("tier.weight", row.weight)?,
        limits: json("tier.limits", row.limits)?,
        features: row.features.into_iter().collect(),
    };
    let overrides: Overrides = json("tenant.overrides", row.overrides)?;
    let cluster = ClusterEndpoint {
        name: parsed("cluster.name", &row.cluster)?,
        host: row.host,
        port: number("cluster.port", row.port)?,
        tls: parsed("cluster.tls", &row.tls)?,
        schema_credential: SecretRef(row.schema_credential),
    };
    let status: TenantStatus = parsed("tenant.status", &row.status)?;
    let suspension = match (status, row.wall) {
        (TenantStatus::Suspended, Some(wall)) => Some(Suspension {
            wall: parsed("tenant.wall", &wall)?,
            reason: row.suspended_reason,
            until: row.suspended_until,
        }),
        _ => None,
    };
    Ok(Some(TenantRoute {
        tenant: parsed("tenant.id", &row.id)?,
        slug: parsed("tenant.slug", &row.slug)?,
        company: row.company,
        status,
        generation: number("tenant.generation", row.generation)?,
        region: row.region,
        time_zone: row.time_zone,
        tier: Arc::new(overrides.apply(tier)),
        database: DatabaseRef {
            cluster,
            name: row.id,
            copy: number("tenant.copy", row.copy)?,
        },
        credentials: row.credentials.into_iter().map(SecretRef).collect(),
        schema_versions: json("tenant.schema_versions", row.schema_versions)?,
        suspension,
        hold: row.held_until.map(|until| Hold { until }),
        rollout: if row.is_halted {
            RolloutGate::Halted
        } else {
            RolloutGate::Open
        },
    }))
}
