//! Doctor: every fault that can be planted is found, with the command that mends it.

use contract::Code;
use contract::operator::upkeep::{Diagnosis, Verdict};
use http::Method;
use serde_json::json;
use sqlx::AssertSqlSafe;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use world::{World, WorldOptions, until};

use super::backups::Keeping;

async fn examined(world: &World) -> Vec<Diagnosis> {
    let answer = world.operator().get("/v1/doctor").await;
    answer.expect(200).parse()
}

fn of<'a>(all: &'a [Diagnosis], check: &str, place: &str) -> &'a Diagnosis {
    all.iter()
        .find(|one| one.check == check && one.place == place)
        .unwrap_or_else(|| panic!("{check} at {place} is not in {all:#?}"))
}

#[tokio::test]
async fn doctor_finds_each_planted_fault_with_its_command() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let acme = world.tenant("patient").await;
    let postgres = world.postgres();
    let operator = world.operator();
    let well = examined(&world).await;
    for check in [
        "reachable",
        "recovery_init_sync_method",
        "autovacuum_naptime",
        "max_connections",
        "wal_level",
        "replication_slots",
        "idle_slots",
        "files",
        "transaction_age",
        "public_connect",
        "open_templates",
        "half_dropped",
        "missing_databases",
        "clock",
        "disk",
        "orphans",
        "misplaced",
    ] {
        let one = of(&well, check, "main");
        assert!(one.verdict < Verdict::Bad, "{one:?}");
    }
    // The server of a test syncs nothing, and says so.
    assert_eq!(of(&well, "fsync", "main").verdict, Verdict::Bad);
    let disk = of(&well, "disk", "main");
    assert_eq!(disk.verdict, Verdict::Warn, "{disk:?}");
    let command = disk.mend.as_ref().unwrap();
    assert!(command.contains("--max-disk-gib"), "{disk:?}");
    for check in [
        "clock",
        "signing_key",
        "sealing_keys",
        "operator_keys",
        "stuck_operations",
        "tenants_behind",
        "rollout",
        "backups",
        "replicas",
    ] {
        assert_eq!(of(&well, check, "platform").verdict, Verdict::Ok);
    }
    assert_eq!(of(&well, "missing_databases", "main").verdict, Verdict::Ok);

    let sql = "alter system set autovacuum_naptime = '1min';
               alter system set client_connection_check_interval = '0';
               alter system set recovery_init_sync_method = 'fsync'";
    for statement in sql.split(';') {
        postgres.run("postgres", statement).await;
    }
    postgres.run("postgres", "select pg_reload_conf()").await;
    // The second as if it were being made.
    for name in ["every\"\"body", "scratch:half-made"] {
        let create = format!("create database \"{name}\"");
        postgres.run("postgres", &create).await;
    }
    let template =
        "select datname::text from pg_database where datname like 'tpl:%' order by 1 desc";
    let template = postgres.texts("postgres", template).await.remove(0);
    let open = format!("alter database \"{template}\" allow_connections true");
    postgres.run("postgres", &open).await;
    let slot = "select pg_create_physical_replication_slot('forgotten', true)";
    postgres.run("postgres", slot).await;
    let sql = "insert into registry.finding (kind, place, name, removable)
                   values ('database', 'main', 'old:t_x:1', true), ('secret', 'secrets', 'x', true);
               update registry.operator_key set created_at = now() - interval '2 years';
               update registry.tenant set schema_versions = schema_versions || '{\"entries\": 0}';
               insert into registry.operation (id, kind, tenant_id, state, step, plan)
                   values (gen_random_uuid(), 'create', 't_stuck_one', 'stuck', 'database', '{}')";
    postgres.run("registry", sql).await;
    let rename = format!("alter database {} rename to mislaid", acme.id());
    let end = format!(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '{}'",
        acme.id()
    );
    until("the database is mislaid", || async {
        postgres.run("postgres", &end).await;
        let mut admin = postgres.connect("postgres").await;
        let renamed = sqlx::raw_sql(AssertSqlSafe(rename.clone()));
        renamed.execute(&mut admin).await.is_ok()
    })
    .await;

    let ill = examined(&world).await;
    let public = of(&ill, "public_connect", "main");
    assert!(!public.found.contains("half-made"), "{public:?}");
    for (check, place, verdict, found, mend) in [
        (
            "autovacuum_naptime",
            "main",
            Verdict::Warn,
            "60 s",
            "autovacuum_naptime = '5min'",
        ),
        (
            "client_connection_check_interval",
            "main",
            Verdict::Warn,
            "0 ms",
            "'1s'",
        ),
        (
            "recovery_init_sync_method",
            "main",
            Verdict::Warn,
            "fsync",
            "'syncfs'",
        ),
        (
            "fsync",
            "main",
            Verdict::Bad,
            "off",
            "alter system set fsync = 'on'",
        ),
        (
            "public_connect",
            "main",
            Verdict::Bad,
            "every\"body",
            "revoke connect, temporary on database \"every\"\"body\" from public;",
        ),
        (
            "open_templates",
            "main",
            Verdict::Bad,
            template.as_str(),
            "allow_connections false",
        ),
        (
            "idle_slots",
            "main",
            Verdict::Warn,
            "forgotten",
            "pg_drop_replication_slot('forgotten')",
        ),
        (
            "missing_databases",
            "main",
            Verdict::Bad,
            acme.id().as_str(),
            "tenantctl backups list --tenant t_",
        ),
        (
            "orphans",
            "main",
            Verdict::Warn,
            "1",
            "tenantctl findings list",
        ),
        (
            "orphans",
            "platform",
            Verdict::Warn,
            "1",
            "tenantctl findings list",
        ),
        (
            "operator_keys",
            "platform",
            Verdict::Warn,
            "first",
            "tenantctl keys create",
        ),
        (
            "tenants_behind",
            "platform",
            Verdict::Warn,
            "1 active",
            "tenantctl rollouts start",
        ),
        (
            "stuck_operations",
            "platform",
            Verdict::Bad,
            "(create)",
            "tenantctl operations retry op_",
        ),
    ] {
        let one = of(&ill, check, place);
        assert_eq!(one.verdict, verdict, "{one:?}");
        assert!(one.found.contains(found), "{one:?}");
        assert!(one.mend.as_ref().unwrap().contains(mend), "{one:?}");
        assert!(!one.why.is_empty());
    }
    assert!(ill.is_sorted_by(|one, other| one.verdict >= other.verdict));

    // The commands mend what they say they mend.
    let mendable = [
        "autovacuum_naptime",
        "client_connection_check_interval",
        "recovery_init_sync_method",
        "public_connect",
        "open_templates",
        "idle_slots",
    ];
    for check in mendable {
        let mend = of(&ill, check, "main").mend.clone().unwrap();
        for statement in mend.split_inclusive(';') {
            postgres.run("postgres", statement).await;
        }
    }
    until("the server has read its settings again", || async {
        let now = examined(&world).await;
        mendable
            .iter()
            .all(|check| of(&now, check, "main").verdict == Verdict::Ok)
    })
    .await;

    // A cluster that is away is one diagnosis, and the platform's are still there.
    let sql = "insert into registry.cluster
                   (name, region, host, port, tls, connection_budget, server_version,
                    platform_credential, schema_credential)
               select 'away', region, '127.0.0.1', 1, tls, 5, server_version, 'sealed:v1:lost:AA',
                   schema_credential from registry.cluster where name = 'main'";
    postgres.run("registry", sql).await;
    let answer = operator.get("/v1/doctor?cluster=away").await.expect(200);
    let away: Vec<Diagnosis> = answer.parse();
    assert_eq!(of(&away, "reachable", "away").verdict, Verdict::Bad);
    assert!(away.iter().all(|one| one.place == "away"));
    let none = operator.get("/v1/doctor?cluster=nowhere").await;
    none.refused(Code::NotFound);
    let all = examined(&world).await;
    let sealing = of(&all, "sealing_keys", "platform");
    assert_eq!(sealing.verdict, Verdict::Bad, "{sealing:?}");
    assert!(sealing.found.contains("lost seals 1"), "{sealing:?}");
}

