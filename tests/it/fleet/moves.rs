//! Holds, moves and drains: requests wait and do not fail, nothing that was acknowledged is lost, nobody
//! writes to what is left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use contract::TenantId;
use futures::FutureExt as _;
use futures::future::join_all;
use serde_json::{Value, json};
use world::{
    Answer, Fault, Faults, Mode, OperationKind, Postgres, Speaker, Step, TenantHandle, World,
    WorldOptions, until,
};

use super::harness::{self, Case, operation_of, reaches};
use crate::support::entry;

mod slots;

/// A case of every kind of this theme.
pub(super) fn cases() -> Vec<Case> {
    vec![moving(), replicating(), draining()]
}

fn moving() -> Case {
    Case {
        kind: OperationKind::Move,
        steps: &[
            Step::Target,
            Step::Hold,
            Step::Wall,
            Step::Copy,
            Step::Compare,
            Step::Switch,
            Step::Leave,
        ],
        point_of_no_return: Step::Switch,
        prepare: |world| prepared(world).boxed(),
        begin: |operator, tenant| begun(operator, tenant, "dump").boxed(),
        after_done: |world, tenant| moved(world, tenant).boxed(),
        after_undone: |world, tenant| stayed(world, tenant).boxed(),
    }
}

/// What replication does otherwise; the rest is as in [`moving`].
fn replicating() -> Case {
    Case {
        steps: &[
            Step::Slot,
            Step::Snapshot,
            Step::Follow,
            Step::CatchUp,
            Step::Sequences,
            Step::Switch,
            Step::Leave,
        ],
        begin: |operator, tenant| begun(operator, tenant, "replicate").boxed(),
        after_done: |world, tenant| {
            async move {
                moved(world, tenant).await;
                nothing_is_followed(world, tenant.id()).await;
            }
            .boxed()
        },
        after_undone: |world, tenant| {
            async move {
                stayed(world, tenant).await;
                nothing_is_followed(world, tenant.id()).await;
            }
            .boxed()
        },
        ..moving()
    }
}

/// No slot, no publication, no schema of ours is left.
async fn nothing_is_followed(world: &World, tenant: &TenantId) {
    let (here, other) = servers(world, tenant).await;
    for server in [here, other] {
        let slots = "select count(*) from pg_replication_slots";
        assert_eq!(server.number("postgres", slots).await, 0);
    }
    let left = "select (select count(*) from pg_publication)
        + (select count(*) from pg_namespace where nspname = 'tn_move')";
    assert_eq!(here.number(tenant.as_str(), left).await, 0);
}

fn draining() -> Case {
    Case {
        kind: OperationKind::Drain,
        steps: OperationKind::Drain.steps(),
        point_of_no_return: Step::Mark,
        prepare: |world| prepared(world).boxed(),
        begin: |operator, tenant| {
            async move {
                let cluster = cluster_of(operator, tenant.id()).await;
                operator
                    .post(&format!("/v1/clusters/{cluster}/drain"), json!({}))
                    .await
            }
            .boxed()
        },
        after_done: |world, tenant| {
            async move {
                let draining = draining_clusters(world).await;
                assert_eq!(draining.len(), 1);
                assert_ne!(
                    draining[0],
                    cluster_of(&world.operator(), tenant.id()).await
                );
                use_again(world, &draining[0]).await;
                moved(world, tenant).await;
            }
            .boxed()
        },
        after_undone: |world, tenant| {
            async move {
                assert!(draining_clusters(world).await.is_empty());
                stayed(world, tenant).await;
            }
            .boxed()
        },
    }
}

async fn prepared(world: &World) -> TenantHandle {
    world.second_cluster().await;
    let tenant = world.tenant("mover").await;
    tenant
        .owner()
        .post("/v1/entries", entry("before"))
        .await
        .expect(201);
    tenant
}

async fn begun(operator: &Speaker, tenant: &TenantHandle, variant: &str) -> Answer {
    let path = format!("/v1/tenants/{}/move", tenant.id());
    operator.post(&path, json!({ "variant": variant })).await
}

