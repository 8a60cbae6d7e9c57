//! A roll-out under a steady load, with replicas of the release before and of the one after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use app_service::{App, Module, auth, entries};
use refinery::Migration;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use world::{DEADLINE, Speaker, World, WorldOptions, eventually};

use super::super::harness::{operation_of, reaches};
use super::super::moves::load::unlimited;
use super::FIRST;
use crate::support::entry;

/// Somebody changes an entry again and again and reads each change back: how often, and what was not as
/// it was acknowledged.
async fn changing(
    speaker: Speaker,
    count: Arc<AtomicUsize>,
    stop: CancellationToken,
) -> Vec<String> {
    let made = speaker.post("/v1/entries", entry("change 1")).await;
    let path = made.expect(201).header("location").to_owned();
    let mut version = 1;
    let mut strange = Vec::new();
    while !stop.is_cancelled() && strange.is_empty() {
        let title = format!("change {}", version + 1);
        let change = speaker.request(http::Method::PATCH, &path);
        let change = change.header("if-match", &format!("\"{version}\""));
        let changed = change.json(json!({ "title": title })).send().await;
        version += 1;
        let read = speaker.get(&path).await;
        let as_acknowledged = read.status() == 200
            && read.json()["title"] == title.as_str()
            && read.header("etag") == format!("\"{version}\"");
        if changed.status() != 200 || !as_acknowledged {
            strange.push(format!("{title}: {changed}, then {read}"));
        }
        count.fetch_add(1, Ordering::SeqCst);
    }
    strange
}

#[tokio::test]
async fn a_roll_out_under_load_loses_no_acknowledged_write_and_serves_no_stale_one() {
    /// Writes the table anew that is written to all the time.
    const HEAVY: &str =
        "alter table entries.entry add column weight float not null default random();";
    let second = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&second);
    let options = WorldOptions::default()
        .app_setting("migrations.on_demand", "minimum")
        .app(move || {
            let mut migrations = vec![Migration::unapplied("V1__ledger", FIRST).unwrap()];
            if switch.load(Ordering::SeqCst) {
                migrations.push(Migration::unapplied("V2__heavy", HEAVY).unwrap());
            }
            App::new()
                .module(auth::module())
                .module(entries::module())
                .module(Module::new("ledger", migrations).minimum(1))
        });
    let world = World::with(options).await;
    let acme = world.tenant("loaded").await;
    unlimited(&world, &acme).await;
    second.store(true, Ordering::SeqCst);
    let newer = world.add_app_replica().await;
    // The release before goes on serving the tenant, before and after.
    let (stop, count) = (CancellationToken::new(), Arc::<AtomicUsize>::default());
    let writers: Vec<_> = (0..4)
        .map(|number| {
            let replica = [0, newer][number % 2];
            let owner = acme.owner().at(&world.app_url(replica));
            tokio::spawn(changing(owner, Arc::clone(&count), stop.clone()))
        })
        .collect();
    let more = async || {
        let wanted = count.load(Ordering::SeqCst) + 40;
        eventually(DEADLINE, "the load goes on", || async {
            let ended = writers.iter().any(tokio::task::JoinHandle::is_finished);
            (ended || count.load(Ordering::SeqCst) >= wanted).then_some(())
        })
        .await;
    };
    more().await;
    let done = world.operator().post("/v1/rollouts", json!({})).await;
    let id = operation_of(&done);
    reaches(&world, &id, "done", "the roll-out").await;
    let shown = world.operator().get(&format!("/v1/operations/{id}")).await;
    assert_eq!(shown.json()["result"]["tally"]["done"], 1, "{shown}");
    more().await;
    stop.cancel();
    for writer in writers {
        assert_eq!(writer.await.unwrap(), Vec::<String>::new());
    }
    let database = acme.id().as_str();
    let weights = "select count(*) from entries.entry where weight >= 0";
    assert_eq!(world.postgres().number(database, weights).await, 4);
    let versions = "select sum(version - 1)::bigint from entries.entry";
    let changes = i64::try_from(count.load(Ordering::SeqCst)).unwrap();
    assert_eq!(world.postgres().number(database, versions).await, changes);
}
