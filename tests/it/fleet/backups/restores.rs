//! Restores: every row comes back, neighbours notice nothing, what was acknowledged is in one of the copies,
//! and nobody writes to the old one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use contract::Code;
use http::Method;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use world::{Fault, Mode, OperationKind, Speaker, Step, WorldOptions, until};

use super::super::copies::without_sessions;
use super::super::harness::{self, halted, operation_at, operation_of, reaches, run_out};
use super::super::moves::load::unlimited;
use super::{Keeping, back_up, cases, hashes, post, restore_body, restore_path, write};
use crate::auth;
use crate::support::entry;

#[tokio::test]
async fn a_restore_brings_back_every_row_and_neighbours_notice_nothing() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let (acme, beta) = (world.tenant("acme").await, world.tenant("beta").await);
    write(&acme, &["one", "two", "three"]).await;
    let before = hashes(world, acme.id().as_str()).await;
    let backup = back_up(&operator, &acme, "tenant").await;
    let shown = operator
        .get(&format!("/v1/backups/{backup}"))
        .await
        .expect(200)
        .json();
    assert_eq!(shown["state"], "ready");
    assert_eq!(shown["encryption"], "tenant");
    let verified = post(&operator, &format!("/v1/backups/{backup}/verify")).await;
    verified.expect(200);
    let shown = operator.get(&format!("/v1/backups/{backup}")).await.json();
    assert!(shown["verified_at"].is_string(), "{shown}");

    write(&acme, &["four"]).await;
    let after = hashes(world, acme.id().as_str()).await;
    assert_ne!(before, after);

    // A neighbour writes, and somebody reads the tenant, as long as it is restored.
    for tenant in [&acme, &beta] {
        unlimited(world, tenant).await;
    }
    let stop = CancellationToken::new();
    let neighbour = tokio::spawn(steady(beta.owner(), Method::POST, stop.clone()));
    let reader = tokio::spawn(steady(acme.owner(), Method::GET, stop.clone()));
    let answer = operator
        .post(&restore_path(&acme), restore_body(&acme, &backup))
        .await
        .expect(200);
    assert_eq!(answer.json()["result"]["copy"], 2, "{answer}");
    let restored = hashes(world, acme.id().as_str()).await;
    assert_eq!(without_sessions(restored), without_sessions(before));
    let back = operator
        .post(&restore_path(&acme), restore_body(&acme, "previous"))
        .await
        .expect(200);
    assert_eq!(back.json()["result"]["copy"], 3, "{back}");
    let returned = hashes(world, acme.id().as_str()).await;
    assert_eq!(without_sessions(returned), without_sessions(after));
    stop.cancel();
    let (neighbours, read) = (neighbour.await.unwrap(), reader.await.unwrap());
    assert_eq!(neighbours.failed, Vec::<u16>::new());
    assert!(neighbours.answered > 0);
    assert_eq!(
        read.failed,
        Vec::<u16>::new(),
        "requests wait while names change"
    );
    write(&acme, &["five"]).await;
}

/// What somebody met who asked without a pause.
pub(super) struct Met {
    pub(super) answered: u64,
    pub(super) failed: Vec<u16>,
}

pub(super) async fn steady(speaker: Speaker, method: Method, stop: CancellationToken) -> Met {
    let mut met = Met {
        answered: 0,
        failed: Vec::new(),
    };
    while !stop.is_cancelled() {
        let request = speaker.request(method.clone(), "/v1/entries");
        let answer = match method {
            Method::POST => request.json(entry("steady")).send().await,
            _ => request.send().await,
        };
        match answer.status() {
            200 | 201 => met.answered += 1,
            other => met.failed.push(other),
        }
    }
    met
}

#[tokio::test]
async fn no_session_of_before_a_restore_goes_on() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("stolen").await;
    let door = acme.anonymous();
    let stolen = auth::log_in(&door, acme.email()).await;
    let kept = auth::refresh(&door, &stolen).await.expect(200).json();
    let backup = back_up(&operator, &acme, "none").await;
    // Used again, it ends its session; but not in the backup.
    let pause = "update auth.refresh_token set spent_at = spent_at - interval '1 hour'";
    world.postgres().run(acme.id().as_str(), pause).await;
    let refused = auth::refresh(&door, &stolen).await;
    refused.refused(Code::RefreshTokenInvalid);
    for from in [backup.as_str(), "previous"] {
        let body = restore_body(&acme, from);
        operator.post(&restore_path(&acme), body).await.expect(200);
        let refused = auth::refresh(&door, &kept).await;
        refused.refused(Code::RefreshTokenInvalid);
        // Who logs in is in as ever.
        let new = auth::log_in(&door, acme.email()).await;
        auth::refresh(&door, &new).await.expect(200);
    }
}

#[tokio::test]
async fn writers_to_the_old_copy_are_refused() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("stale").await;
    write(&acme, &["one"]).await;
    let backup = back_up(&operator, &acme, "none").await;
    // A replica that hears nothing any more.
    world.platform_link().set(Mode::Reset);
    let restored = operator
        .post(&restore_path(&acme), restore_body(&acme, &backup))
        .await;
    restored.expect(200);
    let old = format!("old:{}:1", acme.id());
    let kept = hashes(world, &old).await;
    let stale = acme.owner().post("/v1/entries", entry("lost")).await;
    assert_eq!(stale.status(), 503, "{stale}");
    assert_eq!(hashes(world, &old).await, kept);
    world.platform_link().set(Mode::Pass);
    until("the tenant is served again", || async {
        acme.owner().get("/v1/entries").await.status() == 200
    })
    .await;
    write(&acme, &["two"]).await;
    assert_eq!(hashes(world, &old).await, kept);
}