/// Moves a tenant and gives the operation.
async fn move_to(world: &World, tenant: &TenantHandle, to: &str, variant: &str) -> Value {
    let path = format!("/v1/tenants/{}/move", tenant.id());
    let operator = world.operator();
    let answer = operator
        .post(&path, json!({ "to": to, "variant": variant }))
        .await;
    let id = operation_of(&answer);
    reaches(world, &id, "done", "the move").await;
    operator
        .get(&format!("/v1/operations/{id}"))
        .await
        .expect(200)
        .json()
}

async fn cluster_of(operator: &Speaker, tenant: &TenantId) -> String {
    let answer = operator
        .get(&format!("/v1/tenants/{tenant}"))
        .await
        .expect(200);
    answer.json()["cluster"]
        .as_str()
        .expect("a cluster")
        .to_owned()
}

async fn draining_clusters(world: &World) -> Vec<String> {
    let sql = "select name from registry.cluster where status = 'draining'";
    world.postgres().texts("registry", sql).await
}

async fn use_again(world: &World, cluster: &str) {
    let operator = world.operator();
    let path = format!("/v1/clusters/{cluster}");
    operator
        .patch(&path, json!({ "status": "active" }))
        .await
        .expect(200);
}

/// The server of a tenant's cluster, and that of the other one.
async fn servers<'a>(world: &'a World, tenant: &TenantId) -> (&'a Postgres, &'a Postgres) {
    let second = world.second_cluster().await;
    match cluster_of(&world.operator(), tenant).await.as_str() {
        "main" => (world.postgres(), second.postgres()),
        _ => (second.postgres(), world.postgres()),
    }
}

async fn works_with_all_rows(tenant: &TenantHandle) {
    let entries = tenant
        .owner()
        .get("/v1/entries?limit=100")
        .await
        .expect(200)
        .json();
    // The oldest comes last; one that was undone before has written too.
    let oldest = entries["data"].as_array().unwrap().last();
    assert_eq!(oldest.unwrap()["title"], "before", "{entries}");
    tenant
        .owner()
        .post("/v1/entries", entry("after"))
        .await
        .expect(201);
}

async fn facts(world: &World, tenant: &TenantId) -> String {
    let sql = format!(
        "select copy || ' ' || coalesce(held_until::text, 'free') from registry.tenant where id = '{tenant}'"
    );
    world.postgres().texts("registry", &sql).await.remove(0)
}

/// It is on the other cluster, and what it left there cannot be used.
async fn moved(world: &World, tenant: &TenantHandle) {
    works_with_all_rows(tenant).await;
    assert_eq!(facts(world, tenant.id()).await, "2 free");
    let (new, old) = servers(world, tenant.id()).await;
    let id = tenant.id();
    until("the old copy is put away", || async {
        let names = old.names().await;
        names.contains(&format!("database old:{id}:1"))
            && !names.contains(&format!("database {id}"))
            && !names.contains(&format!("role {id}"))
    })
    .await;
    assert!(!new.names().await.contains(&format!("database side:{id}:2")));
    let rights = format!(
        "select count(*) from pg_roles role where rolname = 'old:{id}:1' and (rolcanlogin
             or exists (select from pg_auth_members where member = role.oid)
             or has_database_privilege(role.oid, 'old:{id}:1', 'connect'))"
    );
    assert_eq!(old.number("postgres", &rights).await, 0);
}

/// Everything is as before.
async fn stayed(world: &World, tenant: &TenantHandle) {
    works_with_all_rows(tenant).await;
    has_stayed(world, tenant).await;
}

async fn has_stayed(world: &World, tenant: &TenantHandle) {
    assert_eq!(facts(world, tenant.id()).await, "1 free");
    let (here, other) = servers(world, tenant.id()).await;
    let id = tenant.id().to_string();
    let there = other.names().await;
    assert!(!there.iter().any(|name| name.contains(&id)), "{there:?}");
    let wall = format!(
        "select count(*) from pg_auth_members where pg_get_userbyid(member) = '{id}'
             and pg_get_userbyid(roleid) = 'tn_data'"
    );
    assert_eq!(here.number("postgres", &wall).await, 1);
}

/// Writers that go on until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: Vec<tokio::task::JoinHandle<(Vec<String>, Duration)>>,
}

