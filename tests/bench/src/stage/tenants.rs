//! Tenants on the stage: signed up, logged in, with entries.
//!
//! Deliberately through the public APIs; only the passwords of roles, which the baselines need, come
//! from the registry. Invariant: nobody's tier limits the rate of requests.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use adapters::secret_store::SecretSubject;
use anyhow::{Context as _, bail, ensure};
use contract::secret::SecretRef;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{PATIENCE, POLL, Stage};
use crate::client::{Client, Prepared};
use crate::reference;
use crate::roles::baseline::Login;

/// The password of every owner.
const PASSWORD: &str = "seven wandering lighthouses";
/// The tier without a limit of requests.
const TIER: &str = "enterprise";
/// Tenants that are made at once.
const AT_ONCE: usize = 4;
/// Entries of each tenant.
const ENTRIES: usize = 20;

/// A tenant, and its owner's token.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) entries: Vec<String>,
}

impl Tenant {
    /// Reads of all its entries.
    pub(crate) fn reads(&self) -> anyhow::Result<Vec<Prepared>> {
        self.entries
            .iter()
            .map(|entry| {
                Prepared::get(&format!("/v1/entries/{entry}"))?
                    .tenant(&self.id)?
                    .bearer(&self.token)
            })
            .collect()
    }
}

/// A request for a tenant, ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Signup {
    slug: String,
    request: Prepared,
}

#[derive(Deserialize)]
struct SignedUp {
    id: String,
    status: String,
    operation: Option<Ticket>,
}

#[derive(Deserialize)]
struct Ticket {
    path: String,
    token: String,
}

#[derive(Deserialize)]
struct LoggedIn {
    access_token: String,
}

#[derive(Deserialize)]
struct Added {
    ids: Vec<String>,
}

impl Signup {
    /// Sends it; gives the id of the active tenant and how long that took, in milliseconds.
    pub(crate) async fn send(&self, client: &mut Client) -> anyhow::Result<(String, f64)> {
        let sent = Instant::now();
        let signed_up: SignedUp = client.send(&self.request).await?.expect("a sign-up")?;
        if let Some(ticket) = &signed_up.operation {
            follow(client, ticket).await?;
        } else {
            ensure!(
                signed_up.status == "active",
                "{} is {}",
                signed_up.id,
                signed_up.status
            );
        }
        Ok((signed_up.id, sent.elapsed().as_secs_f64() * 1e3))
    }

    /// Sends it and logs the owner in; gives how long it took until app-service had served them, in
    /// milliseconds.
    pub(crate) async fn arrive(
        &self,
        platform: SocketAddr,
        app: SocketAddr,
    ) -> anyhow::Result<f64> {
        let sent = Instant::now();
        let (id, _) = self.send(&mut Client::new(platform)).await?;
        log_in(&mut Client::new(app), &id, &self.slug).await?;
        Ok(sent.elapsed().as_secs_f64() * 1e3)
    }
}

/// Asks for the operation of a 202 until it is done.
async fn follow(client: &mut Client, ticket: &Ticket) -> anyhow::Result<()> {
    let request = Prepared::get(&ticket.path)?.bearer(&ticket.token)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let operation: Value = client.send(&request).await?.expect("an operation")?;
        match operation["state"].as_str() {
            Some("done") => return Ok(()),
            Some("running") if Instant::now() < deadline => tokio::time::sleep(POLL).await,
            _ => bail!("a sign-up did not work: {operation}"),
        }
    }
}

impl Stage {
    /// A request for a tenant that nobody has asked for yet.
    pub(crate) fn signup(&mut self) -> anyhow::Result<Signup> {
        self.signed_up += 1;
        let slug = format!("bench-{:05}", self.signed_up);
        let body = json!({
            "company": format!("Company {}", self.signed_up),
            "slug": slug,
            "email": email(&slug),
            "password": PASSWORD,
            "tier": TIER,
        });
        let request = Prepared::post("/v1/signup", &body)?;
        Ok(Signup { slug, request })
    }

    /// The first `count` tenants, made where they are not there yet.
    pub(crate) async fn tenants(&mut self, count: usize) -> anyhow::Result<Vec<Tenant>> {
        self.templated().await?;
        let missing = count.saturating_sub(self.tenants.len());
        let made = self.new_tenants(missing).await?;
        if let Some(tenant) = made.first() {
            self.check_reference(tenant).await?;
        }
        self.tenants.extend(made);
        Ok(self.tenants.iter().take(count).cloned().collect())
    }

