//! What a move leaves on a server that is away when it is undone.

use world::{Fault, StopMode, World};

use super::super::harness::{self, halted, reaches, run_out};
use super::{move_to, moved, moving, servers, works};

#[tokio::test]
async fn a_copy_that_was_left_is_in_nobodys_way() {
    let world = World::with(harness::roomy()).await;
    let case = moving();
    let faults = case
        .fault(case.point_of_no_return, Fault::FailAfterAct)
        .with(case.kind, case.point_of_no_return, Fault::HaltBeforeUndo);
    let (tenant, id) = halted(&world, &case, faults, &mut None).await;
    let (here, there) = servers(&world, tenant.id()).await;
    there.stop(StopMode::Immediate).await;
    run_out(&world, &id).await;
    // The tenant does not wait for a server that it is not on.
    reaches(&world, &id, "undone", "the move").await;
    works(&tenant).await;
    there.start_again().await;
    let named = format!(
        "select count(*) from pg_database where datname = '{}'",
        tenant.id()
    );
    assert_eq!(
        there.number("postgres", &named).await,
        1,
        "it has switched there"
    );
    let to = match std::ptr::eq(here, world.postgres()) {
        true => "second",
        false => "main",
    };
    move_to(&world, &tenant, to, "dump").await;
    moved(&world, &tenant).await;
    harness::no_leftovers(&world).await;
}
