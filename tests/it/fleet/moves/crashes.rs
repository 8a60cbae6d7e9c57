//! A server that crashes while a tenant comes to it: what was loaded without waiting for its disk is there.

use world::{Fault, Step, StopMode, World};

use super::super::harness::{self, halted, reaches, run_out};
use super::{moving, servers};

/// Nothing of the server's log is written but what somebody asks for, and its sessions do not: who wants to have
/// something kept says so. (Its writer of the log stands still: whatever its settings, it writes whole pages.)
const LAZY: [&str; 3] = [
    // Not while it writes, and has locks.
    "do $$ declare writer int; begin
         while writer is null loop
             perform pg_stat_clear_snapshot();
             select pid into writer from pg_stat_activity
                 where backend_type = 'walwriter' and wait_event = 'WalWriterMain';
         end loop;
         execute format('copy (select) to program %L', 'cat; kill -STOP ' || writer);
     end $$",
    "alter system set synchronous_commit = off",
    "select pg_reload_conf()",
];

#[tokio::test]
async fn what_was_loaded_outlives_a_crash_before_the_switch() {
    let world = World::with(harness::patient()).await;
    let target = world.second_cluster().await;
    for statement in LAZY {
        target.postgres().run("postgres", statement).await;
    }
    let case = moving();
    // Compared in the server's memory, and known to be whole.
    let faults = case.fault(Step::Compare, Fault::HaltAfterLog);
    let (tenant, id) = halted(&world, &case, faults, &mut None).await;
    let (_, there) = servers(&world, tenant.id()).await;
    there.stop(StopMode::Immediate).await;
    there.start_again().await;
    run_out(&world, &id).await;
    reaches(&world, &id, "done", "the move").await;
    (case.after_done)(&world, &tenant).await;
}
