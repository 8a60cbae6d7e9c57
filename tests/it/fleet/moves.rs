//! Moves: the tenant works where it went with all of its rows, or where it was as before; and the loops of
//! faults over every variant.

use std::collections::BTreeMap;

use contract::TenantId;
use futures::FutureExt as _;
use serde_json::{Value, json};
use world::{
    Answer, OperationKind, Postgres, Speaker, Step, TenantHandle, World, WorldOptions, until,
};

use super::harness::{self, Case, operation_of, reaches};
use crate::support::entry;

mod crashes;
mod drains;
mod holds;
mod left;
pub(super) mod load;
mod migrated;
mod slots;

use drains::draining;

fn two_replicas() -> WorldOptions {
    WorldOptions::default().app_replicas(2).stock_level(1)
}

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
                no_number_is_given_twice(world, tenant.id()).await;
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

/// Every sequence is ahead of what it gave where the tenant was: the last of that may not have come along.
async fn no_number_is_given_twice(world: &World, tenant: &TenantId) {
    let (here, other) = servers(world, tenant).await;
    let sequences =
        "select schemaname || '.' || sequencename || ' ' || last_value from pg_sequences
        where last_value is not null order by 1";
    let given = |rows: Vec<String>| -> BTreeMap<String, i64> {
        let pairs = rows.iter().map(|row| row.split_once(' ').unwrap());
        pairs
            .map(|(name, last)| (name.to_owned(), last.parse().unwrap()))
            .collect()
    };
    let before = given(other.texts(&format!("old:{tenant}:1"), sequences).await);
    let now = given(here.texts(tenant.as_str(), sequences).await);
    assert!(!before.is_empty(), "no sequence was used");
    for (name, last) in before {
        assert!(
            now[&name] >= last + 1000,
            "{name}: {last}, then {}",
            now[&name]
        );
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
pub(super) async fn move_to(
    world: &World,
    tenant: &TenantHandle,
    to: &str,
    variant: &str,
) -> Value {
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

/// The server of a tenant's cluster, and that of the other one.
pub(super) async fn servers<'a>(
    world: &'a World,
    tenant: &TenantId,
) -> (&'a Postgres, &'a Postgres) {
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
async fn every_step_of_a_move_fails() {
    harness::every_step_fails(&World::with(harness::patient()).await, &moving()).await;
}

#[tokio::test]
async fn every_step_of_a_move_runs_twice() {
    harness::every_step_twice(&World::with(harness::patient()).await, &moving()).await;
}

#[tokio::test]
async fn a_move_is_killed_at_every_instruction() {
    harness::every_instruction_killed(&World::with(harness::patient()).await, &moving()).await;
}

#[tokio::test]
async fn the_undo_of_a_move_is_stuck_and_tried_again() {
    harness::undo_stuck_and_retried(&World::with(harness::patient()).await, &moving()).await;
}

#[tokio::test]
async fn every_step_of_a_move_by_replication_fails_and_runs_twice() {
    let world = World::with(harness::patient()).await;
    harness::every_step_fails(&world, &replicating()).await;
    harness::every_step_twice(&world, &replicating()).await;
}

#[tokio::test]
async fn a_move_by_replication_is_killed_at_every_instruction() {
    let world = World::with(harness::patient()).await;
    harness::every_instruction_killed(&world, &replicating()).await;
}
