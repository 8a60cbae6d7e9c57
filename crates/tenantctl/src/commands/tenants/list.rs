//! A list of tenants.
//!
//! Deliberately without what only one tenant shows. Invariant: every flag that is given narrows the list.

use clap::Args;
use contract::operator::fleet::SchemaAge;
use contract::{ClusterName, TenantStatus};

use crate::api::Query;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{columns, plain, state, time};
use crate::values;

columns! {
    const COLUMNS: "TenantView" = [
        plain("id", "/id"),
        plain("slug", "/slug"),
        state("status", "/status"),
        plain("tier", "/tier"),
        plain("region", "/region"),
        plain("cluster", "/cluster"),
        plain("company", "/company"),
        time("created", "/created_at"),
    ];
}

/// Which tenants.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only tenants with this status.
    #[arg(long, value_parser = values::one_of::<TenantStatus>(TenantStatus::ALL.map(TenantStatus::as_str)))]
    status: Option<TenantStatus>,
    /// Only tenants of this tier.
    #[arg(long)]
    tier: Option<String>,
    /// Only tenants on this cluster.
    #[arg(long)]
    cluster: Option<ClusterName>,
    /// Only tenants in this region.
    #[arg(long)]
    region: Option<String>,
    /// Only tenants with this text in their id, slug, company or contact address.
    #[arg(long)]
    text: Option<String>,
    /// Only tenants with this label, name=value.
    #[arg(long, value_name = "LABEL", value_parser = values::label)]
    label: Option<(String, String)>,
    /// Only tenants whose schema is older than the newest; active and suspended ones, unless --status is given.
    #[arg(long)]
    behind: bool,
    /// Show at most this many; 0 shows all.
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut query = Query::new();
        query.extend(
            self.status
                .map(|status| ("status", status.as_str().to_owned())),
        );
        query.extend(self.tier.map(|tier| ("tier", tier)));
        query.extend(self.cluster.map(|cluster| ("cluster", cluster.to_string())));
        query.extend(self.region.map(|region| ("region", region)));
        query.extend(self.text.map(|text| ("text", text)));
        let label = self.label.map(|(name, value)| format!("{name}={value}"));
        query.extend(label.map(|label| ("label", label)));
        let behind = self.behind.then_some(SchemaAge::Behind);
        query.extend(behind.map(|age| ("schema", age.as_str().to_owned())));
        context
            .list(COLUMNS, "/v1/tenants", &query, self.limit)
            .await
    }
}
