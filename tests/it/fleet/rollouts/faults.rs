//! A roll-out failed, repeated, killed and stuck at every step.

use futures::FutureExt as _;
use serde_json::json;
use world::{Answer, OperationKind, Speaker, Step, TenantHandle, World};

use super::super::harness::{self, Case, impatient, patient};

/// Brings a tenant whose registry row is behind to where its database is.
pub(crate) fn case() -> Case {
    fn prepare(world: &World) -> futures::future::BoxFuture<'_, TenantHandle> {
        async move {
            let tenant = world.tenant("behind").await;
            let sql = format!(
                "update registry.tenant set schema_versions = schema_versions || '{{\"entries\": 1}}'
                 where id = '{}'",
                tenant.id()
            );
            world.postgres().run("registry", &sql).await;
            tenant
        }
        .boxed()
    }
    fn begin<'a>(
        operator: &'a Speaker,
        tenant: &'a TenantHandle,
    ) -> futures::future::BoxFuture<'a, Answer> {
        let request = json!({ "filter": { "ids": [tenant.id()] } });
        async move { operator.post("/v1/rollouts", request).await }.boxed()
    }
    fn after_done<'a>(
        world: &'a World,
        tenant: &'a TenantHandle,
    ) -> futures::future::BoxFuture<'a, ()> {
        stands(world, tenant, ("done", "2")).boxed()
    }
    fn after_undone<'a>(
        world: &'a World,
        tenant: &'a TenantHandle,
    ) -> futures::future::BoxFuture<'a, ()> {
        stands(world, tenant, ("aborted", "1")).boxed()
    }
    Case {
        kind: OperationKind::Rollout,
        steps: &[Step::Prepare, Step::Waves, Step::Finish],
        point_of_no_return: Step::Prepare,
        prepare,
        begin,
        after_done,
        after_undone,
    }
}

async fn stands(world: &World, tenant: &TenantHandle, (state, version): (&str, &str)) {
    let sql = "select state from registry.rollout order by id desc limit 1";
    assert_eq!(world.postgres().texts("registry", sql).await, [state]);
    let sql = format!(
        "select schema_versions ->> 'entries' from registry.tenant where id = '{}'",
        tenant.id()
    );
    assert_eq!(world.postgres().texts("registry", &sql).await, [version]);
}

#[tokio::test]
async fn every_step_of_a_roll_out_may_fail_and_run_twice() {
    let world = World::with(patient()).await;
    harness::every_step_fails(&world, &case()).await;
    harness::every_step_twice(&world, &case()).await;
}

#[tokio::test]
async fn a_roll_out_survives_a_kill_at_every_instruction() {
    let world = World::with(impatient()).await;
    harness::every_instruction_killed(&world, &case()).await;
    harness::undo_stuck_and_retried(&world, &case()).await;
}
