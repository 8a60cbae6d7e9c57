//! Roll-outs over two clusters: who is in which wave, and how many of a cluster are worked on at once.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use world::{DEADLINE, Postgres, WorldOptions, eventually};

use super::super::most_during;
use super::super::moves::move_to;
use super::Fleet;

/// A fleet of which every other tenant is on the second cluster, before its roll-out.
async fn on_two_clusters(tenants: usize) -> Fleet {
    let options = WorldOptions::default().stock_level(1);
    let fleet = Fleet::with(options, tenants).await;
    fleet.world.second_cluster().await;
    for (number, tenant) in fleet.tenants.iter().enumerate() {
        let to = place_of(number);
        let shown = format!("/v1/tenants/{}", tenant.id());
        let shown = fleet.world.operator().get(&shown).await.expect(200).json();
        if shown["cluster"] != to {
            move_to(&fleet.world, tenant, to, "dump").await;
        }
    }
    fleet.release().await;
    fleet
}

fn place_of(number: usize) -> &'static str {
    if number.is_multiple_of(2) {
        "main"
    } else {
        "second"
    }
}

/// The tenants of each wave of a preview.
fn waves(preview: &Value) -> Vec<BTreeSet<String>> {
    let names = |wave: &Value| {
        let tenants = wave["tenants"].as_array().unwrap().iter();
        tenants.map(|id| id.as_str().unwrap().to_owned()).collect()
    };
    let waves = preview["waves"].as_array().unwrap();
    waves.iter().map(names).collect()
}

#[tokio::test]
async fn waves_by_cluster_and_by_share_have_those_that_a_dry_run_names_one_after_the_other() {
    const ALL: usize = 8;
    let fleet = on_two_clusters(ALL).await;
    let preview = async |rules: Value| {
        let request = json!({ "waves": rules });
        let path = "/v1/rollouts?dry_run=true";
        let answer = fleet.world.operator().post(path, request).await;
        waves(&answer.expect(200).json())
    };
    let all: BTreeSet<String> = fleet
        .tenants
        .iter()
        .map(|one| one.id().to_string())
        .collect();
    let of = |place: &str| -> BTreeSet<String> {
        let numbered = fleet.tenants.iter().enumerate();
        let there = numbered.filter(|(number, _)| place_of(*number) == place);
        there.map(|(_, tenant)| tenant.id().to_string()).collect()
    };
    let rules = json!([{ "cluster": "second" }, { "percent": 50 }]);
    let named = preview(rules.clone()).await;
    assert_eq!(named.len(), 3, "{named:?}");
    assert_eq!(named[0], of("second"));
    let rest: BTreeSet<String> = named[1].union(&named[2]).cloned().collect();
    assert_eq!(rest, of("main"));
    assert!(named[1].is_disjoint(&named[2]), "{named:?}");
    // A share is of all, whoever had a turn before, and a greater one has those of a smaller.
    let mut before = BTreeSet::new();
    for share in [10, 25, 50, 75, 100] {
        let of_share = preview(json!([{ "percent": share }])).await.remove(0);
        assert!(
            before.is_subset(&of_share),
            "{share}: {before:?} {of_share:?}"
        );
        before = of_share;
        if share == 50 {
            let here: BTreeSet<String> = before.intersection(&of("main")).cloned().collect();
            assert_eq!(here, named[1]);
        }
    }
    assert_eq!(before, all);

    // The real one: while one of the first wave is held up, nobody of the next has a turn.
    let second = fleet.world.second_cluster().await.postgres();
    let lock = second
        .lock(fleet.tenants[1].id().as_str(), "ledger.line")
        .await;
    let id = fleet.start(json!({ "waves": rules })).await;
    fleet
        .becomes(&id, "all others of the first wave are done", |rollout| {
            rollout["tally"]["done"] == ALL / 2 - 1
        })
        .await;
    let states = fleet.states(&id).await;
    for (number, state) in states.iter().enumerate() {
        if number == 1 {
            // Held up, or waiting for its second try.
            continue;
        }
        let of_next = place_of(number) == "main";
        assert_eq!(of_next, state == "pending", "{number}: {states:?}");
    }
    lock.commit().await;
    fleet.ends(&id, "done").await;
    let registry = fleet.world.postgres();
    let rows = "select wave || ' ' || tenant_id from registry.rollout_tenant order by 1";
    let expected = named.iter().enumerate();
    let expected =
        expected.flat_map(|(wave, ids)| ids.iter().map(move |id| format!("{wave} {id}")));
    assert_eq!(
        registry.texts("registry", rows).await,
        expected.collect::<Vec<_>>()
    );
    let early =
        "select count(*) from registry.rollout_tenant later, registry.rollout_tenant earlier
         where later.wave > earlier.wave and later.started_at < earlier.finished_at";
    assert_eq!(registry.number("registry", early).await, 0);
}

/// Tenants in whose databases migrations wait.
async fn waiting(server: &Postgres) -> Vec<String> {
    let sql = "select datname::text from pg_stat_activity
         where usename = 'tn_schema' and datname like 't\\_%' and wait_event_type = 'Lock' order by 1";
    server.texts("postgres", sql).await
}

#[tokio::test]
async fn no_more_tenants_of_a_cluster_are_migrated_at_once_than_was_asked_for() {
    const AT_ONCE: usize = 2;
    let fleet = on_two_clusters(8).await;
    let servers = [
        fleet.world.postgres(),
        fleet.world.second_cluster().await.postgres(),
    ];
    let mut locks = Vec::new();
    for (number, tenant) in fleet.tenants.iter().enumerate() {
        let id = tenant.id().to_string();
        let lock = servers[number % 2].lock(&id, "ledger.line").await;
        locks.push((id, lock));
    }
    let id = fleet.start(json!({ "concurrency": AT_ONCE })).await;
    let work = async {
        for _ in 0..2 {
            // A server may not have noticed yet that a lock was let go.
            let held: Vec<String> = locks.iter().map(|(id, _)| id.clone()).collect();
            let all = "as many of each cluster have their turn";
            let turns = eventually(DEADLINE, all, || async {
                let mut turns = Vec::new();
                for server in servers {
                    let mut here = waiting(server).await;
                    here.retain(|id| held.contains(id));
                    if here.len() != AT_ONCE {
                        return None;
                    }
                    turns.extend(here);
                }
                Some(turns)
            })
            .await;
            locks.retain(|(id, _)| !turns.contains(id));
        }
        fleet.ends(&id, "done").await
    };
    let look = async || {
        let [one, other] = servers.map(waiting);
        one.await.len().max(other.await.len())
    };
    let (most, rollout) = most_during(work, look).await;
    assert_eq!(most, AT_ONCE);
    assert_eq!(rollout["tally"]["done"], 8, "{rollout}");
}
