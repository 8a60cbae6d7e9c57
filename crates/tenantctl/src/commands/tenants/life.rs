//! A tenant's life: suspend, resume, delete, restore, purge, certificate, rotate, transfer.
//!
//! Deliberately no second way around a confirmation: the platform asks for the id too. Invariant: what
//! destroys shows what it would do with `--dry-run`, and names the tenant itself, never the one of
//! `tenantctl use`.

use clap::Args;
use contract::TenantId;
use contract::operator::tenant::{FinalBackup, OtherOwners, PurgeRequest, SuspendRequest};
use contract::tenant::SuspensionWall;
use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::owner::{Chosen, OwnerPassword, PASSWORD};
use super::{Named, path};
use crate::api::Query;
use crate::commands::operations;
use crate::confirm;
use crate::context::Context;
use crate::failure::{Failure, text};
use crate::follow;
use crate::output::{columns, plain, time};
use crate::values;

columns! {
    const CERTIFICATE: "CertificateView" = [
        plain("certificate", "/id"),
        plain("tenant", "/tenant"),
        time("issued", "/issued_at"),
        plain("destroyed", "/body"),
        plain("signature", "/signature"),
        plain("public key", "/public_key"),
    ];

    const PREVIEW: "DeletePreview" = [
        plain("tenant", "/tenant"),
        plain("database and role become", "/kept_name"),
        plain("days to restore it", "/retention_days"),
        plain("final backup", "/final_backup"),
    ];

    const DOOMED: "PurgePreview" = [
        plain("tenant", "/tenant"),
        time("retained until", "/retained_until"),
        plain("secrets", "/secrets"),
        plain("objects", "/objects/count"),
        plain("their bytes", "/objects/size_bytes"),
        plain("final backup", "/final_backup"),
    ];

    const DATABASES: "DoomedDatabase" = [
        plain("cluster", "/cluster"),
        plain("database and role", "/name"),
        plain("bytes", "/size_bytes"),
    ];
}

/// Holds a tenant back.
#[derive(Debug, Args)]
pub(crate) struct Suspend {
    #[command(flatten)]
    tenant: Named,
    /// Allow sign-in and reading. Default: block all access.
    #[arg(long)]
    read_only: bool,
    /// The reason, as the users of the tenant see it.
    #[arg(long)]
    reason: Option<String>,
    /// When the suspension ends by itself: a time, or a duration from now.
    #[arg(long, value_parser = values::moment, value_name = "TIME")]
    until: Option<OffsetDateTime>,
}

/// A tenant that is named in the command itself.
#[derive(Debug, Args)]
pub(crate) struct Explicit {
    /// The tenant id, such as t_acme.
    #[arg(value_name = "TENANT", value_parser = values::tenant)]
    pub(crate) id: TenantId,
}

/// Takes a tenant out of service and keeps its data for the tier's retention.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    tenant: Explicit,
    /// Keep a final backup when the retention ends and the data is destroyed.
    #[arg(long)]
    final_backup: bool,
    /// Show what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Destroys the data of a deleted tenant.
#[derive(Debug, Args)]
pub(crate) struct Purge {
    #[command(flatten)]
    tenant: Explicit,
    /// Purge although the retention has not ended.
    #[arg(long)]
    force: bool,
    /// Keep a final backup that can be imported, for as long as the tier keeps backups.
    #[arg(long)]
    final_backup: bool,
    /// Keep none, although the deletion asked for one.
    #[arg(long, conflicts_with = "final_backup")]
    no_final_backup: bool,
    /// Show what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Gives a tenant another owner.
#[derive(Debug, Args)]
pub(crate) struct Transfer {
    #[command(flatten)]
    tenant: Named,
    /// The new owner's e-mail address, which becomes the tenant's contact.
    #[arg(long, value_name = "EMAIL")]
    to: String,
    /// Remove the ownership of the current owners.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    password: OwnerPassword,
}

impl Suspend {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = context.tenant(self.tenant.id.as_ref())?;
        let body = SuspendRequest {
            wall: if self.read_only {
                SuspensionWall::ReadOnly
            } else {
                SuspensionWall::Blocked
            },
            reason: self.reason,
            until: self.until,
        };
        follow::begin(context, &format!("{}/suspend", path(&id)), &body).await
    }
}

/// Tells a tenant one word, without further ado.
pub(super) async fn tell(context: &Context, named: &Named, verb: &str) -> Result<(), Failure> {
    let id = context.tenant(named.id.as_ref())?;
    follow::begin(context, &format!("{}/{verb}", path(&id)), &json!({})).await
}

