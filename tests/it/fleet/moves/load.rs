//! Moves under a steady load: requests wait and do not fail, and nothing that was acknowledged is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::future::join_all;
use serde_json::json;
use world::{Fault, Faults, OperationKind, Speaker, Step, TenantHandle, World, until};

use super::super::harness::{operation_of, reaches};
use super::{begun, cluster_of, facts, has_stayed, move_to, prepared, two_replicas};
use crate::support::entry;

/// Writers that go on until they are told to stop.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    /// Writes from several people at every replica, each read back at once.
    pub(super) fn start(speakers: Vec<Speaker>) -> Self {
        let (stop, acknowledged) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let writers = speakers.into_iter().map(|speaker| {
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let answer = speaker.post("/v1/entries", entry("load")).await;
                    if answer.status() != 201 {
                        failed.push(answer.to_string());
                        continue;
                    }
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                    let read = speaker.get(answer.header("location")).await;
                    if read.status() != 200 {
                        failed.push(format!("{answer}, then {read}"));
                    }
                }
                failed
            })
        });
        Self {
            writers: writers.collect(),
            stop,
            acknowledged,
        }
    }

    pub(super) async fn some(&self, more: u64) {
        let wanted = self.acknowledged.load(Ordering::Relaxed) + more;
        until("the load goes on", || async {
            self.acknowledged.load(Ordering::Relaxed) >= wanted
        })
        .await;
    }

    /// Stops; gives how many writes were acknowledged, and what failed: whoever waits too long is refused.
    pub(super) async fn end(self) -> (i64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = join_all(self.writers).await.into_iter();
        let failed = ended.flat_map(|failed| failed.expect("no panic")).collect();
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        (i64::try_from(acknowledged).expect("not so many"), failed)
    }
}

/// Lifts the rate limit of a tenant: a load is to be as fast as it can.
pub(crate) async fn unlimited(world: &World, tenant: &TenantHandle) {
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
    let (acknowledged, failed) = load.end().await;
    assert_eq!(failed, Vec::<String>::new(), "{there} {back}");
    let (_, failed) = neighbour.end().await;
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
    let (_, failed) = load.end().await;
    assert_eq!(failed, Vec::<String>::new());
    has_stayed(&world, &acme).await;
}
