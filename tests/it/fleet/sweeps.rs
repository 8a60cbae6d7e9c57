//! What is nobody's on a server: reported, kept on an operator's word, removed after its grace.

use contract::Code;
use serde_json::{Value, json};
use uuid::Uuid;
use world::{Faults, World, WorldOptions, until};

use super::harness;

async fn sweep(world: &World, body: Value) -> Vec<String> {
    let answer = world.operator().post("/v1/findings/sweep", body).await;
    let report = answer.expect(200).json();
    assert_eq!(report["failed"], json!([]), "{report}");
    let removed = report["removed"].as_array().unwrap().iter();
    let mut removed: Vec<String> = removed.map(|id| id.as_str().unwrap().to_owned()).collect();
    removed.sort();
    removed
}

async fn findings(world: &World) -> Vec<Value> {
    let answer = world.operator().get("/v1/findings?limit=100").await;
    answer.expect(200).json()["data"]
        .as_array()
        .unwrap()
        .clone()
}

fn ids(findings: &[Value]) -> Vec<&str> {
    findings
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn orphans_are_reported_then_removed_after_the_grace_and_nothing_else() {
    let options = WorldOptions::default()
        .stock_level(1)
        .platform_setting("sweep.grace", "1h");
    let world = World::with(options).await;
    let acme = world.tenant("swept").await;
    let postgres = world.postgres();
    let before = postgres.names().await;
    let login = Uuid::now_v7().simple();
    let operation = Uuid::now_v7().simple();
    let due = format!("old:{}:7", acme.id());
    for name in [
        &format!("side:{}:9", acme.id()),
        &format!("old:{}:9", acme.id()),
        &format!("scratch:{operation}"),
        &due,
        "t_nobody_knows",
        "deleted:t_nobody_knows:1",
        "warehouse",
    ] {
        let sql = format!("create database \"{name}\" owner tn_platform");
        postgres.run("postgres", &sql).await;
    }
    let sql = format!(
        "create role \"stock:424242\"; create role \"psql:{login}\" login in role tn_read;
         grant connect on database \"{}\" to \"psql:{login}\";
         create role somebody; select pg_create_physical_replication_slot('somebody', true);",
        acme.id()
    );
    postgres.run("postgres", &sql).await;
    // As a move makes it, in the tenant's database: of one that is over, and of one that is not.
    let second = world.second_cluster().await;
    let living = Uuid::now_v7();
    for (server, database) in [
        (postgres, acme.id().as_str()),
        (second.postgres(), "postgres"),
    ] {
        for of in [operation, living.simple()] {
            let sql = format!("select pg_create_logical_replication_slot('tn_{of}', 'pgoutput')");
            server.run(database, &sql).await;
        }
    }
    let sql = format!(
        "insert into registry.operation (id, kind, cluster, state, step, plan)
             values ('{living}', 'drain', 'main', 'stuck', 'moves', '{{}}')"
    );
    postgres.run("registry", &sql).await;
    let sql = format!(
        "insert into registry.kept_database (cluster, name, tenant_id, operation_id, drop_after)
         values ('main', '{due}', '{}', gen_random_uuid(), now() - interval '1 second')",
        acme.id()
    );
    postgres.run("registry", &sql).await;

    // Found, by whoever looks; nothing is removed yet.
    assert_eq!(sweep(&world, json!({})).await, Vec::<String>::new());
    let found = findings(&world).await;
    let removable = [
        format!("database/main/old:{}:9", acme.id()),
        format!("database/main/scratch:{operation}"),
        format!("database/main/side:{}:9", acme.id()),
        format!("role/main/psql:{login}"),
        format!("slot/main/tn_{operation}"),
        format!("slot/second/tn_{operation}"),
    ];
    let mut expected = removable.to_vec();
    expected.extend(
        [
            "database/main/deleted:t_nobody_knows:1",
            "database/main/t_nobody_knows",
            "database/main/warehouse",
        ]
        .map(str::to_owned),
    );
    expected.sort();
    // The keeper of the stock may have been quicker with a role that looks like its own.
    let seen: Vec<&str> = ids(&found)
        .into_iter()
        .filter(|id| *id != "role/main/stock:424242")
        .collect();
    assert_eq!(seen, expected);
    for one in &found {
        let by_itself = !one["removed_after"].is_null();
        let id = one["id"].as_str().unwrap();
        let expected = removable.iter().any(|known| known == id) || id.contains("stock:");
        assert_eq!(by_itself, expected, "{one}");
    }

    // Its time has come, but for one that an operator keeps.
    let kept = format!("database/main/side:{}:9", acme.id());
    let body = json!({ "id": kept, "kept": true });
    let answer = world.operator().post("/v1/findings/keep", body).await;
    assert_eq!(answer.expect(200).json()["kept"], true);
    let sql = "update registry.finding set first_seen_at = now() - interval '2 hours'";
    postgres.run("registry", sql).await;
    let wanted: Vec<String> = removable
        .iter()
        .filter(|id| **id != kept)
        .cloned()
        .collect();
    let of_ours = |removed: Vec<String>| -> Vec<String> {
        let ours = removed.into_iter();
        ours.filter(|id| id != "role/main/stock:424242").collect()
    };
    let dry = of_ours(sweep(&world, json!({ "dry_run": true })).await);
    assert_eq!(dry, wanted);
    assert_eq!(of_ours(sweep(&world, json!({})).await), wanted);

    // A database that was kept for a time goes with the next look of any replica.
    let _replica = world.platform_replica(Faults::none()).await;
    until("the kept database is dropped", || async {
        let sql = format!("select count(*) from pg_database where datname = '{due}'");
        postgres.number("postgres", &sql).await == 0
    })
    .await;
    until("only what people must judge is left", || async {
        let now = postgres.names().await;
        let gone = before.iter().filter(|name| {
            // The stock lives on.
            !now.contains(name) && !name.contains(':')
        });
        assert_eq!(gone.count(), 0, "{now:?}");
        let more: Vec<&String> = now
            .iter()
            .filter(|name| {
                !before.contains(name) && !name.contains("stock:") && !name.contains("tpl:")
            })
            .collect();
        more == [
            "database deleted:t_nobody_knows:1",
            &format!("database side:{}:9", acme.id()),
            "database t_nobody_knows",
            "database warehouse",
            "role somebody",
        ]
    })
    .await;
    let slots = postgres
        .texts(
            "postgres",
            "select slot_name::text from pg_replication_slots order by 1",
        )
        .await;
    let living = format!("tn_{}", living.simple());
    assert_eq!(slots, ["somebody", living.as_str()]);
    let slots = "select slot_name::text from pg_replication_slots";
    assert_eq!(second.postgres().texts("postgres", slots).await, [living]);
    acme.owner().get("/v1/entries").await.expect(200);
    let sql =
        "select count(*) from registry.audit where action in ('finding.removed', 'finding.kept')";
    assert!(postgres.number("registry", sql).await >= 5);
}

fn removal(id: &str, more: &str) -> String {
    let id = id.replace('/', "%2F");
    format!("/v1/findings/{id}?{more}")
}

#[tokio::test]
async fn what_people_judge_goes_by_its_name_and_nothing_that_is_claimed() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let acme = world.tenant("claimed").await;
    let postgres = world.postgres();
    let stock = postgres.texts("registry", "select 'stock:' || number from registry.stock");
    let stock = stock.await;
    for name in ["t_lost", "deleted:t_lost:1", "warehouse", "legacy", "used"] {
        let sql = format!("create database \"{name}\" owner tn_platform");
        postgres.run("postgres", &sql).await;
    }
    let sql = "create role t_lost; create role warehouse;
               comment on database t_lost is 'tenantry:t_lost:4'";
    postgres.run("postgres", sql).await;
    // As an adoption takes it over.
    let sql = "insert into registry.operation (id, kind, cluster, state, step, plan)
        values (gen_random_uuid(), 'adopt', 'main', 'stuck', 'close',
            '{\"cluster\": \"main\", \"found\": {\"name\": \"legacy\"}}')";
    postgres.run("registry", sql).await;
    let operator = world.operator();
    let remove = async |id: &str, more: &str| {
        let path = removal(id, more);
        operator.request(http::Method::DELETE, &path).send().await
    };

    // What has a row, or is taken over, is no find, whatever is confirmed.
    let mut claimed = vec![
        format!("database/main/{}", acme.id()),
        format!("role/main/{}", acme.id()),
        "database/main/legacy".to_owned(),
        "database/main/registry".to_owned(),
        "database/main/postgres".to_owned(),
        "database/nowhere/t_lost".to_owned(),
    ];
    claimed.extend(stock.iter().map(|name| format!("database/main/{name}")));
    claimed.extend(
        postgres
            .texts("registry", "select 'tpl:' || number from registry.template")
            .await
            .iter()
            .map(|name| format!("database/main/{name}")),
    );
    assert!(claimed.len() >= 7, "{claimed:?}");
    for id in &claimed {
        let name = id.rsplit('/').next().unwrap();
        let answer = remove(id, &format!("confirm={name}")).await;
        answer.refused(Code::NotFound);
    }

    // A look changes nothing; a name is wanted; who has no right to destroy tenants has none here.
    let lost = "database/main/t_lost";
    let seen = remove(lost, "dry_run=true").await.expect(200).json();
    assert_eq!(seen["marker"], "tenantry:t_lost:4");
    assert!(seen["size_bytes"].as_u64().unwrap() > 1_000_000, "{seen}");
    let unsaid = remove(lost, "dry_run=false").await;
    unsaid.refused(Code::ConfirmationMissing);
    let other = remove(lost, "confirm=t_other").await;
    other.refused(Code::ConfirmationMissing);
    let key = json!({ "name": "sweeper", "scopes": ["clusters:write"] });
    let key = operator
        .post("/v1/operator-keys", key)
        .await
        .expect(201)
        .json();
    let sweeper = world.visitor().bearer(key["key"].as_str().unwrap());
    let path = removal(lost, "confirm=t_lost");
    let unable = sweeper.request(http::Method::DELETE, &path).send().await;
    unable.refused(Code::PermissionMissing);
    assert!(
        postgres
            .names()
            .await
            .contains(&"database t_lost".to_owned())
    );

    // With its role; a foreign one's is somebody's. Who sits in it is asked first.
    remove(lost, "confirm=t_lost").await.expect(200);
    remove("database/main/warehouse", "confirm=warehouse")
        .await
        .expect(200);
    let late = "database/main/deleted:t_lost:1";
    remove(late, "confirm=deleted:t_lost:1").await.expect(200);
    let sitting = postgres.begin("used", "select 1").await;
    let used = remove("database/main/used", "confirm=used").await;
    used.refused(Code::Conflict);
    sitting.commit().await;
    let roles = "select rolname from pg_roles where rolname in ('t_lost', 'warehouse')";
    assert_eq!(postgres.texts("postgres", roles).await, ["warehouse"]);
    let left = postgres.names().await;
    for gone in ["t_lost", "warehouse", "deleted:t_lost:1"] {
        assert!(!left.contains(&format!("database {gone}")), "{gone}");
    }
    for stays in ["legacy", "used", acme.id().as_str()] {
        assert!(left.contains(&format!("database {stays}")), "{stays}");
    }
    remove(lost, "confirm=t_lost").await.refused(Code::NotFound);
    acme.owner().get("/v1/me").await.expect(200);
    let audit = operator.get("/v1/audit?action=finding.removed").await;
    let audit = audit.expect(200).json();
    assert_eq!(audit["data"].as_array().unwrap().len(), 3, "{audit}");

    // What an operator keeps stays.
    sweep(&world, json!({ "dry_run": true })).await;
    let keep = json!({ "id": "database/main/used", "kept": true });
    operator.post("/v1/findings/keep", keep).await.expect(200);
    let kept = remove("database/main/used", "confirm=used").await;
    kept.refused(Code::Conflict);
}

