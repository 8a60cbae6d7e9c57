//! Requests that the server gives up at their deadline: in BEGIN, in a statement, in COMMIT, or waiting.
//!
//! Deliberately at a replica of its own, whose deadline is about what a write takes over this network. Invariant:
//! whoever was told 201 has written; whoever was not leaves nothing behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use contract::Code;
use futures::future::join_all;
use world::{Mode, World, WorldOptions, until};

use super::{Watch, all_there};
use crate::limits::unlimited;
use crate::support::entry;

/// Three round trips of 30 ms, and somewhat.
const DEADLINE: &str = "110ms";

#[tokio::test]
async fn requests_that_run_out_of_time_lose_no_acknowledged_write_and_poison_no_connection() {
    const LATE: usize = 1_000;
    const ACKNOWLEDGED: usize = 50;
    // More than the tenant's four connections serve in time.
    const CLIENTS: usize = 12;
    let world = World::with(WorldOptions::default().behind_proxy().budget(24)).await;
    let acme = world.tenant("late").await;
    unlimited(&world, &acme).await;
    let hasty = [("public.deadline", DEADLINE)];
    let hasty = world.add_app_replica_with(&hasty).await;
    let owner = acme.owner().at(&world.app_url(hasty));
    until("the replica knows the tenant", || async {
        owner.post("/v1/entries", entry("First")).await.status() == 201
    })
    .await;
    let [late, written] = [0, 0].map(|none| Arc::new(AtomicUsize::new(none)));
    world.database_link().set(Mode::Delay(13..=17));
    let clients = (0..CLIENTS).map(|client| {
        let (owner, late, written) = (owner.clone(), Arc::clone(&late), Arc::clone(&written));
        let world = world.clone();
        async move {
            let mut acknowledged = Vec::new();
            let were_late = || late.load(Ordering::SeqCst) >= LATE;
            while !were_late() || written.load(Ordering::SeqCst) < ACKNOWLEDGED {
                if were_late() {
                    // Whoever has had no luck so far writes without the network's delay.
                    world.database_link().set(Mode::Pass);
                }
                let title = format!("client {client} write {}", acknowledged.len());
                let answer = owner.post("/v1/entries", entry(&title)).await;
                if answer.status() == 201 {
                    acknowledged.push(answer.json()["id"].as_str().unwrap().to_owned());
                    written.fetch_add(1, Ordering::SeqCst);
                } else {
                    let code = answer.expect(503).code();
                    assert!(matches!(code, Code::Timeout | Code::Overloaded), "{code:?}");
                    late.fetch_add(usize::from(code == Code::Timeout), Ordering::SeqCst);
                }
            }
            acknowledged
        }
    });
    let watch = Watch::start(&world);
    let acknowledged = join_all(clients).await.concat();
    world.database_link().set(Mode::Pass);
    watch.nothing_is_left(&world).await;
    all_there(&world, &acme, &acknowledged).await;

    // The pool is as large as ever: all of the tenant's connections can be had at once.
    let id = acme.id().as_str();
    let lock = world.postgres().lock(id, "entries.entry").await;
    let over = AtomicBool::new(false);
    let asking = join_all((0..CLIENTS).map(|_| async {
        while !over.load(Ordering::SeqCst) {
            owner.get("/v1/entries").await.expect(503);
        }
    }));
    let waiting = format!(
        "select count(*) from pg_stat_activity where usename = '{id}' and wait_event_type = 'Lock'"
    );
    let all_in_use = async {
        until("the tier's four connections are in use", || async {
            world.postgres().number("postgres", &waiting).await == 4
        })
        .await;
        over.store(true, Ordering::SeqCst);
    };
    tokio::join!(asking, all_in_use);
    lock.commit().await;
    until("everybody is served again", || async {
        owner.get("/v1/entries").await.status() == 200
    })
    .await;
}