impl Load {
    /// Writes from several people at every replica.
    fn start(speakers: Vec<Speaker>) -> Self {
        let (stop, acknowledged) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let writers = speakers.into_iter().map(|speaker| {
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                let (mut failed, mut slowest) = (Vec::new(), Duration::ZERO);
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let answer = speaker.post("/v1/entries", entry("load")).await;
                    slowest = slowest.max(began.elapsed());
                    if answer.status() == 201 {
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    } else {
                        failed.push(answer.to_string());
                    }
                }
                (failed, slowest)
            })
        });
        Self {
            writers: writers.collect(),
            stop,
            acknowledged,
        }
    }

    async fn some(&self, more: u64) {
        let wanted = self.acknowledged.load(Ordering::Relaxed) + more;
        until("the load goes on", || async {
            self.acknowledged.load(Ordering::Relaxed) >= wanted
        })
        .await;
    }

    /// Stops; gives how many writes were acknowledged, what failed, and the longest wait.
    async fn end(self) -> (i64, Vec<String>, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = join_all(self.writers).await;
        let (mut failed, mut slowest) = (Vec::new(), Duration::ZERO);
        for writer in ended {
            let (of_it, longest) = writer.expect("no panic");
            failed.extend(of_it);
            slowest = slowest.max(longest);
        }
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        (
            i64::try_from(acknowledged).expect("not so many"),
            failed,
            slowest,
        )
    }
}

/// Lifts the rate limit of a tenant: a load is to be as fast as it can.
pub(super) async fn unlimited(world: &World, tenant: &TenantHandle) {
    let path = format!("/v1/tenants/{}", tenant.id());
    let operator = world.operator();
    let shown = operator.get(&path).await.expect(200);
    let body = json!({ "overrides": { "limits": { "requests_per_second": null } } });
    let patch = operator.request(http::Method::PATCH, &path).json(body);
    patch
        .header("if-match", shown.header("etag"))
        .send()
        .await
        .expect(200);
    until("the limit is lifted", || async {
        let sql = "select count(*) from registry.replica, registry.feed
                   where live_until > now() and seen_change < last_number";
        world.postgres().number("registry", sql).await == 0
    })
    .await;
}

fn two_replicas() -> WorldOptions {
    WorldOptions::default().app_replicas(2).stock_level(1)
}

fn writers(world: &World, tenant: &TenantHandle) -> Vec<Speaker> {
    let second = tenant.owner().at(&world.app_url(1));
    vec![tenant.owner(), tenant.owner(), second.clone(), second]
}

#[tokio::test]
async fn a_dump_under_load_fails_no_request_and_loses_no_acknowledged_write() {
    under_load("dump").await;
}

#[tokio::test]
async fn replication_under_load_fails_no_request_and_loses_no_acknowledged_write() {
    under_load("replicate").await;
}

/// Requests wait and none fails, and every write that was acknowledged is there in the end.
async fn under_load(variant: &str) {
    let world = World::with(two_replicas()).await;
    let second = world.second_cluster().await;
    let (acme, other) = tokio::join!(world.tenant("acme"), world.tenant("other"));
    let (home, away) = match cluster_of(&world.operator(), acme.id()).await.as_str() {
        "main" => ("main", "second"),
        _ => ("second", "main"),
    };
    unlimited(&world, &acme).await;
    unlimited(&world, &other).await;
    let load = Load::start(writers(&world, &acme));
    let neighbour = Load::start(vec![other.owner()]);
    load.some(20).await;
    let there = move_to(&world, &acme, away, variant).await;
    load.some(20).await;
    let back = move_to(&world, &acme, home, variant).await;
    load.some(20).await;
    let (acknowledged, failed, slowest) = load.end().await;
    assert_eq!(failed, Vec::<String>::new());
    assert!(
        slowest < Duration::from_secs(5),
        "{slowest:?}: {there} {back}"
    );
    let (_, failed, _) = neighbour.end().await;
    assert_eq!(failed, Vec::<String>::new());
    assert!(there["result"]["held_ms"].as_u64().is_some(), "{there}");
    let server = match home {
        "main" => world.postgres(),
        _ => second.postgres(),
    };
    let kept = server
        .number(acme.id().as_str(), "select count(*) from entries.entry")
        .await;
    assert_eq!(kept, acknowledged);
    assert_eq!(facts(&world, acme.id()).await, "3 free");
}

