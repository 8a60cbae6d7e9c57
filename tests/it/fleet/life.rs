//! A tenant's life: held back, deleted, brought back, purged; its password, its owner.

mod changes;
mod endings;
mod walls;

use contract::Code;
use http::Method;
use serde_json::{Value, json};
use world::{
    Answer, OperationKind, Speaker, Step, TenantHandle, World, WorldOptions, eventually, until,
};

use super::harness::{self, Case, done};
use crate::support::{entry, role_password};

/// Every kind of this theme.
pub(super) fn cases() -> Vec<Case> {
    vec![
        suspend(),
        resume(),
        delete(),
        undelete(),
        rotate(),
        purge(),
        transfer(),
    ]
}

fn path(tenant: &TenantHandle, rest: &str) -> String {
    format!("/v1/tenants/{}{rest}", tenant.id())
}

async fn post(operator: &Speaker, tenant: &TenantHandle, verb: &str, body: Value) -> Answer {
    operator.post(&path(tenant, verb), body).await
}

/// A request without a body.
async fn tell(operator: &Speaker, tenant: &TenantHandle, verb: &str) -> Answer {
    operator
        .request(Method::POST, &path(tenant, verb))
        .send()
        .await
}

pub(crate) async fn remove(operator: &Speaker, tenant: &TenantHandle) -> Answer {
    let path = path(tenant, &format!("?confirm={}", tenant.id()));
    operator.delete(&path).await
}

/// A tenant with one entry.
async fn with_an_entry(world: &World) -> TenantHandle {
    let acme = world.tenant("life").await;
    acme.owner()
        .post("/v1/entries", entry("kept"))
        .await
        .expect(201);
    acme
}

/// Its entry can be read, and another one written.
async fn works(world: &World, acme: &TenantHandle) {
    until("the tenant is served", || async {
        acme.owner().get("/v1/entries").await.status() == 200
    })
    .await;
    until("it can be written to", || async {
        acme.owner()
            .post("/v1/entries", entry("more"))
            .await
            .status()
            == 201
    })
    .await;
    let kept = "select count(*) from entries.entry where title = 'kept'";
    assert_eq!(world.postgres().number(acme.id().as_str(), kept).await, 1);
}

async fn is_blocked(world: &World, acme: &TenantHandle) {
    refuses(acme, Method::GET, Code::TenantSuspended).await;
    let password = role_password(world, acme.id()).await;
    let id = acme.id().as_str();
    let in_person = world.postgres().connect_as(id, password.expose(), id).await;
    assert!(in_person.is_err(), "the database lets nobody in");
}

/// Waits for the news, which are announced before the operation is over.
async fn refuses(acme: &TenantHandle, method: Method, code: Code) {
    let wanted = format!("{method} is refused with {}", code.as_str());
    eventually(world::DEADLINE, &wanted, || async {
        let request = acme.owner().request(method.clone(), "/v1/entries");
        let answer = match method {
            Method::POST => request.json(entry("refused")).send().await,
            _ => request.send().await,
        };
        (answer.status() == code.status() && answer.problem().code == code).then_some(())
    })
    .await;
}

async fn is_deleted(world: &World, acme: &TenantHandle) {
    refuses(acme, Method::GET, Code::TenantDeleted).await;
    let names = world.postgres().names().await;
    let id = acme.id().to_string();
    assert!(
        names.contains(&format!("database deleted:{id}:1")),
        "{names:?}"
    );
    assert!(names.contains(&format!("role deleted:{id}:1")), "{names:?}");
    assert!(!names.contains(&format!("database {id}")), "{names:?}");
    assert!(!names.contains(&format!("role {id}")), "{names:?}");
}

fn blocked() -> Value {
    json!({ "wall": "blocked", "reason": "The invoice of May is open." })
}

fn suspend() -> Case {
    Case {
        kind: OperationKind::Suspend,
        steps: OperationKind::Suspend.steps(),
        point_of_no_return: Step::Announce,
        prepare: |world| Box::pin(with_an_entry(world)),
        begin: |operator, acme| Box::pin(post(operator, acme, "/suspend", blocked())),
        after_done: |world, acme| Box::pin(is_blocked(world, acme)),
        after_undone: |world, acme| Box::pin(works(world, acme)),
    }
}

fn resume() -> Case {
    Case {
        kind: OperationKind::Resume,
        steps: OperationKind::Resume.steps(),
        point_of_no_return: Step::Announce,
        prepare: |world| {
            Box::pin(async move {
                let acme = with_an_entry(world).await;
                done(
                    &world.operator(),
                    post(&world.operator(), &acme, "/suspend", blocked()).await,
                )
                .await;
                acme
            })
        },
        begin: |operator, acme| Box::pin(tell(operator, acme, "/resume")),
        after_done: |world, acme| Box::pin(works(world, acme)),
        after_undone: |world, acme| Box::pin(is_blocked(world, acme)),
    }
}

fn delete() -> Case {
    Case {
        kind: OperationKind::Delete,
        steps: OperationKind::Delete.steps(),
        point_of_no_return: Step::Rename,
        prepare: |world| Box::pin(with_an_entry(world)),
        begin: |operator, acme| Box::pin(remove(operator, acme)),
        after_done: |world, acme| Box::pin(is_deleted(world, acme)),
        after_undone: |world, acme| Box::pin(works(world, acme)),
    }
}

fn undelete() -> Case {
    Case {
        kind: OperationKind::Undelete,
        steps: OperationKind::Undelete.steps(),
        point_of_no_return: Step::Announce,
        prepare: |world| Box::pin(deleted(world)),
        begin: |operator, acme| Box::pin(tell(operator, acme, "/restore")),
        after_done: |world, acme| Box::pin(works(world, acme)),
        after_undone: |world, acme| Box::pin(is_deleted(world, acme)),
    }
}

