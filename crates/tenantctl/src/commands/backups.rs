//! Backups: list, show, fetch, verify, restore, delete, schedule; a tenant's own are made by `tenants backup`.
//!
//! Deliberately no restore over a tenant here: that changes it, and stands with it. Invariant: a backup is
//! deleted only after its id was typed.

mod restore;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use contract::TenantId;
use contract::operator::backup::{
    BackupEncryption, BackupId, BackupKind, BackupSchedule, BackupState,
};
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::api::Query;
use crate::commands::archive::{Existing, Target};
use crate::confirm;
use crate::context::Context;
use crate::failure::{Failure, text};
use crate::follow;
use crate::output::{bytes, columns, plain, state, time};
use crate::values;

columns! {
    const COLUMNS: "BackupView" = [
        plain("id", "/id"),
        plain("tenant", "/tenant"),
        plain("kind", "/kind"),
        state("state", "/state"),
        bytes("size", "/size_bytes"),
        plain("rows", "/rows"),
        plain("encryption", "/encryption"),
        time("created", "/created_at"),
        time("verified", "/verified_at"),
        time("expires", "/expires_at"),
    ];

    const FIELDS: "BackupView" = [
        plain("backup", "/id"),
        plain("tenant", "/tenant"),
        plain("kind", "/kind"),
        state("state", "/state"),
        plain("encryption", "/encryption"),
        bytes("size", "/size_bytes"),
        plain("sha256", "/sha256"),
        plain("tables", "/tables"),
        plain("rows", "/rows"),
        plain("schemas", "/schema_versions"),
        plain("server", "/server_version"),
        plain("copy", "/copy"),
        time("created", "/created_at"),
        time("finished", "/finished_at"),
        time("verified", "/verified_at"),
        time("expires", "/expires_at"),
    ];

    const SCHEDULE: "BackupSchedule" = [
        plain("every (minutes)", "/every_minutes"),
        plain("kept per tenant", "/keep"),
        plain("kept for (days)", "/keep_days"),
        plain("encryption", "/encryption"),
    ];
}

/// What can be done with backups.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List backups and exports, newest first.
    #[command(after_help = "Examples:
  tenantctl backups list --tenant t_acme
  tenantctl backups list --kind scheduled --state corrupt
  tenantctl backups list --limit 0 -o ndjson")]
    List(List),
    /// Show a backup.
    #[command(after_help = "Example:
  tenantctl backups show bak_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    Show(Named),
    /// Download the archive of an export, or of the final backup of a purged tenant.
    #[command(after_help = "Example:
  tenantctl backups fetch bak_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f --to acme.tar

Any installation can import the archive, such as with `tenantctl tenants import acme.tar --slug acme-again`.
It can be downloaded until it expires; `tenantctl backups list` shows when. Other backups cannot be
downloaded.")]
    Fetch(Fetch),
    /// Test a backup: restore it into a temporary database, and compare that with what was backed up.
    #[command(after_help = "Example:
  tenantctl backups verify bak_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f

The temporary database is dropped afterwards. The result lists the tables whose row counts differ from
the tenant's present ones: what restoring this backup would change.")]
    Verify(Named),
    /// Restore a backup as a new tenant.
    #[command(after_help = "Examples:
  tenantctl backups restore bak_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f --to-new acme-yesterday
  tenantctl backups restore --tenant t_acme --at 1d --to-new acme-yesterday --anonymise scrub.sql
  tenantctl backups restore bak_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f --to-new acme-again --company 'Acme Corp' --email it@acme.example

The backup's own tenant is not touched: it may be in service, suspended, deleted, or on a server that is
down. Users sign in to the new tenant with the passwords of that time. The last example is for the final
backup of a purged tenant. To replace a tenant's data, see `tenantctl tenants restore-backup`.")]
    Restore(restore::Restore),
    /// Permanently delete a backup.
    #[command(after_help = "Examples:
  tenantctl backups delete bak_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f --dry-run
  tenantctl backups delete bak_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    Delete(Delete),
    /// Show or change how often the tenants of a tier are backed up, and how long backups are kept.
    #[command(after_help = "Examples:
  tenantctl backups schedule premium
  tenantctl backups schedule premium --every 6h --keep 28 --keep-days 35 --encrypt
  tenantctl backups schedule standard --off")]
    Schedule(Schedule),
}

/// Which backups.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only backups of this tenant.
    #[arg(long, value_parser = values::tenant)]
    tenant: Option<TenantId>,
    /// Only backups of this kind.
    #[arg(long, value_parser = values::one_of::<BackupKind>(BackupKind::ALL.iter().map(|kind| kind.as_str())))]
    kind: Option<BackupKind>,
    /// Only backups in this state.
    #[arg(long, value_parser = values::one_of::<BackupState>(BackupState::ALL.iter().map(|state| state.as_str())))]
    state: Option<BackupState>,
    /// Show at most this many; 0 shows all.
    #[arg(long, default_value_t = 20)]
    limit: usize,
}

/// One backup.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The backup id: bak_ followed by 32 hexadecimal digits.
    #[arg(value_name = "BACKUP")]
    id: BackupId,
}

/// An archive to be fetched.
#[derive(Debug, Args)]
pub(crate) struct Fetch {
    #[command(flatten)]
    named: Named,
    /// The file to write. Default: the tenant id with .tar.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Overwrite an existing file.
    #[arg(long)]
    force: bool,
}

/// A backup to be deleted.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    named: Named,
    /// Show what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// A tier's schedule: what is not named stays as it is.
