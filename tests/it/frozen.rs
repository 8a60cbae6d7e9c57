//! Replicas of the platform that stand still, or are cut off, where others need what they hold.
//!
//! Deliberately with locks and links of the test, so that a replica stands still at a certain statement.
//! Invariant: nobody waits for it longer than a transaction may be silent, and whoever waits leaves the
//! work its connections.

use std::collections::BTreeMap;

use contract::Code;
use contract::internal::{Heartbeat, ReplicaPhase};
use futures::future::join_all;
use serde_json::json;
use world::{Mode, PlatformReplica, Speaker, World, until};

use crate::support::{entry, signup, unique};

/// The lock of the shares.
const SHARES: &str = "pg_advisory_xact_lock(x'736861726573'::bigint)";

/// How many sessions of the registry wait for a lock with a statement like this.
async fn waiting(world: &World, like: &str) -> i64 {
    let sql = format!(
        "select count(*) from pg_stat_activity
         where datname = 'registry' and wait_event_type = 'Lock' and query ilike '%{like}%'"
    );
    world.postgres().number("postgres", &sql).await
}

/// Waits until a session that ran a statement like this says nothing, in its transaction.
async fn silent(world: &World, like: &str) {
    let sql = format!(
        "select count(*) from pg_stat_activity
         where datname = 'registry' and state = 'idle in transaction' and query ilike '%{like}%'"
    );
    until("it stands still in its transaction", || async {
        world.postgres().number("postgres", &sql).await == 1
    })
    .await;
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        replica: contract::ReplicaId::new(),
        service: "elsewhere".parse().unwrap(),
        internal_url: "http://127.0.0.1:9".to_owned(),
        owns: Vec::new(),
        shares: BTreeMap::new(),
        epoch: None,
        seen_change: 0,
        phase: ReplicaPhase::Serving,
    }
}

async fn beat(world: &World) -> world::Answer {
    world
        .service()
        .post("/internal/heartbeat", heartbeat())
        .await
}

fn there(speaker: Speaker, replica: &PlatformReplica) -> Speaker {
    speaker.at(&replica.internal_url())
}

#[tokio::test]
async fn a_replica_cut_off_with_the_lock_of_the_shares_holds_it_for_seconds() {
    let world = World::start().await;
    let (replica, link) = world.platform_replica_over_link().await;
    world.platform_link().set(Mode::Reset);
    let table = "registry.replica_share in share mode";
    let held = world.postgres().lock("registry", table).await;
    let service = there(world.service(), &replica);
    let speaking =
        tokio::spawn(async move { service.post("/internal/heartbeat", heartbeat()).await });
    until("it has the lock, and waits for the table", || async {
        waiting(&world, "insert into registry.replica_share").await == 1
    })
    .await;
    link.set(Mode::Blackhole);
    drop(held);
    silent(&world, "registry.replica_share").await;
    let refused = beat(&world).await.expect(503);
    refused.refused(Code::Overloaded);
    assert!(!refused.header("retry-after").is_empty());
    until("the lock is free again", || async {
        beat(&world).await.status() == 200
    })
    .await;
    link.set(Mode::Pass);
    speaking.abort();
}

#[tokio::test]
async fn a_replica_cut_off_with_the_counter_of_changes_holds_it_for_seconds() {
    let world = World::start().await;
    let acme = world.tenant("counted").await;
    let (replica, link) = world.platform_replica_over_link().await;
    // The number that comes next, not committed.
    let taken = format!(
        "insert into registry.change (number, tenant_id, generation)
         select last_number + 1, '{}', 1 from registry.feed",
        acme.id()
    );
    let held = world.postgres().begin("registry", &taken).await;
    let operator = world.operator().at(&replica.url());
    let body = json!({ "title": "Another title" });
    let changing = tokio::spawn(async move { operator.patch("/v1/tiers/standard", body).await });
    until("it has the counter, and waits for the number", || async {
        waiting(&world, "insert into registry.change").await == 1
    })
    .await;
    link.set(Mode::Blackhole);
    drop(held);
    silent(&world, "registry.change").await;
    let mut another = signup(&unique("counting"));
    another["tier"] = json!("premium");
    world.sign_up(another).await;
    link.set(Mode::Pass);
    changing.abort();
}