#[tokio::test]
async fn a_stale_replica_cannot_write_to_the_old_copy() {
    let world = World::with(two_replicas()).await;
    world.second_cluster().await;
    let acme = world.tenant("acme").await;
    acme.owner()
        .post("/v1/entries", entry("before"))
        .await
        .expect(201);
    let (_, away) = match cluster_of(&world.operator(), acme.id()).await.as_str() {
        "main" => ("main", "second"),
        _ => ("second", "main"),
    };
    // No replica hears anything from here on, and each has a connection to the source.
    world.platform_link().set(Mode::Reset);
    move_to(&world, &acme, away, "dump").await;
    let owner = acme.owner();
    for answer in join_all((0..4).map(|_| owner.post("/v1/entries", entry("late")))).await {
        assert_eq!(answer.status(), 503, "{answer}");
    }
    world.platform_link().set(Mode::Pass);
    until("the replica finds the tenant", || async {
        acme.owner()
            .post("/v1/entries", entry("after"))
            .await
            .status()
            == 201
    })
    .await;
    let (new, old) = servers(&world, acme.id()).await;
    let left = format!("old:{}:1", acme.id());
    let count = "select count(*) from entries.entry";
    assert_eq!(old.number(&left, count).await, 1);
    assert_eq!(new.number(acme.id().as_str(), count).await, 2);
}

/// Holds a tenant as an operation does, or lets it go on.
async fn set_hold(world: &World, tenant: &TenantId, until: &str) {
    let sql = format!(
        "begin;
         update registry.tenant
             set held_until = {until}, generation = generation + 1 where id = '{tenant}';
         with feed as (
             update registry.feed set last_number = last_number + 1 returning last_number
         )
         insert into registry.change (number, tenant_id, generation)
             select feed.last_number, tenant.id, tenant.generation
             from feed, registry.tenant where tenant.id = '{tenant}';
         notify registry_change;
         commit"
    );
    world.postgres().run("registry", &sql).await;
}

async fn sessions_of(world: &World, tenant: &TenantId) -> i64 {
    let sql = format!("select count(*) from pg_stat_activity where usename = '{tenant}'");
    world.postgres().number("postgres", &sql).await
}

#[tokio::test]
async fn requests_of_a_held_tenant_wait_without_a_connection_and_go_on_at_its_end() {
    let world = World::with(two_replicas()).await;
    let acme = world.tenant("acme").await;
    acme.owner().get("/v1/me").await.expect(200);
    assert!(sessions_of(&world, acme.id()).await > 0);
    set_hold(&world, acme.id(), "now() + interval '60 s'").await;
    until("no connection is left", || async {
        sessions_of(&world, acme.id()).await == 0
    })
    .await;
    let second = acme.owner().at(&world.app_url(1));
    let waiting = [acme.owner(), second].map(|speaker| {
        tokio::spawn(async move { join_all((0..50).map(|_| speaker.get("/v1/me"))).await })
    });
    until("requests wait", || async {
        let metrics = world
            .anonymous()
            .at(&world.app_internal_url(0))
            .get("/metrics")
            .await;
        metrics.text().contains("tenant_held_requests")
    })
    .await;
    assert_eq!(sessions_of(&world, acme.id()).await, 0);
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    set_hold(&world, acme.id(), "null").await;
    for waiting in waiting {
        for answer in waiting.await.expect("no panic") {
            answer.expect(200);
        }
    }
}

