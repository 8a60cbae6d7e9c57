//! What replicas know of tenants: learned once, kept, and corrected when news comes.

use std::time::Duration;

use contract::Code;
use futures::StreamExt;
use futures::future::join_all;
use http::Method;
use serde_json::json;
use tokio::task::JoinHandle;
use world::{
    Answer, DEADLINE, FaultProxy, Mode, PASSWORD, TenantHandle, World, WorldOptions, eventually,
    until,
};

use crate::limits::unlimited;
use crate::support::entry;

/// Takes the newest migration of `entries` back, as if the tenant came from an older release.
pub(crate) async fn set_back(world: &World, tenant: &str) {
    let sql = "drop index entries.entry_search_index; alter table entries.entry drop column search;
         delete from entries.refinery_schema_history where version = 2";
    world.postgres().run(tenant, sql).await;
    let sql = format!(
        "update registry.tenant set schema_versions = schema_versions || '{{\"entries\": 1}}'
         where id = '{tenant}'"
    );
    world.postgres().run("registry", &sql).await;
    let id = tenant.parse().unwrap();
    world.set_status(&id, "active").await;
}

/// How often the migrations of `entries` ran in a tenant's database.
pub(crate) async fn history(world: &World, tenant: &str) -> Vec<String> {
    let sql = "select version || ' ' || count(*) from entries.refinery_schema_history
         group by version order by version";
    world.postgres().texts(tenant, sql).await
}

#[tokio::test]
async fn concurrent_first_requests_from_three_replicas_migrate_once() {
    const REPLICAS: usize = 3;
    let world = World::with(WorldOptions::default().app_replicas(REPLICAS)).await;
    let acme = world.tenant("stale").await;
    let id = acme.id().as_str();
    assert_eq!(history(&world, id).await, ["1 1", "2 1"]);
    set_back(&world, id).await;
    let news = format!("select generation from registry.tenant where id = '{id}'");
    let before = world.postgres().number("registry", &news).await;
    // Nobody is done with it before all have come.
    let lock = world.postgres().lock(id, "entries.entry").await;
    let requests: Vec<_> = (0..50 * REPLICAS)
        .map(|n| {
            let owner = acme.owner().at(&world.app_url(n % REPLICAS));
            tokio::spawn(async move { owner.get("/v1/entries").await })
        })
        .collect();
    let running = "select count(*) from pg_stat_activity
         where usename = 'tn_schema' and wait_event_type = 'Lock'";
    until("the migration runs", || async {
        world.postgres().number("postgres", running).await > 0
    })
    .await;
    assert_eq!(world.postgres().number("postgres", running).await, 1);
    lock.commit().await;
    for answer in join_all(requests).await {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200, "{answer}");
    }
    until("the tenant is up to date", || async {
        acme.owner().get("/v1/entries?q=x").await.expect(200);
        history(&world, id).await == ["1 1", "2 1"]
    })
    .await;
    eventually(DEADLINE, "the platform was told", || async {
        let path = format!("/v1/tenants/{id}");
        let tenant = world.operator().get(&path).await.expect(200).json();
        (tenant["schema_versions"]["entries"] == 2).then_some(())
    })
    .await;
    assert!(world.postgres().number("registry", &news).await > before);
}

/// What asks for a tenant's entries at a replica, each time over a connection of its own while others are open,
/// and what counts these.
async fn counted(
    world: &World,
    tenant: &TenantHandle,
    replica: usize,
) -> (FaultProxy, impl Fn() -> JoinHandle<Answer> + use<>) {
    let address = world.app_url(replica);
    let address = address.strip_prefix("http://").unwrap().parse().unwrap();
    let door = FaultProxy::start(address).await;
    let owner = tenant.owner().at(&format!("http://{}", door.address()));
    let ask = move || {
        let owner = owner.clone();
        tokio::spawn(async move { owner.get("/v1/entries").await })
    };
    (door, ask)
}

