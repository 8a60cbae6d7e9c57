//! The newest schema on a copy of a tenant's database.
//!
//! Deliberately leaves nothing behind. Invariant: the exit code is 1 where a migration would fail.

use clap::Args;
use contract::TenantId;
use contract::operator::rollout::RolloutTrialRequest;

use crate::context::Context;
use crate::failure::{Failure, text};
use crate::follow;
use crate::output::{columns, plain};
use crate::values;

columns! {
    const TRIAL: "RolloutTrial" = [
        plain("before", "/before"),
        plain("after", "/after"),
        plain("milliseconds", "/milliseconds"),
        plain("failed", "/failed/migration"),
        plain("sqlstate", "/failed/sqlstate"),
        plain("message", "/failed/message"),
        plain("statement", "/failed/statement"),
    ];
}

/// A dry run.
#[derive(Debug, Args)]
pub(crate) struct Trial {
    /// The tenant whose database is copied.
    #[arg(value_name = "TENANT", value_parser = values::tenant)]
    tenant: TenantId,
}

impl Trial {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let body = RolloutTrialRequest {
            tenant: self.tenant,
        };
        let view = follow::begun(context, "/v1/rollouts/trial", &body).await?;
        if !follow::is_over(&view) {
            return follow::shown(context, &view);
        }
        let came = &view["result"];
        context.out.item(TRIAL, came)?;
        if came["failed"].is_null() {
            return Ok(());
        }
        Err(Failure::Found {
            what: format!("{} would fail", text(came, "/failed/migration")),
            next: vec!["fix the migration or the tenant's data, then try again".to_owned()],
        })
    }
}