/// What was acknowledged to somebody who wrote and read what was written, in order.
#[derive(Default)]
struct Acknowledged {
    ids: Vec<String>,
    /// How often what was written was not there to be read: it is in the copy that was put away.
    put_away: usize,
    strange: Vec<String>,
}

async fn writing(
    speaker: Speaker,
    count: Arc<AtomicUsize>,
    stop: CancellationToken,
) -> Acknowledged {
    let mut met = Acknowledged::default();
    while !stop.is_cancelled() {
        let written = speaker.post("/v1/entries", entry("steady")).await;
        if written.status() != 201 {
            met.strange.push(written.to_string());
            continue;
        }
        let read = speaker.get(written.header("location")).await;
        match read.status() {
            200 => {}
            404 => met.put_away += 1,
            _ => met.strange.push(read.to_string()),
        }
        met.ids
            .push(written.json()["id"].as_str().unwrap().to_owned());
        count.fetch_add(1, Ordering::SeqCst);
    }
    met
}

#[tokio::test]
async fn a_restore_under_load_loses_no_acknowledged_write_and_serves_no_stale_one() {
    let keeping = Keeping::start(WorldOptions::default().app_replicas(2)).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("loaded").await;
    unlimited(world, &acme).await;
    let backup = back_up(&operator, &acme, "none").await;
    let stop = CancellationToken::new();
    let counts: [Arc<AtomicUsize>; 4] = Default::default();
    let each = counts.iter().enumerate();
    let writers: Vec<_> = each
        .map(|(number, count)| {
            let owner = acme.owner().at(&world.app_url(number % 2));
            tokio::spawn(writing(owner, Arc::clone(count), stop.clone()))
        })
        .collect();
    let more = async || {
        let written = || counts.each_ref().map(|count| count.load(Ordering::SeqCst));
        let before = written();
        until("everybody goes on", || async {
            written()
                .iter()
                .zip(before)
                .all(|(now, before)| *now >= before + 5)
        })
        .await;
    };
    more().await;
    operator
        .post(&restore_path(&acme), restore_body(&acme, &backup))
        .await
        .expect(200);
    more().await;
    stop.cancel();
    let ids = "select 'ent_' || replace(id::text, '-', '') from entries.entry";
    let of = async |database: &str| -> BTreeSet<String> {
        world
            .postgres()
            .texts(database, ids)
            .await
            .into_iter()
            .collect()
    };
    let old = of(&format!("old:{}:1", acme.id())).await;
    let mut found = 0;
    for writer in writers {
        let met = writer.await.unwrap();
        let new = of(acme.id().as_str()).await;
        assert_eq!(met.strange, Vec::<String>::new());
        assert!(met.put_away <= 1, "{} were not there", met.put_away);
        let put_away = met.ids.iter().take_while(|id| old.contains(*id)).count();
        let (before, after) = met.ids.split_at(put_away);
        for id in before {
            assert!(!new.contains(id), "{id} was written before the restore");
        }
        for id in after {
            assert!(new.contains(id), "{id} was acknowledged and is lost");
            assert!(!old.contains(id), "{id} was written to the old copy");
        }
        found += before.len().min(1) + after.len().min(1);
    }
    assert_eq!(found, 8, "everybody wrote before and after");
}

#[tokio::test]
async fn a_tenant_that_is_shut_out_waits_for_nobodys_long_work() {
    let keeping = Keeping::start(harness::patient().max_connections(200)).await;
    let world = &keeping.world;
    let operator = world.operator();
    let case = cases()
        .into_iter()
        .find(|case| case.kind == OperationKind::RestoreBackup)
        .unwrap();
    let faults = case.fault(Step::Wall, Fault::HaltBeforeAct);
    let (tenant, restore) = halted(world, &case, faults, &mut None).await;
    // As many dumps as are made at once, none of which comes to its end.
    let mut dumps = Vec::new();
    for number in 0..6 {
        let other = world.tenant(&format!("dumped{number}")).await;
        let lock = world
            .postgres()
            .lock(other.id().as_str(), "entries.entry")
            .await;
        let path = format!("/v1/tenants/{}/backups?wait=none", other.id());
        let begun = operator.post(&path, json!({})).await.expect(202);
        dumps.push((lock, operation_of(&begun)));
    }
    let waiting = "select count(*) from pg_stat_activity
         where query ilike 'lock table%' and wait_event_type = 'Lock'";
    let dumping = async || world.postgres().number("postgres", waiting).await;
    until("all dumps are under way", async || dumping().await == 6).await;
    run_out(world, &restore).await;
    reaches(world, &restore, "done", "the restore").await;
    for (_, dump) in &dumps {
        let shown = operation_at(world, dump).await;
        assert_eq!(shown["state"], "running", "{shown:#}");
    }
    (case.after_done)(world, &tenant).await;
    for (lock, dump) in dumps {
        lock.commit().await;
        reaches(world, &dump, "done", "a dump").await;
    }
}