#[tokio::test]
async fn a_crowd_at_a_cold_tenant_is_served_although_its_first_client_goes_away() {
    const CROWD: usize = 100;
    let world = World::start().await;
    let acme = world.tenant("crowd").await;
    let id = acme.id().as_str();
    unlimited(&world, &acme).await;
    count_look_ups(&world).await;
    let platform = FaultProxy::start(world.platform_link().address()).await;
    let [first, second] = [
        world.add_app_replica_over(&platform).await,
        world.add_app_replica().await,
    ];

    // While the platform is asked.
    let (door, ask) = counted(&world, &acme, first).await;
    let before = look_ups(&world).await;
    platform.set(Mode::Blackhole);
    let leader = ask();
    until("it has come", || async { door.accepted() == 1 }).await;
    let crowd: Vec<_> = (1..CROWD).map(|_| ask()).collect();
    until("all have come", || async { door.accepted() >= CROWD }).await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    until("the leader has gone", || async { door.open() == CROWD - 1 }).await;
    platform.set(Mode::Pass);
    for answer in join_all(crowd).await {
        answer.unwrap().expect(200);
    }
    // One, and one again where news of the tenant came meanwhile.
    let asked = look_ups(&world).await - before;
    assert!((1.0..=2.0).contains(&asked), "{asked}");

    // While the tenant is migrated.
    set_back(&world, id).await;
    let (door, ask) = counted(&world, &acme, second).await;
    let before = look_ups(&world).await;
    let lock = world.postgres().lock(id, "entries.entry").await;
    let migrating = "select count(*) from pg_stat_activity
         where usename = 'tn_schema' and wait_event_type = 'Lock'";
    let leader = ask();
    until("the migration runs", || async {
        world.postgres().number("postgres", migrating).await == 1
    })
    .await;
    let crowd: Vec<_> = (1..CROWD).map(|_| ask()).collect();
    until("all have come", || async { door.accepted() >= CROWD }).await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    until("the leader has gone", || async { door.open() == CROWD - 1 }).await;
    lock.commit().await;
    for answer in join_all(crowd).await {
        answer.unwrap().expect(200);
    }
    // One, and one again for the news that the tenant has a new version.
    let asked = look_ups(&world).await - before;
    assert!((1.0..=2.0).contains(&asked), "{asked}");
    assert_eq!(history(&world, id).await, ["1 1", "2 1"]);
}

/// The promise is a second; a loaded machine gets some more, but far less than the 20 s after which a replica
/// would ask by itself.
const SOON: Duration = Duration::from_secs(12);

#[tokio::test]
async fn a_change_reaches_every_replica_soon() {
    let world = World::with(WorldOptions::default().app_replicas(2)).await;
    let acme = world.tenant("news").await;
    let at = |replica: usize| acme.owner().at(&world.app_url(replica));
    for replica in [0, 1] {
        at(replica).get("/v1/me").await.expect(200);
    }
    let path = format!("/v1/tenants/{}", acme.id());
    let etag = world.operator().get(&path).await.header("etag").to_owned();
    let change = world.operator().request(Method::PATCH, &path);
    let change = change.header("if-match", &etag);
    let change = change.json(json!({ "tier": "premium" }));
    change.send().await.expect(200);
    let everywhere = async |what: &str, known: &dyn Fn(&Answer) -> bool| {
        let [one, other] = [0, 1].map(|replica| {
            eventually(SOON, what, move || async move {
                known(&at(replica).get("/v1/me").await).then_some(())
            })
        });
        tokio::join!(one, other);
    };
    everywhere("the new tier is known", &|answer| {
        let me = answer.json();
        me["tenant"]["tier"] == "premium" && me["limits"]["users"] == 200
    })
    .await;
    for (status, code) in [("suspended", 403), ("active", 200), ("deleted", 410)] {
        world.set_status(acme.id(), status).await;
        everywhere(status, &|answer| answer.status() == code).await;
    }
}

