//! Bad days: PostgreSQL restarted, networks that fail, clients that vanish.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use http::Method;
use rand::RngExt;
use serde_json::json;
use world::{
    DEADLINE, Mode, PASSWORD, StopMode, TenantHandle, World, WorldOptions, eventually, until,
};

use crate::limits::unlimited;
use crate::support::{entry, server_lines, server_logged};

mod gone;
mod late;

/// What became of requests while something happened.
#[derive(Debug, Default)]
struct Tally {
    statuses: BTreeMap<u16, usize>,
    slowest: Duration,
    strange: Vec<String>,
}

/// Writes and reads of every tenant until it is told to stop; counts those that were served.
async fn load(tenants: &[TenantHandle], stop: Arc<AtomicBool>, served: Arc<AtomicUsize>) -> Tally {
    let clients = tenants.iter().cloned().map(|tenant| {
        let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
        async move {
            let mut tally = Tally::default();
            let owner = tenant.owner();
            while !stop.load(Ordering::SeqCst) {
                for request in [
                    owner.request(Method::GET, "/v1/entries?limit=1"),
                    owner
                        .request(Method::POST, "/v1/entries")
                        .json(entry("Under load")),
                ] {
                    let began = Instant::now();
                    let answer = request.send().await;
                    tally.slowest = tally.slowest.max(began.elapsed());
                    *tally.statuses.entry(answer.status()).or_insert(0) += 1;
                    match answer.status() {
                        200 | 201 => drop(served.fetch_add(1, Ordering::SeqCst)),
                        // Says when to come again, and is a problem document.
                        503 => drop(answer.problem()),
                        _ => tally.strange.push(answer.to_string()),
                    }
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            tally
        }
    });
    let mut all = Tally::default();
    for tally in join_all(clients).await {
        for (status, count) in tally.statuses {
            *all.statuses.entry(status).or_insert(0) += count;
        }
        all.slowest = all.slowest.max(tally.slowest);
        all.strange.extend(tally.strange);
    }
    all
}

async fn tenants(world: &World, count: usize) -> Vec<TenantHandle> {
    let mut made = Vec::new();
    for n in 0..count {
        made.push(world.tenant(&format!("fault{n}")).await);
    }
    made
}

#[tokio::test]
async fn a_restart_of_postgresql_is_felt_only_while_it_is_down() {
    let world = World::start().await;
    let tenants = tenants(&world, 6).await;
    for mode in [StopMode::Fast, StopMode::Immediate] {
        let stop = Arc::new(AtomicBool::new(false));
        let loading = load(&tenants, Arc::clone(&stop), Arc::default());
        let (tally, ()) = tokio::join!(loading, async {
            for tenant in &tenants {
                until("the load has begun", || async {
                    tenant.owner().get("/v1/entries").await.status() == 200
                })
                .await;
            }
            world.postgres().stop(mode).await;
            let answer = tenants[0].owner().get("/v1/entries").await;
            assert_eq!(answer.status(), 503, "{answer}");
            answer.problem();
            world.postgres().start_again().await;
            let ready = Instant::now();
            join_all(tenants.iter().map(|tenant| {
                eventually(DEADLINE, "the tenant is served again", move || {
                    let owner = tenant.owner();
                    async move { (owner.get("/v1/entries").await.status() == 200).then_some(()) }
                })
            }))
            .await;
            // The promise is two seconds; a loaded machine gets some more, less than the longest pause of
            // anybody who tries again.
            let recovered = ready.elapsed();
            assert!(
                recovered < Duration::from_secs(20),
                "{mode:?}: {recovered:?}"
            );
            // From here on not one failure.
            for _ in 0..10 {
                for tenant in &tenants {
                    tenant.owner().get("/v1/entries").await.expect(200);
                    tenant
                        .owner()
                        .post("/v1/entries", entry("After"))
                        .await
                        .expect(201);
                }
            }
            stop.store(true, Ordering::SeqCst);
        });
        assert!(tally.strange.is_empty(), "{mode:?}: {:?}", tally.strange);
        // Nobody waits for the deadline of half a minute, which is what a lost connection would cost.
        assert!(
            tally.slowest < Duration::from_secs(20),
            "{mode:?}: {:?}",
            tally.slowest
        );
        assert!(tally.statuses[&200] > 10, "{mode:?}: {:?}", tally.statuses);
    }
    // Sign-ups work again too.
    world.tenant("after").await;
}

/// The most sessions at once that had sat in a transaction for longer than it takes to end the one of a
/// client that is gone: its rollback gets 250 ms, and the end of its session on the server 5 s.
async fn forgotten_transactions(world: World, watching: Arc<AtomicBool>) -> i64 {
    let mut connection = world.postgres().connect("postgres").await;
    let mut most = 0;
    while watching.load(Ordering::SeqCst) {
        let now: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where usename like 't\\_%'
                 and state like 'idle in transaction%' and state_change < now() - interval '5.25 s'",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        most = most.max(now);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    most
}

/// Looks for transactions that nobody ends.
struct Watch {
    watching: Arc<AtomicBool>,
    most: tokio::task::JoinHandle<i64>,
}

impl Watch {
    fn start(world: &World) -> Self {
        let watching = Arc::new(AtomicBool::new(true));
        let most = forgotten_transactions(world.clone(), Arc::clone(&watching));
        let most = tokio::spawn(most);
        Self { watching, most }
    }

    /// Nobody is left inside of a transaction, was there for long meanwhile, or had another's.
    async fn nothing_is_left(self, world: &World) {
        // The watch goes on as long as somebody is.
        until("no session is left in a transaction", || async {
            let stuck = "select count(*) from pg_stat_activity
                 where usename like 't\\_%' and state <> 'idle'";
            world.postgres().number("postgres", stuck).await == 0
        })
        .await;
        self.watching.store(false, Ordering::SeqCst);
        let most = self.most.await.unwrap();
        assert_eq!(most, 0, "sessions sat in a transaction of nobody");
        let poisoned = world.logs().with("already a transaction in progress");
        assert_eq!(poisoned, Vec::<String>::new());
    }
}

/// Every acknowledged entry is there for somebody else.
async fn all_there(world: &World, tenant: &TenantHandle, acknowledged: &[String]) {
    let mut connection = world.postgres().connect(tenant.id().as_str()).await;
    for id in acknowledged {
        let uuid = uuid::Uuid::try_parse(id.strip_prefix("ent_").unwrap()).unwrap();
        let there: bool =
            sqlx::query_scalar("select exists (select from entries.entry where id = $1)")
                .bind(uuid)
                .fetch_one(&mut connection)
                .await
                .unwrap();
        assert!(there, "{id} was acknowledged and is lost");
    }
}

#[tokio::test]
async fn clients_that_vanish_lose_no_acknowledged_write_and_poison_no_connection() {
    const VANISH: usize = 1_000;
    const ACKNOWLEDGED: usize = 50;
    let world = World::with(WorldOptions::default().behind_proxy().budget(24)).await;
    let acme = world.tenant("vanish").await;
    let owner = acme.owner();
    unlimited(&world, &acme).await;
    world.database_link().set(Mode::Delay(1..=6));
    let [gone, written] = [0, 0].map(|none| Arc::new(AtomicUsize::new(none)));
    let clients = (0..8).map(|client| {
        let (owner, gone, written) = (owner.clone(), Arc::clone(&gone), Arc::clone(&written));
        async move {
            let mut acknowledged = Vec::new();
            let have_vanished = || gone.load(Ordering::SeqCst) >= VANISH;
            while !have_vanished() || written.load(Ordering::SeqCst) < ACKNOWLEDGED {
                let longest = if have_vanished() { 2_000 } else { 100 };
                let patience = Duration::from_millis(rand::rng().random_range(1..longest));
                let title = format!("client {client} write {}", acknowledged.len());
                let request = owner
                    .request(Method::POST, "/v1/entries")
                    .json(entry(&title));
                match tokio::time::timeout(patience, request.send()).await {
                    Ok(answer) if answer.status() == 201 => {
                        acknowledged.push(answer.json()["id"].as_str().unwrap().to_owned());
                        written.fetch_add(1, Ordering::SeqCst);
                    }
                    // Told that there is too much to do at once: nothing was promised.
                    Ok(answer) => assert_eq!(answer.status(), 503, "{answer}"),
                    Err(_) => drop(gone.fetch_add(1, Ordering::SeqCst)),
                }
            }
            acknowledged
        }
    });
    let watch = Watch::start(&world);
    let mut acknowledged = join_all(clients).await.concat();
    world.database_link().set(Mode::Pass);
    watch.nothing_is_left(&world).await;
    // Every connection that goes on serving is clean: its writes are there for others at once.
    for n in 0..20 {
        let made = owner
            .post("/v1/entries", entry(&format!("after {n}")))
            .await
            .expect(201);
        acknowledged.push(made.json()["id"].as_str().unwrap().to_owned());
    }
    all_there(&world, &acme, &acknowledged).await;
    // The pool is as large as ever: all of the tenant's connections can be had at once.
    let lock = world
        .postgres()
        .lock(acme.id().as_str(), "entries.entry")
        .await;
    let hanging: Vec<_> = (0..6)
        .map(|_| {
            let owner = owner.clone();
            tokio::spawn(async move { owner.get("/v1/entries").await.status() })
        })
        .collect();
    until("the tier's four connections are in use", || async {
        let waiting = format!(
            "select count(*) from pg_stat_activity where usename = '{}' and wait_event_type = 'Lock'",
            acme.id()
        );
        world.postgres().number("postgres", &waiting).await == 4
    })
    .await;
    lock.commit().await;
    for hung in hanging {
        assert!(matches!(hung.await.unwrap(), 200 | 503));
    }
}

#[tokio::test]
async fn one_tenant_in_a_lock_does_not_slow_the_others() {
    let world = World::start().await;
    let sick = world.tenant("locked").await;
    let others = tenants(&world, 3).await;
    // Who waits there waits for as long as requests may.
    let patient = format!("alter role {} set lock_timeout = '60s'", sick.id());
    world.postgres().run("postgres", &patient).await;
    end_sessions(&world, &sick).await;
    let lock = world
        .postgres()
        .lock(sick.id().as_str(), "entries.entry")
        .await;
    let hanging: Vec<_> = (0..20)
        .map(|_| {
            let owner = sick.owner();
            tokio::spawn(async move { owner.get("/v1/entries").await })
        })
        .collect();
    until("the tenant hangs", || async {
        let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
        world.postgres().number("postgres", waiting).await >= 4
    })
    .await;
    for _ in 0..30 {
        for other in &others {
            let began = Instant::now();
            other.owner().get("/v1/entries").await.expect(200);
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{:?}",
                began.elapsed()
            );
        }
    }
    lock.commit().await;
    for hung in hanging {
        let answer = hung.await.unwrap();
        assert!(matches!(answer.status(), 200 | 503), "{answer}");
    }
    sick.owner().get("/v1/entries").await.expect(200);
}

#[tokio::test]
async fn a_network_that_swallows_everything_is_answered_in_time_and_got_over() {
    let world = World::with(WorldOptions::default().behind_proxy()).await;
    let tenants = tenants(&world, 2).await;
    for mode in [Mode::Reset, Mode::CutAfter(40), Mode::Blackhole] {
        for tenant in &tenants {
            tenant.owner().get("/v1/entries").await.expect(200);
        }
        world.database_link().set(mode.clone());
        for _ in 0..3 {
            for tenant in &tenants {
                let request = tenant.owner().request(Method::GET, "/v1/entries");
                let sent = request
                    .give_up_after(Duration::from_secs(12))
                    .try_send()
                    .await;
                // Hung statements are the deadline's; new connections have their own.
                match sent {
                    Ok(answer) if answer.status() == 503 => drop(answer.problem()),
                    Ok(answer) => assert_eq!(answer.status(), 200, "{mode:?}: {answer}"),
                    Err(error) => assert!(mode == Mode::Blackhole && error.is_timeout(), "{error}"),
                }
            }
        }
        world.database_link().set(Mode::Pass);
        for tenant in &tenants {
            until("the tenant is served again", || async {
                tenant
                    .owner()
                    .post("/v1/entries", entry("Back"))
                    .await
                    .status()
                    == 201
            })
            .await;
        }
    }
}

/// Ends every session of a tenant's role, as an operation does, and waits until none is left.
async fn end_sessions(world: &World, tenant: &TenantHandle) -> i64 {
    let sql = format!(
        "select count(*) filter (where pg_terminate_backend(pid, 5000))
             from pg_stat_activity where usename = '{}'",
        tenant.id()
    );
    world.postgres().number("postgres", &sql).await
}

#[tokio::test]
async fn no_request_fails_for_sessions_that_ended_while_they_were_idle() {
    let world = World::start().await;
    let acme = world.tenant("ended").await;
    let owner = acme.owner();
    let login = json!({"email": acme.email(), "password": PASSWORD});
    let made = owner.post("/v1/entries", entry("Kept")).await.expect(201);
    let path = format!("/v1/entries/{}", made.json()["id"].as_str().unwrap());
    let read = || owner.get(&path);
    let write = || owner.post("/v1/entries", entry("Another"));
    for round in 0..8 {
        // Some connections, all idle and all used within the second in which none is pinged.
        let busy = join_all((0..6).map(|_| read())).await;
        assert!(busy.iter().all(|answer| answer.status() == 200), "{busy:?}");
        assert!(end_sessions(&world, &acme).await >= 1, "none was idle");
        match round % 4 {
            0 => drop(read().await.expect(200)),
            1 => drop(write().await.expect(201)),
            2 => {
                let guest = acme.anonymous().from_another_address();
                guest.post("/v1/auth/login", &login).await.expect(200);
            }
            _ => {
                for answer in join_all((0..6).map(|_| read())).await {
                    answer.expect(200);
                }
            }
        }
        for _ in 0..5 {
            read().await.expect(200);
            write().await.expect(201);
        }
    }
}

/// Asks until it is told to stop; counts the answers, and gives each with how long it took.
async fn hammered(
    sick: TenantHandle,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
) -> Vec<(world::Answer, Duration)> {
    let mut answers = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let began = Instant::now();
        let answer = sick.owner().get("/v1/entries").await;
        answers.push((answer, began.elapsed()));
        answered.fetch_add(1, Ordering::SeqCst);
    }
    answers
}

#[tokio::test]
async fn one_tenant_in_a_black_hole_one_in_a_lock_and_one_dropped_are_nobody_elses_trouble() {
    const ASKED: Duration = Duration::from_secs(5);
    const CLIENTS: usize = 8;
    let options = WorldOptions::default().app_setting("public.deadline", "5s");
    let world = World::with(options).await;
    let operator = world.operator();
    let far = world.cluster_behind_proxy("far").await;
    let full = |cluster: &str, status: &str| {
        let path = format!("/v1/clusters/{cluster}");
        let (operator, body) = (operator.clone(), json!({ "status": status }));
        async move { operator.patch(&path, body).await.expect(200) }
    };
    full("main", "full").await;
    let holed = world.tenant("holed").await;
    full("main", "active").await;
    full("far", "full").await;
    let locked = world.tenant("locked").await;
    let dropped = world.tenant("dropped").await;
    let others = tenants(&world, 4).await;
    let sick = [&holed, &locked, &dropped];
    for tenant in sick {
        tenant.owner().get("/v1/entries").await.expect(200);
    }
    far.link().set(Mode::Blackhole);
    let lock = world
        .postgres()
        .lock(locked.id().as_str(), "entries.entry")
        .await;
    let drop = format!("drop database \"{}\" with (force)", dropped.id());
    world.postgres().run("postgres", &drop).await;

    let stop = Arc::new(AtomicBool::new(false));
    let answered = sick.map(|_| Arc::new(AtomicUsize::new(0)));
    let hammering = [0, 1, 2].map(|one: usize| {
        let (tenant, answered) = (sick[one], &answered[one]);
        let clients =
            (0..CLIENTS).map(|_| hammered(tenant.clone(), Arc::clone(&stop), Arc::clone(answered)));
        tokio::spawn(join_all(clients))
    });
    let (loading, served) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let load = load(&others, Arc::clone(&loading), Arc::clone(&served));
    let enough = async {
        until("all are answered for some rounds", || async {
            let rounds = |one: &Arc<AtomicUsize>| one.load(Ordering::SeqCst) >= CLIENTS * 3;
            answered.iter().all(rounds) && served.load(Ordering::SeqCst) > 200
        })
        .await;
        loading.store(true, Ordering::SeqCst);
    };
    let (tally, ()) = tokio::join!(load, enough);
    stop.store(true, Ordering::SeqCst);
    for (tenant, hammering) in sick.iter().zip(hammering) {
        for (answer, took) in hammering.await.unwrap().into_iter().flatten() {
            // The one that is answered at once asks more often than its tier allows.
            let status = answer.status();
            assert!(matches!(status, 503 | 429), "{}: {answer}", tenant.id());
            answer.problem();
            assert!(took < ASKED * 2, "{}: {took:?}: {answer}", tenant.id());
        }
    }
    assert!(tally.strange.is_empty(), "{:?}", tally.strange);
    // Nor did anybody wait for the deadline, which ends in a 503.
    assert!(!tally.statuses.contains_key(&503), "{:?}", tally.statuses);
    far.link().set(Mode::Pass);
    lock.commit().await;
    for tenant in [&holed, &locked] {
        until("the tenant is served again", || async {
            tenant.owner().get("/v1/entries").await.status() == 200
        })
        .await;
    }
}

#[tokio::test]
async fn daily_work_leaves_no_warning_in_the_servers_log() {
    let world = World::start().await;
    // With the first tenant come the roles and the template.
    world.tenant("before").await;
    let before = server_logged(&world).await;
    let acme = world.tenant("daily").await;
    let owner = acme.owner();
    for number in 0..5 {
        let title = format!("Entry {number}");
        let request = owner.request(Method::POST, "/v1/entries");
        assert_eq!(request.json(entry(&title)).send().await.status(), 201);
    }
    let warnings = server_lines(&world, before, " (WARNING|ERROR|FATAL|PANIC):").await;
    assert_eq!(warnings, Vec::<String>::new());
}

#[tokio::test]
async fn a_promoted_standby_is_written_to_soon_and_nobody_stays_where_nothing_can_be_written() {
    let world = World::with(WorldOptions::default().behind_proxy()).await;
    let tenants = tenants(&world, 3).await;
    let write = |tenant: &TenantHandle| {
        let owner = tenant.owner();
        async move { owner.post("/v1/entries", entry("Kept")).await }
    };
    for tenant in &tenants {
        write(tenant).await.expect(201);
    }
    let standby = world.postgres().standby().await;
    let kept = async |tenant: &TenantHandle| {
        let count = "select count(*) from entries.entry";
        standby.number(tenant.id().as_str(), count).await
    };
    for tenant in &tenants {
        until("the standby has followed", || async {
            kept(tenant).await == 1
        })
        .await;
    }
    let only_read = async || {
        for tenant in &tenants {
            until("the tenant can be read", || async {
                tenant.owner().get("/v1/entries").await.status() == 200
            })
            .await;
            // On several connections at once.
            let readers = (0..4).map(|_| {
                let owner = tenant.owner();
                async move { owner.get("/v1/entries").await.status() }
            });
            assert_eq!(join_all(readers).await, [200; 4]);
            for answer in join_all((0..4).map(|_| write(tenant))).await {
                assert_eq!(answer.status(), 503, "{answer}");
                answer.problem();
            }
        }
    };
    let can_write = async |since: Instant| {
        for tenant in &tenants {
            until("the tenant can be written to", || async {
                write(tenant).await.status() == 201
            })
            .await;
        }
        let back = since.elapsed();
        assert!(back < Duration::from_secs(20), "{back:?}");
        for tenant in &tenants {
            for answer in join_all((0..8).map(|_| write(tenant))).await {
                answer.expect(201);
            }
        }
    };
    // For a while the address leads to the standby, and sessions there do not end when it does no more.
    world.database_link().retarget(standby.address());
    for tenant in &tenants {
        end_sessions(&world, tenant).await;
    }
    only_read().await;
    world.database_link().retarget(world.postgres().address());
    can_write(Instant::now()).await;
    for tenant in &tenants {
        until("the standby has followed", || async {
            kept(tenant).await == 1 + 9
        })
        .await;
    }
    // The server is lost.
    world.database_link().retarget(standby.address());
    world.postgres().stop(StopMode::Immediate).await;
    only_read().await;
    standby.promote().await;
    can_write(Instant::now()).await;
    for tenant in &tenants {
        assert_eq!(kept(tenant).await, 1 + 9 + 9, "{}", tenant.id());
    }
}