#[tokio::test]
async fn heartbeats_that_wait_for_the_shares_live_and_leave_the_work_its_connections() {
    let world = World::start().await;
    let acme = world.tenant("routed").await;
    let held = world
        .postgres()
        .begin("registry", &format!("select {SHARES}"))
        .await;
    let speaking = world.clone();
    let beats = tokio::spawn(async move {
        // Twice as many as there are connections.
        join_all((0..40).map(|_| beat(&speaking))).await
    });
    let living = "select count(*) from registry.replica
                  where service = 'elsewhere' and live_until > now()";
    until("all of them live", || async {
        world.postgres().number("registry", living).await == 40
    })
    .await;
    assert!(waiting(&world, "pg_advisory_xact_lock").await <= 1);
    let path = format!("/internal/tenants/{}/db-info", acme.id());
    world.service().get(&path).await.expect(200);
    for answer in beats.await.unwrap() {
        answer.expect(503).refused(Code::Overloaded);
    }
    world.service().get(&path).await.expect(200);
    drop(held);
    until("shares are given again", || async {
        beat(&world).await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn however_many_ask_whether_it_is_ready_one_connection_looks() {
    let world = World::start().await;
    let acme = world.tenant("asked").await;
    let table = "registry.refinery_schema_history in access exclusive mode";
    let held = world.postgres().lock("registry", table).await;
    let speaking = world.clone();
    let asked = tokio::spawn(async move {
        let asking = (0..60).map(|_| async {
            let speaker = speaking.anonymous().at(&speaking.platform_url());
            speaker.get("/readyz").await
        });
        join_all(asking).await
    });
    until("somebody looks", || async {
        waiting(&world, "refinery_schema_history").await > 0
    })
    .await;
    let path = format!("/internal/tenants/{}/db-info", acme.id());
    for _ in 0..10 {
        world.service().get(&path).await.expect(200);
    }
    assert_eq!(waiting(&world, "refinery_schema_history").await, 1);
    drop(held);
    for answer in asked.await.unwrap() {
        answer.expect(200);
    }
}

#[tokio::test]
async fn servers_are_told_to_notice_soon_that_the_machine_of_a_session_is_gone() {
    let world = World::start().await;
    let acme = world.tenant("alive").await;
    let postgres = world.postgres();
    let said = "current_setting('tcp_keepalives_idle') || ' ' || current_setting('tcp_keepalives_interval')
         || ' ' || current_setting('tcp_keepalives_count') || ' ' || current_setting('tcp_user_timeout')";
    let bounds = "current_setting('lock_timeout') || ' '
         || current_setting('idle_in_transaction_session_timeout')";
    let tell = |table: &str, told: &str| {
        format!(
            "create table public.told (what text);
             grant insert on public.told to public;
             create function public.tell() returns trigger language plpgsql as $$
                 begin insert into public.told values ({told}); return null; end $$;
             create trigger tell after insert or update on {table} for each statement
                 execute function public.tell()"
        )
    };
    // A tenant's session, and the registry's.
    let tenant = tell("entries.entry", said);
    postgres.run(acme.id().as_str(), &tenant).await;
    let registry = tell("registry.change", &format!("{said} || ' ' || {bounds}"));
    postgres.run("registry", &registry).await;
    let owner = acme.owner();
    owner.post("/v1/entries", entry("Told")).await.expect(201);
    let body = json!({ "title": "Told" });
    world
        .operator()
        .patch("/v1/tiers/standard", body)
        .await
        .expect(200);
    let told = "select distinct what from public.told";
    assert_eq!(
        postgres.texts(acme.id().as_str(), told).await,
        ["15 5 3 30000"]
    );
    assert_eq!(
        postgres.texts("registry", told).await,
        ["15 5 3 30000 10s 10s"]
    );
    // One of those with which the platform enters servers.
    let question = json!({
        "sql": format!("select {said} as said"), "filter": { "ids": [acme.id()] }
    });
    let answer = world.operator().post("/v1/query", question).await;
    assert!(answer.text().contains("15 5 3 30000"), "{answer}");
}