impl Delete {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = &self.tenant.id;
        let api = context.api()?;
        // Said only where there is a wish: a platform of the release before knows of none.
        let wish: Query = match self.final_backup {
            true => vec![("final_backup", FinalBackup::Keep.as_str().to_owned())],
            false => Query::new(),
        };
        let dry: Query = [wish.clone(), vec![("dry_run", "true".to_owned())]].concat();
        if self.dry_run {
            let (_, preview) = api.delete(&path(id), &dry, Uuid::now_v7()).await?;
            context.out.item(PREVIEW, &preview)?;
            context.out.note("Nothing was changed.");
            return Ok(());
        }
        if !context.says_yes() {
            // What is refused is refused before the id is asked for.
            api.delete(&path(id), &dry, Uuid::now_v7()).await?;
        }
        let last = match self.final_backup {
            true => "; then a final backup is kept for a time",
            false => "",
        };
        let consequence = format!(
            "takes {id} out of service at once; until its retention ends, `tenantctl tenants restore {id}` \
             brings it back{last}"
        );
        confirm::destroy(context, id.as_str(), &consequence)?;
        let (path, key) = (path(id), Uuid::now_v7());
        let said = vec![("confirm", id.to_string()), ("wait", "none".to_owned())];
        let mut query: Query = [wish, said].concat();
        let (_, view) = api.delete(&path, &query, key).await?;
        let view = follow::settled(context, view).await?;
        query.pop();
        let view = follow::heard(context, view, async |wait| {
            let query = [query.clone(), wait].concat();
            api.delete(&path, &query, key).await
        })
        .await?;
        follow::shown(context, &view)
    }
}

impl Purge {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = &self.tenant.id;
        let api = context.api()?;
        let path = format!("{}/purge", path(id));
        // What is refused is refused before the id is asked for; and the deletion may have asked for a backup.
        let dry = PurgeRequest {
            confirm: None,
            force: None,
            final_backup: self.wish(),
            dry_run: true,
        };
        let preview = match self.dry_run || !context.says_yes() {
            true => api.once(Method::POST, &path, &dry).await?,
            false => Value::Null,
        };
        let last = match text(&preview, "/final_backup") {
            "keep" => "a final backup is kept for a time",
            _ => "no backup is kept",
        };
        let consequence = format!(
            "destroys the database, the role, the secrets and the objects of {id} for good; {last}"
        );
        if self.dry_run {
            context.out.item(DOOMED, &preview)?;
            let databases = preview["databases"]
                .as_array()
                .map_or(&[][..], Vec::as_slice);
            context
                .out
                .part("databases, each with its role", DATABASES, databases)?;
            context.out.note(&format!(
                "Without --dry-run, this {consequence}. Nothing was changed."
            ));
            return Ok(());
        }
        confirm::destroy(context, id.as_str(), &consequence)?;
        let body = PurgeRequest {
            confirm: Some(id.to_string()),
            force: self.force.then(|| id.to_string()),
            final_backup: self.wish(),
            dry_run: false,
        };
        follow::begin(context, &path, &body).await
    }

    /// What is said of a final backup; else it is as the deletion asked.
    fn wish(&self) -> Option<FinalBackup> {
        match (self.final_backup, self.no_final_backup) {
            (true, _) => Some(FinalBackup::Keep),
            (_, true) => Some(FinalBackup::None),
            _ => None,
        }
    }
}

/// Shows the proof of a purge.
pub(super) async fn certificate(context: &Context, named: &Named) -> Result<(), Failure> {
    let id = context.tenant(named.id.as_ref())?;
    let path = format!("{}/certificate", path(&id));
    let certificate = context.api()?.get(&path, &Query::new()).await?;
    context.out.item(CERTIFICATE, &certificate)
}

impl Transfer {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = context.tenant(self.tenant.id.as_ref())?;
        let others = if self.replace {
            OtherOwners::Replace
        } else {
            OtherOwners::Keep
        };
        let mut body = json!({ "to": self.to, "others": others });
        let path = format!("{}/transfer", path(&id));
        let password = match self.password.read_if_named()? {
            None => return follow::begin(context, &path, &body).await,
            Some(password) => password,
        };
        if let Chosen::Made(_) = password {
            // Who has an account keeps its password.
            match follow::recorded(context, &path, &body).await {
                Err(failure) if failure.is_about("/password") => {}
                begun => {
                    let view = begun?.followed(context, &path, &body).await?;
                    follow::shown(context, &view)?;
                    let to = &self.to;
                    context.out.note(&format!(
                        "{to} already has an account and keeps its password; none was generated."
                    ));
                    return Ok(());
                }
            }
        }
        body["password"] = password.expose().into();
        let mut unseen = password.unseen(context);
        let begun = unseen.sent(follow::recorded(context, &path, &body).await)?;
        let mut view = unseen.followed(begun.followed(context, &path, &body).await)?;
        unseen.show_in(&mut view);
        let mut fields = operations::FIELDS.to_vec();
        fields.push(PASSWORD);
        context.out.item(&fields, &view)?;
        follow::say_how_to_follow(context, &view);
        Ok(())
    }
}
