//! The replication slot of a move, where its maker dies before it is made.

use contract::OperationId;
use world::{Fault, World, until};

use super::super::harness::{self, halted, operation_at, reaches, run_out};
use super::{moved, replicating, servers};

#[tokio::test]
async fn a_slot_that_a_dying_session_is_making_is_not_taken_for_a_slot() {
    let world = World::with(harness::patient()).await;
    let case = replicating();
    let faults = case.fault(case.steps[0], Fault::HaltBeforeAct);
    let (tenant, id) = halted(&world, &case, faults, &mut None).await;
    let (here, _) = servers(&world, tenant.id()).await;
    // A slot is made once every transaction that is under way has ended.
    let open = here.begin("postgres", "select pg_current_xact_id()").await;
    let operation: OperationId = id.parse().unwrap();
    let make = format!(
        "select pg_create_logical_replication_slot('tn_{}', 'pgoutput')",
        operation.uuid().simple()
    );
    let mut maker = here.connect(tenant.id().as_str()).await;
    let (made, ()) = tokio::join!(
        sqlx::raw_sql(sqlx::AssertSqlSafe(make)).execute(&mut maker),
        async {
            let making = "select count(*) from pg_replication_slots where active";
            until("the slot is being made", || async {
                here.number("postgres", making).await == 1
            })
            .await;
            run_out(&world, &id).await;
            until("the move waits for it", || async {
                operation_at(&world, &id).await["failure"]["code"] == "not-ready"
            })
            .await;
            let end =
                "select pg_terminate_backend(active_pid) from pg_replication_slots where active";
            here.run("postgres", end).await;
        }
    );
    made.unwrap_err();
    open.commit().await;
    reaches(&world, &id, "done", "the move").await;
    moved(&world, &tenant).await;
}
