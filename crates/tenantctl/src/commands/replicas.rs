//! Replicas: the running processes of services.
//!
//! Deliberately a list alone: they come and go by themselves. Invariant: one that is silent is shown as
//! long as the platform knows of it.

use clap::Subcommand;

use crate::api::Query;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{columns, plain, time};

columns! {
    const COLUMNS: "ReplicaView" = [
        plain("id", "/id"),
        plain("service", "/service"),
        plain("address", "/internal_url"),
        plain("live", "/live"),
        plain("applied change", "/acknowledged"),
        plain("newest change", "/newest_change"),
        plain("schemas", "/owns"),
        time("last seen", "/last_seen_at"),
    ];
}

/// What can be done with replicas.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the replicas of the services, and the newest change that each has applied.
    #[command(after_help = "Example:
  tenantctl replicas list

A command with --wait=replicas waits until every live replica has applied its change.")]
    List,
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List => {
                let query = Query::new();
                context.list(COLUMNS, "/v1/replicas", &query, 0).await
            }
        }
    }
}