#[tokio::test]
async fn past_the_end_of_a_hold_nobody_waits_and_its_end_is_found_without_news() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let acme = world.tenant("acme").await;
    set_hold(&world, acme.id(), "now() + interval '1 s'").await;
    until("the hold is over", || async {
        let answer = acme.owner().get("/v1/me").await;
        answer.status() == 503 && answer.code() == contract::Code::TenantHeld
    })
    .await;
    let sql = format!(
        "update registry.tenant set held_until = null, generation = generation + 1 where id = '{}'",
        acme.id()
    );
    world.postgres().run("registry", &sql).await;
    until("it is served", || async {
        acme.owner().get("/v1/me").await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_region_is_never_left_and_a_cluster_that_lets_nothing_in_is_named() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let _abroad = world.cluster_in("abroad", "there").await;
    let acme = world.tenant("acme").await;
    let (path, operator) = (format!("/v1/tenants/{}/move", acme.id()), world.operator());
    let asked = |to: Value| operator.post(&path, json!({ "to": to })).boxed();
    asked(json!("abroad"))
        .await
        .refused(contract::Code::RegionLeft);
    asked(json!("nowhere"))
        .await
        .refused(contract::Code::ValidationFailed);
    asked(json!("main")).await.refused(contract::Code::Conflict);
    asked(Value::Null)
        .await
        .refused(contract::Code::ClusterFull);
    world.second_cluster().await;
    let second = "/v1/clusters/second";
    for (patch, allowed) in [
        (json!({ "status": "full" }), false),
        (
            json!({ "status": "active", "max_databases": 1, "max_disk_bytes": 10 }),
            false,
        ),
        (
            json!({ "max_disk_bytes": null, "tiers": ["enterprise"] }),
            false,
        ),
        (json!({ "tiers": null }), true),
    ] {
        operator.patch(second, &patch).await.expect(200);
        if !allowed {
            let refused = asked(json!("second"))
                .await
                .refused(contract::Code::ClusterFull);
            assert!(
                refused
                    .detail
                    .is_some_and(|detail| detail.contains("second")),
                "{patch}"
            );
        }
    }
    let id = operation_of(&asked(json!("second")).await);
    reaches(&world, &id, "done", "the move").await;
    works(&acme).await;
    // Whoever is refused a place is told the rule, and not to wait where waiting does not help.
    operator
        .patch("/v1/clusters/second", json!({ "tiers": ["enterprise"] }))
        .await
        .expect(200);
    world.tenant("stays").await;
    for (labels, patch, words, code) in [
        (
            json!({ "disk": "nvme" }),
            json!({}),
            "disk=nvme",
            contract::Code::ClusterFull,
        ),
        (
            json!({}),
            json!({ "tiers": ["enterprise"] }),
            "kept for other tiers",
            contract::Code::ClusterFull,
        ),
        (
            json!({}),
            json!({ "tiers": null, "max_databases": 1 }),
            "full",
            contract::Code::Overloaded,
        ),
    ] {
        operator
            .patch("/v1/clusters/main", &patch)
            .await
            .expect(200);
        let mut wanted = crate::support::signup("nowhere");
        wanted["labels"] = labels;
        wanted["region"] = json!("here");
        let answer = operator.post("/v1/tenants", &wanted).await;
        assert!(answer.status() >= 400, "{patch}: {answer}");
        let detail = answer.refused(code).detail.unwrap();
        assert!(detail.contains(words), "{patch}: {detail}");
    }
}

async fn works(tenant: &TenantHandle) {
    tenant
        .owner()
        .post("/v1/entries", entry("after"))
        .await
        .expect(201);
}

#[tokio::test]
async fn a_failed_move_is_undone_and_no_request_fails() {
    let world = World::with(two_replicas()).await;
    world.second_cluster().await;
    let acme = prepared(&world).await;
    unlimited(&world, &acme).await;
    let load = Load::start(writers(&world, &acme));
    load.some(10).await;
    let faults = Faults::none().with(OperationKind::Move, Step::Switch, Fault::FailAfterAct);
    let replica = world.platform_replica(faults).await;
    let id = operation_of(&begun(&world.operator().at(&replica.url()), &acme, "dump").await);
    reaches(&world, &id, "undone", "the move").await;
    load.some(10).await;
    let (_, failed, _) = load.end().await;
    assert_eq!(failed, Vec::<String>::new());
    has_stayed(&world, &acme).await;
}

#[tokio::test]
async fn a_suspended_tenant_is_moved_and_stays_suspended() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    world.second_cluster().await;
    let acme = world.tenant("acme").await;
    world.set_status(acme.id(), "suspended").await;
    let id = operation_of(&begun(&world.operator(), &acme, "dump").await);
    reaches(&world, &id, "done", "the move").await;
    acme.owner()
        .get("/v1/me")
        .await
        .refused(contract::Code::TenantSuspended);
    let (new, _) = servers(&world, acme.id()).await;
    let wall = format!(
        "select rolcanlogin::int::bigint from pg_roles where rolname = '{}'",
        acme.id()
    );
    assert_eq!(new.number("postgres", &wall).await, 0);
}

