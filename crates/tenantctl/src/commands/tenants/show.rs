//! One tenant, with the migrations that fail in its database.
//!
//! Deliberately also what an update shows. Invariant: nothing secret of a tenant is in its answer.

use crate::api::Query;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{columns, plain, state, time};

use super::{Named, path};

columns! {
    /// What is shown of one tenant.
    pub(super) const FIELDS: "TenantDetail" = [
        plain("tenant", "/id"),
        plain("slug", "/slug"),
        plain("company", "/company"),
        plain("contact", "/contact_email"),
        state("status", "/status"),
        plain("suspension", "/suspension/wall"),
        plain("suspended because", "/suspension/reason"),
        time("suspended until", "/suspension/until"),
        time("held until", "/hold/until"),
        time("deleted", "/deleted_at"),
        time("purged after", "/purge_after"),
        time("purged", "/purged_at"),
        plain("tier", "/tier"),
        plain("overrides", "/overrides"),
        plain("labels", "/labels"),
        plain("region", "/region"),
        plain("time zone", "/time_zone"),
        plain("cluster", "/cluster"),
        plain("copy", "/copy"),
        plain("generation", "/generation"),
        plain("schemas", "/schema_versions"),
        time("created", "/created_at"),
        time("activated", "/activated_at"),
        time("updated", "/updated_at"),
    ];

    const FAILURES: "MigrationFailureView" = [
        plain("schema", "/owner"),
        plain("migration", "/migration"),
        plain("sqlstate", "/sqlstate"),
        plain("failures", "/failures"),
        time("last", "/last_at"),
        plain("message", "/message"),
        plain("statement", "/statement"),
    ];
}

/// Shows one tenant.
pub(super) async fn show(context: &Context, named: &Named) -> Result<(), Failure> {
    let id = context.tenant(named.id.as_ref())?;
    let tenant = context.api()?.get(&path(&id), &Query::new()).await?;
    context.out.item(FIELDS, &tenant)?;
    let failures = tenant["migration_failures"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    context.out.part("failed migrations", FAILURES, failures)
}
