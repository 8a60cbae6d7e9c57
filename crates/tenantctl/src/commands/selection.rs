//! Flags that select tenants, for commands on many of them.
//!
//! Deliberately the same names wherever they stand. Invariant: a tenant is selected when every flag
//! that is given fits it.

use clap::Args;
use contract::operator::fleet::{SchemaAge, Selection};
use contract::{ClusterName, TenantId, TenantStatus};

use crate::values;

/// What a tenant can be that has something to migrate, compare or ask.
const LIVING: [TenantStatus; 2] = [TenantStatus::Active, TenantStatus::Suspended];

/// Which tenants; all that are active or suspended where nothing is said.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tenant selection (default: all active and suspended tenants)")]
pub(crate) struct SelectionFlags {
    /// Only this tenant; repeatable.
    #[arg(long = "tenant", value_name = "TENANT", value_parser = values::tenant)]
    ids: Vec<TenantId>,
    /// Only tenants of this tier.
    #[arg(long)]
    tier: Option<String>,
    /// Only tenants on this cluster.
    #[arg(long)]
    cluster: Option<ClusterName>,
    /// Only tenants in this region.
    #[arg(long)]
    region: Option<String>,
    /// Only tenants with this status, of those that have a database in use.
    #[arg(long, value_parser = values::one_of::<TenantStatus>(LIVING.map(TenantStatus::as_str)))]
    status: Option<TenantStatus>,
    /// Only tenants with this text in their id, slug, company or contact address.
    #[arg(long)]
    text: Option<String>,
    /// Only tenants with this label, name=value; repeatable.
    #[arg(long = "label", value_name = "LABEL", value_parser = values::label)]
    labels: Vec<(String, String)>,
    /// Only tenants whose schema is older than the newest.
    #[arg(long)]
    behind: bool,
}

impl From<SelectionFlags> for Selection {
    fn from(flags: SelectionFlags) -> Self {
        Self {
            ids: flags.ids,
            tier: flags.tier,
            cluster: flags.cluster,
            region: flags.region,
            status: flags.status,
            text: flags.text,
            labels: flags.labels.into_iter().collect(),
            schema: flags.behind.then_some(SchemaAge::Behind),
        }
    }
}
