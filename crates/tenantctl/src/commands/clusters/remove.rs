//! A cluster that nothing is on any more.
//!
//! Deliberately drops no database that could be somebody's data. Invariant: its name is asked for before
//! anything is dropped.

use clap::Args;
use reqwest::Method;
use uuid::Uuid;

use super::Named;
use crate::api::Query;
use crate::confirm;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{columns, plain, state};

columns! {
    /// What is shown of a cluster that was removed.
    const REMOVED: "RemovedCluster" = [
        plain("cluster", "/cluster"),
        state("server cleared", "/server"),
        plain("dropped", "/dropped"),
        plain("kept", "/stays"),
        plain("note", "/note"),
    ];
}

/// Removes a cluster.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    cluster: Named,
    /// Show what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Remove {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (name, path) = (&self.cluster.name, self.cluster.path());
        let api = context.api()?;
        if self.dry_run {
            let query: Query = vec![("dry_run", "true".to_owned())];
            let (_, preview) = api.delete(&path, &query, Uuid::now_v7()).await?;
            context.out.item(REMOVED, &preview)?;
            context.out.note("Nothing was changed.");
            return Ok(());
        }
        let consequence =
            format!("removes the cluster {name}, and drops its stock and template databases");
        confirm::destroy(context, name.as_str(), &consequence)?;
        let path = format!("{path}?confirm={name}");
        let removed = api.unhurried(Method::DELETE, &path, None).await?;
        context.out.item(REMOVED, &removed)
    }
}
