//! Clusters: list, show, add, update, drain, remove.
//!
//! Deliberately never an administrator's password as an argument. Invariant: what the server warns of
//! is shown beside what was done.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use contract::ClusterName;
use contract::operator::cluster::{ClusterPatch, ClusterStatus, MoveVariant, NewDrain};
use contract::tenant::TlsMode;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::operations;
use super::tenants::data;
use crate::api::Query;
use crate::confirm::{self, Source, secret};
use crate::context::Context;
use crate::failure::Failure;
use crate::follow;
use crate::output::{Column, bytes, plain, state, time};
use crate::values;

const COLUMNS: &[Column<'_>] = &[
    plain("name", "/name"),
    state("status", "/status"),
    plain("region", "/region"),
    plain("host", "/host"),
    plain("port", "/port"),
    plain("tenants", "/tenants"),
    plain("max", "/max_databases"),
    plain("stock", "/stock"),
    plain("connections", "/connection_budget"),
    plain("tiers", "/tiers"),
    plain("version", "/server_version"),
];

/// What is shown of a drain that was not begun.
const DRAIN: &[Column<'_>] = &[
    plain("cluster", "/cluster"),
    plain("tenants", "/tenants"),
    plain("databases that stay for a time", "/kept"),
];

/// What is shown of one cluster.
pub(crate) const FIELDS: &[Column<'_>] = &[
    plain("cluster", "/name"),
    state("status", "/status"),
    plain("region", "/region"),
    plain("host", "/host"),
    plain("port", "/port"),
    plain("tls", "/tls"),
    plain("version", "/server_version"),
    plain("tenants", "/tenants"),
    plain("most databases", "/max_databases"),
    plain("ready databases", "/stock"),
    plain("connections", "/connection_budget"),
    plain("server's connections", "/server_connections"),
    plain("of those used", "/used_connections"),
    plain("tiers", "/tiers"),
    plain("labels", "/labels"),
    plain("weight", "/weight"),
    bytes("disk used", "/used_bytes"),
    bytes("most disk", "/max_disk_bytes"),
    time("measured", "/measured_at"),
    time("added", "/created_at"),
];

const WARNINGS: &[Column<'_>] = &[plain("about", "/about"), plain("what to do", "/detail")];

const STAYING: &[Column<'_>] = &[plain("tenant", "/tenant"), plain("why", "/reason")];

const KEPT: &[Column<'_>] = &[
    plain("database", "/database"),
    plain("tenant", "/tenant"),
    plain("why", "/why"),
    time("until", "/until"),
];

/// What is shown of a cluster that was removed.
const REMOVED: &[Column<'_>] = &[
    plain("cluster", "/cluster"),
    state("server cleared", "/server"),
    plain("dropped there", "/dropped"),
    plain("stays there", "/stays"),
    plain("note", "/note"),
];

/// What can be done with clusters.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List clusters with their room.
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

The administrator's login is used once, to check the server and to make the platform's roles, and
kept nowhere. Its password comes from TENANTCTL_ADMIN_PASSWORD, a file or stdin, or is typed.")]
    Add(Box<Add>),
    /// Change a cluster's status, limits, labels or tiers.
    #[command(after_help = "Examples:
  tenantctl clusters update main --status full
  tenantctl clusters update main --label disk=nvme --label rack=7 --max-databases 900
  tenantctl clusters update big --any-tier --max-disk-gib none")]
    Update(Box<Update>),
    /// Move every tenant off a cluster.
    #[command(after_help = "Examples:
  tenantctl clusters drain old --dry-run
  tenantctl clusters drain old --at-once 4
  tenantctl clusters drain old --no-wait

It gets no new tenants from then on; `tenantctl clusters update old --status active` ends that. Databases
of deleted tenants, and copies that moves left, stay for their time and are listed at the end. To stop
a drain, cancel its operation: moves that have begun go on.")]
    Drain(Drain),
    /// Remove a cluster that nothing is on any more.
    #[command(after_help = "Examples:
  tenantctl clusters remove old --dry-run
  tenantctl clusters remove old

Drain it first. Databases of deleted tenants, and copies that moves left, have to be gone, too; the
refusal names them. On its server the platform's ready copies and templates are dropped; other
databases stay. The server can be added again, here or to another installation.")]
    Remove(Remove),
}

/// Removes a cluster.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    cluster: Named,
    /// Show what would happen.
    #[arg(long)]
    dry_run: bool,
}

/// One cluster.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Its name.
    #[arg(value_name = "CLUSTER")]
    name: ClusterName,
}

/// The login of a server's administrator.
#[derive(Debug, Args)]
pub(crate) struct Administrator {
    /// A login that is a superuser, or has CREATEDB and CREATEROLE.
    #[arg(long, value_name = "ROLE")]
    admin_user: String,
    /// Read its password from stdin.
    #[arg(long)]
    admin_password_stdin: bool,
    /// Read its password from a file.
    #[arg(long, value_name = "FILE", conflicts_with = "admin_password_stdin")]
    admin_password_file: Option<PathBuf>,
}

