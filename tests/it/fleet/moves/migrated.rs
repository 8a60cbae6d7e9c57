//! A migration that comes between two steps of a move by replication: what it makes is not in the slot.

use world::{Fault, Step, World};

use super::super::harness::{self, halted, operation_at, reaches, run_out};
use super::load::{Load, unlimited};
use super::{replicating, servers};

#[tokio::test]
async fn a_migration_between_two_steps_ends_the_move_and_loses_nothing() {
    let world = World::with(harness::patient()).await;
    let case = replicating();
    for (step, migration) in [
        (
            Step::Snapshot,
            "create table entries.later (id int primary key)",
        ),
        // Nothing but a line in a history: it made what no comparison of tables shows.
        (
            Step::Follow,
            "insert into entries.refinery_schema_history values (99, 'later', '', '0')",
        ),
        (
            Step::Sequences,
            "insert into auth.refinery_schema_history values (99, 'later', '', '0')",
        ),
    ] {
        let faults = case.fault(step, Fault::HaltBeforeAct);
        let (tenant, id) = halted(&world, &case, faults, &mut None).await;
        let (here, _) = servers(&world, tenant.id()).await;
        here.run(tenant.id().as_str(), migration).await;
        run_out(&world, &id).await;
        reaches(&world, &id, "undone", step.as_str()).await;
        let failure = &operation_at(&world, &id).await["failure"];
        let detail = failure["detail"].as_str().unwrap();
        assert!(detail.contains("were migrated"), "{failure}");
        (case.after_undone)(&world, &tenant).await;
    }
}

/// Entries are written to it, too.
const LATER: &str = "set role tn_schema;
    create table entries.later (id text primary key);
    create function entries.later() returns trigger language plpgsql as
        'begin insert into entries.later values (new.id); return null; end';
    create trigger later after insert on entries.entry
        for each row execute function entries.later();
    reset role";

#[tokio::test]
async fn a_slot_of_an_earlier_try_is_made_anew_where_a_table_has_come() {
    let world = World::with(harness::patient()).await;
    let case = replicating();
    let faults = case.fault(Step::Slot, Fault::HaltAfterAct);
    let (tenant, id) = halted(&world, &case, faults, &mut None).await;
    unlimited(&world, &tenant).await;
    let (here, there) = servers(&world, tenant.id()).await;
    here.run(tenant.id().as_str(), LATER).await;
    let load = Load::start(vec![tenant.owner()]);
    load.some(5).await;
    run_out(&world, &id).await;
    reaches(&world, &id, "done", "the move").await;
    load.some(5).await;
    let (acknowledged, failed) = load.end().await;
    assert_eq!(failed, Vec::<String>::new());
    let kept = "select count(*) from entries.later";
    assert_eq!(there.number(tenant.id().as_str(), kept).await, acknowledged);
}