#[tokio::test]
async fn a_tenant_whose_cluster_is_not_meant_for_it_any_more_is_named_until_it_fits() {
    let world = World::start().await;
    let (acme, beta) = (world.tenant("moved-up").await, world.tenant("fits").await);
    let operator = world.operator();
    let change = async |path: &str, body: serde_json::Value| {
        let etag = operator.get(path).await.expect(200);
        let etag = etag.header("etag").to_owned();
        let patched = operator.request(Method::PATCH, path);
        let patched = patched.header("if-match", &etag).json(body).send().await;
        patched.expect(200);
    };
    let (cluster, tenant) = ("/v1/clusters/main", format!("/v1/tenants/{}", acme.id()));
    let faults = [
        (
            (tenant.as_str(), json!({ "tier": "premium" })),
            (cluster, json!({ "tiers": ["standard"] })),
            "it is kept for other tiers",
            (tenant.as_str(), json!({ "tier": "standard" })),
        ),
        (
            (cluster, json!({ "labels": { "disk": "fast" } })),
            (tenant.as_str(), json!({ "labels": { "disk": "slow" } })),
            "it lacks a label that the tenant asks for",
            (tenant.as_str(), json!({ "labels": {} })),
        ),
    ];
    for (first, second, why, mend) in faults {
        change(first.0, first.1).await;
        change(second.0, second.1).await;
        let found = examined(&world).await;
        let found = of(&found, "misplaced", "main");
        assert_eq!(found.verdict, Verdict::Warn, "{found:?}");
        assert_eq!(found.found, format!("{}: {why}", acme.id()), "{beta:?}");
        let command = format!("tenantctl tenants move {};", acme.id());
        assert!(found.mend.as_ref().unwrap().contains(&command), "{found:?}");
        change(mend.0, mend.1).await;
        let found = examined(&world).await;
        assert_eq!(of(&found, "misplaced", "main").verdict, Verdict::Ok);
    }
}

