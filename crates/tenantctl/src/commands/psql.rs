//! psql in a tenant's database, with a login that ends by itself.
//!
//! Deliberately psql itself, not an imitation. Invariant: the password is in a file that only the user
//! can read, for as long as psql runs, and nowhere else.

use std::io::Write as _;
use std::process::ExitStatus;
use std::time::Duration;

use clap::Args;
use contract::TenantId;
use contract::operator::upkeep::{NewPsql, PsqlAccess, PsqlLogin};
use reqwest::Method;

use super::tenants;
use crate::context::Context;
use crate::failure::Failure;
use crate::values;

/// Open psql in a tenant's database with a short-lived login. The audit log records who, when and why.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tenantctl psql t_acme --reason 'ticket 4711: missing entries'
  tenantctl psql t_acme --reason 'ticket 4711' --write --ttl 30m
  tenantctl psql t_acme --reason 'ticket 4711' -- -c 'select count(*) from entries.entry'

Needs psql on this machine and network access to the tenant's server. Everything after -- is passed to psql.")]
pub(crate) struct Psql {
    /// The tenant id, such as t_acme. Default: the tenant chosen with `tenantctl use`.
    #[arg(value_name = "TENANT", value_parser = values::tenant)]
    tenant: Option<TenantId>,
    /// The reason, for the audit log. Put no personal data in it.
    #[arg(long)]
    reason: String,
    /// Allow changing rows. Default: read only.
    #[arg(long)]
    write: bool,
    /// How long the login is valid: 1m to 1h. Default: 15m.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    ttl: Option<Duration>,
    /// Arguments for psql.
    #[arg(last = true, value_name = "PSQL_ARGUMENTS")]
    arguments: Vec<String>,
}

impl Psql {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let tenant = context.tenant(self.tenant.as_ref())?;
        let body = NewPsql {
            access: if self.write {
                PsqlAccess::Write
            } else {
                PsqlAccess::Read
            },
            reason: self.reason,
            ttl_seconds: self
                .ttl
                .map(|ttl| u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)),
        };
        is_there().await?;
        let path = format!("{}/psql", tenants::path(&tenant));
        let api = context.api()?;
        let answer = api.once(Method::POST, &path, &body).await?;
        let login: PsqlLogin = serde_json::from_value(answer).map_err(|_| Failure::Strange {
            server: api.server().to_owned(),
            status: 200,
        })?;
        let status = opened(&login, &self.arguments).await?;
        match status.code() {
            Some(0) => Ok(()),
            _ => Err(Failure::Found {
                what: format!("psql failed: {status}"),
                next: Vec::new(),
            }),
        }
    }
}

/// Looks for psql: a login is not made for nothing.
async fn is_there() -> Result<(), Failure> {
    let mut psql = tokio::process::Command::new("psql");
    match psql.arg("--version").output().await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Failure::Usage {
            what: "psql is not installed on this machine".to_owned(),
            next: vec!["install the PostgreSQL client programs".to_owned()],
        }),
        Err(error) => Err(Failure::Io("starting psql", error)),
    }
}

/// Runs psql and waits for its end; its password file ends with it.
async fn opened(login: &PsqlLogin, arguments: &[String]) -> Result<ExitStatus, Failure> {
    let failed = |error| Failure::Io("keeping the password for psql", error);
    // Made for its owner alone.
    let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
    let line = [
        &login.host,
        &login.port.to_string(),
        &login.database,
        &login.role,
        login.password.expose(),
    ]
    .map(|part| part.replace('\\', "\\\\").replace(':', "\\:"))
    .join(":");
    writeln!(file, "{line}").map_err(failed)?;
    file.flush().map_err(failed)?;
    let mut psql = tokio::process::Command::new("psql");
    psql.env("PGPASSFILE", file.path())
        .env_remove("PGPASSWORD")
        .env_remove("TENANTCTL_KEY")
        .env("PGHOST", &login.host)
        .env("PGPORT", login.port.to_string())
        .env("PGDATABASE", &login.database)
        .env("PGUSER", &login.role)
        .env("PGSSLMODE", login.tls.as_str())
        .env("PGAPPNAME", "tenantctl psql")
        .args(arguments);
    if let Some(roots) = login.tls.roots() {
        psql.env("PGSSLROOTCERT", roots);
    }
    let started = psql.spawn();
    let mut child = started.map_err(|error| Failure::Io("starting psql", error))?;
    loop {
        tokio::select! {
            ended = child.wait() => return ended.map_err(|error| Failure::Io("waiting for psql", error)),
            // Ctrl-C is psql's: it cancels a statement.
            _ = tokio::signal::ctrl_c() => {}
        }
    }
}
