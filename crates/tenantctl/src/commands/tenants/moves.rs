//! A move of a tenant to another cluster.
//!
//! Deliberately leaves the choice of the cluster to placement where none is named. Invariant: a dry run begins
//! no move.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use contract::ClusterName;
use contract::operator::cluster::{MoveVariant, NewMove};

use super::{Named, path};
use crate::context::Context;
use crate::failure::Failure;
use crate::follow;
use crate::output::{bytes, columns, plain};

columns! {
    /// What is shown of a move that was not begun.
    pub(crate) const MOVES: "MovePreview" = [
        plain("tenant", "/tenant"),
        plain("to", "/to"),
        plain("by", "/variant"),
        bytes("size", "/size_bytes"),
        plain("copying (about, ms)", "/predicted_copy_ms"),
        plain("requests wait (about, ms)", "/predicted_hold_ms"),
    ];
}

/// Moves a tenant.
#[derive(Debug, Args)]
pub(crate) struct Move {
    #[command(flatten)]
    tenant: Named,
    /// The target cluster. Default: chosen by placement.
    #[arg(long, value_name = "CLUSTER")]
    to: Option<ClusterName>,
    /// How to move. Default: the way that makes requests wait for less than half a second.
    #[arg(long = "by", value_name = "VARIANT", value_parser = variant())]
    variant: Option<MoveVariant>,
    /// Show where it would go and how, or why it could not, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// A way to move.
pub(crate) fn variant() -> impl TypedValueParser<Value = MoveVariant> {
    PossibleValuesParser::new(["dump", "replicate"]).map(|word| match word.as_str() {
        "dump" => MoveVariant::Dump,
        _ => MoveVariant::Replicate,
    })
}

impl Move {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = context.tenant(self.tenant.id.as_ref())?;
        let body = NewMove {
            to: self.to,
            variant: self.variant,
        };
        let path = format!("{}/move", path(&id));
        if self.dry_run {
            let preview = follow::preview(context, &path, &body).await?;
            context.out.item(MOVES, &preview)?;
            context.out.note("Nothing was changed.");
            return Ok(());
        }
        follow::begin(context, &path, &body).await
    }
}
