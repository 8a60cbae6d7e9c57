//! What a tenant costs app-service that was used once and is idle now.
//!
//! Deliberately many ids on one database, since the memory of the replica does not depend on where
//! a tenant's rows are: the rows of the registry and the roles are made by SQL, each with a sealed
//! password of its own, and [`crate::link`] gives their routes the name of the shared database. All
//! else is as ever: each has logged in, has a verified token, and has read an entry over a
//! connection of its own role. Invariant: memory is looked at with no connection open.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use adapters::secret_store::SecretSubject;
use anyhow::{Context as _, ensure};
use contract::Secret;
use futures::{StreamExt, TryStreamExt, stream};

use super::Row;
use crate::client::{Client, Prepared};
use crate::link::{self, Feed};
use crate::report::{Figure, Goal, Title};
use crate::stage::{BUDGET, Stage, Tenant, log_in, run};

const AT_ONCE: usize = 8;
const SETTLE: Duration = Duration::from_secs(3);

pub(super) async fn measure(stage: &mut Stage) -> anyhow::Result<Figure> {
    let (first, last) = stage.options.sized((1000, 4000), (1000, 11_000));
    stage.app(BUDGET, &[]).await?;
    let shared = stage.tenants(1).await?.remove(0);
    let slug = slug_of(stage, &shared).await?;
    let password = stage.logins(&[&shared.id]).await?.remove(0).password;
    make_ids(stage, &shared, &Secret::new(password), last).await?;
    let link = link::start(stage.platform_internal()?, &shared.id, Feed::Passes).await?;
    // Connections are closed soon, so that "idle" need not be waited for.
    stage
        .app_behind(link, 60, &[("connections.idle", "1s")])
        .await?;

    use_once(stage, &shared, &slug, 0..first).await?;
    let before = settled(stage).await?;
    use_once(stage, &shared, &slug, first..last).await?;
    let after = settled(stage).await?;
    let slope = (after as f64 - before as f64) / (last - first) as f64;
    let notes = vec![format!(
        "{} MiB with {first} tenants, {} MiB with {last}; many ids on one database",
        before / 1024,
        after / 1024
    )];
    stage.app(BUDGET, &[]).await?;
    let title = Title {
        row: Row::IdleMemory.name(),
        measure: "memory of app-service per idle tenant",
        compared_with: "",
        unit: "KiB",
        goal: Goal::OursAtMost(16.0),
    };
    Ok(Figure::alone(title, &[slope], 0, notes))
}

fn id(number: usize) -> String {
    format!("{}{number:05}", link::SHARING)
}

async fn slug_of(stage: &Stage, tenant: &Tenant) -> anyhow::Result<String> {
    Ok(
        sqlx::query_scalar("select slug from registry.tenant where id = $1")
            .bind(&tenant.id)
            .fetch_one(&mut stage.registry().await?)
            .await?,
    )
}

/// Rows in the registry like the shared tenant's, and roles with its verifier.
async fn make_ids(
    stage: &Stage,
    shared: &Tenant,
    password: &Secret,
    count: usize,
) -> anyhow::Result<()> {
    let (mut ids, mut boxes) = (Vec::new(), Vec::new());
    for number in 0..count {
        let id = id(number);
        let subject = SecretSubject::Tenant(id.parse()?);
        boxes.push(stage.secrets().put(&subject, "bench", password).await?.0);
        ids.push(id);
    }
    sqlx::query(
        "insert into registry.tenant (id, slug, company, contact_email, status, tier, region,
             time_zone, cluster, copy, credentials, schema_versions, activated_at)
         select new.id, replace(substr(new.id, 3), '_', '-'), company, contact_email, status, tier,
             region, time_zone, cluster, copy, array[new.box], schema_versions, now()
         from registry.tenant, unnest($2::text[], $3::text[]) as new (id, box)
         where tenant.id = $1
         on conflict do nothing",
    )
    .bind(&shared.id)
    .bind(&ids)
    .bind(&boxes)
    .execute(&mut stage.registry().await?)
    .await?;
    let mut admin = stage.connect("postgres").await?;
    run(
        &mut admin,
        format!("grant connect on database {} to tn_data", shared.id),
    )
    .await?;
    run(
        &mut admin,
        format!(
            "do $$
             declare verifier text := (select rolpassword from pg_authid where rolname = '{}');
             begin
                 for number in 0..{} loop
                     execute format('create role %I login in role tn_data password %L',
                         '{}' || lpad(number::text, 5, '0'), verifier);
                 end loop;
             end $$",
            shared.id,
            count.saturating_sub(1),
            link::SHARING
        ),
    )
    .await
}

/// Each tenant logs in and reads an entry.
async fn use_once(
    stage: &Stage,
    shared: &Tenant,
    slug: &str,
    numbers: Range<usize>,
) -> anyhow::Result<()> {
    let address: SocketAddr = stage.app_address()?;
    let entry = shared.entries.first().context("an entry")?;
    let path = format!("/v1/entries/{entry}");
    stream::iter(numbers)
        .map(|number| {
            let path = path.clone();
            async move {
                let id = id(number);
                let mut client = Client::new(address);
                let token = log_in(&mut client, &id, slug).await?;
                let request = Prepared::get(&path)?.tenant(&id)?.bearer(&token)?;
                let answer = client.send(&request).await?;
                ensure!(
                    answer.status.is_success(),
                    "a first read: {}",
                    answer.words()
                );
                anyhow::Ok(())
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Resident memory of app-service in KiB, once its connections are closed.
async fn settled(stage: &Stage) -> anyhow::Result<u64> {
    stage.no_sessions().await?;
    tokio::time::sleep(SETTLE).await;
    stage.app_memory_kib()
}