#[tokio::test]
async fn drain_moves_all() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let tenants = join_all((0..5).map(|_| world.tenant("leaver"))).await;
    let deleted = world.tenant("zzz-deleted").await;
    world.second_cluster().await;
    let operator = world.operator();
    let path = format!("/v1/tenants/{0}?confirm={0}", deleted.id());
    operator.delete(&path).await.expect(200);
    let answer = operator
        .post("/v1/clusters/main/drain", json!({ "at_once": 3 }))
        .await;
    let id = operation_of(&answer);
    reaches(&world, &id, "done", "the drain").await;
    let operation = operator
        .get(&format!("/v1/operations/{id}"))
        .await
        .expect(200)
        .json();
    let mut result = operation["result"].clone();
    let kept = result.as_object_mut().unwrap().remove("kept_databases");
    let expected = json!({
        "tenants": 5, "moved": 5, "left": 0, "remaining": [], "kept": 6, "note": null,
    });
    assert_eq!(result, expected);
    // What nobody is served from stays for its time, and is named.
    let kept = kept.unwrap();
    let kept = kept.as_array().unwrap();
    let named = |database: &str| {
        let found = kept.iter().find(|one| one["database"] == database);
        let found = found.unwrap_or_else(|| panic!("{database} is not in {kept:#?}"));
        assert!(found["until"].is_string(), "{found}");
        found["why"].clone()
    };
    assert_eq!(named(&format!("deleted:{}:1", deleted.id())), "deleted");
    for tenant in &tenants {
        assert_eq!(named(&format!("old:{}:1", tenant.id())), "copy");
    }
    let children = operator
        .get(&format!("/v1/operations?parent={id}"))
        .await
        .expect(200)
        .json();
    assert_eq!(
        children["data"].as_array().map(Vec::len),
        Some(5),
        "{children}"
    );
    for tenant in &tenants {
        assert_eq!(cluster_of(&operator, tenant.id()).await, "second");
        works(tenant).await;
    }
    let shown = operator.get("/v1/clusters/main").await.expect(200).json();
    assert_eq!(
        (&shown["status"], &shown["tenants"]),
        (&json!("draining"), &json!(0))
    );
}

/// Begins a drain of the first cluster and gives its id.
async fn drain(world: &World) -> String {
    let body = json!({ "at_once": 1 });
    operation_of(&world.operator().post("/v1/clusters/main/drain", body).await)
}

/// What a drain that is done says.
async fn drained(world: &World, id: &str) -> Value {
    reaches(world, id, "done", "the drain").await;
    let path = format!("/v1/operations/{id}");
    world.operator().get(&path).await.expect(200).json()["result"].clone()
}

#[tokio::test]
async fn a_drain_ends_with_those_left_that_no_cluster_takes_and_moves_the_others() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let stays = world.tenant("aaa").await;
    let leaves = world.tenant("bbb").await;
    let operator = world.operator();
    let result = drained(&world, &drain(&world).await).await;
    assert_eq!((&result["left"], &result["moved"]), (&json!(2), &json!(0)));
    let reason = "There is no other cluster in the region \"here\".";
    let remaining = [&stays, &leaves].map(|t| json!({ "tenant": t.id(), "reason": reason }));
    assert_eq!(result["remaining"], json!(remaining));
    world.second_cluster().await;
    let premium = json!({ "tiers": ["premium"] });
    operator
        .patch("/v1/clusters/second", &premium)
        .await
        .expect(200);
    let sql = format!(
        "update registry.tenant set tier = 'premium' where id = '{}'",
        leaves.id()
    );
    world.postgres().run("registry", &sql).await;
    let result = drained(&world, &drain(&world).await).await;
    assert_eq!((&result["left"], &result["moved"]), (&json!(1), &json!(1)));
    let left = &result["remaining"][0];
    assert_eq!(left["tenant"], json!(stays.id()), "{result:#}");
    let reason = left["reason"].as_str().unwrap();
    assert!(
        reason.contains("kept for other tiers than \"standard\""),
        "{reason}"
    );
    assert_eq!(cluster_of(&operator, leaves.id()).await, "second");
    works(&leaves).await;
    works(&stays).await;
    let every = json!({ "tiers": null });
    operator
        .patch("/v1/clusters/second", &every)
        .await
        .expect(200);
    let result = drained(&world, &drain(&world).await).await;
    assert_eq!((&result["left"], &result["moved"]), (&json!(0), &json!(1)));
    assert_eq!(cluster_of(&operator, stays.id()).await, "second");
}