fn rotate() -> Case {
    Case {
        kind: OperationKind::Rotate,
        steps: OperationKind::Rotate.steps(),
        point_of_no_return: Step::Settle,
        prepare: |world| Box::pin(with_an_entry(world)),
        begin: |operator, acme| Box::pin(tell(operator, acme, "/rotate")),
        after_done: |world, acme| Box::pin(has_one_password(world, acme)),
        after_undone: |world, acme| Box::pin(has_one_password(world, acme)),
    }
}

fn purge() -> Case {
    Case {
        kind: OperationKind::Purge,
        steps: OperationKind::Purge.steps(),
        point_of_no_return: Step::Condemn,
        prepare: |world| Box::pin(deleted(world)),
        begin: |operator, acme| Box::pin(purged(operator, acme, "keep")),
        after_done: |world, acme| Box::pin(is_purged(world, acme)),
        after_undone: |world, acme| Box::pin(is_deleted(world, acme)),
    }
}

pub(crate) async fn purged(operator: &Speaker, acme: &TenantHandle, last: &str) -> Answer {
    let id = acme.id();
    let body = json!({ "confirm": id, "force": id, "final_backup": last });
    post(operator, acme, "/purge", body).await
}

/// Nothing is left but the tombstone and its certificate.
async fn is_purged(world: &World, acme: &TenantHandle) {
    let id = acme.id().as_str();
    let names = world.postgres().names().await;
    assert!(!names.iter().any(|name| name.contains(id)), "{names:?}");
    let operator = world.operator();
    let shown: Value = operator.get(&path(acme, "")).await.expect(200).json();
    assert!(shown["purged_at"].is_string(), "{shown:#}");
    let certificate = operator.get(&path(acme, "/certificate")).await.expect(200);
    let certificate: Value = certificate.json();
    assert_eq!(certificate["tenant"], id);
    assert_eq!(
        certificate["body"]["databases_and_roles"][0]["name"],
        format!("deleted:{id}:1")
    );
    let answer = tell(&operator, acme, "/restore").await.expect(410);
    answer.refused(Code::TenantDeleted);
}

fn transfer() -> Case {
    Case {
        kind: OperationKind::Transfer,
        steps: OperationKind::Transfer.steps(),
        point_of_no_return: Step::Record,
        prepare: |world| Box::pin(with_an_entry(world)),
        begin: |operator, acme| Box::pin(transferred(operator, acme)),
        after_done: |world, acme| Box::pin(is_graces(world, acme)),
        after_undone: |world, acme| Box::pin(is_still_its_owners(world, acme)),
    }
}

fn grace(acme: &TenantHandle) -> String {
    format!("grace@{}.example", acme.slug())
}

async fn transferred(operator: &Speaker, acme: &TenantHandle) -> Answer {
    let body = json!({ "to": grace(acme), "others": "replace", "password": world::PASSWORD });
    post(operator, acme, "/transfer", body).await
}

/// Who is an owner, in the tenant's database.
async fn owners(world: &World, acme: &TenantHandle) -> Vec<String> {
    let sql = "select email from auth.account join auth.membership on account_id = id
         where role = 'owner' order by 1";
    world.postgres().texts(acme.id().as_str(), sql).await
}

async fn is_graces(world: &World, acme: &TenantHandle) {
    assert_eq!(owners(world, acme).await, [grace(acme)]);
    let shown = world.operator().get(&path(acme, "")).await.expect(200);
    assert_eq!(shown.json()["contact_email"], grace(acme));
    let credentials = json!({ "email": grace(acme), "password": world::PASSWORD });
    acme.anonymous()
        .post("/v1/auth/login", credentials)
        .await
        .expect(200);
}

async fn is_still_its_owners(world: &World, acme: &TenantHandle) {
    assert_eq!(owners(world, acme).await, [acme.email()]);
    let accounts = "select count(*) from auth.account";
    let accounts = world.postgres().number(acme.id().as_str(), accounts);
    assert_eq!(accounts.await, 1);
    works(world, acme).await;
}

/// The registry knows one password, the server takes it, and the tenant is served.
async fn has_one_password(world: &World, acme: &TenantHandle) {
    let sql = format!(
        "select cardinality(credentials)::bigint from registry.tenant where id = '{}'",
        acme.id()
    );
    assert_eq!(world.postgres().number("registry", &sql).await, 1);
    let password = role_password(world, acme.id()).await;
    let id = acme.id().as_str();
    world
        .postgres()
        .connect_as(id, password.expose(), id)
        .await
        .expect("the newest password opens the database");
    works(world, acme).await;
}

async fn deleted(world: &World) -> TenantHandle {
    let acme = with_an_entry(world).await;
    let operator = world.operator();
    done(&operator, remove(&operator, &acme).await).await;
    acme
}

fn with_objects(options: WorldOptions, folder: &tempfile::TempDir) -> WorldOptions {
    options.platform_setting("objects.folder", folder.path().to_str().unwrap())
}

#[tokio::test]
async fn every_step_fails_or_is_repeated() {
    let objects = tempfile::tempdir().unwrap();
    let world = World::with(with_objects(harness::patient(), &objects)).await;
    for case in cases() {
        harness::every_step_fails(&world, &case).await;
        harness::every_step_twice(&world, &case).await;
        harness::undo_stuck_and_retried(&world, &case).await;
    }
}

#[tokio::test]
async fn every_instruction_is_killed() {
    let objects = tempfile::tempdir().unwrap();
    let world = World::with(with_objects(harness::patient(), &objects)).await;
    // One after the other: a replica that dies would have taken up what another kind's had left.
    for case in cases() {
        harness::every_instruction_killed(&world, &case).await;
    }
}