#[tokio::test]
async fn what_changes_or_is_claimed_before_its_removal_stays() {
    let world = World::with(WorldOptions::default().stock_level(0)).await;
    let postgres = world.postgres();
    let make = "create database t_lost owner tn_platform";
    postgres.run("postgres", make).await;
    let oid = "select oid::bigint from pg_database where datname = 't_lost'";
    let path = removal("database/main/t_lost", "confirm=t_lost");
    let claim = claim("t_lost");
    let anew = format!("drop database t_lost; {make}");
    for (database, meanwhile) in [("postgres", anew.as_str()), ("registry", claim.as_str())] {
        let drops = harness::drops_held_up(postgres).await;
        let operator = world.operator();
        let removal = operator.request(http::Method::DELETE, &path).send();
        let change = async {
            harness::drops_wait(postgres, 1).await;
            for statement in meanwhile.split("; ") {
                postgres.run(database, statement).await;
            }
            let now = postgres.number("postgres", oid).await;
            drops.commit().await;
            now
        };
        let (answer, now) = futures::join!(removal, change);
        answer.refused(Code::Conflict);
        assert_eq!(postgres.number("postgres", oid).await, now, "{meanwhile}");
    }
}

/// An operation that works on a tenant.
fn claim(tenant: &str) -> String {
    format!(
        "insert into registry.operation (id, kind, tenant_id, state, step, plan)
         values (gen_random_uuid(), 'create', '{tenant}', 'stuck', 'place', '{{}}')"
    )
}

