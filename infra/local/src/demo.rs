//! The demo tenants, so that every gate can be seen: one to work in, one that may only be read, one that
//! is suspended, one that is deleted, one that is a schema version behind.
//!
//! Deliberately made as users and operators make tenants, where there is an operation for it.
//! Invariant: seeding again adds only what is missing; once complete it is not done again.

use std::time::Duration;

use adapters::secret_store::{ClusterRole, SecretSubject};
use anyhow::{Context as _, ensure};
use contract::internal::{MigrationOutcome, MigrationReport};
use contract::tenant::SCHEMA_ROLE;
use kit::migrate::{Grants, RunLimits};
use serde_json::{Value, json};
use sqlx::Connection as _;
use tokio::time::Instant;

use crate::api::Api;
use crate::reach::Reach;

/// The tenant that examples work in.
pub(crate) const SHOWN: Demo = Demo {
    id: "t_acme",
    slug: "acme",
    company: "Acme Corporation",
    what: "200 entries",
    standing: Standing::Open,
    others: &["editor", "viewer"],
};
/// The tenant whose writes are refused.
pub(crate) const READ_ONLY: Demo = Demo {
    id: "t_paused",
    slug: "paused",
    company: "Paused Ltd",
    what: "suspended, may only be read: each write is refused with 403 tenant-read-only",
    standing: Standing::ReadOnly,
    others: &[],
};
/// The tenant that is suspended.
const BLOCKED: Demo = Demo {
    id: "t_blocked",
    slug: "blocked",
    company: "Blocked AG",
    what: "suspended: 403 tenant-suspended, and nobody can log in",
    standing: Standing::Blocked,
    others: &[],
};
/// The tenant that is deleted.
const GONE: Demo = Demo {
    id: "t_gone",
    slug: "gone",
    company: "Gone Inc",
    what: "deleted, and may come back: 410 tenant-deleted, and nobody can log in",
    standing: Standing::Deleted,
    others: &[],
};
/// The tenant that the examples' token is not for.
pub(crate) const OTHER: Demo = Demo {
    id: "t_behind",
    slug: "behind",
    company: "Behind GmbH",
    what: "made one schema version behind; its first request migrates it",
    standing: Standing::Open,
    others: &[],
};
/// All of them.
pub(crate) const TENANTS: [Demo; 5] = [SHOWN, READ_ONLY, BLOCKED, GONE, OTHER];

/// The schema that is taken back a version.
const TAKEN_BACK: &str = "entries";
const ENTRIES: usize = 200;
/// How long the making of a tenant may take.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// A demo tenant.
pub(crate) struct Demo {
    pub(crate) id: &'static str,
    slug: &'static str,
    company: &'static str,
    pub(crate) what: &'static str,
    standing: Standing,
    /// Roles of users besides the owner.
    others: &'static [&'static str],
}

/// How a demo tenant is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Open,
    ReadOnly,
    Blocked,
    Deleted,
}

impl Demo {
    /// Whether nobody can log in.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.standing, Standing::Blocked | Standing::Deleted)
    }

    /// Roles and addresses of its users, the owner first.
    pub(crate) fn users(&self) -> impl Iterator<Item = (&'static str, String)> {
        let user = |role: &&'static str| (*role, format!("{role}@{}.example", self.slug));
        ["owner"]
            .iter()
            .chain(self.others)
            .map(user)
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// The user who may do least.
    pub(crate) fn viewer(&self) -> (&'static str, String) {
        self.users().last().unwrap_or_default()
    }

    fn owner(&self) -> String {
        format!("owner@{}.example", self.slug)
    }
}

/// Who seeds, and with what.
pub(crate) struct Seeder<'a> {
    /// Nobody, at the merged API.
    pub(crate) visitor: Api,
    pub(crate) operator_key: &'a str,
    pub(crate) password: &'a str,
    pub(crate) reach: &'a Reach,
}

