//! New tenants of backups: the rows of that time beside those of today.
//!
//! Deliberately what a clone is, too, where it is no backup's: see `copies`. Invariant: the backup's own
//! tenant is only read, whatever becomes of it.

use std::sync::atomic::Ordering;

use contract::Code;
use futures::FutureExt as _;
use http::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use world::{OperationKind, Step, StopMode, TenantHandle, World, WorldOptions, until};

use super::super::copies::{
    copy_id, copy_is_served, copy_slug, log_in, nothing_is_left, without_sessions,
};
use super::super::harness::{self, Case, operation_of, reaches};
use super::super::moves::load::unlimited;
use super::restores::steady;
use super::{Keeping, back_up, hashes, ids, post, write};
use crate::migrations::{releases, versions};

/// Asks for a new tenant of a backup.
async fn renew(world: &World, tenant: &TenantHandle, backup: &str, more: Value) -> world::Answer {
    let mut body = json!({ "slug": copy_slug(tenant), "backup": backup });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let path = format!("/v1/tenants/{}/clones", tenant.id());
    world.operator().post(&path, body).await
}

/// The same, for which nobody waits.
async fn renew_later(
    world: &World,
    tenant: &TenantHandle,
    backup: &str,
    slug: &str,
) -> world::Answer {
    let path = format!("/v1/tenants/{}/clones?wait=none", tenant.id());
    let body = json!({ "slug": slug, "backup": backup });
    world.operator().post(&path, body).await
}

async fn titles(world: &World, database: &str) -> Vec<String> {
    let sql = "select title from entries.entry order by 1";
    world.postgres().texts(database, sql).await
}

fn none() -> Value {
    json!({})
}

#[tokio::test]
async fn a_backup_becomes_a_tenant_beside_the_one_that_is_served() {
    let (options, second) = releases();
    let keeping = Keeping::start(options).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("today").await;
    write(&acme, &["one", "two"]).await;
    let before = hashes(world, acme.id().as_str()).await;
    let backup = back_up(&operator, &acme, "tenant").await;
    write(&acme, &["later"]).await;
    let after = hashes(world, acme.id().as_str()).await;

    unlimited(world, &acme).await;
    let stop = CancellationToken::new();
    let reader = tokio::spawn(steady(acme.owner(), Method::GET, stop.clone()));
    let done = renew(world, &acme, &backup, none()).await.expect(200);
    stop.cancel();
    let read = reader.await.unwrap();
    assert_eq!(read.failed, Vec::<u16>::new());
    assert!(read.answered > 0);
    let done = done.json();
    let copy = copy_id(&acme);
    assert_eq!(done["tenant"], copy, "{done:#}");
    assert_eq!(done["result"]["backup"], backup, "{done:#}");
    assert_eq!(done["result"]["source"], json!(acme.id()));
    assert_eq!(titles(world, &copy).await, ["one", "two"]);
    assert_eq!(
        without_sessions(hashes(world, &copy).await),
        without_sessions(before)
    );
    let sessions = "select count(*) from auth.session";
    assert_eq!(world.postgres().number(&copy, sessions).await, 0);
    log_in(world, &copy, acme.email()).await.expect(200);
    assert_eq!(hashes(world, acme.id().as_str()).await, after);
    write(&acme, &["still"]).await;
    let audited = operator.get("/v1/audit?action=clone.begun").await.json();
    assert_eq!(audited["data"][0]["detail"]["backup"], backup);

    // Once more when the schemas have gone on, and without what is personal.
    second.store(true, Ordering::SeqCst);
    world.add_app_replica().await;
    let slug = format!("{}-two", acme.slug());
    let sql = "update entries.entry set title = 'hidden'";
    let more = json!({ "slug": slug, "anonymise_sql": sql, "company": "Acme of then" });
    renew(world, &acme, &backup, more).await.expect(200);
    let copy = format!("t_{}", slug.replace('-', "_"));
    assert_eq!(versions(world, &copy).await, ["1", "2"]);
    assert_eq!(titles(world, &copy).await, ["hidden", "hidden"]);
    let shown = operator.get(&format!("/v1/tenants/{copy}")).await.json();
    assert_eq!(shown["company"], "Acme of then");
    log_in(world, &copy, acme.email()).await.expect(200);
    harness::no_leftovers(world).await;
}