/// A server that becomes a cluster.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Names it for ever.
    #[arg(value_name = "CLUSTER")]
    name: ClusterName,
    /// Where it stands: what tenants name as their region.
    #[arg(long)]
    region: String,
    /// Host name or address, as all services reach it.
    #[arg(long)]
    host: String,
    /// TCP port.
    #[arg(long, default_value_t = 5432)]
    port: u16,
    /// How connections are protected.
    #[arg(
        long,
        default_value = "verify-full",
        value_parser = values::one_of::<TlsMode>(["disable", "require", "verify-full"])
    )]
    tls: TlsMode,
    /// Server connections that all tenants on it may hold together.
    #[arg(long, value_name = "CONNECTIONS")]
    budget: u32,
    /// Databases that it may hold; unlimited where it is left out.
    #[arg(long, value_name = "COUNT")]
    max_databases: Option<u32>,
    /// Keep it for this tier; several times for several.
    #[arg(long = "tier")]
    tiers: Vec<String>,
    /// GiB that its databases may take; unlimited where it is left out.
    #[arg(long, value_name = "GIB")]
    max_disk_gib: Option<u32>,
    /// A label that tenants may ask for; several times for several.
    #[arg(long = "label", value_name = "LABEL", value_parser = values::label)]
    labels: Vec<(String, String)>,
    /// Its share of new tenants, relative to the others of the region.
    #[arg(long)]
    weight: Option<u32>,
    /// Take the server over from an installation that is gone for good; the refusal without it names it.
    #[arg(long, value_name = "INSTALLATION")]
    take_over_from: Option<String>,
    #[command(flatten)]
    administrator: Administrator,
}

/// What to change; what is left out stays.
#[derive(Debug, Args)]
pub(crate) struct Update {
    #[command(flatten)]
    cluster: Named,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Change {
    /// full: it keeps what it has and gets no more; a drain sets draining by itself.
    #[arg(long, value_parser = values::one_of::<ClusterStatus>(["active", "full"]))]
    status: Option<ClusterStatus>,
    /// Where its server is reached now: host name or address, as all services reach it.
    #[arg(long)]
    host: Option<String>,
    /// TCP port.
    #[arg(long)]
    port: Option<u16>,
    /// How connections are protected.
    #[arg(
        long,
        value_parser = values::one_of::<TlsMode>(["disable", "require", "verify-full"])
    )]
    tls: Option<TlsMode>,
    /// A label, name=value; several times for several. Replaces all labels.
    #[arg(long = "label", value_name = "LABEL", value_parser = values::label)]
    labels: Vec<(String, String)>,
    /// Takes all labels away.
    #[arg(long, conflicts_with = "labels")]
    no_labels: bool,
    /// Keep it for this tier; several times for several. Replaces all tiers.
    #[arg(long = "tier")]
    tiers: Vec<String>,
    /// Take every tier.
    #[arg(long, conflicts_with = "tiers")]
    any_tier: bool,
    /// Its share of new tenants, relative to the others of the region.
    #[arg(long)]
    weight: Option<u32>,
    /// Server connections that all tenants on it may hold together.
    #[arg(long, value_name = "CONNECTIONS")]
    budget: Option<u32>,
    /// Databases that it may hold, or none for no limit.
    #[arg(long, value_name = "COUNT|none", value_parser = limit)]
    max_databases: Option<Limit>,
    /// GiB that its databases may take, or none for no limit.
    #[arg(long, value_name = "GIB|none", value_parser = limit)]
    max_disk_gib: Option<Limit>,
}

/// A number, or no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit(Option<u32>);

fn limit(text: &str) -> Result<Limit, String> {
    match (text, text.parse()) {
        ("none", _) => Ok(Limit(None)),
        (_, Ok(number)) => Ok(Limit(Some(number))),
        _ => Err("is a number, or none".to_owned()),
    }
}

