//! Destroying what is left of a deleted tenant, with a certificate of what was destroyed.
//!
//! Deliberately nothing of it can be undone but the last backup: from `condemn` on it goes on forwards
//! alone. Invariants: what is to be destroyed is in the plan before the first of it is; the id and the
//! slug stay taken for ever.

mod databases;

use std::time::Duration;

use adapters::object_store::{ObjectPath, ObjectStore};
use adapters::secret_store::{SecretError, SecretSubject};
use contract::operator::backup::BackupId;
use contract::operator::tenant::{DoomedDatabase, DoomedObjects, FinalBackup, PurgePreview};
use contract::{ClusterName, Code, TenantId};
use kit::error::Problem;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use super::saga::{Saga, Traits};
use super::{Head, Step, Stop, mark};
use crate::backups::archive::{self, Written};
use crate::backups::{self, keys, last};
use crate::clusters::drops;
use crate::clusters::postgres::{self, Name, Whose};
use crate::platform::Platform;
use crate::tenants::certificate::{self, Signed};
use crate::tenants::place::Placed;
use crate::tenants::{TenantRow, store};
use databases::{Away, is_there, left, missing, place, size_of};

/// A database, and the role of its name, that is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Doomed {
    pub(crate) cluster: ClusterName,
    pub(crate) name: String,
}

/// How soon it is looked again whether a copy of a backup is made.
const LOOK: Duration = Duration::from_secs(5);

/// Waits as long as a new tenant is made of a backup of this one.
async fn read_by_nobody(connection: &mut PgConnection, tenant: &TenantId) -> Result<(), Stop> {
    match backups::store::read_by(connection, tenant).await? {
        None => Ok(()),
        Some(operation) => {
            let reason = format!("The operation {operation} makes a new tenant of a backup of it.");
            Err(Stop::Later {
                wait: LOOK,
                reason: reason.into(),
            })
        }
    }
}

/// An object that is removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DoomedObject {
    pub(crate) path: String,
    pub(crate) size_bytes: u64,
    /// In hexadecimal digits, where it was recorded.
    pub(crate) sha256: Option<String>,
}

/// What becomes of the key that a tenant's objects are encrypted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DataKey {
    /// It never had one.
    None,
    Destroyed,
}

/// What is destroyed, as it becomes known.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PurgePlan {
    final_backup: FinalBackup,
    backup: Option<(BackupId, Written)>,
    databases: Vec<Doomed>,
    /// Names of those that somebody had dropped before.
    #[serde(default)]
    missing: Vec<String>,
    secrets: usize,
    /// Of which its encrypted objects are; known once it is looked for.
    #[serde(default)]
    data_key: Option<DataKey>,
    objects: Vec<DoomedObject>,
    certificate: Option<Signed>,
}

impl PurgePlan {
    pub(crate) fn new(final_backup: FinalBackup) -> Self {
        Self {
            final_backup,
            backup: None,
            databases: Vec::new(),
            missing: Vec::new(),
            secrets: 0,
            data_key: None,
            objects: Vec::new(),
            certificate: None,
        }
    }

    /// What the certificate says.
    async fn body(
        &self,
        platform: &Platform,
        head: &Head,
        tenant: &TenantId,
    ) -> Result<Value, Stop> {
        let backup = match self.backup {
            Some((id, written)) => {
                let mut registry = platform.registry.acquire().await?;
                let kept = backups::store::find(&mut registry, id).await?;
                let expires_at = kept.and_then(|row| row.expires_at);
                Some(json!({
                    "id": id, "size_bytes": written.size_bytes, "sha256": written.sha256_text(),
                    "expires_at": expires_at.map(certificate::stamp).transpose()?,
                }))
            }
            None => None,
        };
        Ok(json!({
            "tenant": tenant,
            "operation": head.id,
            "databases_and_roles": self.databases,
            "databases_missing": self.missing,
            "secrets": self.secrets,
            "data_key": self.data_key,
            "objects": self.objects,
            "final_backup": backup,
        }))
    }
}

