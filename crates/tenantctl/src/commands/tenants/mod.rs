//! Tenants: the commands on them; what each does has a file of its own.
//!
//! Deliberately never a password as an argument. Invariant: what a command does to a tenant is said in its
//! help, with an example.

pub(crate) mod adopt;
mod create;
pub(crate) mod data;
pub(crate) mod files;
pub(crate) mod life;
mod list;
pub(crate) mod moves;
mod owner;
mod propose;
mod show;
mod update;

use clap::{Args, Subcommand};
use contract::TenantId;

use crate::context::Context;
use crate::failure::Failure;
use crate::values;
pub(crate) use propose::propose;

/// What can be done with tenants.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List tenants, ordered by id.
    #[command(after_help = "Examples:
  tenantctl tenants list --status suspended
  tenantctl tenants list --behind --label disk=nvme
  tenantctl tenants list --text acme --limit 0 -o ndjson")]
    List(list::List),
    /// Show a tenant and the migrations that failed in its database.
    #[command(after_help = "Examples:
  tenantctl tenants show t_acme
  tenantctl tenants show t_acme -o json")]
    Show(Named),
    /// Create a tenant with an owner who can sign in.
    #[command(after_help = "Examples:
  tenantctl tenants create --company 'Acme Corp' --email ada@acme.example --generate-password
  tenantctl tenants create --company 'Acme Corp' --slug acme --email ada@acme.example --tier premium --password-stdin < password

The owner's password comes from a file, from stdin or from TENANTCTL_OWNER_PASSWORD, or is asked for.")]
    Create(create::Create),
    /// Turn an existing database on a cluster into a tenant, without changing its data.
    #[command(after_help = "Examples:
  tenantctl tenants adopt legacy_acme --cluster main --company 'Acme Corp' --owner-email ada@acme.example --generate-password --dry-run
  tenantctl tenants adopt legacy_acme --cluster main --company 'Acme Corp' --owner-email ada@acme.example --password-stdin < password
  tenantctl tenants adopt restored --cluster main --company 'Acme Corp' --owner-email ada@acme.example --no-owner --baseline auth=2,entries=1

The database is renamed to the tenant id, and its sessions are disconnected. --dry-run shows what stands
in the way, and the statements that an administrator of the server has to run first. If the adoption
fails, the database is left as it was.")]
    Adopt(adopt::Adopt),
    /// Change a tenant's company, slug, contact, tier, time zone, labels or overrides.
    #[command(after_help = "Examples:
  tenantctl tenants update t_acme --tier premium
  tenantctl tenants update t_acme --company 'Acme Holding' --contact it@acme.example
  tenantctl tenants update t_acme --label disk=nvme
  tenantctl tenants update t_acme --overrides '{\"limits\": {\"users\": 75}}'")]
    Update(update::Update),
    /// Suspend a tenant: block all access, or allow reading only.
    #[command(after_help = "Examples:
  tenantctl tenants suspend t_acme --reason 'The invoice of May is open.'
  tenantctl tenants suspend t_acme --read-only --until 2h --wait=replicas")]
    Suspend(life::Suspend),
    /// End the suspension of a tenant.
    #[command(after_help = "Example:
  tenantctl tenants resume t_acme")]
    Resume(Named),
    /// Delete a tenant: take it out of service, and keep its data for the retention of its tier.
    #[command(after_help = "Examples:
  tenantctl tenants delete t_acme --dry-run
  tenantctl tenants delete t_acme --final-backup

Asks for the tenant id; --yes skips that. `tenantctl tenants restore` brings the tenant back.")]
    Delete(life::Delete),
    /// Bring back a deleted tenant.
    #[command(after_help = "Example:
  tenantctl tenants restore t_acme

To go back to older data of a tenant, see `tenantctl tenants restore-backup`.")]
    Restore(Named),
    /// Permanently destroy the data of a deleted tenant.
    #[command(after_help = "Examples:
  tenantctl tenants purge t_acme --final-backup
  tenantctl tenants purge t_acme --force --dry-run

A deleted tenant is purged automatically when its retention ends. Without --final-backup or
--no-final-backup, it is as `tenantctl tenants delete` asked. `tenantctl tenants certificate` shows
what was destroyed. `tenantctl backups fetch` downloads the backup that --final-backup keeps, until the
backup expires.")]
    Purge(life::Purge),
    /// Show the deletion certificate of a purged tenant.
    #[command(after_help = "Example:
  tenantctl tenants certificate t_acme -o json > t_acme.certificate.json")]
    Certificate(Named),
    /// Rotate the password of a tenant's database role, without failed requests.
    #[command(after_help = "Example:
  tenantctl tenants rotate t_acme

