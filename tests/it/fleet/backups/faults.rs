//! What is done to backups, failed, repeated, killed and stuck at every step.

use futures::FutureExt as _;
use serde_json::{Value, json};
use world::{OperationKind, Step, TenantHandle, World, until};

use super::super::harness::{self, Case};
use super::{Keeping, ids, post, restore_body, restore_path, write};

async fn newest(world: &World, tenant: &TenantHandle) -> Option<String> {
    let path = format!("/v1/backups?tenant={}", tenant.id());
    ids(&world.operator().get(&path).await.expect(200).json())
        .into_iter()
        .next()
}

async fn served(tenant: &TenantHandle) {
    until("the tenant is served", || async {
        tenant.owner().get("/v1/entries").await.status() == 200
    })
    .await;
}

async fn with_backup(world: &World) -> TenantHandle {
    let tenant = world.tenant("kept").await;
    write(&tenant, &["one"]).await;
    let path = format!("/v1/tenants/{}/backups?wait=none", tenant.id());
    let begun = world.operator().post(&path, json!({})).await.expect(202);
    harness::reaches(world, &harness::operation_of(&begun), "done", "a backup").await;
    tenant
}

fn titles(tenant: &TenantHandle) -> String {
    let id = tenant.id();
    format!("select distinct title from entries.entry where '{id}' <> '' order by 1")
}

/// Every kind of this theme.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case {
            kind: OperationKind::Backup,
            steps: &[Step::Dump, Step::Record],
            point_of_no_return: Step::Record,
            prepare: |world| async { world.tenant("dumped").await }.boxed(),
            begin: |operator, tenant| {
                async {
                    let path = format!("/v1/tenants/{}/backups", tenant.id());
                    operator
                        .post(&path, json!({ "encryption": "tenant" }))
                        .await
                }
                .boxed()
            },
            after_done: |world, tenant| {
                async {
                    let id = newest(world, tenant).await.unwrap();
                    let path = format!("/v1/backups/{id}");
                    assert_eq!(world.operator().get(&path).await.json()["state"], "ready");
                }
                .boxed()
            },
            after_undone: |world, tenant| {
                async { assert_eq!(newest(world, tenant).await, None) }.boxed()
            },
        },
        Case {
            kind: OperationKind::VerifyBackup,
            steps: &[Step::Load, Step::Compare, Step::Count, Step::Drop],
            point_of_no_return: Step::Compare,
            prepare: |world| with_backup(world).boxed(),
            begin: |operator, tenant| {
                async {
                    let list = format!("/v1/backups?tenant={}", tenant.id());
                    let id = ids(&operator.get(&list).await.json()).remove(0);
                    post(operator, &format!("/v1/backups/{id}/verify")).await
                }
                .boxed()
            },
            after_done: |world, tenant| {
                async {
                    let id = newest(world, tenant).await.unwrap();
                    let shown = world
                        .operator()
                        .get(&format!("/v1/backups/{id}"))
                        .await
                        .json();
                    assert!(shown["verified_at"].is_string(), "{shown}");
                }
                .boxed()
            },
            after_undone: |world, tenant| {
                async {
                    let id = newest(world, tenant).await.unwrap();
                    let shown = world
                        .operator()
                        .get(&format!("/v1/backups/{id}"))
                        .await
                        .json();
                    assert!(shown["verified_at"].is_null(), "{shown}");
                    assert_eq!(shown["state"], "ready", "{shown}");
                }
                .boxed()
            },
        },
        Case {
            kind: OperationKind::ForgetBackup,
            steps: &[Step::Mark, Step::Remove],
            point_of_no_return: Step::Remove,
            prepare: |world| with_backup(world).boxed(),
            begin: |operator, tenant| {
                async {
                    let list = format!("/v1/backups?tenant={}", tenant.id());
                    let id = ids(&operator.get(&list).await.json()).remove(0);
                    operator
                        .delete(&format!("/v1/backups/{id}?confirm={id}"))
                        .await
                }
                .boxed()
            },
            after_done: |world, tenant| {
                async { assert_eq!(newest(world, tenant).await, None) }.boxed()
            },
            after_undone: |world, tenant| {
                async {
                    let id = newest(world, tenant).await.unwrap();
                    let path = format!("/v1/backups/{id}");
                    let shown = world.operator().get(&path).await.expect(200).json();
                    // Which it is depends on whether its object was still there.
                    let stands = ["ready", "deleting"].map(Value::from);
                    assert!(stands.contains(&shown["state"]), "{shown}");
                }
                .boxed()
            },
        },
        Case {
            kind: OperationKind::RestoreBackup,
            steps: &[
                Step::Load,
                Step::Compare,
                Step::Schema,
                Step::Count,
                Step::Hold,
                Step::Wall,
                Step::Swap,
            ],
            point_of_no_return: Step::Swap,
            prepare: |world| {
                async {
                    let tenant = with_backup(world).await;
                    write(&tenant, &["two"]).await;
                    tenant
                }
                .boxed()
            },
            begin: |operator, tenant| {
                async {
                    let list = format!("/v1/backups?tenant={}", tenant.id());
                    let id = ids(&operator.get(&list).await.json()).remove(0);
                    operator
                        .post(&restore_path(tenant), restore_body(tenant, &id))
                        .await
                }
                .boxed()
            },
            after_done: |world, tenant| {
                async {
                    served(tenant).await;
                    let titles = world
                        .postgres()
                        .texts(tenant.id().as_str(), &titles(tenant))
                        .await;
                    assert_eq!(titles, ["one"]);
                }
                .boxed()
            },
            after_undone: |world, tenant| {
                async {
                    served(tenant).await;
                    write(tenant, &["three"]).await;
                    let titles = world
                        .postgres()
                        .texts(tenant.id().as_str(), &titles(tenant))
                        .await;
                    assert_eq!(titles, ["one", "three", "two"]);
                }
                .boxed()
            },
        },
    ]
}

async fn patiently(kind: OperationKind) {
    let keeping = Keeping::start(harness::patient()).await;
    for case in cases().iter().filter(|case| case.kind == kind) {
        harness::every_step_fails(&keeping.world, case).await;
        harness::every_step_twice(&keeping.world, case).await;
        harness::undo_stuck_and_retried(&keeping.world, case).await;
    }
}

async fn killed(kind: OperationKind) {
    let keeping = Keeping::start(harness::patient()).await;
    for case in cases().iter().filter(|case| case.kind == kind) {
        harness::every_instruction_killed(&keeping.world, case).await;
    }
}

#[tokio::test]
async fn backup_fails_repeats_and_sticks_at_every_step() {
    patiently(OperationKind::Backup).await;
}

#[tokio::test]
async fn backup_is_killed_at_every_instruction() {
    killed(OperationKind::Backup).await;
}

#[tokio::test]
async fn verify_backup_fails_repeats_and_sticks_at_every_step() {
    patiently(OperationKind::VerifyBackup).await;
}

#[tokio::test]
async fn verify_backup_is_killed_at_every_instruction() {
    killed(OperationKind::VerifyBackup).await;
}

#[tokio::test]
async fn forget_backup_fails_repeats_and_sticks_at_every_step() {
    patiently(OperationKind::ForgetBackup).await;
}

#[tokio::test]
async fn forget_backup_is_killed_at_every_instruction() {
    killed(OperationKind::ForgetBackup).await;
}

#[tokio::test]
async fn restore_backup_fails_repeats_and_sticks_at_every_step() {
    patiently(OperationKind::RestoreBackup).await;
}

#[tokio::test]
async fn restore_backup_is_killed_at_every_instruction() {
    killed(OperationKind::RestoreBackup).await;
}
