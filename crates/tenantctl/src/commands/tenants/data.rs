//! A tenant's data: backup, restore, clone, export, import, in bulk; and its place: move.
//!
//! Deliberately streams archives: they are as big as tenants. Invariant: what is fetched of one is in its
//! file as a whole or not at all.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use contract::operator::backup::{
    BackupEncryption, NewBackup, NewClone, NewImport, NewRestore, RestoreFrom,
};
use contract::operator::cluster::{MoveVariant, NewMove};
use contract::{ClusterName, OperationId, Slug};
use hyper::body::{Bytes, Frame};
use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::life::Explicit;
use super::{Named, path};
use crate::cli::Until;
use crate::commands::archive::Target;
use crate::commands::operations;
use crate::confirm;
use crate::context::Context;
use crate::failure::{Failure, text};
use crate::follow::{self, Bar};
use crate::output::{Column, bytes, plain, state, time};
use crate::values;

const RESTORE_PREVIEW: &[Column<'_>] = &[
    plain("tenant", "/tenant"),
    plain("from", "/from"),
    time("begun", "/backup/created_at"),
    plain("rows", "/backup/rows"),
    bytes("size", "/backup/size_bytes"),
    state("state", "/backup/state"),
    time("verified", "/backup/verified_at"),
    time("no longer seen is what was written after", "/lost_since"),
    plain("hours for which the old data is kept", "/keep_old_hours"),
];

/// What is shown of a move that was not begun.
pub(crate) const MOVES: &[Column<'_>] = &[
    plain("tenant", "/tenant"),
    plain("to", "/to"),
    plain("by", "/variant"),
    bytes("size", "/size_bytes"),
    plain("copy, about ms", "/predicted_copy_ms"),
    plain("requests wait, about ms", "/predicted_hold_ms"),
];

/// How much of a file is read at once.
const CHUNK: usize = 256 * 1024;

/// Makes a backup.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    #[command(flatten)]
    tenant: Named,
    /// Encrypt it with a key of the tenant's own, which a purge destroys.
    #[arg(long)]
    encrypt: bool,
}

/// Brings a backup back.
#[derive(Debug, Args)]
pub(crate) struct RestoreBackup {
    #[command(flatten)]
    tenant: Explicit,
    /// The backup's id, or `previous`: the database that the last restore replaced.
    #[arg(value_name = "BACKUP", value_parser = restore_from)]
    from: RestoreFrom,
    /// Hours for which the replaced database is kept.
    #[arg(long, value_name = "HOURS")]
    keep_old: Option<u32>,
    /// Show what would happen.
    #[arg(long)]
    dry_run: bool,
}

/// Makes a copy.
#[derive(Debug, Args)]
pub(crate) struct Clone {
    #[command(flatten)]
    tenant: Explicit,
    /// What people type for the copy.
    #[arg(long = "as", value_name = "SLUG")]
    slug: Slug,
    /// The copy's name; else that of the original.
    #[arg(long)]
    company: Option<String>,
    /// Statements that run in the copy before it is served, in one transaction.
    #[arg(long, value_name = "FILE")]
    anonymise: Option<PathBuf>,
    /// A label that its cluster must have, name=value; several times for several; else those of the original.
    #[arg(long = "label", value_name = "LABEL", value_parser = values::label)]
    labels: Vec<(String, String)>,
}

/// Writes an archive.
#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    tenant: Named,
    /// The file to write; else the tenant's id and .tar.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Replace the file where there is one already.
    #[arg(long)]
    force: bool,
    /// Fetch the archive of an export that was begun before, and make none.
    #[arg(long, value_name = "OPERATION")]
    operation: Option<OperationId>,
}

/// Makes a tenant of an archive.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The archive.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What people type for the tenant; else what the archive says.
    #[arg(long)]
    slug: Option<Slug>,
    /// The tenant's name; else what the archive says.
    #[arg(long)]
    company: Option<String>,
    /// A name of `tenantctl tiers list`; else what the archive says.
    #[arg(long)]
    tier: Option<String>,
    /// Where the data must stay; else what the archive says.
    #[arg(long)]
    region: Option<String>,
    /// A label that its cluster must have, name=value; several times for several; else what the archive says.
    #[arg(long = "label", value_name = "LABEL", value_parser = values::label)]
    labels: Vec<(String, String)>,
}

