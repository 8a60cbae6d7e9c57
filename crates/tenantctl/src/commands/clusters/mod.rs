//! Clusters: list, show, add, update, drain, remove.
//!
//! Deliberately only the words of the commands and what is shown of a cluster: what each does has a file of its
//! own. Invariant: one cluster is shown the same wherever it is shown.

mod add;
mod drain;
mod remove;
mod update;

use clap::{Args, Subcommand};
use contract::ClusterName;

use crate::api::Query;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{bytes, columns, plain, state, time};

columns! {
    const COLUMNS: "ClusterView" = [
        plain("name", "/name"),
        state("status", "/status"),
        plain("region", "/region"),
        plain("host", "/host"),
        plain("port", "/port"),
        plain("tenants", "/tenants"),
        plain("max databases", "/max_databases"),
        plain("stock", "/stock"),
        plain("connection budget", "/connection_budget"),
        plain("tiers", "/tiers"),
        plain("version", "/server_version"),
    ];

    /// What is shown of one cluster.
    const FIELDS: "ClusterView" = [
        plain("cluster", "/name"),
        state("status", "/status"),
        plain("region", "/region"),
        plain("host", "/host"),
        plain("port", "/port"),
        plain("tls", "/tls"),
        plain("version", "/server_version"),
        plain("tenants", "/tenants"),
        plain("max databases", "/max_databases"),
        plain("stock", "/stock"),
        plain("connection budget", "/connection_budget"),
        plain("server connections", "/server_connections"),
        plain("used connections", "/used_connections"),
        plain("tiers", "/tiers"),
        plain("labels", "/labels"),
        plain("weight", "/weight"),
        bytes("used disk", "/used_bytes"),
        bytes("max disk", "/max_disk_bytes"),
        time("added", "/created_at"),
    ];
}

/// What can be done with clusters.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List clusters and their capacity.
    #[command(after_help = "Example:
  tenantctl clusters list")]
    List,
    /// Show a cluster.
    #[command(after_help = "Example:
  tenantctl clusters show main")]
    Show(Named),
    /// Add an existing PostgreSQL server as a cluster.
    #[command(after_help = "Examples:
  tenantctl clusters add main --region eu-central --host db-1.internal --budget 60 --admin-user postgres
  tenantctl clusters add big --region eu-central --host db-2.internal --budget 100 --tier enterprise --admin-user postgres --admin-password-stdin < password

The administrator's login is used once, to check the server and to create the platform's roles. It is not
stored. Its password comes from a file, from stdin or from TENANTCTL_ADMIN_PASSWORD, or is asked for.")]
    Add(Box<add::Add>),
    /// Change a cluster's status, address, limits, labels or tiers.
    #[command(after_help = "Examples:
  tenantctl clusters update main --status full
  tenantctl clusters update main --label disk=nvme --label rack=7 --max-databases 900
  tenantctl clusters update big --any-tier --max-disk-gib none")]
    Update(Box<update::Update>),
    /// Move every tenant off a cluster.
    #[command(after_help = "Examples:
  tenantctl clusters drain old --dry-run
  tenantctl clusters drain old --at-once 4
  tenantctl clusters drain old --no-wait

A drained cluster gets no new tenants until `tenantctl clusters update old --status active`. Databases of
deleted tenants, and copies left by moves, stay until their retention ends, and are listed at the end.
To stop a drain, cancel its operation; moves that have started continue.")]
    Drain(drain::Drain),
    /// Remove an empty cluster.
    #[command(after_help = "Examples:
  tenantctl clusters remove old --dry-run
  tenantctl clusters remove old

Drain it first. Databases of deleted tenants and copies left by moves must be gone as well; the error
message lists them. The platform's own stock and template databases are dropped from the server; other
databases stay. The server can be added again, here or to another installation.")]
    Remove(remove::Remove),
}

/// One cluster.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The name of the cluster.
    #[arg(value_name = "CLUSTER")]
    name: ClusterName,
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List => {
                let api = context.api()?;
                let items = api.items("/v1/clusters", &Query::new(), 0, "/name").await?;
                context.out.list(COLUMNS, &items)
            }
            Self::Show(named) => {
                let cluster = context.api()?.get(&named.path(), &Query::new()).await?;
                context.out.item(FIELDS, &cluster)
            }
            Self::Add(add) => add.run(context).await,
            Self::Update(update) => update.run(context).await,
            Self::Drain(drain) => drain.run(context).await,
            Self::Remove(remove) => remove.run(context).await,
        }
    }
}

impl Named {
    fn path(&self) -> String {
        format!("/v1/clusters/{}", self.name)
    }
}