    /// Tenants that no other row gets.
    pub(crate) async fn new_tenants(&mut self, count: usize) -> anyhow::Result<Vec<Tenant>> {
        let signups = (0..count)
            .map(|_| self.signup())
            .collect::<anyhow::Result<Vec<_>>>()?;
        let (platform, app) = (self.platform_address()?, self.app_address()?);
        stream::iter(signups)
            .map(|signup| make(platform, app, signup))
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn check_reference(&self, tenant: &Tenant) -> anyhow::Result<()> {
        let tables: i64 = sqlx::query_scalar(
            "select count(*) from pg_tables where schemaname in ('auth', 'entries', 'reference')
                 and tablename <> 'refinery_schema_history'",
        )
        .fetch_one(&mut self.connect(&tenant.id).await?)
        .await?;
        ensure!(
            tables == reference::TABLES,
            "the reference schema has {tables} tables instead of {}",
            reference::TABLES
        );
        Ok(())
    }

    /// Names and passwords of tenants' roles.
    pub(crate) async fn logins(&self, tenants: &[&str]) -> anyhow::Result<Vec<Login>> {
        let mut registry = self.registry().await?;
        let mut logins = Vec::with_capacity(tenants.len());
        for name in tenants {
            let reference: String =
                sqlx::query_scalar("select credentials[1] from registry.tenant where id = $1")
                    .bind(*name)
                    .fetch_one(&mut registry)
                    .await
                    .with_context(|| format!("the credential of {name}"))?;
            let subject = SecretSubject::Tenant(name.parse()?);
            let secret = self.secrets.open(&subject, &SecretRef(reference)).await?;
            logins.push(Login {
                name: (*name).to_owned(),
                password: secret.expose().to_owned(),
            });
        }
        Ok(logins)
    }

    /// How long a step of each of the last `count` operations took, in milliseconds.
    pub(crate) async fn times_of_step(&self, step: &str, count: i64) -> anyhow::Result<Vec<f64>> {
        Ok(sqlx::query_scalar(
            "select extract(epoch from done.at - started.at)::float8 * 1000
             from (select id from registry.operation order by created_at desc limit $2) as last
             join registry.operation_step as done
                 on done.operation_id = last.id and done.event = 'done' and done.step = $1
             join registry.operation_step as started
                 on started.operation_id = last.id and started.event = 'started'
                     and started.step = $1",
        )
        .bind(step)
        .bind(count)
        .fetch_all(&mut self.registry().await?)
        .await?)
    }

    /// The e-mail address of a tenant's owner.
    pub(crate) async fn owner_of(&self, tenant: &str) -> anyhow::Result<String> {
        Ok(
            sqlx::query_scalar("select contact_email from registry.tenant where id = $1")
                .bind(tenant)
                .fetch_one(&mut self.registry().await?)
                .await?,
        )
    }

    /// How long each step of the last `count` operations took, in milliseconds, in words.
    pub(crate) async fn step_times(&self, count: i64) -> anyhow::Result<String> {
        let steps: Vec<(String, f64)> = sqlx::query_as(
            "select done.step,
                 avg(extract(epoch from done.at - started.at))::float8 * 1000
             from (select id from registry.operation order by created_at desc limit $1) as last
             join registry.operation_step as done
                 on done.operation_id = last.id and done.event = 'done'
             join registry.operation_step as started
                 on started.operation_id = last.id and started.event = 'started'
                     and started.step = done.step
             group by done.step order by min(done.number)",
        )
        .bind(count)
        .fetch_all(&mut self.registry().await?)
        .await?;
        let words: Vec<String> = steps
            .into_iter()
            .map(|(step, time)| format!("{step} {time:.1}"))
            .collect();
        Ok(format!("mean ms by step: {}", words.join(", ")))
    }

    /// Sessions of tenants' roles on the server.
    pub(crate) async fn tenant_sessions(&self) -> anyhow::Result<i64> {
        let mut admin = self.connect("postgres").await?;
        Ok(sqlx::query_scalar(SESSIONS).fetch_one(&mut admin).await?)
    }

    /// Waits until no session of a tenant's role is left.
    pub(crate) async fn no_sessions(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.tenant_sessions().await? > 0 {
            ensure!(Instant::now() < deadline, "sessions of tenants stay open");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }
}

/// Counts sessions of tenants' roles.
const SESSIONS: &str = r"select count(*) from pg_stat_activity where usename like 't\_%'";

fn email(slug: &str) -> String {
    format!("owner@{slug}.example")
}

async fn make(platform: SocketAddr, app: SocketAddr, signup: Signup) -> anyhow::Result<Tenant> {
    let (id, _) = signup.send(&mut Client::new(platform)).await?;
    let mut client = Client::new(app);
    let token = log_in(&mut client, &id, &signup.slug).await?;
    let entries = add_entries(&mut client, &id, &token, ENTRIES).await?;
    Ok(Tenant { id, token, entries })
}

/// Logs an owner in, who signed up with this slug; gives the token.
pub(crate) async fn log_in(client: &mut Client, id: &str, slug: &str) -> anyhow::Result<String> {
    log_in_as(client, id, &email(slug)).await
}

/// The same by the owner's e-mail address.
pub(crate) async fn log_in_as(
    client: &mut Client,
    id: &str,
    email: &str,
) -> anyhow::Result<String> {
    let body = json!({ "email": email, "password": PASSWORD });
    let request = Prepared::post("/v1/auth/login", &body)?.tenant(id)?;
    let logged_in: LoggedIn = client.send(&request).await?.expect("a log-in")?;
    Ok(logged_in.access_token)
}

/// Adds entries; gives their ids.
pub(crate) async fn add_entries(
    client: &mut Client,
    id: &str,
    token: &str,
    count: usize,
) -> anyhow::Result<Vec<String>> {
    let entries: Vec<Value> = (0..count)
        .map(|number| {
            json!({
                "title": format!("Minutes of meeting {number}"),
                "body": {
                    "place": "Room 4", "people": 6,
                    "text": "What was said, and what is to be done until the next one.",
                },
            })
        })
        .collect();
    let request = Prepared::post("/v1/entries/batch", &json!({ "entries": entries }))?
        .tenant(id)?
        .bearer(token)?;
    let added: Added = client.send(&request).await?.expect("adding entries")?;
    Ok(added.ids)
}
