//! Replicas that the platform does not hear: alive, idle, and with traffic again before they are heard.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use world::{
    DEADLINE, FaultProxy, Mode, OpenTransaction, TenantHandle, World, WorldOptions, eventually,
    until,
};

use super::{SESSIONS, Watch, tenants};

const BUDGET: u32 = 60;
/// Of which three are behind one link. The share of each is a fifth of the budget: were their shares
/// given away, the first one alone would get half of it.
const REPLICAS: usize = 4;
const SHARE: i64 = 12;
/// How long the number of sessions stays as it is once everybody has what they may have.
const STABLE: Duration = Duration::from_millis(700);

/// So long that a busy machine does not take a replica for silent that is not.
const SILENT_AFTER: &str = "6s";
/// By then what is not kept was given away.
const LONG_SILENT: &str = "20 s";

struct Fleet {
    world: World,
    link: FaultProxy,
    tenants: Vec<TenantHandle>,
}

impl Fleet {
    /// Everybody has a share, knows every tenant and holds nothing.
    async fn idle() -> Self {
        let options = WorldOptions::default()
            .budget(BUDGET)
            .app_setting("connections.idle", "300ms")
            .app_setting("connections.queue_wait", "20s")
            .platform_setting("replicas.heartbeat_every", "200ms")
            .platform_setting("replicas.silent_after", SILENT_AFTER);
        let world = World::with(options).await;
        let link = FaultProxy::start(world.platform_link().address()).await;
        for _ in 1..REPLICAS {
            world.add_app_replica_over(&link).await;
        }
        let tenants = tenants(&world, 8).await;
        let fleet = Self {
            world,
            link,
            tenants,
        };
        fleet.is_shared_again().await;
        for replica in 0..REPLICAS {
            fleet.is_served_by(replica).await;
        }
        until("nothing is held", || async { fleet.sessions().await == 0 }).await;
        fleet
    }

    async fn sessions(&self) -> i64 {
        self.world.postgres().number("postgres", SESSIONS).await
    }

    async fn registry(&self, sql: &str) -> i64 {
        self.world.postgres().number("registry", sql).await
    }

    async fn is_shared_again(&self) {
        let sql = format!(
            "select count(*) from registry.replica_share share
             join registry.replica on replica.id = share.replica_id
             where live_until > now() and granted = {SHARE} and held = {SHARE}"
        );
        until("everybody has a share", || async {
            self.registry(&sql).await == 4
        })
        .await;
    }

    async fn is_served_by(&self, replica: usize) {
        for tenant in &self.tenants {
            let owner = tenant.owner().at(&self.world.app_url(replica));
            owner.get("/v1/entries").await.expect(200);
        }
    }

    /// Waits until nobody but so many was heard for so long.
    async fn is_silent(&self, heard: i64, since: &str) {
        let sql = format!(
            "select count(*) from registry.replica where live_until > now() - interval '{since}'"
        );
        eventually(DEADLINE * 2, "the others are silent", || async {
            (self.registry(&sql).await == heard).then_some(())
        })
        .await;
    }

    /// Everybody has what they had: all of it but one, which each keeps for ending what does not end, and
    /// opens now and then to be seen.
    async fn has_all(&self) {
        let most = self.most_sessions(Some(4 * (SHARE - 1))).await;
        assert!((4 * (SHARE - 1)..=4 * SHARE).contains(&most), "{most}");
    }

    /// Nobody reads an entry as long as these live.
    async fn locked(&self) -> Vec<OpenTransaction> {
        let postgres = self.world.postgres();
        let tenants = self.tenants.iter();
        join_all(tenants.map(|tenant| postgres.lock(tenant.id().as_str(), "entries.entry"))).await
    }

    /// More requests at every replica than it may have connections, each of which hangs until there are as
    /// many sessions as are wanted, or no more come. The most sessions that the server saw.
    async fn most_sessions(&self, wanted: Option<i64>) -> i64 {
        let locks = self.locked().await;
        let watch = Watch::start(&self.world).await;
        let mut hanging = Vec::new();
        for tenant in &self.tenants {
            for n in 0..REPLICAS * 4 {
                let owner = tenant.owner().at(&self.world.app_url(n % REPLICAS));
                hanging.push(tokio::spawn(async move { owner.get("/v1/entries").await }));
            }
        }
        let last = Cell::new((0, Instant::now()));
        // Of these looks, between which the watch may not have come to look.
        let most = Cell::new(0);
        eventually(DEADLINE, "everybody has what they may have", || async {
            let now = self.sessions().await;
            most.set(most.get().max(now));
            if let Some(wanted) = wanted {
                return (now >= wanted).then_some(());
            }
            let (before, since) = last.get();
            if now == 0 || now != before {
                last.set((now, Instant::now()));
                return None;
            }
            (since.elapsed() > STABLE).then_some(())
        })
        .await;
        join_all(locks.into_iter().map(|lock| lock.commit())).await;
        join_all(hanging).await;
        watch.end().await.0.max(most.get())
    }
}

#[tokio::test]
async fn the_share_of_a_replica_that_is_cut_off_and_idle_stays_its_own() {
    let fleet = Fleet::idle().await;
    fleet.link.set(Mode::Reset);
    fleet.is_silent(1, LONG_SILENT).await;
    fleet.has_all().await;
    for replica in 0..REPLICAS {
        fleet.is_served_by(replica).await;
    }
    fleet.link.set(Mode::Pass);
    fleet.is_shared_again().await;
}