#[tokio::test]
async fn with_the_platform_killed_known_tenants_are_served_without_a_failure() {
    let world = World::start().await;
    let acme = world.tenant("known").await;
    let beta = world.tenant("unknown").await;
    let owner = acme.owner();
    let fresh = world.add_app_replica().await;
    acme.owner()
        .at(&world.app_url(fresh))
        .get("/v1/me")
        .await
        .expect(200);
    let beta_there = beta.owner().at(&world.app_url(fresh));
    world.kill_platform();
    for n in 0..30 {
        owner
            .post("/v1/entries", entry(&format!("{n} without a platform")))
            .await
            .expect(201);
        if n % 10 == 0 {
            // New connections too: the old ones are ended.
            let end = format!(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = '{}'",
                acme.id()
            );
            world.postgres().run("postgres", &end).await;
            owner.post("/v1/entries", entry("again")).await.expect(201);
        }
    }
    let login = json!({ "email": acme.email(), "password": PASSWORD });
    let answer = acme.anonymous().post("/v1/auth/login", &login).await;
    answer.expect(200);
    // Somebody whom this replica never met cannot be had, and is not taken for nobody.
    let refused = beta_there.get("/v1/me").await.expect(503);
    refused.refused(Code::PlatformUnavailable);
    world.start_platform().await;
    until("the unknown tenant is served", || async {
        beta_there.get("/v1/me").await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn with_the_link_to_the_platform_dead_known_tenants_are_served() {
    let options = WorldOptions::default().app_setting("tenants.fresh_without_feed", "50ms");
    let world = World::with(options).await;
    let acme = world.tenant("link").await;
    for mode in [
        Mode::Blackhole,
        Mode::Reset,
        Mode::CutAfter(100),
        Mode::Delay(200..=400),
    ] {
        world.platform_link().set(mode.clone());
        for _ in 0..20 {
            acme.owner().get("/v1/entries").await.expect(200);
        }
        world.platform_link().set(Mode::Pass);
    }
    // What changed meanwhile is heard afterwards.
    world.set_status(acme.id(), "suspended").await;
    until("the news is here", || async {
        acme.owner().get("/v1/me").await.status() == 403
    })
    .await;
}

#[tokio::test]
async fn changes_that_commit_out_of_order_are_all_heard() {
    let world = World::start().await;
    let tenants = [world.tenant("first").await, world.tenant("second").await];
    for tenant in &tenants {
        tenant.owner().get("/v1/me").await.expect(200);
    }
    // The first changes its row first and commits last.
    let change = format!(
        "update registry.tenant set status = 'suspended', wall = 'blocked', generation = generation + 1
         where id = '{}'",
        tenants[0].id()
    );
    let mut slow = world.postgres().begin("registry", &change).await;
    world.set_status(tenants[1].id(), "suspended").await;
    until("the second's news is here", || async {
        tenants[1].owner().get("/v1/me").await.status() == 403
    })
    .await;
    tenants[0].owner().get("/v1/me").await.expect(200);
    let record = format!(
        "with counter as (update registry.feed set last_number = last_number + 1 returning last_number)
         insert into registry.change (number, tenant_id, generation)
         select last_number, id, generation from counter, registry.tenant where id = '{}';
         notify registry_change",
        tenants[0].id()
    );
    slow.run(&record).await;
    slow.commit().await;
    until("the first's news is here", || async {
        tenants[0].owner().get("/v1/me").await.status() == 403
    })
    .await;
}

#[tokio::test]
async fn many_concurrent_changes_are_all_heard_in_order() {
    let world = World::start().await;
    let service = world.service();
    let start = service
        .get("/internal/changes?after=0&wait_ms=0")
        .await
        .expect(200)
        .json();
    let epoch = start["epoch"].as_str().unwrap().to_owned();
    let mut cursor = start["cursor"].as_u64().unwrap();
    let tenants: Vec<_> = join_all((0..4).map(|n| {
        let world = world.clone();
        async move { world.tenant(&format!("busy{n}")).await }
    }))
    .await;
    let changes = tenants
        .iter()
        .flat_map(|tenant| (0..10).map(move |_| tenant))
        .map(|tenant| {
            let world = world.clone();
            async move { world.set_status(tenant.id(), "active").await }
        });
    let changing = tokio::time::timeout(DEADLINE, join_all(changes));
    let mut numbers = Vec::new();
    let (changed, ()) = tokio::join!(changing, async {
        while numbers.len() < 44 {
            let path = format!("/internal/changes?after={cursor}&epoch={epoch}&wait_ms=5000");
            let news = service.get(&path).await.expect(200).json();
            assert_eq!(news["kind"], "news", "{news}");
            cursor = news["cursor"].as_u64().unwrap();
            let heard = news["changes"].as_array().unwrap().clone();
            numbers.extend(
                heard
                    .iter()
                    .map(|change| change["number"].as_u64().unwrap()),
            );
        }
    });
    changed.unwrap();
    let first = numbers[0];
    let expected: Vec<u64> = (first..first + numbers.len() as u64).collect();
    assert_eq!(numbers, expected, "none missing, none twice, in order");
}

#[tokio::test]
async fn a_listener_whose_connection_is_lost_without_a_word_hears_again() {
    let world = World::start().await;
    let (replica, registry) = world.platform_replica_over_link().await;
    let listener = "select client_port::bigint from pg_stat_activity
                    where application_name = 'platform-service news' order by backend_start desc limit 1";
    let listeners = "select count(*) from pg_stat_activity
                     where application_name = 'platform-service news'";
    until("both listen", || async {
        world.postgres().number("registry", listeners).await == 2
    })
    .await;
    let port = world.postgres().number("registry", listener).await;
    let service = world.service().at(&replica.internal_url());
    let start = service.get("/internal/changes?after=0").await.expect(200);
    let (epoch, cursor) = (&start.json()["epoch"], &start.json()["cursor"]);
    let epoch = epoch.as_str().unwrap();
    registry.lose(u16::try_from(port).unwrap());
    let path = format!("/internal/changes?after={cursor}&epoch={epoch}&wait_ms=25000");
    // The other replica writes.
    let (news, _tenant) = tokio::join!(service.get(&path), world.tenant("unheard"));
    let news = news.expect(200).json();
    assert_ne!(news["changes"], json!([]), "{news}");
}

#[tokio::test]
async fn a_new_epoch_makes_replicas_forget() {
    let world = World::start().await;
    let acme = world.tenant("epoch").await;
    acme.owner().get("/v1/me").await.expect(200);
    // A restored registry: other facts, an old number, and nothing in the feed.
    let restore = format!(
        "update registry.tenant set status = 'suspended', wall = 'blocked' where id = '{}';
         update registry.feed set epoch = gen_random_uuid();
         notify registry_change",
        acme.id()
    );
    world.postgres().run("registry", &restore).await;
    until("the replica asked again", || async {
        acme.owner().get("/v1/me").await.status() == 403
    })
    .await;
}

/// A gauge of the first replica; what a caller adds to at the door is measured when it is asked for.
async fn gauge(world: &World, name: &str) -> f64 {
    let page = world.platform().get("/metrics").await.expect(200).text();
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().parse().unwrap()
}

/// Counts look-ups of tenants that reach the registry from now on, for [`look_ups`].
pub(crate) async fn count_look_ups(world: &World) {
    let extension = "create extension pg_stat_statements";
    world.postgres().run("registry", extension).await;
}

/// Look-ups of tenants that reached the registry.
pub(crate) async fn look_ups(world: &World) -> f64 {
    let calls = "select coalesce(sum(calls), 0)::bigint from pg_stat_statements statement
         join pg_database d on d.oid = statement.dbid join pg_roles r on r.oid = userid
         where datname = 'registry' and rolname = 'platform' and query like '%is_halted%'";
    world.postgres().number("registry", calls).await as f64
}

#[tokio::test]
async fn a_flood_of_unknown_tenants_at_the_login_fills_nothing_and_asks_the_platform_at_a_bounded_rate()
 {
    const FLOOD: usize = 6_000;
    const AT_ONCE: usize = 400;
    const RATE: f64 = 40.0;
    const ADDRESSES: f64 = 1_500.0;
    const REMEMBERED_SECONDS: f64 = 1.0;
    let options = WorldOptions::default()
        .app_setting("auth.unknown_look_ups", "40/1s")
        .app_setting("auth.sign_in_per_address", "60/1s")
        .app_setting("auth.sign_in_addresses", "1500")
        .app_setting("tenants.refusal", "1s");
    let world = World::with(options).await;
    let acme = world.tenant("bystander").await;
    acme.owner().get("/v1/me").await.expect(200);
    count_look_ups(&world).await;
    let before = look_ups(&world).await;
    let flood = world.anonymous();
    let began = std::time::Instant::now();
    // Each from an address and for a tenant of its own.
    let answers = futures::stream::iter(0..FLOOD).map(|n| {
        let door = flood.clone().from_another_address();
        async move {
            let door = door.in_tenant(&format!("t_flood_{n}"));
            let credentials = json!({ "email": "a@b.example", "password": "c" });
            let answer = door.post("/v1/auth/login", credentials).await;
            answer.problem();
            answer.status()
        }
    });
    let mut answers = answers.buffer_unordered(AT_ONCE).enumerate();
    let mut statuses = std::collections::BTreeMap::new();
    let mut most = [0.0, 0.0, 0.0, 0.0];
    while let Some((n, status)) = answers.next().await {
        *statuses.entry(status).or_insert(0) += 1;
        if n % 200 == 0 {
            let now = [
                gauge(&world, "tenants_known ").await,
                gauge(&world, "tenant_refusals ").await,
                gauge(&world, "limited_keys{limit=\"sign_in_per_address\"}").await,
                gauge(&world, "limited_keys{limit=\"sign_in_per_account\"}").await,
            ];
            for (most, now) in most.iter_mut().zip(now) {
                *most = f64::max(*most, now);
            }
        }
    }
    let took = began.elapsed().as_secs_f64();
    let asked = look_ups(&world).await - before;
    let here = format!("{asked} look-ups in {took:.1} s; {statuses:?}; at most {most:?}");
    let [known, refusals, addresses, accounts] = most;

    // The platform is asked at the rate of the setting: no more, and no less.
    assert!(asked <= RATE + RATE * took + 1.0, "{here}");
    // The burst at least: how much of what came in time was asked for is the machine's affair.
    assert!(asked >= RATE, "{here}");
    // Who was looked up is nobody; the others are told to come again.
    assert_eq!(f64::from(statuses[&401]), asked, "{here}");
    let known_answers = |status: &u16| matches!(status, 401 | 429 | 503);
    assert!(statuses.keys().all(known_answers), "{here}");
    // Nothing has grown with the flood.
    assert_eq!(known, 1.0, "{here}");
    assert!(refusals >= 1.0, "{here}");
    assert!(
        refusals <= RATE + RATE * (REMEMBERED_SECONDS + 1.0),
        "{here}"
    );
    assert!((ADDRESSES / 2.0..=ADDRESSES).contains(&addresses), "{here}");
    assert!(accounts <= asked + 1.0, "{here}");
    until("the refusals are forgotten", || async {
        gauge(&world, "tenant_refusals ").await == 0.0
    })
    .await;
    // Whoever has a tenant is not meant.
    acme.owner().get("/v1/me").await.expect(200);
    let login = json!({ "email": acme.email(), "password": PASSWORD });
    until("somebody else logs in", || async {
        let answer = acme.anonymous().post("/v1/auth/login", &login).await;
        answer.status() == 200
    })
    .await;
}

#[tokio::test]
async fn ten_thousand_tenants_in_the_registry_delay_nobody() {
    let world = World::start().await;
    let acme = world.tenant("one-of-many").await;
    let many = format!(
        "create extension pg_stat_statements;
         insert into registry.tenant
             select made.* from registry.tenant, generate_series(1, 10000) n,
                 lateral jsonb_populate_record(null::registry.tenant, to_jsonb(tenant)
                     || jsonb_build_object('id', 't_many_' || n, 'slug', 'many-' || n)) made
             where tenant.id = '{}';
         analyze registry.tenant;
         select pg_stat_statements_reset()",
        acme.id()
    );
    world.postgres().run("registry", &many).await;
    world.kill_platform();
    world.start_platform().await;
    until("the platform is ready", || async {
        world.visitor().get("/readyz").await.status() == 200
    })
    .await;
    let fresh = world.add_app_replica().await;
    let owner = acme.owner().at(&world.app_url(fresh));
    owner.get("/v1/me").await.expect(200);
    // What is looked at regularly is looked at by a start as well.
    let counted = "select count(*) from pg_stat_statements statement join pg_database d
             on d.oid = statement.dbid where datname = 'registry' and calls > 0
             and query like '%group by status.name%'";
    until("the tenants are counted", || async {
        world.postgres().number("registry", counted).await > 0
    })
    .await;
    let path = "/v1/tenants?limit=100&text=many-9999";
    let found = world.operator().get(path).await.expect(200).json();
    assert_eq!(found["data"].as_array().unwrap().len(), 1, "{found}");
    let page = "/v1/tenants?limit=100&starting_after=t_many_9899";
    let page = world.operator().get(page).await.expect(200).json();
    assert_eq!(page["data"].as_array().unwrap().len(), 100);
    world.set_status(acme.id(), "suspended").await;
    until("the news is here", || async {
        owner.get("/v1/me").await.status() == 403
    })
    .await;
    // What is done for all of them reads each once, or twice; nothing is done for each of them.
    let much = "select concat_ws(' ', calls, rows, shared_blks_hit + shared_blks_read, query)
         from pg_stat_statements statement
         join pg_database d on d.oid = statement.dbid join pg_roles r on r.oid = userid
         where datname = 'registry' and rolname = 'platform'
             and (calls > 1000 or rows > 2 * 10000 * calls
                 or shared_blks_hit + shared_blks_read > 2 * calls
                     * pg_relation_size('registry.tenant') / current_setting('block_size')::int)";
    let much = world.postgres().texts("registry", much).await;
    assert_eq!(much, Vec::<String>::new());
}