const STEPS: &[Step] = &[
    Step::FinalBackup,
    Step::Condemn,
    Step::Drop,
    Step::Secrets,
    Step::Objects,
    Step::Tombstone,
];

impl Saga for PurgePlan {
    const STEPS: &'static [Step] = STEPS;

    fn steps(&self) -> &'static [Step] {
        match self.final_backup {
            FinalBackup::Keep => STEPS,
            FinalBackup::None => STEPS.split_first().map_or(STEPS, |(_, rest)| rest),
        }
    }

    fn point_of_no_return(&self) -> Step {
        Step::Condemn
    }

    fn traits(&self) -> Traits {
        Traits::LONG
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let tenant = head.tenant()?;
        match head.step {
            Step::FinalBackup => {
                let placed = Placed::find(platform, tenant).await?;
                let name = Name::Deleted(tenant.clone(), placed.row.copy);
                is_there(&placed.server, &name).await?;
                let kept = last::keep(platform, &placed, &name, head.id).await?;
                self.backup = Some(kept);
                Ok(())
            }
            Step::Condemn => {
                read_by_nobody(&mut *platform.registry.acquire().await?, tenant).await?;
                self.take_stock(platform, tenant).await?;
                let left = left(platform, &self.databases, Away::Fails).await?;
                self.databases.extend(left);
                self.missing = missing(platform, &self.databases).await?;
                self.store(platform).map(drop)
            }
            Step::Drop => self.drop_databases(platform).await,
            Step::Secrets => {
                self.data_key = Some(match keys::is_there(platform, tenant).await? {
                    true => DataKey::Destroyed,
                    false => DataKey::None,
                });
                remove_secrets(platform, tenant).await
            }
            Step::Objects => self.remove_objects(platform).await,
            Step::Tombstone => {
                if keys::is_there(platform, tenant).await? {
                    let left = "a key of a tenant that is purged is still there";
                    return Err(Stop::Fail(Problem::internal(left)));
                }
                let body = self.body(platform, head, tenant).await?;
                self.certificate = Some(certificate::sign(platform, body).await?);
                Ok(())
            }
            other => Err(other.unexpected()),
        }
    }

    async fn record(
        &self,
        connection: &mut PgConnection,
        head: &Head,
        step: Step,
    ) -> Result<(), Stop> {
        let tenant = head.tenant()?;
        match step {
            Step::Condemn => {
                store::purge::condemn(&mut *connection, tenant).await?;
                // Who begins a copy of a backup has the tenant's row, too.
                read_by_nobody(connection, tenant).await
            }
            Step::Drop => Ok(store::purge::forget_databases(connection, tenant).await?),
            // First: what it has encrypted is unreadable even while its store is away.
            Step::Secrets => Ok(store::purge::destroy_key(connection, tenant).await?),
            Step::Objects => Ok(store::purge::forget_objects(connection, tenant).await?),
            Step::Tombstone => {
                let none = || Stop::Fail(Problem::internal("a purge has no certificate"));
                let signed = self.certificate.as_ref().ok_or_else(none)?;
                store::purge::certify(&mut *connection, tenant, signed).await?;
                let news = store::purge::tombstone(&mut *connection, tenant).await?;
                news.announce(connection).await?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn undo(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::FinalBackup => last::remove(platform, head).await,
            _ => Ok(()),
        }
    }

    fn result(&self) -> Option<Value> {
        let signed = self.certificate.as_ref()?;
        let last = self.backup.map(|(id, _)| id);
        Some(json!({ "certificate": signed.id, "final_backup": last }))
    }
}

impl PurgePlan {
    /// Finds everything that is to go.
    async fn take_stock(&mut self, platform: &Platform, tenant: &TenantId) -> Result<(), Stop> {
        let mut objects = {
            let mut registry = platform.registry.acquire().await?;
            self.databases = store::purge::databases(&mut registry, tenant).await?;
            self.secrets = store::life::credentials(&mut registry, tenant).await?.len();
            store::purge::objects(&mut registry, tenant).await?
        };
        if let Ok(kept) = archive::objects(&platform.settings) {
            let folder = archive::object_path(&backups::folder(tenant))?;
            let found = kept.list(&folder).await.map_err(archive::object_stop)?;
            let last = self.backup.map(|(id, _)| id);
            for object in found {
                let path = object.path.as_str();
                let is_last = last.is_some_and(|id| path.contains(&id.to_string()));
                if !is_last && !objects.iter().any(|known| known.path == path) {
                    objects.push(DoomedObject {
                        path: path.to_owned(),
                        size_bytes: object.size_bytes,
                        sha256: None,
                    });
                }
            }
        }
        self.objects = objects;
        Ok(())
    }

    async fn drop_databases(&self, platform: &Platform) -> Result<(), Stop> {
        for doomed in &self.databases {
            let (server, name) = place(platform, doomed).await?;
            // Gives up in seconds where the server does not answer.
            drop(server.acquire().await?);
            let mut drops = drops::alone(&server).await?;
            match &name {
                Name::Tenant(tenant) => mark::drop_left(platform, &mut drops, tenant).await?,
                _ => postgres::discard(&mut drops, &name, Whose::Anybody).await?,
            }
            drops.close().await?;
        }
        Ok(())
    }

    /// The store that the objects are in; none where there are no objects.
    ///
    /// # Errors
    /// There are objects, and no store is set: no certificate may say that they are destroyed.
    fn store(&self, platform: &Platform) -> Result<Option<ObjectStore>, Stop> {
        if self.objects.is_empty() {
            return Ok(None);
        }
        let store = archive::objects(&platform.settings).map_err(|_| {
            Stop::Fail(Problem::new(Code::Conflict).detail(format!(
                "{} objects of the tenant are recorded and no object store is set: set \
                 objects.folder to the folder that they are in, then try again.",
                self.objects.len()
            )))
        })?;
        Ok(Some(store))
    }

    async fn remove_objects(&self, platform: &Platform) -> Result<(), Stop> {
        let Some(kept) = self.store(platform)? else {
            return Ok(());
        };
        for object in &self.objects {
            let path: ObjectPath = archive::object_path(&object.path)?;
            kept.delete(&path).await.map_err(archive::object_stop)?;
        }
        Ok(())
    }
}

/// What a purge with this wish would destroy, as it stands now.
pub(crate) async fn preview(
    platform: &Platform,
    row: &TenantRow,
    wish: FinalBackup,
) -> Result<PurgePreview, Stop> {
    let mut plan = PurgePlan::new(FinalBackup::None);
    plan.take_stock(platform, &row.id).await?;
    // A server that is away is told by the copy beside which something is left: that one has no size.
    let left = left(platform, &plan.databases, Away::LeftOut).await?;
    plan.databases.extend(left);
    let mut databases = Vec::with_capacity(plan.databases.len());
    for doomed in plan.databases {
        let (server, name) = place(platform, &doomed).await?;
        databases.push(DoomedDatabase {
            // A server that is away does not keep the rest from being shown, nor does one that has it no more.
            size_bytes: size_of(&server, &name).await.ok(),
            cluster: doomed.cluster,
            name: doomed.name,
        });
    }
    Ok(PurgePreview {
        tenant: row.id.clone(),
        retained_until: row.purge_after,
        databases,
        secrets: plan.secrets as u64,
        objects: DoomedObjects {
            count: plan.objects.len() as u64,
            size_bytes: plan.objects.iter().map(|object| object.size_bytes).sum(),
        },
        final_backup: wish,
    })
}

async fn remove_secrets(platform: &Platform, tenant: &TenantId) -> Result<(), Stop> {
    let subject = SecretSubject::Tenant(tenant.clone());
    let references = {
        let mut registry = platform.registry.acquire().await?;
        store::life::credentials(&mut registry, tenant).await?
    };
    for reference in references {
        match platform.secrets.remove(&subject, &reference).await {
            // Nobody opens what no key is left for.
            Ok(()) | Err(SecretError::NotFound | SecretError::UnknownKey { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
