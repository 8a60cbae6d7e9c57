//! Drift: what differs is told with what mends it, rights and objects are mended where that is asked
//! for, and nothing else is touched; and dry runs of migrations on a copy.

mod behind;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use world::{Answer, OperationKind, Speaker, Step, TenantHandle, World, WorldOptions};

pub(super) use behind::{live as other_lives, outliving};

use super::harness::{
    Case, every_instruction_killed, every_step_fails, every_step_twice, no_leftovers, patient,
    undo_stuck_and_retried,
};

async fn compared(world: &World, request: Value) -> Value {
    let answer = world.operator().post("/v1/drift", request).await;
    answer.expect(200).json()["result"].clone()
}

fn finding<'a>(report: &'a Value, object: &str) -> &'a Value {
    let findings = report["findings"].as_array().unwrap();
    findings
        .iter()
        .find(|finding| finding["object"] == object)
        .unwrap_or_else(|| panic!("{object} is not in {report:#}"))
}

#[tokio::test]
async fn what_differs_is_told_and_rights_are_mended() {
    let options = WorldOptions::default();
    let world = World::with(options).await;
    let sound = world.tenant("sound").await;
    let drifted = world.tenant("drifted").await;
    let misjudged = world.tenant("misjudged").await;
    let report = compared(&world, json!({})).await;
    assert_eq!(report["compared"], 3);
    assert_eq!(report["findings"], json!([]), "{report:#}");

    let sql = "drop index entries.entry_search_index;
         alter table entries.entry add column extra int;
         revoke insert on entries.entry from tn_data;
         grant delete on entries.entry to tn_read";
    let database = drifted.id().as_str();
    let indexes = "select indexname from pg_indexes where schemaname = 'entries' and not exists (
             select from pg_constraint where conname = indexname) order by 1";
    let indexes = world.postgres().texts(database, indexes).await;
    let sql = sql.replace("entry_search_index", &indexes[0]);
    world.postgres().run(database, &sql).await;
    behind::believe(&world, &misjudged, r#"'{"auth": 1}'"#).await;

    let report = compared(&world, json!({})).await;
    let causes = world.logs().with("cannot be looked at");
    assert_eq!(report["unreachable"], json!([]), "{causes:#?}");
    assert_eq!(
        (&report["compared"], &report["differing"]),
        (&json!(3), &json!(1)),
        "its history says what a tenant has, not the registry: {report:#}"
    );
    assert_eq!(report["not_compared"], json!([]));
    let index = finding(&report, &format!("index entries.{}", indexes[0]));
    assert_eq!(index["difference"], "missing");
    assert!(
        index["mend"].as_str().unwrap().starts_with("CREATE INDEX"),
        "{index}"
    );
    let column = finding(&report, "column entries.entry.extra");
    assert_eq!(
        (&column["difference"], &column["found"]),
        (&json!("extra"), &json!("integer"))
    );
    let lost = "right of tn_data to insert on table entries.entry";
    let given = "right of tn_read to delete on table entries.entry";
    assert_eq!(finding(&report, lost)["repair"], "left");
    let owner = drifted.owner();
    owner
        .post("/v1/entries", crate::support::entry("No"))
        .await
        .expect(503);

    let only = json!({ "filter": { "ids": [drifted.id(), sound.id()] }, "repair": "grants" });
    let report = compared(&world, only).await;
    assert_eq!(finding(&report, lost)["repair"], "mended", "{report:#}");
    assert_eq!(finding(&report, given)["repair"], "mended");
    assert_eq!(
        finding(&report, "column entries.entry.extra")["repair"],
        "left"
    );
    owner
        .post("/v1/entries", crate::support::entry("Yes"))
        .await
        .expect(201);
    let report = compared(&world, json!({ "repair": "grants" })).await;
    assert_eq!(
        report["findings"].as_array().unwrap().len(),
        2,
        "{report:#}"
    );
    no_leftovers(&world).await;
}

#[tokio::test]
async fn objects_are_mended_and_nothing_that_holds_data_is_taken_away() {
    let options = WorldOptions::default();
    let world = World::with(options).await;
    let tenant = world.tenant("mended").await;
    let owner = tenant.owner();
    owner
        .post("/v1/entries", crate::support::entry("Here"))
        .await
        .expect(201);
    let database = tenant.id().as_str();
    // The generated column takes its index along; the column that is too much holds somebody's data.
    let sql = "alter table entries.entry drop column search cascade;
         alter table entries.entry drop constraint entry_title_check;
         alter table entries.entry add constraint entry_title_check check (length(title) < 5) not valid;
         create index entry_extra on entries.entry (title);
         alter table entries.entry add column kept int default 7;
         revoke insert on entries.entry from tn_data";
    let constraint = "select conname from pg_constraint
         where conrelid = 'entries.entry'::regclass and contype = 'c' order by 1";
    let constraint = world.postgres().texts(database, constraint).await;
    let sql = sql.replace("entry_title_check", &constraint[0]);
    world.postgres().run(database, &sql).await;

    let request = json!({ "filter": { "ids": [tenant.id()] }, "repair": "objects" });
    let report = compared(&world, request.clone()).await;
    for (object, repair) in [
        ("column entries.entry.search", "mended"),
        ("index entries.entry_extra", "mended"),
        (
            &format!("constraint {} on entries.entry", constraint[0]),
            "mended",
        ),
        (
            "right of tn_data to insert on table entries.entry",
            "mended",
        ),
        ("column entries.entry.kept", "left"),
    ] {
        assert_eq!(finding(&report, object)["repair"], repair, "{report:#}");
    }
    let report = compared(&world, request).await;
    let left: Vec<_> = report["findings"].as_array().unwrap().iter().collect();
    assert_eq!(left.len(), 1, "{report:#}");
    assert_eq!(left[0]["object"], "column entries.entry.kept");
    let kept = "select sum(kept)::bigint from entries.entry";
    assert_eq!(world.postgres().number(database, kept).await, 7);
    let found = owner.get("/v1/entries?q=here").await.expect(200);
    assert_eq!(found.json()["data"].as_array().unwrap().len(), 1);
    owner
        .post("/v1/entries", crate::support::entry("Yet another one"))
        .await
        .expect(201);
    // What cannot be mended says why.
    let sql = "alter table entries.entry drop constraint entry_title_check;
         update entries.entry set title = ''";
    world.postgres().run(database, sql).await;
    let request = json!({ "filter": { "ids": [tenant.id()] }, "repair": "objects" });
    let report = compared(&world, request).await;
    let failed = finding(&report, "constraint entry_title_check on entries.entry");
    assert_eq!(failed["repair"], "failed", "{report:#}");
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains("23514"), "{reason}");
    let left = finding(&report, "column entries.entry.kept");
    assert_eq!(left.get("reason"), None, "{left}");
}

