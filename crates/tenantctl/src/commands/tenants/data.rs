//! A tenant's data: backup, restore-backup, clone.
//!
//! Deliberately each is an operation of the platform: this program begins it and follows it. Invariant: what
//! replaces data names the tenant itself and asks for its id.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use contract::Slug;
use contract::operator::backup::{BackupEncryption, NewBackup, NewClone, NewRestore, RestoreFrom};
use reqwest::Method;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::life::Explicit;
use super::{Named, path};
use crate::confirm;
use crate::context::Context;
use crate::failure::{Failure, text};
use crate::follow;
use crate::output::{bytes, columns, plain, state, time};
use crate::values;

columns! {
    const RESTORE_PREVIEW: "RestorePreview" = [
        plain("tenant", "/tenant"),
        plain("from", "/from"),
        time("started", "/backup/created_at"),
        plain("rows", "/backup/rows"),
        bytes("size", "/backup/size_bytes"),
        state("state", "/backup/state"),
        time("verified", "/backup/verified_at"),
        time("writes no longer seen after", "/lost_since"),
        plain("old data kept for hours", "/keep_old_hours"),
    ];
}

/// Makes a backup.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    #[command(flatten)]
    tenant: Named,
    /// Encrypt it with the tenant's own key, which a purge destroys.
    #[arg(long)]
    encrypt: bool,
}

/// Brings a backup back.
#[derive(Debug, Args)]
pub(crate) struct RestoreBackup {
    #[command(flatten)]
    tenant: Explicit,
    /// The backup id, or `previous` for the database that the last restore replaced.
    #[arg(value_name = "BACKUP", value_parser = restore_from)]
    from: RestoreFrom,
    /// Keep the replaced database for this many hours.
    #[arg(long, value_name = "HOURS")]
    keep_old: Option<u32>,
    /// Show what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Makes a copy.
#[derive(Debug, Args)]
pub(crate) struct Clone {
    #[command(flatten)]
    tenant: Explicit,
    /// Slug of the copy.
    #[arg(long = "as", value_name = "SLUG")]
    slug: Slug,
    /// Company of the copy. Default: the original's.
    #[arg(long)]
    company: Option<String>,
    /// SQL file that runs in the copy before it goes into service, in one transaction.
    #[arg(long, value_name = "FILE")]
    anonymise: Option<PathBuf>,
    /// A label that its cluster must have, name=value; repeatable. Default: the original's labels.
    #[arg(long = "label", value_name = "LABEL", value_parser = values::label)]
    labels: Vec<(String, String)>,
}

/// Labels, where some are given.
pub(crate) fn given(labels: Vec<(String, String)>) -> Option<BTreeMap<String, String>> {
    (!labels.is_empty()).then(|| labels.into_iter().collect())
}

/// The statements of a file, where one is named.
pub(crate) fn statements(file: Option<PathBuf>) -> Result<Option<String>, Failure> {
    let read =
        |file: PathBuf| std::fs::read_to_string(&file).map_err(Failure::file("reading", &file));
    file.map(read).transpose()
}

/// How long ago something was.
pub(crate) fn ago(then: OffsetDateTime) -> String {
    let seconds = (OffsetDateTime::now_utc() - then).whole_seconds().max(0);
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

fn restore_from(text: &str) -> Result<RestoreFrom, String> {
    RestoreFrom::try_from(text.to_owned())
        .map_err(|_| "expected bak_ followed by 32 hexadecimal digits, or `previous`".to_owned())
}

impl Backup {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = context.tenant(self.tenant.id.as_ref())?;
        let encryption = if self.encrypt {
            BackupEncryption::Tenant
        } else {
            BackupEncryption::None
        };
        let body = NewBackup { encryption };
        follow::begin(context, &format!("{}/backups", path(&id)), &body).await
    }
}

impl RestoreBackup {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = &self.tenant.id;
        let api = context.api()?;
        let at = format!("{}/restore-backup", path(id));
        let mut body = NewRestore {
            from: self.from,
            confirm: None,
            keep_old_hours: self.keep_old,
            dry_run: true,
        };
        // The platform looks as it does for a restore: what would be refused is refused.
        let shown = api.once(Method::POST, &at, &body).await?;
        let since = OffsetDateTime::parse(text(&shown, "/lost_since"), &Rfc3339);
        let ago = since.map_or_else(|_| String::new(), |since| format!(" of {}", ago(since)));
        let what = match self.from {
            RestoreFrom::Backup(backup) => format!("the backup {backup}{ago}"),
            RestoreFrom::Previous => format!("the database that the last restore replaced{ago}"),
        };
        let consequence = format!(
            "replaces all data of {id} with {what}; what was written since is no longer seen"
        );
        if self.dry_run {
            context.out.item(RESTORE_PREVIEW, &shown)?;
            context.out.note(&format!(
                "Without --dry-run, this {consequence}. Nothing was changed."
            ));
            if let RestoreFrom::Backup(backup) = self.from {
                context.out.note(&format!(
                    "To see which tables' rows differ, load it beside the tenant with `tenantctl backups verify {backup}`."
                ));
            }
            return Ok(());
        }
        confirm::destroy(context, id.as_str(), &consequence)?;
        (body.confirm, body.dry_run) = (Some(id.to_string()), false);
        follow::begin(context, &at, &body).await
    }
}

impl Clone {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let body = NewClone {
            slug: self.slug.to_string(),
            company: self.company,
            email: None,
            backup: None,
            anonymise_sql: statements(self.anonymise)?,
            labels: given(self.labels),
        };
        follow::begin(context, &format!("{}/clones", path(&self.tenant.id)), &body).await
    }
}
