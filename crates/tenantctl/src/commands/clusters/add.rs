//! A PostgreSQL server that becomes a cluster.
//!
//! Deliberately never an administrator's password as an argument. Invariant: what the server warns of is
//! shown beside what was done.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use contract::ClusterName;
use contract::tenant::TlsMode;
use reqwest::Method;
use serde_json::{Value, json};

use super::FIELDS;
use crate::confirm::{Source, Stdin, secret};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{columns, plain};
use crate::values;

columns! {
    const WARNINGS: "ServerWarning" = [
        plain("about", "/about"),
        plain("what to do", "/detail"),
    ];
}

/// A server that becomes a cluster.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The name of the cluster. It cannot be changed later.
    #[arg(value_name = "CLUSTER")]
    name: ClusterName,
    /// The region that it serves, as tenants name it.
    #[arg(long)]
    region: String,
    /// Host name or address at which all services reach it.
    #[arg(long)]
    host: String,
    /// TCP port.
    #[arg(long, default_value_t = 5432)]
    port: u16,
    /// TLS mode of connections.
    #[arg(
        long,
        default_value = "verify-full",
        value_parser = values::one_of::<TlsMode>(["disable", "require", "verify-full"])
    )]
    tls: TlsMode,
    /// Connection budget: server connections that all its tenants together may use.
    #[arg(long, value_name = "CONNECTIONS")]
    budget: u32,
    /// Maximum number of databases. Default: unlimited.
    #[arg(long, value_name = "COUNT")]
    max_databases: Option<u32>,
    /// Reserve it for this tier; repeatable.
    #[arg(long = "tier")]
    tiers: Vec<String>,
    /// Maximum disk space of its databases, in GiB. Default: unlimited.
    #[arg(long, value_name = "GIB")]
    max_disk_gib: Option<u32>,
    /// A label that tenants can ask for, name=value; repeatable.
    #[arg(long = "label", value_name = "LABEL", value_parser = values::label)]
    labels: Vec<(String, String)>,
    /// Share of new tenants, relative to the other clusters in the region.
    #[arg(long)]
    weight: Option<u32>,
    /// Take the server over from an installation that no longer exists. The error message without this option names it.
    #[arg(long, value_name = "INSTALLATION")]
    take_over_from: Option<String>,
    #[command(flatten)]
    administrator: Administrator,
}

/// The login of a server's administrator.
#[derive(Debug, Args)]
struct Administrator {
    /// A role that is a superuser, or has CREATEDB and CREATEROLE.
    #[arg(long, value_name = "ROLE")]
    admin_user: String,
    /// Read the administrator's password from stdin.
    #[arg(long)]
    admin_password_stdin: bool,
    /// Read the administrator's password from a file.
    #[arg(long, value_name = "FILE", conflicts_with = "admin_password_stdin")]
    admin_password_file: Option<PathBuf>,
}

impl Add {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
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
            .part("warnings about this server", WARNINGS, warnings)
    }
}

impl Administrator {
    /// The fields of a request that need the login.
    fn fields(&self) -> Result<Value, Failure> {
        let password = secret(&Source {
            what: "administrator's password",
            variable: "TENANTCTL_ADMIN_PASSWORD",
            file: self.admin_password_file.as_deref(),
            stdin: Stdin::asked_if(self.admin_password_stdin),
            flag: "--admin-password-stdin",
        })?;
        Ok(json!({ "admin_user": self.admin_user, "admin_password": password.expose() }))
    }
}
