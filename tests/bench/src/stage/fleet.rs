//! The stage as operators see it, and releases of the app with one more migration each.
//!
//! Deliberately through the operators' API. Invariant: what a release adds is a column that nothing
//! else has, so that every release finds every tenant behind.

use std::path::Path;
use std::time::{Duration, Instant};

use adapters::secret_store::{ClusterRole, SecretSubject};
use anyhow::{Context as _, ensure};
use contract::secret::SecretRef;
use contract::tenant::SCHEMA_ROLE;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postgres_server::{Binaries, Superuser};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};

use super::{CLUSTER, PATIENCE, POLL, SECOND, Stage};
use crate::client::{Client, Prepared};
use crate::roles::baseline::Login;

/// The longest that an operation is followed.
const LONGEST: Duration = Duration::from_secs(900);

impl Stage {
    /// The next app-service that is started has one more migration.
    pub(crate) fn release(&mut self) {
        self.releases += 1;
    }

    /// Waits until the newest template has what the app-service of the moment brings, and the one before
    /// is gone: its drop forces a checkpoint.
    pub(crate) async fn current_template(&self) -> anyhow::Result<()> {
        let wanted = crate::reference::newest(self.releases);
        let mut registry = self.registry().await?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let version: Option<i64> = sqlx::query_scalar(
                "select (schema_versions->>'reference')::bigint from registry.template
                 where status = 'ready'
                     and (select count(*) from pg_database where datname like 'tpl:%') = 1
                 order by number desc limit 1",
            )
            .fetch_optional(&mut registry)
            .await?
            .flatten();
            if version == Some(i64::from(wanted)) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "there is no template of version {wanted}"
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// An operator's `POST`.
    pub(crate) async fn operate<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<T> {
        let request = Prepared::post(path, body)?.bearer(self.keys.operator.expose())?;
        let answer = Client::new(self.platform_address()?).send(&request).await?;
        answer.expect(path)
    }

    /// An operator's change of a tenant; gives how long it took until every replica had heard of it, in
    /// milliseconds.
    pub(crate) async fn change(&self, tenant: &str, change: &Value) -> anyhow::Result<f64> {
        let path = format!("/v1/tenants/{tenant}?wait=replicas");
        let read: Value = self.look(&format!("/v1/tenants/{tenant}")).await?;
        let generation = read["generation"].as_u64().context("a generation")?;
        let request = Prepared::patch(&path, change)?
            .bearer(self.keys.operator.expose())?
            .if_match(generation)?;
        let mut client = Client::new(self.platform_address()?);
        let sent = Instant::now();
        let answer = client.send(&request).await?;
        let time = sent.elapsed().as_secs_f64() * 1e3;
        ensure!(
            answer.status == http::StatusCode::OK,
            "a change that every replica hears of: {}",
            answer.words()
        );
        Ok(time)
    }

    /// An operator's `GET`.
    pub(crate) async fn look<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let request = Prepared::get(path)?.bearer(self.keys.operator.expose())?;
        let answer = Client::new(self.platform_address()?).send(&request).await?;
        answer.expect(path)
    }

    /// An operator's `POST` that begins an operation; gives it when it is done.
    pub(crate) async fn operation(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let mut operation: Value = self.operate(path, body).await?;
        let began = Instant::now();
        loop {
            match operation["state"].as_str() {
                Some("done") => return Ok(operation),
                Some("running") => {}
                _ => anyhow::bail!("{path}: {operation}"),
            }
            ensure!(began.elapsed() < LONGEST, "{path} does not end");
            tokio::time::sleep(POLL).await;
            let id = operation["id"].as_str().unwrap_or_default().to_owned();
            operation = self.look(&format!("/v1/operations/{id}")).await?;
        }
    }

    /// Name and password of the role that owns all schemas.
    pub(crate) async fn schema_login(&self) -> anyhow::Result<Login> {
        let reference: String =
            sqlx::query_scalar("select schema_credential from registry.cluster where name = $1")
                .bind(CLUSTER)
                .fetch_one(&mut self.registry().await?)
                .await?;
        let subject = SecretSubject::Cluster(CLUSTER.parse()?, ClusterRole::Schema);
        let secret = self.secrets.open(&subject, &SecretRef(reference)).await?;
        Ok(Login {
            name: SCHEMA_ROLE.to_owned(),
            password: secret.expose().to_owned(),
        })
    }

    /// A connection of that role to a database.
    pub(crate) async fn connect_as(
        &self,
        login: &Login,
        database: &str,
    ) -> anyhow::Result<PgConnection> {
        let options = self
            .superuser()
            .options(database)
            .username(&login.name)
            .password(&login.password);
        #[expect(clippy::disallowed_methods, reason = "a baseline connects by itself")]
        Ok(options.connect().await?)
    }