/// Makes many tenants.
#[derive(Debug, Args)]
pub(crate) struct Bulk {
    /// CSV with a line of names, or NDJSON; - is stdin: company, slug, email, password, tier, region, time_zone, labels.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Moves a tenant.
#[derive(Debug, Args)]
pub(crate) struct Move {
    #[command(flatten)]
    tenant: Named,
    /// The cluster; else the one that placement chooses.
    #[arg(long, value_name = "CLUSTER")]
    to: Option<ClusterName>,
    /// How; else what holds requests for less than half a second.
    #[arg(long = "by", value_name = "VARIANT", value_parser = variant())]
    variant: Option<MoveVariant>,
    /// Show where it would go and how, or what would refuse it.
    #[arg(long)]
    dry_run: bool,
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
        .map_err(|_| "is bak_ and 32 digits, or `previous`".to_owned())
}

/// A way to move.
pub(crate) fn variant() -> impl TypedValueParser<Value = MoveVariant> {
    PossibleValuesParser::new(["dump", "replicate"]).map(|word| match word.as_str() {
        "dump" => MoveVariant::Dump,
        _ => MoveVariant::Replicate,
    })
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
            "replaces all data of {id} by {what}; what was written since is no longer seen"
        );
        if self.dry_run {
            context.out.item(RESTORE_PREVIEW, &shown)?;
            context
                .out
                .note(&format!("This {consequence}. Nothing was changed."));
            if let RestoreFrom::Backup(backup) = self.from {
                context.out.note(&format!(
                    "`tenantctl backups verify {backup}` loads it beside the tenant and shows which tables' rows differ."
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

impl Export {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = context.tenant(self.tenant.id.as_ref())?;
        let to = self.to.unwrap_or_else(|| format!("{id}.tar").into());
        let target = Target::of(&to, self.force.into())?;
        let view = match self.operation {
            Some(operation) => {
                let begun = context.api()?.operation(operation).await?;
                follow::settled(context, begun).await?
            }
            None => follow::begun(context, &format!("{}/export", path(&id)), &json!({})).await?,
        };
        if context.until() == Until::Begun {
            context.out.item(operations::FIELDS, &view)?;
            let operation = text(&view, "/id");
            context.out.note(&format!(
                "It goes on; fetch its archive with `tenantctl tenants export {id} --operation {operation}`."
            ));
            return Ok(());
        }
        let export = text(&view, "/result/export");
        if export.is_empty() {
            return Err(Failure::usage("that operation is no export of an archive"));
        }
        target.fetch(context, export).await?;
        context.out.item(operations::FIELDS, &view)?;
        context
            .out
            .note(&format!("The archive is {}.", to.display()));
        Ok(())
    }
}

/// A file as the body of a request, read as it is sent.
fn body_of(file: std::fs::File, total: u64) -> reqwest::Body {
    let begin = (tokio::fs::File::from_std(file), Bar::new(), 0);
    let frames = futures::stream::unfold(begin, move |(mut file, bar, mut sent)| async move {
        let mut chunk = vec![0; CHUNK];
        match tokio::io::AsyncReadExt::read(&mut file, &mut chunk).await {
            Ok(0) => None,
            Ok(read) => {
                chunk.truncate(read);
                sent += read as u64;
                bar.counted(sent, total, "bytes", "sent");
                Some((Ok(Frame::data(Bytes::from(chunk))), (file, bar, sent)))
            }
            Err(error) => Some((Err(error), (file, bar, sent))),
        }
    });
    reqwest::Body::wrap(http_body_util::StreamBody::new(frames))
}

impl Import {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let failed = Failure::file("reading", &self.file);
        let file = std::fs::File::open(&self.file).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(std::io::ErrorKind::IsADirectory.into()));
        }
        let name = Uuid::now_v7().simple().to_string() + ".tar";
        let to = format!("/v1/imports/{name}");
        let (_, uploaded) = context
            .api()?
            .upload(
                Method::PUT,
                &to,
                Uuid::now_v7(),
                ("application/x-tar", body_of(file, metadata.len())),
            )
            .await?;
        let body = NewImport {
            archive: text(&uploaded, "/archive").to_owned(),
            slug: self.slug.map(String::from),
            company: self.company,
            tier: self.tier,
            region: self.region,
            labels: given(self.labels),
        };
        follow::begin(context, "/v1/imports", &body).await
    }
}

impl Bulk {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let failed = Failure::file("reading", &self.file);
        let text_of_file = if self.file.as_os_str() == "-" {
            std::io::read_to_string(std::io::stdin())
        } else {
            std::fs::read_to_string(&self.file)
        };
        let text_of_file = text_of_file.map_err(failed)?;
        let is_json = text_of_file.trim_start().starts_with('{');
        let kind = if is_json {
            "application/x-ndjson"
        } else {
            "text/csv"
        };
        let api = context.api()?;
        let key = Uuid::now_v7();
        let send = async |wait: &str| {
            let path = format!("/v1/tenants/bulk?wait={wait}");
            let body = (kind, text_of_file.clone().into());
            api.upload(Method::POST, &path, key, body).await
        };
        let (_, view) = send("none").await?;
        let view = follow::settled(context, view).await?;
        let view = follow::heard(context, view, async |_| send("replicas").await).await?;
        if !follow::is_over(&view) {
            return follow::shown(context, &view);
        }
        let id = text(&view, "/id").parse().map_err(|_| Failure::Strange {
            server: api.server().to_owned(),
            status: 200,
        })?;
        report(context, id).await
    }
}

/// Shows what became of each row of a file of tenants.
async fn report(context: &Context, id: OperationId) -> Result<(), Failure> {
    let rows = operations::rows(context, id).await?;
    context.out.list(operations::ROWS, &rows)?;
    let failed = rows.iter().filter(|row| is_failed(row)).count();
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::Found {
        what: format!("{failed} of {} rows failed", rows.len()),
        next: vec!["mend those rows and give them again in a file of their own".to_owned()],
    })
}

fn is_failed(row: &Value) -> bool {
    row["state"] == "failed"
}