#[tokio::test]
async fn doctor_names_the_keys_that_end_soon_and_those_that_nobody_uses() {
    let world = World::start().await;
    let in_days = |days| {
        let at = OffsetDateTime::now_utc() + Duration::days(days);
        at.format(&Rfc3339).unwrap()
    };
    let keys = [
        ("idle", None, ""),
        ("busy", None, "last_used_at = now() - interval '89 days'"),
        ("soon", Some(in_days(13)), "watched_since = now()"),
        ("later", Some(in_days(15)), "watched_since = now()"),
        ("over", Some(in_days(1)), "expires_at = now()"),
        ("revoked", Some(in_days(1)), "revoked_at = now()"),
    ];
    for (name, expires_at, changed) in keys {
        let body = json!({ "name": name, "scopes": ["tenants:read"], "expires_at": expires_at });
        let made = world.operator().post("/v1/operator-keys", body).await;
        made.expect(201);
        let old = "watched_since = now() - interval '91 days'";
        for what in [old, changed].iter().filter(|what| !what.is_empty()) {
            let sql = format!("update registry.operator_key set {what} where name = '{name}'");
            world.postgres().run("registry", &sql).await;
        }
    }
    let found = examined(&world).await;
    let found = of(&found, "operator_keys", "platform");
    assert_eq!(found.verdict, Verdict::Warn, "{found:?}");
    let words = "older than a year: none; ending within 14 days: soon; not used for 90 days: idle";
    assert_eq!(found.found, words);
}

#[tokio::test]
async fn a_tenant_whose_backups_are_overdue_is_named_until_there_is_one() {
    let options = WorldOptions::default().platform_setting("backups.check_every", "1d");
    let keeping = Keeping::start(options).await;
    let world = &keeping.world;
    let (late, early) = (world.tenant("late").await, world.tenant("early").await);
    let planted = format!(
        "update registry.tier set backup_every = '1 hour';
         update registry.tenant set activated_at = now() - interval '90 minutes';
         update registry.tenant set activated_at = now() - interval '121 minutes' where id = '{}'",
        late.id()
    );
    for statement in planted.split(';') {
        world.postgres().run("registry", statement).await;
    }
    let all = examined(world).await;
    let overdue = of(&all, "backups", "platform");
    assert_eq!(overdue.verdict, Verdict::Bad, "{overdue:?}");
    assert_eq!(overdue.found, late.id().as_str(), "{early:?}");
    let mend = overdue.mend.as_deref().unwrap();
    let command = format!("tenantctl tenants backup {}", late.id());
    assert!(mend.contains(&command), "{mend}");
    let path = format!("/v1/tenants/{}/backups", late.id());
    world.operator().post(&path, json!({})).await.expect(200);
    let all = examined(world).await;
    assert_eq!(of(&all, "backups", "platform").verdict, Verdict::Ok);
    // One that is old, or cannot be restored, is none.
    for spoilt in [
        "created_at = now() - interval '3 hours'",
        "state = 'corrupt'",
    ] {
        let spoil = format!("update registry.backup set {spoilt}");
        world.postgres().run("registry", &spoil).await;
        let all = examined(world).await;
        assert_eq!(of(&all, "backups", "platform").verdict, Verdict::Bad);
        let mend = "update registry.backup set created_at = now(), state = 'ready'";
        world.postgres().run("registry", mend).await;
    }
}