#[tokio::test]
async fn what_somebody_claims_before_its_turn_stays_in_a_sweep() {
    let options = WorldOptions::default()
        .stock_level(0)
        .platform_setting("sweep.grace", "1h");
    let world = World::with(options).await;
    let acme = world.tenant("swept").await;
    let postgres = world.postgres();
    let kept = format!("old:{}:7", acme.id());
    for name in ["side:t_lost:9", "side:t_meant:9", &kept] {
        let make = format!("create database \"{name}\" owner tn_platform");
        postgres.run("postgres", &make).await;
    }
    let expected = format!(
        "insert into registry.kept_database (cluster, name, tenant_id, operation_id, drop_after)
         values ('main', '{kept}', '{}', gen_random_uuid(), now() + interval '1 day')",
        acme.id()
    );
    postgres.run("registry", &expected).await;
    let left = "select datname::text from pg_database where datname ~ '^(side|old):' order by 1";
    let all = postgres.texts("postgres", left).await;
    assert_eq!(all.len(), 3);
    assert_eq!(sweep(&world, json!({})).await, Vec::<String>::new());
    let aged = "update registry.finding set first_seen_at = now() - interval '2 hours'";
    postgres.run("registry", aged).await;
    let drops = harness::drops_held_up(postgres).await;
    let claimed = async {
        harness::drops_wait(postgres, 1).await;
        postgres.run("registry", &claim("t_lost")).await;
        let keep = json!({ "id": "database/main/side:t_meant:9", "kept": true });
        let answer = world.operator().post("/v1/findings/keep", keep).await;
        answer.expect(200);
        drops.commit().await;
    };
    let (removed, ()) = futures::join!(sweep(&world, json!({})), claimed);
    assert_eq!(removed, Vec::<String>::new());
    assert_eq!(postgres.texts("postgres", left).await, all);

    // The same of one that was kept for a time, when that is over.
    let drops = harness::drops_held_up(postgres).await;
    let due = "update registry.kept_database set drop_after = now()";
    postgres.run("registry", due).await;
    // Its first look comes soon.
    let _sweeping = world.platform_replica(Faults::none()).await;
    harness::drops_wait(postgres, 1).await;
    postgres.run("registry", &claim(acme.id().as_str())).await;
    drops.commit().await;
    // Who waits has its turn first.
    harness::drops_held_up(postgres).await.commit().await;
    assert_eq!(postgres.texts("postgres", left).await, all);
}