#[tokio::test]
async fn a_dry_run_migrates_a_copy_alone() {
    let options = WorldOptions::default();
    let world = World::with(options).await;
    let acme = world.tenant("tried").await;
    acme.owner()
        .post("/v1/entries", crate::support::entry("Here"))
        .await
        .expect(201);
    // As if its schema were behind: the copy is brought up, the tenant stays.
    let unmigrate = "delete from entries.refinery_schema_history where version = 2;
         alter table entries.entry drop column search";
    world.postgres().run(acme.id().as_str(), unmigrate).await;
    let request = json!({ "tenant": acme.id() });
    let answer = world.operator().post("/v1/rollouts/trial", &request).await;
    let result = answer.expect(200).json()["result"].clone();
    assert_eq!(result["after"]["entries"], 2, "{result}");
    assert_eq!(result.get("failed"), None);
    let history = "select version::text from entries.refinery_schema_history order by 1";
    assert_eq!(
        world.postgres().texts(acme.id().as_str(), history).await,
        ["1"]
    );
    // A migration that fails is what the trial says.
    let stands_in_the_way = "alter table entries.entry add column search int";
    world
        .postgres()
        .run(acme.id().as_str(), stands_in_the_way)
        .await;
    let answer = world.operator().post("/v1/rollouts/trial", &request).await;
    let result = answer.expect(200).json()["result"].clone();
    assert_eq!(result["failed"]["sqlstate"], "42701", "{result}");
    assert_eq!(result["failed"]["owner"], "entries");
    no_leftovers(&world).await;
    let nobody = json!({ "tenant": "t_nobody" });
    let answer = world.operator().post("/v1/rollouts/trial", nobody).await;
    answer.expect(404);
}

fn prepare(world: &World) -> BoxFuture<'_, TenantHandle> {
    async move { world.tenant("looked-at").await }.boxed()
}

/// A tenant that needs two references, one after the other: of what the registry believes, and of what
/// its history says.
fn prepare_misjudged(world: &World) -> BoxFuture<'_, TenantHandle> {
    async move {
        let tenant = world.tenant("misjudged").await;
        behind::believe(world, &tenant, r#"'{"auth": 1}'"#).await;
        tenant
    }
    .boxed()
}

fn nothing<'a>(world: &'a World, _tenant: &'a TenantHandle) -> BoxFuture<'a, ()> {
    no_leftovers(world).boxed()
}

fn drift_case() -> Case {
    fn begin<'a>(operator: &'a Speaker, tenant: &'a TenantHandle) -> BoxFuture<'a, Answer> {
        let request = json!({ "filter": { "ids": [tenant.id()] } });
        async move { operator.post("/v1/drift", request).await }.boxed()
    }
    Case {
        kind: OperationKind::Drift,
        steps: &[Step::Compare, Step::Drop],
        point_of_no_return: Step::Compare,
        prepare: prepare_misjudged,
        begin,
        after_done: nothing,
        after_undone: nothing,
    }
}

fn trial_case() -> Case {
    fn begin<'a>(operator: &'a Speaker, tenant: &'a TenantHandle) -> BoxFuture<'a, Answer> {
        let request = json!({ "tenant": tenant.id() });
        async move { operator.post("/v1/rollouts/trial", request).await }.boxed()
    }
    Case {
        kind: OperationKind::RolloutTrial,
        steps: &[Step::Scratch, Step::Migrate, Step::Drop],
        point_of_no_return: Step::Migrate,
        prepare,
        begin,
        after_done: nothing,
        after_undone: nothing,
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![drift_case(), trial_case()]
}

#[tokio::test]
async fn looks_and_dry_runs_may_fail_and_run_twice() {
    let world = World::with(patient()).await;
    for case in cases() {
        every_step_fails(&world, &case).await;
        every_step_twice(&world, &case).await;
    }
}

#[tokio::test]
async fn looks_and_dry_runs_survive_a_kill_at_every_instruction() {
    let world = World::with(patient()).await;
    for case in cases() {
        every_instruction_killed(&world, &case).await;
        undo_stuck_and_retried(&world, &case).await;
    }
}