    /// Starts the second cluster where it is not there yet, and waits for its template.
    pub(crate) async fn second_cluster(&mut self) -> anyhow::Result<()> {
        if self.second.is_some() {
            return Ok(());
        }
        let server = super::start_postgres(Binaries::of_workspace().await?).await?;
        self.add_cluster(SECOND, server.superuser()).await?;
        self.second = Some(server);
        let mut registry = self.registry().await?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ready: bool = sqlx::query_scalar(
                "select exists (select from registry.template where cluster = $1 and status = 'ready')",
            )
            .bind(SECOND)
            .fetch_one(&mut registry)
            .await?;
            if ready {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "the second cluster gets no template"
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Stops all of the second cluster's processes where they are: what is sent to it is swallowed.
    pub(crate) async fn freeze_second(&self) -> anyhow::Result<Frozen> {
        let second = self.second.as_ref().context("the second cluster runs")?;
        let options = second.superuser().options("postgres");
        #[expect(clippy::disallowed_methods, reason = "the superuser's, not a tenant's")]
        let mut admin = options.connect().await?;
        let folder: String = sqlx::query_scalar("show data_directory")
            .fetch_one(&mut admin)
            .await?;
        let mut processes: Vec<i32> = sqlx::query_scalar(
            "select pid from pg_stat_activity
             where backend_type = 'client backend' and pid <> pg_backend_pid()",
        )
        .fetch_all(&mut admin)
        .await?;
        drop(admin);
        let postmaster = std::fs::read_to_string(Path::new(&folder).join("postmaster.pid"))?;
        let postmaster = postmaster.lines().next().context("a process id")?;
        processes.push(postmaster.trim().parse()?);
        let frozen = Frozen(processes.into_iter().map(Pid::from_raw).collect());
        frozen.signal(Signal::SIGSTOP);
        Ok(frozen)
    }

    /// New tenants go to this cluster alone.
    pub(crate) async fn only_placed_on(&self, cluster: &str) -> anyhow::Result<()> {
        self.statuses("case when name = $1 then 'active' else 'full' end", cluster)
            .await
    }

    /// New tenants go anywhere.
    pub(crate) async fn placed_anywhere(&self) -> anyhow::Result<()> {
        self.statuses("coalesce('active', $1)", "").await
    }

    async fn statuses(&self, status: &str, cluster: &str) -> anyhow::Result<()> {
        let statement = format!("update registry.cluster set status = {status}");
        sqlx::query(AssertSqlSafe(statement))
            .bind(cluster)
            .execute(&mut self.registry().await?)
            .await?;
        Ok(())
    }

    /// The newest backup of a tenant.
    pub(crate) async fn backup_of(&self, tenant: &str) -> anyhow::Result<String> {
        let page: Value = self.look(&format!("/v1/backups?tenant={tenant}")).await?;
        let newest = page.pointer("/data/0/id").and_then(Value::as_str);
        Ok(newest.context("a backup")?.to_owned())
    }

    /// The folder of PostgreSQL's programs.
    pub(crate) fn programs(&self) -> &Path {
        &self.programs
    }

    /// How `pg_dump` logs in where a tenant is, and `pg_restore` on the first cluster.
    pub(crate) async fn where_is(
        &self,
        tenant: &str,
    ) -> anyhow::Result<([(&'static str, String); 4], [(&'static str, String); 4])> {
        let cluster: String =
            sqlx::query_scalar("select cluster from registry.tenant where id = $1")
                .bind(tenant)
                .fetch_one(&mut self.registry().await?)
                .await?;
        let from = match &self.second {
            Some(second) if cluster == SECOND => second.superuser(),
            _ => self.superuser(),
        };
        Ok((login(from), login(self.superuser())))
    }
}

/// Processes that are stopped where they are; they go on when this ends.
pub(crate) struct Frozen(Vec<Pid>);

impl Frozen {
    fn signal(&self, signal: Signal) {
        for process in &self.0 {
            // One that has ended meanwhile needs no signal.
            let _ = kill(*process, signal);
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.signal(Signal::SIGCONT);
    }
}

fn login(superuser: &Superuser) -> [(&'static str, String); 4] {
    [
        ("PGHOST", superuser.host.to_string()),
        ("PGPORT", superuser.port.to_string()),
        ("PGUSER", superuser.user.to_owned()),
        ("PGPASSWORD", superuser.password.expose_secret().to_owned()),
    ]
}