#[tokio::test]
async fn a_drain_tries_those_that_no_cluster_took_once_more_at_its_end() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let refused = world.tenant("aaa").await;
    let busy = world.tenant("bbb").await;
    world.second_cluster().await;
    let operator = world.operator();
    let tiers = async |tiers: Value| {
        let patch = json!({ "tiers": tiers });
        operator
            .patch("/v1/clusters/second", patch)
            .await
            .expect(200);
    };
    tiers(json!(["premium"])).await;
    // As if somebody were making it: the drain waits for it.
    world.set_status(busy.id(), "provisioning").await;
    let id = drain(&world).await;
    let path = format!("/v1/operations/{id}");
    until("the first one was refused", || async {
        let operation = operator.get(&path).await.expect(200).json();
        let note = operation["progress"]["note"].as_str().unwrap_or_default();
        note.starts_with("No other cluster")
    })
    .await;
    tiers(Value::Null).await;
    world.set_status(busy.id(), "active").await;
    let result = drained(&world, &id).await;
    assert_eq!((&result["left"], &result["moved"]), (&json!(0), &json!(2)));
    assert_eq!(cluster_of(&operator, refused.id()).await, "second");
}

#[tokio::test]
async fn a_drain_that_waits_is_cancelled_and_names_what_is_left() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let acme = world.tenant("acme").await;
    world.second_cluster().await;
    // As if somebody were making it all the time.
    world.set_status(acme.id(), "provisioning").await;
    let id = drain(&world).await;
    let path = format!("/v1/operations/{id}");
    until("it waits for the tenant", || async {
        let operation = world.operator().get(&path).await.expect(200).json();
        operation["progress"]["total"] == 1
    })
    .await;
    let cancel = format!("{path}/cancel");
    world.operator().post(&cancel, json!({})).await.expect(202);
    let result = drained(&world, &id).await;
    assert_eq!((&result["left"], &result["moved"]), (&json!(1), &json!(0)));
    assert_eq!(result["remaining"][0]["tenant"], json!(acme.id()));
    let note = result["note"].as_str().expect("it says so");
    assert!(note.starts_with("It was cancelled"), "{note}");
}

#[tokio::test]
async fn every_step_of_a_move_fails() {
    harness::every_step_fails(&World::with(harness::patient()).await, &moving()).await;
}

#[tokio::test]
async fn every_step_of_a_move_runs_twice() {
    harness::every_step_twice(&World::with(harness::patient()).await, &moving()).await;
}

#[tokio::test]
async fn a_move_is_killed_at_every_instruction() {
    harness::every_instruction_killed(&World::with(harness::impatient()).await, &moving()).await;
}

#[tokio::test]
async fn the_undo_of_a_move_is_stuck_and_tried_again() {
    harness::undo_stuck_and_retried(&World::with(harness::patient()).await, &moving()).await;
}

#[tokio::test]
async fn every_step_of_a_drain_fails_runs_twice_and_is_killed() {
    let world = World::with(harness::impatient()).await;
    harness::every_step_twice(&world, &draining()).await;
    harness::every_instruction_killed(&world, &draining()).await;
    harness::every_step_fails(&world, &draining()).await;
}

#[tokio::test]
async fn every_step_of_a_move_by_replication_fails_and_runs_twice() {
    let world = World::with(harness::patient()).await;
    harness::every_step_fails(&world, &replicating()).await;
    harness::every_step_twice(&world, &replicating()).await;
}

#[tokio::test]
async fn a_move_by_replication_is_killed_at_every_instruction() {
    let world = World::with(harness::impatient()).await;
    harness::every_instruction_killed(&world, &replicating()).await;
}