#[tokio::test]
async fn a_backup_that_is_none_of_the_tenants_or_not_whole_is_refused_by_name() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let (acme, beta) = (world.tenant("own").await, world.tenant("foreign").await);
    let theirs = back_up(&operator, &beta, "none").await;
    let refused = renew(world, &acme, &theirs, none()).await;
    let words = refused.refused(Code::Conflict).detail.unwrap();
    assert!(words.contains("another tenant"), "{words}");
    let unknown = contract::operator::backup::BackupId::new().to_string();
    let refused = renew(world, &acme, &unknown, none()).await;
    let words = refused.refused(Code::NotFound).detail.unwrap();
    assert!(words.contains("backup"), "{words}");
    let export = post(&operator, &format!("/v1/tenants/{}/export", acme.id())).await;
    let export = export.expect(200).json()["result"]["export"].clone();
    let refused = renew(world, &acme, export.as_str().unwrap(), none()).await;
    refused.refused(Code::Conflict);

    let own = back_up(&operator, &acme, "none").await;
    let state = |state: &str| {
        format!(
            "update registry.backup set state = '{state}' where 'bak_' || replace(id::text, '-', '') = '{own}'"
        )
    };
    // One that failed midway, before its undo; one that is being removed.
    for unready in ["writing", "deleting"] {
        world.postgres().run("registry", &state(unready)).await;
        let refused = renew(world, &acme, &own, none()).await;
        let words = refused.refused(Code::Conflict).detail.unwrap();
        assert!(words.contains(unready), "{words}");
    }
    world.postgres().run("registry", &state("ready")).await;

    let object = keeping
        .objects()
        .into_iter()
        .find(|file| file.to_str().unwrap().contains(&own))
        .unwrap();
    let whole = std::fs::read(&object).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 0x10;
    std::fs::write(&object, &damaged).unwrap();
    let refused = renew(world, &acme, &own, none()).await;
    refused.refused(Code::ArchiveCorrupt);
    nothing_is_left(world, &acme).await;
    let shown = operator.get(&format!("/v1/backups/{own}")).await.json();
    assert_eq!(shown["state"], "corrupt");
    std::fs::write(&object, &whole).unwrap();
    renew(world, &acme, &own, none()).await.expect(200);
    let taken = renew(world, &acme, &own, none()).await;
    taken.refused(Code::SlugTaken);
    harness::no_leftovers(world).await;
}

#[tokio::test]
async fn a_backup_of_a_tenant_that_is_suspended_deleted_or_purged_becomes_one_that_is_served() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("gone").await;
    write(&acme, &["one"]).await;
    let backup = back_up(&operator, &acme, "tenant").await;
    let path = |verb: &str| format!("/v1/tenants/{}{verb}", acme.id());
    let served = async |slug: &str, backup: &str, more: Value| {
        let slug = format!("{}-{slug}", acme.slug());
        let mut more = more;
        more["slug"] = json!(slug);
        renew(world, &acme, backup, more).await.expect(200);
        let copy = format!("t_{}", slug.replace('-', "_"));
        assert_eq!(titles(world, &copy).await, ["one"]);
        log_in(world, &copy, acme.email()).await.expect(200);
    };
    let wall = json!({ "wall": "blocked" });
    operator.post(&path("/suspend"), wall).await.expect(200);
    served("suspended", &backup, none()).await;
    let confirmed = path(&format!("?confirm={}", acme.id()));
    operator.delete(&confirmed).await.expect(200);
    served("deleted", &backup, none()).await;
    // Without a backup there is nothing to copy.
    let body = json!({ "slug": "of-nothing" });
    let refused = operator.post(&path("/clones"), body).await;
    refused.refused(Code::TenantDeleted);

    // Nor is a backup read that a purge is destroying.
    let condemned = format!(
        "update registry.tenant set purge_after = null where id = '{}'",
        acme.id()
    );
    world.postgres().run("registry", &condemned).await;
    let refused = renew(world, &acme, &backup, none()).await;
    refused.refused(Code::TenantDeleted);
    let purge = json!({ "confirm": acme.id(), "force": acme.id(), "final_backup": "keep" });
    let purged = operator.post(&path("/purge"), purge).await;
    reaches(world, &operation_of(&purged), "done", "the purge").await;
    let refused = renew(world, &acme, &backup, none()).await;
    refused.refused(Code::NotFound);
    let list = format!("/v1/backups?tenant={}", acme.id());
    let last = ids(&operator.get(&list).await.expect(200).json()).remove(0);
    let refused = renew(world, &acme, &last, none()).await;
    refused.refused(Code::ValidationFailed);
    let known = json!({ "company": "Acme", "email": "it@acme.example" });
    served("purged", &last, known).await;
    harness::no_leftovers(world).await;
}

