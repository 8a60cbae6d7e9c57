//! A store that does not let go of what an operation leaves, or is to remove.
//!
//! Deliberately with a folder in the place of an object, which nobody removes as a file, root included.
//! Invariant: no tenant is held by it, and what was left is removed later.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use world::{
    Fault, Faults, OperationKind, Speaker, Step, TenantHandle, World, WorldOptions, until,
};

use super::super::harness;
use super::{Keeping, back_up, post};

/// The backup that is being written, and its path.
async fn writing(keeping: &Keeping, tenant: &TenantHandle) -> (String, PathBuf) {
    let sql = format!(
        "select object from registry.backup where tenant_id = '{}' and state = 'writing'",
        tenant.id()
    );
    let path = keeping
        .world
        .postgres()
        .texts("registry", &sql)
        .await
        .remove(0);
    let file = keeping.folder.path().join("objects").join(&path);
    (path, file)
}

#[tokio::test]
async fn a_store_that_does_not_let_go_holds_no_tenant_and_is_swept_later() {
    let keeping = Keeping::start(harness::roomy()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("held").await;
    let id = acme.id();
    let objects = keeping.folder.path().join("objects");
    std::fs::create_dir_all(&objects).unwrap();
    let tenants_are_at = |place: &Path| {
        let link = keeping.folder.path().join("link");
        std::os::unix::fs::symlink(place, &link).unwrap();
        std::fs::rename(&link, objects.join("tenants")).unwrap();
    };
    for kind in ["backups", "export"] {
        tenants_are_at(Path::new("nowhere"));
        let path = format!("/v1/tenants/{id}/{kind}?wait=none");
        let begun = operator.post(&path, json!({})).await;
        let operation = harness::operation_of(&begun.expect(202));
        let (path, file) = writing(&keeping, &acme).await;
        let beside = keeping.folder.path().join(kind);
        let folder = beside.join(path.strip_prefix("tenants/").unwrap());
        std::fs::create_dir_all(folder.join("held")).unwrap();
        tenants_are_at(&beside);
        let cancel = format!("/v1/operations/{operation}/cancel");
        post(&operator, &cancel).await.expect(202);
        harness::reaches(world, &operation, "undone", kind).await;
        assert!(file.is_dir());
        let listed = format!("/v1/backups?tenant={id}");
        let listed = operator.get(&listed).await.expect(200).json();
        assert_eq!(listed["data"], json!([]));

        // What was left is nobody's: it goes after its grace.
        std::fs::remove_dir_all(&file).unwrap();
        std::fs::write(&file, "half").unwrap();
        operator
            .post("/v1/findings/sweep", json!({}))
            .await
            .expect(200);
        assert!(file.exists());
        let old = "update registry.finding set first_seen_at = now() - interval '1 year'";
        world.postgres().run("registry", old).await;
        let swept = operator.post("/v1/findings/sweep", json!({})).await;
        let swept = swept.expect(200).json();
        let found = json!([format!("object/objects/{path}")]);
        assert_eq!(swept["removed"], found, "{swept:#}");
        assert!(!file.exists());
    }
    // And nothing holds the tenant.
    let suspend = format!("/v1/tenants/{id}/suspend");
    let suspended = operator.post(&suspend, json!({ "wall": "blocked" })).await;
    let suspended = harness::operation_of(&suspended);
    harness::reaches(world, &suspended, "done", "the suspension").await;
}

/// The removal of a backup, at a speaker's replica.
async fn removal(operator: &Speaker, backup: &str) -> String {
    let path = format!("/v1/backups/{backup}?confirm={backup}&wait=none");
    harness::operation_of(&operator.delete(&path).await.expect(202))
}

async fn state(operator: &Speaker, backup: &str) -> Value {
    let shown = operator.get(&format!("/v1/backups/{backup}")).await;
    shown.expect(200).json()["state"].clone()
}

async fn is_gone(operator: &Speaker, backup: &str) -> bool {
    operator
        .get(&format!("/v1/backups/{backup}"))
        .await
        .status()
        == 404
}

/// As if removals had failed long ago.
async fn rested(world: &World) {
    let rested = "update registry.operation set finished_at = finished_at - interval '2 hours'
         where kind = 'forget_backup'";
    world.postgres().run("registry", rested).await;
}

#[tokio::test]
async fn a_backup_that_the_store_does_not_let_go_of_is_removed_later_and_holds_no_tenant() {
    let options = harness::roomy().platform_setting("backups.check_every", "50ms");
    let keeping = Keeping::start(options).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("clinging").await;
    let backup = back_up(&operator, &acme, "none").await;
    let file = keeping.objects().remove(0);
    let object = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir_all(file.join("held")).unwrap();
    let fails = Faults::none().with(
        OperationKind::ForgetBackup,
        Step::Remove,
        Fault::FailAfterAct,
    );
    let failing = world.platform_replica(fails).await;
    let operation = removal(&operator.clone().at(&failing.url()), &backup).await;
    harness::reaches(world, &operation, "undone", "the removal").await;
    drop(failing);
    assert_eq!(state(&operator, &backup).await, "deleting");
    let suspend = format!("/v1/tenants/{}/suspend", acme.id());
    let suspended = operator.post(&suspend, json!({ "wall": "blocked" })).await;
    let suspended = harness::operation_of(&suspended);
    harness::reaches(world, &suspended, "done", "the suspension").await;

    // It rests; then it is tried again.
    std::fs::remove_dir_all(&file).unwrap();
    std::fs::write(&file, &object).unwrap();
    rested(world).await;
    until("it is removed", || async {
        is_gone(&operator, &backup).await && !file.exists()
    })
    .await;
}

#[tokio::test]
async fn a_removal_that_is_taken_back_while_the_store_is_away_removes_nothing_later() {
    let options = WorldOptions::default().platform_setting("backups.check_every", "50ms");
    let keeping = Keeping::start(options).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("regretted").await;
    let backup = back_up(&operator, &acme, "none").await;
    let file = keeping.objects().remove(0);
    let [objects, beside] = ["objects", "beside"].map(|name| keeping.folder.path().join(name));
    let is_away = || {
        std::fs::rename(&objects, &beside).unwrap();
        std::os::unix::fs::symlink(&objects, &objects).unwrap();
    };
    let is_back = || {
        std::fs::remove_file(&objects).unwrap();
        std::fs::rename(&beside, &objects).unwrap();
    };
    let taken_back = async |operation: &str| {
        until("it says what it waits for", || async {
            let shown = harness::operation_at(world, operation).await;
            shown["failure"]["code"] == "object-store-unavailable"
        })
        .await;
        let cancel = format!("/v1/operations/{operation}/cancel");
        post(&operator, &cancel).await.expect(202);
        harness::reaches(world, operation, "undone", "the removal").await;
    };
    is_away();
    taken_back(&removal(&operator, &backup).await).await;
    is_back();
    assert_eq!(state(&operator, &backup).await, "corrupt");

    // What nobody took back goes, and would go after this one.
    let other = back_up(&operator, &acme, "none").await;
    let marked = format!(
        "update registry.backup set state = 'deleting'
         where 'bak_' || replace(id::text, '-', '') = '{other}'"
    );
    world.postgres().run("registry", &marked).await;
    rested(world).await;
    until("the other one is removed", || is_gone(&operator, &other)).await;
    assert_eq!(state(&operator, &backup).await, "corrupt");
    assert!(file.exists());
    let verified = post(&operator, &format!("/v1/backups/{backup}/verify")).await;
    verified.expect(200);
    assert_eq!(state(&operator, &backup).await, "ready");
}