impl Seeder<'_> {
    /// Makes what is missing of all demo tenants.
    pub(crate) async fn seed(&self) -> anyhow::Result<()> {
        for demo in &TENANTS {
            let made = self.ensure_tenant(demo).await;
            made.with_context(|| demo.id.to_owned())?;
            let left = self.leave(demo).await;
            left.with_context(|| demo.id.to_owned())?;
        }
        self.fill().await.context(SHOWN.id)?;
        self.take_back().await.context(OTHER.id)
    }

    /// Whether all of them are there.
    pub(crate) async fn is_seeded(&self) -> anyhow::Result<bool> {
        for demo in &TENANTS {
            if self.status(demo).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The tenant's status; none where there is no such tenant.
    async fn status(&self, demo: &Demo) -> anyhow::Result<Option<String>> {
        let operator = self.visitor.bearer(self.operator_key);
        let answer = operator.get(&format!("/v1/tenants/{}", demo.id)).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        let tenant = answer.expect(200)?;
        Ok(tenant["status"].as_str().map(str::to_owned))
    }

    async fn ensure_tenant(&self, demo: &Demo) -> anyhow::Result<()> {
        if self.status(demo).await?.is_none() {
            let new = json!({
                "company": demo.company, "slug": demo.slug, "email": demo.owner(),
                "password": self.password,
            });
            let operator = self.visitor.bearer(self.operator_key);
            operator.post("/v1/tenants", &new).await?.accepted()?;
        }
        self.waits_while(demo, "provisioning").await?;
        ensure!(
            self.status(demo).await?.is_some(),
            "it could not be made; the log says why"
        );
        Ok(())
    }

    /// Holds a tenant back, or deletes it, where it is not so yet.
    async fn leave(&self, demo: &Demo) -> anyhow::Result<()> {
        if self.status(demo).await?.as_deref() != Some("active") {
            return Ok(());
        }
        let operator = self.visitor.bearer(self.operator_key);
        let path = format!("/v1/tenants/{}", demo.id);
        let suspend = async |wall: &str| {
            let suspension = json!({ "wall": wall, "reason": "To show how that looks." });
            let path = format!("{path}/suspend");
            operator.post(&path, &suspension).await
        };
        let answer = match demo.standing {
            Standing::Open => return Ok(()),
            Standing::ReadOnly => suspend("read_only").await?,
            Standing::Blocked => suspend("blocked").await?,
            Standing::Deleted => {
                let path = format!("{path}?confirm={}", demo.id);
                operator.delete(&path).await?
            }
        };
        answer.accepted()?;
        self.waits_while(demo, "active").await
    }

    async fn waits_while(&self, demo: &Demo, status: &str) -> anyhow::Result<()> {
        let started = Instant::now();
        while self.status(demo).await?.as_deref() == Some(status) {
            ensure!(started.elapsed() < PATIENCE, "it was {status} for too long");
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Users and entries of the tenant that examples work in.
    async fn fill(&self) -> anyhow::Result<()> {
        let owner = self
            .visitor
            .tenant(SHOWN.id)
            .logged_in(&SHOWN.owner(), self.password)
            .await?;
        for (role, email) in SHOWN.users().skip(1) {
            let user = json!({ "email": email, "password": self.password, "role": role });
            let answer = owner.post("/v1/users", &user).await?;
            // 409: it was added by a run before.
            ensure!(
                matches!(answer.status, 201 | 409),
                "{}: {}",
                answer.status,
                answer.body
            );
        }
        let entries = owner.get("/v1/entries?limit=1").await?.expect(200)?;
        if entries["data"].as_array().is_some_and(Vec::is_empty) {
            let entries: Vec<Value> = (1..=ENTRIES).map(entry).collect();
            owner
                .post("/v1/entries/batch", &json!({ "entries": entries }))
                .await?
                .expect(201)?;
        }
        Ok(())
    }

    /// Gives a tenant the schema that it had before the newest migration, which is done only while
    /// it has nothing in it, and tells the platform so.
    async fn take_back(&self) -> anyhow::Result<()> {
        let mut earlier = tenant_migrations::entries();
        earlier.pop();
        let owner = TAKEN_BACK.parse()?;
        let route = self.reach.route(OTHER.id).await?;
        let cluster = &route.database.cluster;
        let subject = SecretSubject::Cluster(cluster.name.clone(), ClusterRole::Schema);
        let mut connection = self
            .reach
            .connect(&route, SCHEMA_ROLE, &subject, &cluster.schema_credential)
            .await?;
        let limits = RunLimits::default();
        kit::migrate::lock(&mut connection, limits.lock_wait).await?;
        let used: i64 = sqlx::query_scalar("select count(*) from entries.entry")
            .fetch_one(&mut connection)
            .await?;
        if used > 0 {
            return Ok(connection.close().await?);
        }
        sqlx::raw_sql("drop schema entries cascade")
            .execute(&mut connection)
            .await?;
        let version = kit::migrate::run(
            &mut connection,
            &owner,
            &earlier,
            Grants::TenantRoles,
            limits,
        )
        .await?;
        connection.close().await?;
        let report = MigrationReport {
            tenant: route.tenant,
            copy: Some(route.database.copy),
            owner,
            outcome: MigrationOutcome::Migrated { version },
        };
        Ok(self.reach.platform().report_migration(&report).await?)
    }
}

/// An entry of some variety, so that there is something to search for.
fn entry(number: usize) -> Value {
    const KINDS: [&str; 4] = ["Invoice", "Meeting", "Delivery", "Idea"];
    const PLACES: [&str; 5] = ["Berlin", "Lisbon", "Nairobi", "Osaka", "Quito"];
    let kind = KINDS[number % KINDS.len()];
    json!({
        "title": format!("{kind} {number}"),
        "body": { "place": PLACES[number % PLACES.len()], "number": number },
    })
}
