//! A new tenant of a backup.
//!
//! Deliberately nothing of the backup's own tenant: that one is only read. Invariant: what is chosen by a
//! time holds nothing that was written later.

use std::path::PathBuf;

use clap::Args;
use contract::operator::backup::{BackupId, BackupKind, BackupState, BackupView, NewClone};
use contract::{Slug, TenantId};
use time::OffsetDateTime;

use crate::api::{Api, Query};
use crate::commands::tenants::{data, path};
use crate::context::Context;
use crate::failure::Failure;
use crate::follow;
use crate::values;

/// A backup that becomes a tenant.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup id: bak_ followed by 32 hexadecimal digits. Or use --tenant and --at.
    #[arg(
        value_name = "BACKUP",
        required_unless_present = "at",
        conflicts_with = "at"
    )]
    id: Option<BackupId>,
    /// Slug or id of the new tenant.
    #[arg(long = "to-new", value_name = "SLUG_OR_ID", value_parser = values::new_slug)]
    slug: Slug,
    /// Restore the backup of this tenant that --at selects.
    #[arg(long, requires = "at", value_parser = values::tenant)]
    tenant: Option<TenantId>,
    /// Restore the newest backup that was complete then: a time, or how long ago.
    #[arg(long, value_name = "TIME", requires = "tenant", value_parser = values::past)]
    at: Option<OffsetDateTime>,
    /// Company of the new tenant. Default: that of the backup's tenant.
    #[arg(long)]
    company: Option<String>,
    /// Contact address of the new tenant. Default: that of the backup's tenant.
    #[arg(long)]
    email: Option<String>,
    /// SQL file that runs in the new tenant before it goes into service, in one transaction.
    #[arg(long, value_name = "FILE")]
    anonymise: Option<PathBuf>,
    /// A label that its cluster must have, name=value; repeatable. Default: the labels of the backup's tenant.
    #[arg(long = "label", value_name = "LABEL", value_parser = values::label)]
    labels: Vec<(String, String)>,
}

impl Restore {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let anonymise_sql = data::statements(self.anonymise)?;
        let api = context.api()?;
        let (tenant, backup) = match (self.id, self.tenant, self.at) {
            (Some(id), _, _) => {
                let shown = api.get(&format!("/v1/backups/{id}"), &Query::new()).await?;
                (parsed(api, shown)?.tenant, id)
            }
            (None, Some(tenant), Some(at)) => {
                let backup = complete_at(api, &tenant, at).await?;
                let made = data::ago(backup.created_at);
                context
                    .out
                    .note(&format!("Restoring {}, created {made}.", backup.id));
                (tenant, backup.id)
            }
            (None, _, _) => return Err(Failure::usage("give a backup id, or --tenant and --at")),
        };
        let body = NewClone {
            slug: self.slug.to_string(),
            company: self.company,
            email: self.email,
            backup: Some(backup),
            anonymise_sql,
            labels: data::given(self.labels),
        };
        follow::begin(context, &format!("{}/clones", path(&tenant)), &body).await
    }
}

/// The newest backup of a tenant that was complete at a time and can be loaded.
async fn complete_at(
    api: &Api,
    tenant: &TenantId,
    at: OffsetDateTime,
) -> Result<BackupView, Failure> {
    let query: Query = vec![("tenant", tenant.to_string())];
    for shown in api.items("/v1/backups", &query, 0, "/id").await? {
        let backup = parsed(api, shown)?;
        let complete = backup.finished_at.is_some_and(|finished| finished <= at);
        let loadable = backup.state == BackupState::Ready && backup.kind != BackupKind::Export;
        if complete && loadable {
            return Ok(backup);
        }
    }
    Err(Failure::Found {
        what: format!("{tenant} has no backup that was complete then and can be restored"),
        next: vec![format!(
            "see its backups with `tenantctl backups list --tenant {tenant}`"
        )],
    })
}

fn parsed(api: &Api, shown: serde_json::Value) -> Result<BackupView, Failure> {
    serde_json::from_value(shown).map_err(|_| Failure::Strange {
        server: api.server().to_owned(),
        status: 200,
    })
}