#[tokio::test]
async fn with_the_tenants_cluster_down_its_backup_goes_elsewhere_or_waits_and_is_kept() {
    let options = harness::roomy().platform_setting("backups.check_every", "50ms");
    let keeping = Keeping::start(options).await;
    let world = &keeping.world;
    let operator = world.operator();
    let (acme, beta) = (world.tenant("near").await, world.tenant("beta").await);
    let second = world.second_cluster().await;
    let main = async |status: &str| {
        let body = json!({ "status": status });
        operator.patch("/v1/clusters/main", body).await.expect(200);
    };
    let moved = json!({ "to": "second" });
    let path = format!("/v1/tenants/{}/move", acme.id());
    let moved = operator.post(&path, moved).await;
    reaches(world, &operation_of(&moved), "done", "the move").await;
    let taken = async |tenant: &TenantHandle| {
        let path = format!("/v1/tenants/{}/backups", tenant.id());
        let begun = operator.post(&path, none()).await;
        reaches(world, &operation_of(&begun), "done", "the backup").await;
    };
    let newest = async |tenant: &TenantHandle| {
        let list = format!("/v1/backups?tenant={}", tenant.id());
        ids(&operator.get(&list).await.expect(200).json())
    };
    write(&acme, &["one"]).await;
    taken(&acme).await;
    let backup = newest(&acme).await.remove(0);
    taken(&acme).await;
    second.postgres().stop(StopMode::Immediate).await;

    let begun = renew(world, &acme, &backup, none()).await;
    reaches(world, &operation_of(&begun), "done", "a tenant elsewhere").await;
    let path = format!("/v1/tenants/{}", copy_id(&acme));
    let shown = operator.get(&path).await.expect(200).json();
    assert_eq!(shown["cluster"], "main", "{shown:#}");
    copy_is_served(world, &acme).await;
    assert_eq!(titles(world, &copy_id(&acme)).await, ["one"]);

    // Where no other one takes it, it waits; and its backup with it, whatever a schedule says.
    main("full").await;
    let waits = format!("{}-waits", acme.slug());
    let begun = renew_later(world, &acme, &backup, &waits).await;
    let waiting = operation_of(&begun.expect(202));
    until("it says what it waits for", || async {
        harness::operation_at(world, &waiting).await["failure"]["code"] == "database-unavailable"
    })
    .await;
    let refused = operator
        .delete(&format!("/v1/backups/{backup}?confirm={backup}"))
        .await;
    let words = refused.refused(Code::Conflict).detail.unwrap();
    assert!(words.contains(&waiting), "{words}");
    taken(&beta).await;
    taken(&beta).await;
    // As if all of them were old, and a schedule's.
    let old =
        "update registry.backup set kind = 'scheduled', expires_at = now() - interval '1 day'";
    world.postgres().run("registry", old).await;
    until("a backup that nobody needs is removed", || async {
        newest(&beta).await.len() == 1
    })
    .await;
    assert_eq!(newest(&acme).await.len(), 2);
    second.postgres().start_again().await;
    reaches(world, &waiting, "done", "what waited").await;
    until("its backup is removed", || async {
        newest(&acme).await.len() == 1
    })
    .await;
}

#[tokio::test]
async fn a_backup_is_not_read_and_removed_by_operations_that_begin_at_once() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let acme = world.tenant("either").await;
    write(&acme, &["one"]).await;
    let waiting = async |many: i64| {
        let sql = "select count(*) from pg_stat_activity
            where wait_event_type = 'Lock' and query like '%registry.backup%for update%'";
        until("so many wait for the backup", || async {
            world.postgres().number("postgres", sql).await == many
        })
        .await;
    };
    for first in [Method::POST, Method::DELETE] {
        let backup = back_up(&world.operator(), &acme, "none").await;
        let row = "select from registry.backup where state = 'ready' for update";
        let held = world.postgres().begin("registry", row).await;
        let (reader, remover) = (world.operator(), world.operator());
        let copy = json!({ "slug": copy_slug(&acme), "backup": backup });
        let clones = format!("/v1/tenants/{}/clones", acme.id());
        let object = format!("/v1/backups/{backup}?confirm={backup}");
        let read = async move { reader.post(&clones, copy).await };
        let remove = async move { remover.delete(&object).await };
        let (accepted, refused) = if first == Method::POST {
            let read = tokio::spawn(read);
            waiting(1).await;
            (read, tokio::spawn(remove))
        } else {
            let remove = tokio::spawn(remove);
            waiting(1).await;
            (remove, tokio::spawn(read))
        };
        waiting(2).await;
        drop(held);
        let refused = refused.await.unwrap();
        let done = accepted.await.unwrap().expect(200).json();
        if first == Method::POST {
            let words = refused.refused(Code::Conflict).detail.unwrap();
            let id = done["id"].as_str().unwrap();
            assert!(words.contains(id), "{words} {done:#}");
        } else {
            // It may be gone altogether by then.
            assert!(matches!(refused.status(), 404 | 409), "{refused}");
        }
    }
    copy_is_served(world, &acme).await;
    harness::no_leftovers(world).await;
}