#[tokio::test]
async fn a_replica_that_neither_the_platform_nor_the_server_sees_is_left_with_one_connection() {
    let fleet = Fleet::idle().await;
    fleet.link.set(Mode::Reset);
    let postgres = fleet.world.postgres();
    for tenant in &fleet.tenants {
        let order = format!("alter database {} allow_connections false", tenant.id());
        postgres.run("postgres", &order).await;
    }
    let end =
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename like 't\\_%'";
    postgres.run("postgres", end).await;
    let given = "select count(*) from registry.replica_share where granted = 28 and held = 28";
    eventually(
        DEADLINE * 2,
        "what they do not keep is given away",
        || async { (fleet.registry(given).await == 1).then_some(()) },
    )
    .await;
    for tenant in &fleet.tenants {
        let order = format!("alter database {} allow_connections true", tenant.id());
        postgres.run("postgres", &order).await;
    }
    // One each, besides what the first one got.
    let most = fleet.most_sessions(Some(27 + 3)).await;
    assert!((27 + 3..=28 + 3).contains(&most), "{most}");
    for replica in 0..REPLICAS {
        fleet.is_served_by(replica).await;
    }
    fleet.link.set(Mode::Pass);
    fleet.is_shared_again().await;
}

#[tokio::test]
async fn after_a_start_of_the_platform_the_first_to_be_heard_gets_nothing_of_the_others() {
    let fleet = Fleet::idle().await;
    fleet.world.kill_platform();
    fleet.link.set(Mode::Reset);
    fleet.is_silent(0, "1 s").await;
    fleet.world.start_platform().await;
    let now = fleet
        .world
        .postgres()
        .texts("registry", "select now()::text");
    let heard = format!(
        "select count(*) from registry.replica where last_seen_at > '{}'::timestamptz + '1 s'",
        now.await[0]
    );
    until("the first one was heard some times", || async {
        fleet.registry(&heard).await == 1
    })
    .await;
    let most = fleet.most_sessions(None).await;
    assert!(most <= i64::from(BUDGET), "{most} of {BUDGET}");
    fleet.link.set(Mode::Pass);
    fleet.is_shared_again().await;
}

#[tokio::test]
async fn a_share_whose_connections_are_all_busy_is_kept() {
    let fleet = Fleet::idle().await;
    fleet.link.set(Mode::Reset);
    let locks = fleet.locked().await;
    let go_on = Arc::new(AtomicBool::new(true));
    let mut busy = Vec::new();
    for tenant in &fleet.tenants {
        for n in 0..REPLICAS * 4 {
            let owner = tenant.owner().at(&fleet.world.app_url(n % REPLICAS));
            let go_on = Arc::clone(&go_on);
            busy.push(tokio::spawn(async move {
                // Each ends with its time for a lock.
                while go_on.load(Ordering::Relaxed) {
                    owner.get("/v1/entries").await;
                }
            }));
        }
    }
    fleet.is_silent(1, LONG_SILENT).await;
    go_on.store(false, Ordering::Relaxed);
    join_all(locks.into_iter().map(|lock| lock.commit())).await;
    join_all(busy).await;
    fleet.has_all().await;
    fleet.link.set(Mode::Pass);
    fleet.is_shared_again().await;
}

#[tokio::test]
async fn a_cluster_that_swallows_everything_costs_nobody_the_share_of_another() {
    let options = WorldOptions::default()
        .budget(12)
        .app_setting("connections.idle", "300ms")
        .app_setting("connections.queue_wait", "20s")
        .platform_setting("replicas.heartbeat_every", "200ms")
        .platform_setting("replicas.silent_after", SILENT_AFTER);
    let world = World::with(options).await;
    let here = tenants(&world, 2).await;
    let near = world.cluster_behind_proxy("near").await;
    let full = json!({ "status": "full" });
    world
        .operator()
        .patch("/v1/clusters/main", full)
        .await
        .expect(200);
    let there = tenants(&world, 6).await;
    for tenant in here.iter().chain(&there) {
        tenant.owner().get("/v1/entries").await.expect(200);
    }
    world.platform_link().set(Mode::Reset);
    near.link().set(Mode::Blackhole);
    let registry = async |sql: &str| world.postgres().number("registry", sql).await;
    let silent = format!(
        "select count(*) from registry.replica where live_until > now() - interval '{LONG_SILENT}'"
    );
    eventually(DEADLINE * 2, "it is silent", || async {
        (registry(&silent).await == 0).then_some(())
    })
    .await;
    let share = "select granted::bigint from registry.replica_share where cluster = 'main'";
    let share = registry(share).await;
    let postgres = world.postgres();
    let locks = here.iter();
    let locks = locks.map(|tenant| postgres.lock(tenant.id().as_str(), "entries.entry"));
    let locks = join_all(locks).await;
    let asked = here.iter().cycle().take(8).map(|tenant| {
        let owner = tenant.owner();
        tokio::spawn(async move { owner.get("/v1/entries").await })
    });
    let asked: Vec<_> = asked.collect();
    until("the whole share is used but for the one kept", || async {
        postgres.number("postgres", SESSIONS).await >= share - 1
    })
    .await;
    join_all(locks.into_iter().map(|lock| lock.commit())).await;
    join_all(asked).await;
}
