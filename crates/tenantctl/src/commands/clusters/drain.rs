//! Every tenant off a cluster.
//!
//! Deliberately leaves the moves to the platform: this program begins them and follows. Invariant: the exit
//! code is 1 where a tenant stays, or would stay.

use clap::Args;
use contract::operator::cluster::{MoveVariant, NewDrain};
use serde_json::Value;

use super::Named;
use crate::commands::operations;
use crate::commands::tenants::moves;
use crate::context::Context;
use crate::failure::Failure;
use crate::follow;
use crate::output::{Column, columns, counted, plain, time};

columns! {
    /// What is shown of a drain that was not begun.
    const DRAIN: "DrainPreview" = [
        plain("cluster", "/cluster"),
        plain("tenants", "/tenants"),
        plain("databases kept for a time", "/kept"),
    ];

    const STAYING: "RemainingTenant" = [
        plain("tenant", "/tenant"),
        plain("why", "/reason"),
    ];
}

/// Databases that stay for a time: a part of the operation's result, which no schema describes.
const KEPT: &[Column<'_>] = &[
    plain("database", "/database"),
    plain("tenant", "/tenant"),
    plain("why", "/why"),
    time("until", "/until"),
];

/// Empties a cluster.
#[derive(Debug, Args)]
pub(crate) struct Drain {
    #[command(flatten)]
    cluster: Named,
    /// Number of moves at the same time: 1 to 16.
    #[arg(long, value_name = "COUNT")]
    at_once: Option<u32>,
    /// How to move. Default: the way that makes requests of a tenant wait for less than half a second.
    #[arg(long = "by", value_name = "VARIANT", value_parser = moves::variant())]
    variant: Option<MoveVariant>,
    /// Show which tenants would move where and which would stay, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Drain {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let body = NewDrain {
            at_once: self.at_once,
            variant: self.variant,
        };
        let path = format!("{}/drain", self.cluster.path());
        if self.dry_run {
            let preview = follow::preview(context, &path, &body).await?;
            return self.cluster.show_drain(context, &preview);
        }
        let view = follow::begun(context, &path, &body).await?;
        if !follow::is_over(&view) {
            return follow::shown(context, &view);
        }
        context.out.item(&operations::fields_but_result(), &view)?;
        let result = &view["result"];
        let list = |name: &str| result[name].as_array().map_or(&[][..], Vec::as_slice);
        let number = |name: &str| result[name].as_u64().unwrap_or(0);
        let out = &context.out;
        out.part("tenants that are still on it", STAYING, list("remaining"))?;
        out.part("databases kept for a time", KEPT, list("kept_databases"))?;
        let (left, kept, name) = (number("left"), number("kept"), &self.cluster.name);
        if kept > 0 {
            let kept = counted(kept, "database");
            out.note(&format!(
                "{kept} kept on {name} for a time: of deleted tenants, or left by moves."
            ));
        }
        if left == 0 {
            return Ok(());
        }
        Err(Failure::Found {
            what: format!("{} still on {name}", counted(left, "tenant")),
            next: vec![
                format!("see which with `tenantctl tenants list --cluster {name}`"),
                "fix what the result names, then run the command again".to_owned(),
            ],
        })
    }
}

impl Named {
    /// Shows what a drain would do; one that leaves somebody there would fail.
    fn show_drain(&self, context: &Context, preview: &Value) -> Result<(), Failure> {
        let list = |name: &str| preview[name].as_array().map_or(&[][..], Vec::as_slice);
        let (out, name) = (&context.out, &self.name);
        out.item(DRAIN, preview)?;
        out.part("tenants that would move", moves::MOVES, list("moves"))?;
        out.part("tenants that would stay", STAYING, list("remaining"))?;
        out.note("Nothing was changed.");
        match list("remaining").len() {
            0 => Ok(()),
            left => Err(Failure::Found {
                what: format!("{} would stay on {name}", counted(left, "tenant")),
                next: vec!["fix what the reasons name, or add a cluster".to_owned()],
            }),
        }
    }
}