#[tokio::test]
async fn a_purge_waits_for_who_makes_a_tenant_of_a_backup_of_what_is_purged() {
    let keeping = Keeping::start(harness::patient()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let case = case();
    let faults = case.fault(Step::Load, world::Fault::HaltBeforeAct);
    let (tenant, copy) = harness::halted(world, &case, faults, &mut None).await;
    let confirmed = format!("/v1/tenants/{0}?confirm={0}", tenant.id());
    let deleted = operator.delete(&confirmed).await;
    reaches(world, &operation_of(&deleted), "done", "the deletion").await;
    let path = format!("/v1/tenants/{}/purge?wait=none", tenant.id());
    let body = json!({ "confirm": tenant.id(), "force": tenant.id(), "final_backup": "none" });
    let purge = operation_of(&operator.post(&path, body).await.expect(202));
    until("the purge says what it waits for", || async {
        let shown = harness::operation_at(world, &purge).await.to_string();
        shown.contains(&copy)
    })
    .await;
    harness::run_out(world, &copy).await;
    reaches(world, &copy, "done", "the copy").await;
    reaches(world, &purge, "done", "the purge").await;
    copy_is_served(world, &tenant).await;
    assert_eq!(titles(world, &copy_id(&tenant)).await, ["one"]);
}

/// Of the steps of a clone, the one that differs where a backup is loaded, and the last one. The others are
/// every clone's: see `copies`.
fn case() -> Case {
    Case {
        kind: OperationKind::Clone,
        steps: &[Step::Load, Step::Activate],
        point_of_no_return: Step::Activate,
        prepare: |world| {
            async {
                let tenant = world.tenant("then").await;
                write(&tenant, &["one"]).await;
                let path = format!("/v1/tenants/{}/backups", tenant.id());
                let body = json!({ "encryption": "tenant" });
                let begun = world.operator().post(&path, body).await;
                reaches(world, &operation_of(&begun), "done", "a backup").await;
                write(&tenant, &["later"]).await;
                tenant
            }
            .boxed()
        },
        begin: |operator, tenant| {
            async {
                let list = format!("/v1/backups?tenant={}", tenant.id());
                let backup = ids(&operator.get(&list).await.expect(200).json()).remove(0);
                let body = json!({ "slug": copy_slug(tenant), "backup": backup });
                let path = format!("/v1/tenants/{}/clones", tenant.id());
                operator.post(&path, body).await
            }
            .boxed()
        },
        after_done: |world, tenant| {
            async {
                copy_is_served(world, tenant).await;
                assert_eq!(titles(world, &copy_id(tenant)).await, ["one"]);
                is_as_before(world, tenant).await;
            }
            .boxed()
        },
        after_undone: |world, tenant| {
            async {
                nothing_is_left(world, tenant).await;
                is_as_before(world, tenant).await;
            }
            .boxed()
        },
    }
}

/// The tenant has its rows of today, and its backup can be restored.
async fn is_as_before(world: &World, tenant: &TenantHandle) {
    assert_eq!(titles(world, tenant.id().as_str()).await, ["later", "one"]);
    let list = format!("/v1/backups?tenant={}", tenant.id());
    let listed = world.operator().get(&list).await.expect(200).json();
    assert_eq!(listed["data"][0]["state"], "ready", "{listed:#}");
}

#[tokio::test]
async fn a_tenant_of_a_backup_fails_repeats_and_sticks_where_it_is_loaded() {
    let keeping = Keeping::start(harness::patient()).await;
    harness::every_step_fails(&keeping.world, &case()).await;
    harness::every_step_twice(&keeping.world, &case()).await;
    harness::undo_stuck_and_retried(&keeping.world, &case()).await;
}

#[tokio::test]
async fn a_tenant_of_a_backup_is_killed_where_it_is_loaded() {
    let keeping = Keeping::start(harness::patient()).await;
    harness::every_instruction_killed(&keeping.world, &case()).await;
}
