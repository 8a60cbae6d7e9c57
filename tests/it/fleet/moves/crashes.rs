//! A server that crashes while a tenant comes to it: what was loaded without waiting for its disk is there.

use world::{Fault, Step, StopMode, World};

use super::super::harness::{self, halted, reaches, run_out};
use super::{moving, servers};

/// The server writes nothing of its log by itself, and its sessions do not ask it to: who wants to have something kept
/// says so.
const LAZY: [&str; 5] = [
    "alter system set synchronous_commit = off",
    "alter system set wal_writer_delay = '10s'",
    "alter system set wal_writer_flush_after = '1GB'",
    "alter system set bgwriter_lru_maxpages = 0",
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