For many tenants, see `tenantctl keys rotate-credentials`.")]
    Rotate(Named),
    /// Transfer a tenant to another owner.
    #[command(after_help = "Examples:
  tenantctl tenants transfer t_acme --to grace@acme.example
  tenantctl tenants transfer t_acme --to grace@acme.example --generate-password
  tenantctl tenants transfer t_acme --to grace@acme.example --replace --password-stdin < password

A new owner without an account in the tenant needs a first password. An existing account keeps its password.")]
    Transfer(life::Transfer),
    /// Move a tenant to another cluster in its region. Requests wait meanwhile; none fails.
    #[command(after_help = "Examples:
  tenantctl tenants move t_acme --to second --dry-run
  tenantctl tenants move t_acme --to second
  tenantctl tenants move t_acme --by replicate --no-wait")]
    Move(moves::Move),
    /// Back up a tenant now.
    #[command(after_help = "Examples:
  tenantctl tenants backup t_acme
  tenantctl tenants backup t_acme --encrypt -o json")]
    Backup(data::Backup),
    /// Replace a tenant's data with a backup.
    #[command(after_help = "Examples:
  tenantctl tenants restore-backup t_acme bak_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f
  tenantctl tenants restore-backup t_acme previous --yes

Requests wait for a moment. The replaced database is kept for a time; `previous` brings it back. The result
lists the tables whose row counts differ; `tenantctl backups verify` shows them beforehand. To restore a
backup beside the tenant, see `tenantctl backups restore --to-new`.")]
    RestoreBackup(data::RestoreBackup),
    /// Copy a tenant to a new tenant, such as for staging or debugging.
    #[command(after_help = "Examples:
  tenantctl tenants clone t_acme --as acme-staging
  tenantctl tenants clone t_acme --as acme-staging --anonymise scrub.sql

To copy a backup instead, see `tenantctl backups restore --to-new`.")]
    Clone(data::Clone),
    /// Export a tenant to an archive that any installation can import.
    #[command(after_help = "Example:
  tenantctl tenants export t_acme --to acme.tar

The platform keeps the archive for some days; `tenantctl backups list` shows until when. To download it
again, use `tenantctl backups fetch`.")]
    Export(files::Export),
    /// Create a tenant from an archive.
    #[command(after_help = "Examples:
  tenantctl tenants import acme.tar
  tenantctl tenants import acme.tar --slug acme-two --tier premium")]
    Import(files::Import),
    /// Create many tenants from a file, and report on each row.
    #[command(after_help = "Examples:
  tenantctl tenants bulk tenants.csv
  tenantctl tenants bulk tenants.ndjson -o ndjson

The first line of a CSV file names the columns: company,slug,email,password,tier,region,time_zone,labels.
Labels are separated by spaces: disk=nvme rack=7.")]
    Bulk(files::Bulk),
}

/// One tenant.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The tenant id, such as t_acme. Default: the tenant chosen with `tenantctl use`.
    #[arg(value_name = "TENANT", value_parser = values::tenant)]
    pub(crate) id: Option<TenantId>,
}

impl Command {
    /// Whether it changes what replicas know of tenants.
    pub(crate) fn is_heard_of(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Show(_) | Self::Certificate(_))
    }

    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(context).await,
            Self::Show(named) => show::show(context, &named).await,
            Self::Create(create) => create.run(context).await,
            Self::Adopt(adopt) => adopt.run(context).await,
            Self::Update(update) => update.run(context).await,
            Self::Suspend(suspend) => suspend.run(context).await,
            Self::Resume(named) => life::tell(context, &named, "resume").await,
            Self::Delete(delete) => delete.run(context).await,
            Self::Restore(named) => life::tell(context, &named, "restore").await,
            Self::Purge(purge) => purge.run(context).await,
            Self::Certificate(named) => life::certificate(context, &named).await,
            Self::Rotate(named) => life::tell(context, &named, "rotate").await,
            Self::Transfer(transfer) => transfer.run(context).await,
            Self::Move(moved) => moved.run(context).await,
            Self::Backup(backup) => backup.run(context).await,
            Self::RestoreBackup(restore) => restore.run(context).await,
            Self::Clone(clone) => clone.run(context).await,
            Self::Export(export) => export.run(context).await,
            Self::Import(import) => import.run(context).await,
            Self::Bulk(bulk) => bulk.run(context).await,
        }
    }
}

/// The path of a tenant.
pub(crate) fn path(id: &TenantId) -> String {
    format!("/v1/tenants/{id}")
}
