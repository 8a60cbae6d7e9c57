//! What is nobody's on a server: reported, kept on an operator's word, removed after its grace.

use serde_json::{Value, json};
use uuid::Uuid;
use world::{Faults, World, WorldOptions, until};

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
