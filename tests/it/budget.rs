//! The budget of server connections, as the server counts them.

mod cut;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use contract::Code;
use futures::future::join_all;
use world::{Faults, TenantHandle, World, WorldOptions, until};

/// Sessions of tenants' roles, whatever they do.
const SESSIONS: &str = "select count(*) from pg_stat_activity where usename like 't\\_%'";

/// Looks at the server without pause; gives the most that it saw.
struct Watch {
    done: Arc<AtomicBool>,
    most: Arc<AtomicI64>,
    task: tokio::task::JoinHandle<u64>,
}

impl Watch {
    async fn start(world: &World) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let most = Arc::new(AtomicI64::new(0));
        let (stop, high) = (Arc::clone(&done), Arc::clone(&most));
        let mut connection = world.postgres().connect("postgres").await;
        let task = tokio::spawn(async move {
            let mut looks = 0;
            while !stop.load(Ordering::Relaxed) {
                let now: i64 = sqlx::query_scalar(SESSIONS)
                    .fetch_one(&mut connection)
                    .await
                    .unwrap();
                high.fetch_max(now, Ordering::Relaxed);
                looks += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            looks
        });
        Self { done, most, task }
    }

    async fn end(self) -> (i64, u64) {
        self.done.store(true, Ordering::Relaxed);
        let looks = self.task.await.unwrap();
        (self.most.load(Ordering::Relaxed), looks)
    }
}

async fn tenants(world: &World, count: usize) -> Vec<TenantHandle> {
    let mut made = Vec::new();
    while made.len() < count {
        let batch = (made.len()..count.min(made.len() + 4)).map(|n| {
            let world = world.clone();
            async move { world.tenant(&format!("many{n}")).await }
        });
        made.extend(join_all(batch).await);
    }
    made
}

#[tokio::test]
async fn three_replicas_and_more_tenants_than_connections_stay_within_the_budget() {
    const REPLICAS: usize = 3;
    const BUDGET: u32 = 12;
    let options = WorldOptions::default()
        .app_replicas(REPLICAS)
        .budget(BUDGET)
        .app_setting("connections.queue_wait", "20s");
    let world = World::with(options).await;
    let tenants = tenants(&world, 16).await;
    let watch = Watch::start(&world).await;
    let clients = (0..16).map(|client| {
        let (world, tenants) = (world.clone(), tenants.clone());
        async move {
            let mut failures = Vec::new();
            for n in 0..40_usize {
                let tenant = &tenants[(client * 7 + n * 5) % tenants.len()];
                let owner = tenant.owner().at(&world.app_url((client + n) % REPLICAS));
                let answer = owner.get("/v1/entries").await;
                if answer.status() != 200 {
                    failures.push(answer.to_string());
                }
            }
            failures
        }
    });
    let failures: Vec<String> = join_all(clients).await.into_iter().flatten().collect();
    let (most, looks) = watch.end().await;
    assert_eq!(failures, Vec::<String>::new());
    assert!(looks > 50, "{looks} looks");
    assert!(
        most <= i64::from(BUDGET),
        "{most} connections at once, {BUDGET} are allowed"
    );
    assert!(most >= 4, "the budget was used: {most}");
}

#[tokio::test]
async fn idle_connections_are_closed_and_a_stop_leaves_none() {
    let options = WorldOptions::default().app_setting("connections.idle", "300ms");
    let world = World::with(options).await;
    let tenants = tenants(&world, 3).await;
    for tenant in &tenants {
        tenant.owner().get("/v1/entries").await.expect(200);
    }
    until("idle connections are closed", || async {
        world.postgres().number("postgres", SESSIONS).await == 0
    })
    .await;
    tenants[0].owner().get("/v1/entries").await.expect(200);
    world.take_app_replica(0).stop().await;
    // The server notices the end of a connection when it looks.
    until("no connection is left", || async {
        world.postgres().number("postgres", SESSIONS).await == 0
    })
    .await;
    let gone = "select count(*) from registry.replica";
    assert_eq!(world.postgres().number("registry", gone).await, 0);
}