/// Empties a cluster.
#[derive(Debug, Args)]
pub(crate) struct Drain {
    #[command(flatten)]
    cluster: Named,
    /// Moves at once: 1 to 16.
    #[arg(long, value_name = "COUNT")]
    at_once: Option<u32>,
    /// How each moves; else what holds its requests for less than half a second.
    #[arg(long = "by", value_name = "VARIANT", value_parser = data::variant())]
    variant: Option<MoveVariant>,
    /// Show who would go where, and who would stay.
    #[arg(long)]
    dry_run: bool,
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

impl Drain {
    async fn run(self, context: &Context) -> Result<(), Failure> {
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
        out.part("tenants that are still there", STAYING, list("remaining"))?;
        out.part(
            "databases that stay for a time",
            KEPT,
            list("kept_databases"),
        )?;
        let (left, kept, name) = (number("left"), number("kept"), &self.cluster.name);
        if kept > 0 {
            out.note(&format!(
                "{kept} databases stay on {name} for a time, of deleted tenants and copies that were left."
            ));
        }
        if left == 0 {
            return Ok(());
        }
        Err(Failure::Found {
            what: format!("{left} tenants are still on {name}"),
            next: vec![
                format!("see which: `tenantctl tenants list --cluster {name}`"),
                "mend what the result names, then give the command again".to_owned(),
            ],
        })
    }
}

impl Remove {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let (name, path) = (&self.cluster.name, self.cluster.path());
        let api = context.api()?;
        if self.dry_run {
            let query: Query = vec![("dry_run", "true".to_owned())];
            let (_, preview) = api.delete(&path, &query, Uuid::now_v7()).await?;
            context.out.item(REMOVED, &preview)?;
            context.out.note("Nothing was changed.");
            return Ok(());
        }
        let consequence = format!(
            "removes the cluster {name}, and drops what is ready for new tenants on its server"
        );
        confirm::destroy(context, name.as_str(), &consequence)?;
        let path = format!("{path}?confirm={name}");
        let removed = api.unhurried(Method::DELETE, &path, None).await?;
        context.out.item(REMOVED, &removed)
    }
}

impl Named {
    /// Shows what a drain would do; one that leaves somebody there would fail.
    fn show_drain(&self, context: &Context, preview: &Value) -> Result<(), Failure> {
        let list = |name: &str| preview[name].as_array().map_or(&[][..], Vec::as_slice);
        let (out, name) = (&context.out, &self.name);
        out.item(DRAIN, preview)?;
        out.part("tenants that would go", data::MOVES, list("moves"))?;
        out.part("tenants that would stay", STAYING, list("remaining"))?;
        out.note("Nothing was changed.");
        match list("remaining").len() {
            0 => Ok(()),
            left => Err(Failure::Found {
                what: format!("{left} tenants would stay on {name}"),
                next: vec!["mend what the reasons name, or add a cluster".to_owned()],
            }),
        }
    }

    fn path(&self) -> String {
        format!("/v1/clusters/{}", self.name)
    }
}

impl Update {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        const GIB: u64 = 1 << 30;
        let change = self.change;
        let labels = (!change.labels.is_empty() || change.no_labels)
            .then(|| change.labels.into_iter().collect());
        let tiers = match change.tiers {
            tiers if !tiers.is_empty() => Some(Some(tiers)),
            _ => change.any_tier.then_some(None),
        };
        let patch = ClusterPatch {
            status: change.status,
            host: change.host,
            port: change.port,
            tls: change.tls,
            labels,
            tiers,
            weight: change.weight,
            connection_budget: change.budget,
            max_databases: change.max_databases.map(|limit| limit.0),
            max_disk_bytes: change
                .max_disk_gib
                .map(|limit| limit.0.map(|gib| u64::from(gib) * GIB)),
        };
        let api = context.api()?;
        let path = self.cluster.path();
        let changed = api.once(Method::PATCH, &path, &patch).await?;
        context.out.item(FIELDS, &changed)
    }
}

impl Administrator {
    /// The fields of a request that need the login.
    pub(crate) fn fields(&self) -> Result<Value, Failure> {
        let password = secret(&Source {
            what: "administrator's password",
            variable: "TENANTCTL_ADMIN_PASSWORD",
            file: self.admin_password_file.as_deref(),
            stdin: self.admin_password_stdin.into(),
            flag: "--admin-password-stdin",
        })?;
        Ok(json!({ "admin_user": self.admin_user, "admin_password": password.expose() }))
    }
}

impl Add {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let api = context.api()?;
        let mut body = self.administrator.fields()?;
        body["name"] = json!(self.name);
        body["region"] = json!(self.region);
        body["host"] = json!(self.host);
        body["port"] = json!(self.port);
        body["tls"] = json!(self.tls);
        body["connection_budget"] = json!(self.budget);
        if let Some(most) = self.max_databases {
            body["max_databases"] = json!(most);
        }
        if !self.tiers.is_empty() {
            body["tiers"] = json!(self.tiers);
        }
        if let Some(gib) = self.max_disk_gib {
            body["max_disk_bytes"] = json!(u64::from(gib) << 30);
        }
        if !self.labels.is_empty() {
            body["labels"] = json!(BTreeMap::from_iter(self.labels));
        }
        if let Some(weight) = self.weight {
            body["weight"] = json!(weight);
        }
        if let Some(other) = self.take_over_from {
            body["takes_over_from"] = json!(other);
        }
        let added = api.once(Method::POST, "/v1/clusters", &body).await?;
        context.out.item(FIELDS, &added)?;
        let warnings = added["warnings"].as_array().map_or(&[][..], Vec::as_slice);
        context
            .out
            .part("this server should be changed", WARNINGS, warnings)
    }
}