#[derive(Debug, Args)]
pub(crate) struct Schedule {
    /// The tier, as in `tenantctl tiers list`.
    #[arg(value_name = "TIER")]
    tier: String,
    /// Time between two backups of a tenant, in whole minutes.
    #[arg(long, value_name = "DURATION", value_parser = values::minutes)]
    every: Option<u32>,
    /// Stop scheduled backups.
    #[arg(long, conflicts_with = "every")]
    off: bool,
    /// Keep this many backups of a tenant, the newest ones.
    #[arg(long, value_name = "COUNT")]
    keep: Option<u32>,
    /// Delete backups that are older than this many days.
    #[arg(long, value_name = "DAYS")]
    keep_days: Option<u32>,
    /// Encrypt backups with the tenants' own keys, which a purge destroys.
    #[arg(long)]
    encrypt: bool,
    /// Stop encrypting backups.
    #[arg(long, conflicts_with = "encrypt")]
    no_encrypt: bool,
    /// Show what the schedule would be, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List(list) => {
                let mut query = Query::new();
                query.extend(list.tenant.map(|tenant| ("tenant", tenant.to_string())));
                query.extend(list.kind.map(|kind| ("kind", kind.as_str().to_owned())));
                query.extend(list.state.map(|state| ("state", state.as_str().to_owned())));
                context
                    .list(COLUMNS, "/v1/backups", &query, list.limit)
                    .await
            }
            Self::Show(named) => {
                let backup = context.api()?.get(&named.path(), &Query::new()).await?;
                context.out.item(FIELDS, &backup)
            }
            Self::Fetch(fetch) => fetch.run(context).await,
            Self::Verify(named) => {
                follow::begin(context, &format!("{}/verify", named.path()), &json!({})).await
            }
            Self::Restore(restore) => restore.run(context).await,
            Self::Delete(delete) => delete.run(context).await,
            Self::Schedule(schedule) => schedule.run(context).await,
        }
    }
}

impl Named {
    fn path(&self) -> String {
        format!("/v1/backups/{}", self.id)
    }
}

impl Fetch {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let backup = context
            .api()?
            .get(&self.named.path(), &Query::new())
            .await?;
        let tenant = text(&backup, "/tenant");
        let to = self.to.unwrap_or_else(|| format!("{tenant}.tar").into());
        let target = Target::of(&to, Existing::replaced_if(self.force))?;
        target.fetch(context, text(&backup, "/id")).await?;
        context.out.item(FIELDS, &backup)?;
        context
            .out
            .note(&format!("The archive is {}.", to.display()));
        Ok(())
    }
}

impl Delete {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = self.named.id.to_string();
        let api = context.api()?;
        let path = self.named.path();
        // What is refused is refused before the id is asked for.
        let query: Query = vec![("dry_run", "true".to_owned())];
        let (_, backup) = api.delete(&path, &query, Uuid::now_v7()).await?;
        let tenant = text(&backup, "/tenant");
        let made = text(&backup, "/created_at");
        let consequence =
            format!("permanently deletes the backup {id} of {tenant}, created at {made}");
        if self.dry_run {
            context.out.item(FIELDS, &backup)?;
            context.out.note(&format!(
                "Without --dry-run, this {consequence}. Nothing was changed."
            ));
            return Ok(());
        }
        confirm::destroy(context, &id, &consequence)?;
        let query: Query = vec![("confirm", id), ("wait", "none".to_owned())];
        let (_, view) = api.delete(&path, &query, Uuid::now_v7()).await?;
        let view = follow::settled(context, view).await?;
        follow::shown(context, &view)
    }
}

impl Schedule {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let path = format!("/v1/tiers/{}/backups", self.tier);
        let api = context.api()?;
        let shown = api.get(&path, &Query::new()).await?;
        let now: BackupSchedule =
            serde_json::from_value(shown.clone()).map_err(|_| Failure::Strange {
                server: api.server().to_owned(),
                status: 200,
            })?;
        let wanted = self.changed(&now);
        if wanted == now {
            return context.out.item(SCHEDULE, &shown);
        }
        let consequence = format!(
            "permanently deletes backups of the tier {}: all but the newest {} of each tenant, and those \
             older than {} days",
            self.tier, wanted.keep, wanted.keep_days
        );
        let deletes = wanted.keep < now.keep || wanted.keep_days < now.keep_days;
        if self.dry_run {
            context.out.item(SCHEDULE, &json!(wanted))?;
            let what = match deletes {
                true => format!("Without --dry-run, this {consequence}. Nothing was changed."),
                false => "Nothing was changed.".to_owned(),
            };
            context.out.note(&what);
            return Ok(());
        }
        if deletes {
            confirm::destroy(context, &self.tier, &consequence)?;
        }
        let set = api.once(Method::PUT, &path, &wanted).await?;
        context.out.item(SCHEDULE, &set)
    }

    /// What the schedule is to be.
    fn changed(&self, now: &BackupSchedule) -> BackupSchedule {
        BackupSchedule {
            every_minutes: match (self.off, self.every) {
                (true, _) => None,
                (false, Some(minutes)) => Some(minutes),
                (false, None) => now.every_minutes,
            },
            keep: self.keep.unwrap_or(now.keep),
            keep_days: self.keep_days.unwrap_or(now.keep_days),
            encryption: match (self.encrypt, self.no_encrypt) {
                (true, _) => BackupEncryption::Tenant,
                (_, true) => BackupEncryption::None,
                (false, false) => now.encryption,
            },
        }
    }
}
