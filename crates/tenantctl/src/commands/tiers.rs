//! Tiers: list.
//!
//! Deliberately no change of limits: tiers are data of the registry. Invariant: the smallest first, as
//! the platform says.

use clap::Subcommand;

use crate::api::Query;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Column, plain};

const COLUMNS: &[Column<'_>] = &[
    plain("name", "/name"),
    plain("title", "/title"),
    plain("weight", "/weight"),
    plain("limits", "/limits"),
    plain("features", "/features"),
];

/// What can be done with tiers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the tiers that a tenant can have, the smallest first.
    #[command(after_help = "Example:
  tenantctl tiers list")]
    List,
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List => {
                let tiers = context.api()?.get("/v1/tiers", &Query::new()).await?;
                let items = tiers["data"].as_array().map_or(&[][..], Vec::as_slice);
                context.out.list(COLUMNS, items)
            }
        }
    }
}
