//! A rollout and its tenants.
//!
//! Deliberately only the first failures without being asked for more. Invariant: where more failed than are
//! shown, it is said how to see them.

use clap::Args;
use contract::operator::rollout::TenantProgress;
use serde_json::Value;

use super::{FIELDS, Named};
use crate::api::Query;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{columns, plain, state};
use crate::values;

columns! {
    pub(super) const TENANTS: "RolloutTenantView" = [
        plain("tenant", "/tenant"),
        plain("wave", "/wave"),
        plain("cluster", "/cluster"),
        state("state", "/state"),
        plain("attempts", "/attempts"),
        plain("migration", "/failure/migration"),
        plain("sqlstate", "/failure/sqlstate"),
        plain("message", "/failure/message"),
        plain("statement", "/failure/statement"),
    ];
}

/// How many failures are shown without being asked for.
const SHOWN: usize = 20;

/// What to show of a rollout.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    named: Named,
    /// List only the tenants in this state.
    #[arg(
        long,
        value_name = "STATE",
        value_parser = values::one_of::<TenantProgress>(TenantProgress::ALL.iter().map(|state| state.as_str()))
    )]
    tenants: Option<TenantProgress>,
    /// List only the tenants of this wave; the first is 0. Can be combined with --tenants.
    #[arg(long, value_name = "NUMBER")]
    wave: Option<u16>,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = self.named.id;
        if self.tenants.is_some() || self.wave.is_some() {
            let which = (self.tenants, self.wave);
            let tenants = self.named.tenants(context, which, 0).await?;
            return context.out.list(TENANTS, &tenants);
        }
        let view = self.named.view(context).await?;
        context.out.item(FIELDS, &view)?;
        let failed = self
            .named
            .tenants(context, (Some(TenantProgress::Failed), None), SHOWN)
            .await?;
        context.out.part("failed tenants", TENANTS, &failed)?;
        if failed.len() == SHOWN {
            context.out.note(&format!(
                "See all of them with `tenantctl rollouts show {id} --tenants failed`."
            ));
        }
        Ok(())
    }
}

impl Named {
    async fn tenants(
        &self,
        context: &Context,
        (state, wave): (Option<TenantProgress>, Option<u16>),
        limit: usize,
    ) -> Result<Vec<Value>, Failure> {
        let mut query = Query::new();
        query.extend(state.map(|state| ("state", state.as_str().to_owned())));
        query.extend(wave.map(|wave| ("wave", wave.to_string())));
        let path = format!("{}/tenants", self.path());
        context.api()?.items(&path, &query, limit, "/tenant").await
    }
}