#[tokio::test]
async fn whoever_waits_too_long_is_told_when_to_come_again() {
    let options = WorldOptions::default()
        .budget(6)
        .app_setting("connections.queue_wait", "200ms");
    let world = World::with(options).await;
    let acme = world.tenant("busy").await;
    let beta = world.tenant("waits").await;
    // Every connection of the share hangs in a lock.
    let lock = world
        .postgres()
        .lock(acme.id().as_str(), "entries.entry")
        .await;
    let hanging: Vec<_> = (0..8)
        .map(|_| {
            let owner = acme.owner();
            tokio::spawn(async move { owner.get("/v1/entries").await })
        })
        .collect();
    let hang = "select count(*) from pg_stat_activity where usename like 't\\_%' and wait_event_type = 'Lock'";
    until("the share is used up", || async {
        world.postgres().number("postgres", hang).await >= 2
    })
    .await;
    let answer = beta.owner().get("/v1/entries").await;
    assert_eq!(answer.status(), 503, "{answer}");
    answer.refused(Code::Overloaded);
    lock.commit().await;
    for hung in hanging {
        let answer = hung.await.unwrap();
        assert!(matches!(answer.status(), 200 | 503), "{answer}");
    }
    until("everybody is served again", || async {
        beta.owner().get("/v1/entries").await.status() == 200
            && acme.owner().get("/v1/entries").await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_share_of_one_is_one_connection_also_when_a_client_vanishes_in_a_statement() {
    // Half of the budget stays free for a replica that starts.
    let options = WorldOptions::default()
        .budget(2)
        .app_setting("connections.idle", "300ms")
        // A replica that is not heard for a part of this opens a session to be seen.
        .platform_setting("replicas.silent_after", "60s");
    let world = World::with(options).await;
    let acme = world.tenant("single").await;
    let id = acme.id().as_str();
    let inside = format!("select count(*) from pg_stat_activity where datname = '{id}'");
    let nobody_inside = || {
        until("every session in the database has ended", || async {
            world.postgres().number("postgres", &inside).await == 0
        })
    };
    // A session is in this count before it leaves the other one.
    let so_far = format!("select sessions from pg_stat_database where datname = '{id}'");
    nobody_inside().await;
    let before = world.postgres().number("postgres", &so_far).await;
    let lock = world.postgres().lock(id, "entries.entry").await;
    let owner = acme.owner();
    let request = tokio::spawn(async move { owner.get("/v1/entries").await });
    let hanging = format!("{SESSIONS} and datname = '{id}' and wait_event_type = 'Lock'");
    until("it hangs in the lock", || async {
        world.postgres().number("postgres", &hanging).await == 1
    })
    .await;
    request.abort();
    request.await.expect_err("its client has vanished");
    until(
        "the session of the client that vanished has ended",
        || async { world.postgres().number("postgres", SESSIONS).await == 0 },
    )
    .await;
    lock.commit().await;
    nobody_inside().await;
    let after = world.postgres().number("postgres", &so_far).await;
    assert_eq!(
        after - before,
        2,
        "the lock's session, and one of the tenant"
    );
    acme.owner().get("/v1/entries").await.expect(200);
}

#[tokio::test]
async fn the_shares_of_replicas_that_come_and_go_never_exceed_the_budget() {
    let options = WorldOptions::default()
        .budget(12)
        .platform_setting("replicas.heartbeat_every", "100ms")
        .platform_setting("replicas.silent_after", "3s")
        .platform_setting("replicas.forgotten_after", "6s");
    let world = World::with(options).await;
    let total =
        "select coalesce(sum(greatest(granted, held)), 0)::bigint from registry.replica_share";
    let most = AtomicI64::new(0);
    for _ in 0..3 {
        world.add_app_replica().await;
        most.fetch_max(
            world.postgres().number("registry", total).await,
            Ordering::Relaxed,
        );
    }
    // One dies without a word, one says goodbye.
    drop(world.take_app_replica(3));
    world.take_app_replica(2).stop().await;
    until("two replicas are left", || async {
        most.fetch_max(
            world.postgres().number("registry", total).await,
            Ordering::Relaxed,
        );
        let live = "select count(*) from registry.replica_share";
        world.postgres().number("registry", live).await == 2
    })
    .await;
    until("they share what is free", || async {
        let granted = "select min(granted)::bigint from registry.replica_share";
        world.postgres().number("registry", granted).await == 4
    })
    .await;
    let most = most.into_inner();
    assert!(most <= 12, "{most} of 12 were granted at once");
}

#[tokio::test]
async fn the_roles_of_tenants_follow_the_budget_of_their_cluster() {
    let world = World::with(WorldOptions::default().budget(10)).await;
    let tenants = tenants(&world, 3).await;
    // A role of somebody else is not touched.
    let foreign = "create role t_foreign connection limit 7";
    world.postgres().run("postgres", foreign).await;
    let theirs = "select rolconnlimit::text from pg_roles where rolname = 't_foreign'";
    let operator = world.operator();
    for budget in [40, 5] {
        let body = serde_json::json!({ "connection_budget": budget });
        operator.patch("/v1/clusters/main", body).await.expect(200);
        until("all of them have the limit", || async {
            let sql = format!(
                "select count(*) from pg_roles where rolname like 't\\_%'
                     and rolname <> 't_foreign' and rolconnlimit <> {budget}"
            );
            world.postgres().number("postgres", &sql).await == 0
        })
        .await;
    }
    // What a change could not do, the next measuring does.
    let id = tenants[0].id();
    let by_hand = format!("alter role {id} connection limit 1");
    world.postgres().run("postgres", &by_hand).await;
    let due = "update registry.cluster set measured_at = null";
    world.postgres().run("registry", due).await;
    let replica = world.platform_replica(Faults::none()).await;
    until("it is measured", || async {
        let sql = format!("select rolconnlimit::bigint from pg_roles where rolname = '{id}'");
        world.postgres().number("postgres", &sql).await == 5
    })
    .await;
    replica.stop().await;
    let foreign = world.postgres().texts("postgres", theirs).await;
    assert_eq!(foreign, ["7"]);
}
