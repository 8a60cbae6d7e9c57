//! A migration that comes between two steps of a move by replication: what it makes is not in the slot. And one
//! that waits for a copy's end.

use sqlx::PgConnection;
use world::{Fault, Postgres, Step, World, until};

use super::super::harness::{self, halted, operation_at, reaches, run_out};
use super::load::{Load, unlimited};
use super::{moving, replicating, servers};

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

/// A session of whoever migrates, with the server's process that it is.
async fn as_owner(server: &Postgres, database: &str) -> (PgConnection, i32) {
    let verifier = "select rolpassword from pg_authid where rolname = 'tn_schema'";
    let verifier = server.texts("postgres", verifier).await.remove(0);
    let set = |password: &str| format!("alter role tn_schema password '{password}'");
    server.run("postgres", &set("waiting")).await;
    let session = server.connect_as("tn_schema", "waiting", database).await;
    server.run("postgres", &set(&verifier)).await;
    let mut session = session.unwrap();
    let process = sqlx::query_scalar("select pg_backend_pid()");
    let process = process.fetch_one(&mut session).await.unwrap();
    (session, process)
}

#[tokio::test]
async fn who_waits_to_migrate_what_is_copied_is_sent_away_before_the_copy_is_compared() {
    for (case, step) in [(moving(), Step::Copy), (replicating(), Step::Sequences)] {
        // Whoever goes on with the move stops, too, before the database is left.
        let options = harness::patient().faults(case.fault(Step::Compare, Fault::HaltBeforeAct));
        let world = World::with(options).await;
        let faults = case.fault(step, Fault::HaltBeforeAct);
        let (tenant, id) = halted(&world, &case, faults, &mut None).await;
        let (here, _) = servers(&world, tenant.id()).await;
        let name = tenant.id().as_str();
        let waiting = as_owner(here, name).await;
        run_out(&world, &id).await;
        until("the next one has halted", || async {
            world.visitor().get("/readyz").await.status() != 200
        })
        .await;
        let (session, waits) = waiting;
        let left = format!("select count(*) from pg_stat_activity where pid = {waits}");
        assert_eq!(here.number("postgres", &left).await, 0, "{step:?}");
        drop(session);
        world.kill_platform();
        world.start_platform().await;
        run_out(&world, &id).await;
        reaches(&world, &id, "done", step.as_str()).await;
        (case.after_done)(&world, &tenant).await;
    }
}
