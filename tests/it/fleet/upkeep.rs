//! What is nobody's, what is wrong, what is asked of everybody, who looks in, and keys that are replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use adapters::secret_store::{ClusterRole, KeyRing, SealedStore, SecretStore, SecretSubject};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use contract::Code;
use contract::operator::fleet::QueryLine;
use contract::operator::upkeep::{Diagnosis, PsqlLogin, Verdict};
use contract::secret::SecretRef;
use http::Method;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;
use world::{
    Answer, Faults, OperationKind, Speaker, Step, TenantHandle, World, WorldOptions, until,
};

use super::harness::{self, Case};
use crate::support::entry;

/// Asks for a sweep and gives the ids of what it removed.
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
    ] {
        let one = of(&well, check, "main");
        assert!(one.verdict < Verdict::Bad, "{one:?}");
    }
    // The server of a test syncs nothing, and says so.
    assert_eq!(of(&well, "fsync", "main").verdict, Verdict::Bad);
    for check in [
        "clock",
        "signing_key",
        "sealing_keys",
        "operator_keys",
        "stuck_operations",
        "tenants_behind",
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
    postgres
        .run("postgres", "create database \"every\"\"body\"")
        .await;
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

async fn ask(world: &World, body: Value) -> Answer {
    world.operator().post("/v1/query", body).await
}

fn lines(answer: &Answer) -> Vec<QueryLine> {
    let text = answer.text();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[tokio::test]
async fn a_query_marks_partial_results_and_cannot_write() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let acme = world.tenant("asked-a").await;
    let beta = world.tenant("asked-b").await;
    let gamma = world.tenant("asked-c").await;
    let filter = json!({ "ids": [acme.id(), beta.id(), gamma.id()] });
    for (tenant, titles) in [(&acme, &["One", "Two, \"three\""][..]), (&beta, &["Four"])] {
        for title in titles {
            tenant
                .owner()
                .post("/v1/entries", entry(title))
                .await
                .expect(201);
        }
    }

    let sql =
        "select title, 12345678901234567890.5::numeric as big from entries.entry order by title;";
    let answer = ask(&world, json!({ "sql": sql, "filter": filter }))
        .await
        .expect(200);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    assert!(answer.text().contains("12345678901234567890.5"), "{answer}");
    let rows: Vec<(String, String)> = lines(&answer)
        .iter()
        .filter_map(|line| match line {
            QueryLine::Row { tenant, row } => {
                Some((tenant.to_string(), row["title"].as_str()?.to_owned()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        rows.iter()
            .filter(|(tenant, _)| tenant == acme.id().as_str())
            .count(),
        2
    );
    assert_eq!(rows.len(), 3, "{answer}");
    // Compressed, it ends as well.
    let compressed = world.operator().header("accept-encoding", "gzip");
    let body = json!({ "sql": sql, "filter": filter });
    let compressed = compressed.post("/v1/query", body).await.expect(200);
    assert_eq!(compressed.header("content-encoding"), "gzip");
    let Some(QueryLine::End { end }) = lines(&answer).pop() else {
        panic!("{answer}")
    };
    assert!(
        end.complete && end.tenants == 3 && end.failed == 0,
        "{end:?}"
    );
    let path = format!("/v1/operations/{}", end.operation);
    let recorded = world.operator().get(&path).await.expect(200).json();
    assert_eq!(recorded["kind"], "query");
    assert_eq!(recorded["result"]["rows"], 3);
    assert_eq!(recorded["result"]["sql"], sql.trim_end_matches(';'));
    let audit = "select detail::text from registry.audit where action = 'query.run'";
    let audit = world.postgres().texts("registry", audit).await;
    assert!(
        audit[0].contains("sha256") && !audit[0].contains("entries.entry"),
        "{audit:?}"
    );

    // One tenant is locked, another has too many rows: both are named, the third is complete.
    let lock = world
        .postgres()
        .lock(beta.id().as_str(), "entries.entry")
        .await;
    let body = json!({
        "sql": "select title from entries.entry", "filter": filter, "row_limit": 1,
        "timeout_ms": 3000,
    });
    let answer = ask(&world, body.clone()).await.expect(200);
    let mut failed: Vec<(String, Code)> = Vec::new();
    for line in lines(&answer) {
        match line {
            QueryLine::Failed { tenant, error } => failed.push((tenant.to_string(), error.code)),
            QueryLine::End { end } => {
                assert!(!end.complete, "{answer}");
                assert_eq!((end.tenants, end.rows, end.failed), (3, 1, 2), "{answer}");
            }
            QueryLine::Row { tenant, .. } => assert_eq!(&tenant, acme.id()),
        }
    }
    failed.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(
        failed,
        [
            (acme.id().to_string(), Code::BodyTooLarge),
            (beta.id().to_string(), Code::Overloaded),
        ]
    );
    let mut csv = body;
    csv["format"] = json!("csv");
    let answer = ask(&world, csv).await.expect(200);
    let text = answer.text();
    assert!(text.starts_with("tenant,title\n"), "{text}");
    assert!(
        text.contains("\n# partial: rows of 2 of 3 tenants are missing\n"),
        "{text}"
    );
    drop(lock);

    // What the server cannot read is said once; what writes never works.
    for sql in [
        "select from where",
        "selec 1",
        "delete from entries.entry",
        "select 1; select 2",
    ] {
        let answer = ask(&world, json!({ "sql": sql, "filter": filter })).await;
        answer.expect(422).refused(Code::ValidationFailed);
    }
    // No JSON has two fields of one name.
    let body = json!({ "sql": "select 1 as n, 2 as n", "filter": filter });
    let answer = ask(&world, body).await.expect(200);
    for line in lines(&answer) {
        match line {
            QueryLine::Failed { error, .. } => {
                assert_eq!(error.code, Code::ValidationFailed, "{answer}");
                assert!(error.detail.contains("\"n\""), "{answer}");
            }
            QueryLine::End { end } => assert_eq!((end.rows, end.failed), (0, 3), "{answer}"),
            QueryLine::Row { .. } => panic!("{answer}"),
        }
    }
    for sql in [
        "with gone as (delete from entries.entry returning 1) select * from gone",
        "select set_config('transaction_read_only', 'off', true)",
        "select * from entries.entry for update",
    ] {
        let answer = ask(&world, json!({ "sql": sql, "filter": filter }))
            .await
            .expect(200);
        let complete = lines(&answer)
            .iter()
            .any(|line| !matches!(line, QueryLine::Failed { .. } | QueryLine::End { .. }));
        assert!(!complete, "{sql}: {answer}");
    }
    for (tenant, entries) in [(&acme, 2), (&beta, 1)] {
        let count = "select count(*) from entries.entry";
        let left = world.postgres().number(tenant.id().as_str(), count).await;
        assert_eq!(left, entries);
    }

    // What the server lets anybody make is gone with the question.
    let sql = "select lo_create(0)";
    ask(&world, json!({ "sql": sql, "filter": filter }))
        .await
        .expect(200);
    let objects = "select count(*) from pg_largeobject_metadata";
    let made = world.postgres().number(acme.id().as_str(), objects).await;
    assert_eq!(made, 0);

    // The role itself: no other database, no writing, no attributes.
    let reference = "select query_credential from registry.cluster where name = 'main'";
    let reference = world
        .postgres()
        .texts("registry", reference)
        .await
        .remove(0);
    let subject = SecretSubject::Cluster("main".parse().unwrap(), ClusterRole::Query);
    let password = crate::support::seal(&world)
        .open(&subject, &SecretRef(reference))
        .await
        .unwrap();
    for database in ["registry", "postgres"] {
        let entered = world
            .postgres()
            .connect_as("tn_query", password.expose(), database)
            .await;
        assert!(entered.is_err(), "{database}");
    }
    let mut entered = world
        .postgres()
        .connect_as("tn_query", password.expose(), acme.id().as_str())
        .await
        .unwrap();
    for sql in [
        "set default_transaction_read_only = off; insert into entries.entry default values",
        "begin read write; delete from entries.entry",
        "create table x ()",
        "create temporary table x ()",
    ] {
        let done = sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut entered)
            .await;
        assert!(done.is_err(), "{sql}");
        let _ = sqlx::raw_sql("rollback").execute(&mut entered).await;
    }
    let attributes =
        "select count(*) from pg_roles where (rolname = 'tn_query' or rolname like 'psql:%')
        and (rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls)";
    assert_eq!(world.postgres().number("postgres", attributes).await, 0);
}

#[tokio::test]
async fn a_read_only_suspension_takes_writing_from_operators_logins() {
    let world = World::shared().await;
    let acme = world.tenant("read-only-psql").await;
    let entries = acme.owner().post("/v1/entries", entry("kept")).await;
    entries.expect(201);
    let writer = psql(&world, &acme, "write").await;
    let enter = async || {
        let password = writer.password.expose();
        let postgres = world.postgres();
        postgres
            .connect_as(&writer.role, password, &writer.database)
            .await
    };
    let mut before = enter().await.unwrap();
    let path = format!("/v1/tenants/{}", acme.id());
    let suspend = json!({ "wall": "read_only" });
    let operator = world.operator();
    let suspending = format!("{path}/suspend");
    operator.post(&suspending, suspend).await.expect(200);
    let alive = sqlx::raw_sql("select 1").execute(&mut before).await;
    assert!(
        alive.is_err(),
        "a session that wrote outlived the suspension"
    );
    let mut after = enter().await.unwrap();
    sqlx::raw_sql("select * from entries.entry")
        .execute(&mut after)
        .await
        .unwrap();
    let write = "set default_transaction_read_only = off; delete from entries.entry";
    assert!(sqlx::raw_sql(write).execute(&mut after).await.is_err());
    let body = json!({ "access": "write", "reason": "a test" });
    let refused = world.operator().post(&format!("{path}/psql"), body).await;
    refused.refused(Code::TenantReadOnly);
    psql(&world, &acme, "read").await;
}

#[tokio::test]
async fn a_secret_is_made_once_for_a_key_and_never_shown_again() {
    let world = World::shared().await;
    let acme = world.tenant("once").await;
    let psql = format!("/v1/tenants/{}/psql", acme.id());
    let login = json!({ "access": "read", "reason": "a test" });
    let other_login = json!({ "access": "read", "reason": "another one" });
    let name = crate::support::unique("once");
    let key = json!({ "name": name, "scopes": ["tenants:read"] });
    let other_key = json!({ "name": name, "scopes": ["tenants:write"] });
    for (path, body, other) in [
        (psql.as_str(), login, other_login),
        ("/v1/operator-keys", key, other_key),
    ] {
        let idempotency_key = crate::support::unique("key");
        let operator = world.operator().header("idempotency-key", &idempotency_key);
        // However many come at once, one of them makes it.
        let answers = [(); 4].map(|()| operator.post(path, &body));
        let answers = futures::future::join_all(answers).await;
        let made = answers.iter().filter(|answer| answer.status() == 201);
        assert_eq!(made.count(), 1, "{answers:?}");
        for answer in answers.iter().filter(|answer| answer.status() != 201) {
            answer.refused(Code::SecretShown);
        }
        operator.post(path, &body).await.refused(Code::SecretShown);
        operator
            .post(path, other)
            .await
            .refused(Code::IdempotencyKeyReused);
    }
    let logins = format!(
        "select count(*) from registry.psql_login where tenant_id = '{}'",
        acme.id()
    );
    let keys = format!("select count(*) from registry.operator_key where name = '{name}'");
    for sql in [logins, keys] {
        assert_eq!(world.postgres().number("registry", &sql).await, 1, "{sql}");
    }
}

async fn psql(world: &World, tenant: &TenantHandle, access: &str) -> PsqlLogin {
    let path = format!("/v1/tenants/{}/psql", tenant.id());
    let body = json!({ "access": access, "reason": "a test looks in" });
    world.operator().post(&path, body).await.expect(201).parse()
}

#[tokio::test]
async fn psql_logins_end() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let acme = world.tenant("looked-into").await;
    let beta = world.tenant("left-alone").await;
    let postgres = world.postgres();
    acme.owner()
        .post("/v1/entries", entry("Seen"))
        .await
        .expect(201);
    let reader = psql(&world, &acme, "read").await;
    let writer = psql(&world, &acme, "write").await;
    let enter = async |login: &PsqlLogin, database: &str| {
        postgres
            .connect_as(&login.role, login.password.expose(), database)
            .await
    };
    for login in [&reader, &writer] {
        for closed in [beta.id().as_str(), "registry", "postgres"] {
            assert!(enter(login, closed).await.is_err(), "{closed}");
        }
    }
    let write = "insert into entries.entry (id, title, body, created_by)
                 select gen_random_uuid(), 'By hand', '{}', created_by from entries.entry limit 1";
    let mut reading = enter(&reader, &reader.database).await.unwrap();
    let seen: String = sqlx::query_scalar("select title from entries.entry")
        .fetch_one(&mut reading)
        .await
        .unwrap();
    assert_eq!(seen, "Seen");
    for sql in [
        write,
        "set default_transaction_read_only = off; delete from entries.entry",
    ] {
        let done = sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut reading)
            .await;
        assert!(done.is_err(), "{sql}");
    }
    let mut writing = enter(&writer, &writer.database).await.unwrap();
    sqlx::raw_sql("update entries.entry set title = 'By hand'")
        .execute(&mut writing)
        .await
        .unwrap();
    for sql in [
        "create table entries.x ()",
        "drop table entries.entry",
        "create temporary table x ()",
    ] {
        let done = sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut writing)
            .await;
        assert!(done.is_err(), "{sql}");
    }
    // What the server lets anybody make does not hold up the end of its maker.
    sqlx::raw_sql("set default_transaction_read_only = off; select lo_create(0)")
        .execute(&mut reading)
        .await
        .unwrap();
    // The password is in its answer alone.
    let sql = "create extension if not exists pg_stat_statements";
    postgres.run("postgres", sql).await;
    for login in [&reader, &writer] {
        let canary = login.password.expose();
        assert!(world.logs().with(canary).is_empty());
        for table in ["psql_login", "audit", "operation"] {
            let sql = format!(
                "select count(*) from registry.{table} t where row_to_json(t)::text like '%{canary}%'"
            );
            assert_eq!(postgres.number("registry", &sql).await, 0, "{table}");
        }
        let said = format!("select count(*) from pg_stat_statements where query like '%{canary}%'");
        assert_eq!(postgres.number("postgres", &said).await, 0);
    }
    let audit = "select count(*) from registry.audit where action = 'psql.issued'
        and detail ->> 'reason' = 'a test looks in'";
    assert_eq!(postgres.number("registry", audit).await, 2);

    // Who is locked out of the tenant's database stays out with a login, too.
    let path = format!("/v1/tenants/{}/suspend", acme.id());
    let body = json!({ "wall": "blocked" });
    world.operator().post(&path, body).await.expect(200);
    for (login, session) in [(&reader, &mut reading), (&writer, &mut writing)] {
        assert!(enter(login, &login.database).await.is_err());
        let alive = sqlx::raw_sql("select 1").execute(session).await;
        assert!(alive.is_err(), "a session outlived the lock-out");
    }
    let left = format!(
        "select count(*) from pg_stat_activity
         where datname = '{}' and usename !~ '^(tn_platform|tn_schema|tn_query)$'",
        acme.id()
    );
    assert_eq!(postgres.number("postgres", &left).await, 0);
    // Nor does anybody get a new one before the wall is gone.
    let path = format!("/v1/tenants/{}/psql", acme.id());
    for access in ["read", "write"] {
        let body = json!({ "access": access, "reason": "a test" });
        let answer = world.operator().post(&path, body).await;
        answer.refused(Code::TenantSuspended);
    }
    let resume = format!("/v1/tenants/{}/resume", acme.id());
    world.operator().post(&resume, json!({})).await.expect(200);
    // Whoever looks into it afterwards asks for a login of its own, which ends with its time.
    let reader = psql(&world, &acme, "read").await;
    let mut reading = enter(&reader, &reader.database).await.unwrap();

    // Its end takes the role and the sessions.
    let sql = "update registry.psql_login set expires_at = now() - interval '1 second'";
    postgres.run("registry", sql).await;
    until("the roles are gone", || async {
        let sql = "select count(*) from pg_roles where rolname like 'psql:%'";
        postgres.number("postgres", sql).await == 0
    })
    .await;
    let alive = sqlx::raw_sql("select 1").execute(&mut reading).await;
    assert!(alive.is_err(), "a session outlived its login");
    let ended = "select count(*) from registry.psql_login where dropped_at is null";
    assert_eq!(postgres.number("registry", ended).await, 0);

    // A login that writes needs more than the right to look.
    let body = json!({ "name": "looker", "scopes": ["tenants:query"] });
    let key = world
        .operator()
        .post("/v1/operator-keys", body)
        .await
        .expect(201)
        .json();
    let looker = world.visitor().bearer(key["key"].as_str().unwrap());
    let path = format!("/v1/tenants/{}/psql", beta.id());
    let body = json!({ "access": "write", "reason": "no" });
    let refused = looker.post(&path, body).await.expect(403);
    refused.refused(Code::PermissionMissing);
    for body in [
        json!({ "reason": " " }),
        json!({ "reason": "x", "ttl_seconds": 5 }),
    ] {
        let refused = looker.post(&path, body).await.expect(422);
        refused.refused(Code::ValidationFailed);
    }
    let unknown = looker.post("/v1/tenants/t_nobody_at_all/psql", json!({ "reason": "x" }));
    unknown.await.expect(404).refused(Code::NotFound);
}

/// Requests of a tenant that go on until they are stopped; counts those that were not served.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    running: tokio::task::JoinHandle<Vec<String>>,
}

impl Load {
    fn start(owner: Speaker) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicU64::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&served));
        let running = tokio::spawn(async move {
            let mut failures = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let answer = owner.post("/v1/entries", entry("Load")).await;
                if answer.status() == 201 {
                    counted.fetch_add(1, Ordering::Relaxed);
                } else {
                    failures.push(answer.to_string());
                }
            }
            failures
        });
        Self {
            stop,
            served,
            running,
        }
    }

    async fn served_more(&self) {
        let before = self.served.load(Ordering::Relaxed);
        until("requests are served", || async {
            self.served.load(Ordering::Relaxed) > before + 3
        })
        .await;
    }

    async fn failures(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.running.await.unwrap()
    }
}

fn key(id: &str) -> String {
    format!("{id}:{}", STANDARD.encode(rand::random::<[u8; 32]>()))
}

fn store(ring: &str) -> SecretStore {
    SecretStore::Sealed(SealedStore::new(KeyRing::parse(ring).unwrap()))
}

/// Seals everything with a key that only opens from now on, as it was before another came first.
async fn seal_with(world: &World, ring: &str, older: &str) {
    let (both, old) = (store(ring), store(older));
    let anew = async |subject: &SecretSubject, text: String| -> String {
        let secret = both.open(subject, &SecretRef(text)).await.unwrap();
        old.put(subject, "v", &secret).await.unwrap().0
    };
    let postgres = world.postgres();
    let rows = "select id || ' ' || credentials[1] from registry.tenant where credentials <> '{}'";
    for row in postgres.texts("registry", rows).await {
        let (id, text) = row.split_once(' ').unwrap();
        let subject = SecretSubject::Tenant(id.parse().unwrap());
        let sealed = anew(&subject, text.to_owned()).await;
        let sql =
            format!("update registry.tenant set credentials = '{{{sealed}}}' where id = '{id}'");
        postgres.run("registry", &sql).await;
    }
    for (column, role) in [
        ("platform_credential", ClusterRole::Platform),
        ("schema_credential", ClusterRole::Schema),
        ("query_credential", ClusterRole::Query),
    ] {
        let sql = format!("select {column} from registry.cluster");
        let text = postgres.texts("registry", &sql).await.remove(0);
        let subject = SecretSubject::Cluster("main".parse().unwrap(), role);
        let sealed = anew(&subject, text).await;
        let sql = format!("update registry.cluster set {column} = '{sealed}'");
        postgres.run("registry", &sql).await;
    }
    let text = "select private_key from registry.signing_key";
    let text = postgres.texts("registry", text).await.remove(0);
    let sealed = anew(&SecretSubject::SigningKey, text).await;
    let sql = format!("update registry.signing_key set private_key = '{sealed}'");
    postgres.run("registry", &sql).await;
}

#[tokio::test]
async fn reseal_leaves_no_box_under_the_old_key_and_fails_no_request() {
    let (new, old) = (key("k2"), key("k1"));
    let ring = format!("{new},{old}");
    let options = WorldOptions::default()
        .stock_level(1)
        .platform_setting("sealing.keys", &ring)
        .app_setting("sealing.keys", &ring)
        .app_setting("tenants.fresh", "200ms");
    let world = World::with(options).await;
    let acme = world.tenant("sealed-anew").await;
    let beta = world.tenant("sealed-anew").await;
    let postgres = world.postgres();
    until("the login for questions is made", || async {
        let sql = "select count(*) from registry.cluster where query_credential is not null";
        postgres.number("registry", sql).await == 1
    })
    .await;
    seal_with(&world, &ring, &old).await;
    // One that nobody can open, one in the plan of an operation that nobody runs, and one of theirs.
    let operation = Uuid::now_v7();
    let subject = SecretSubject::Operation(contract::OperationId::from_uuid(operation));
    let kept = contract::Secret::new("kept for later".to_owned());
    let sealed = store(&old).put(&subject, "v", &kept).await.unwrap().0;
    let sql = format!(
        "insert into registry.operation (id, kind, tenant_id, state, step, plan)
             values ('{operation}', 'create', 't_stuck_one', 'stuck', 'database',
                 '{{\"deep\": [{{\"box\": \"{sealed}\"}}]}}')"
    );
    postgres.run("registry", &sql).await;
    // Rows of a file of tenants that wait for their turn.
    let bulk = Uuid::now_v7();
    let of_bulk = SecretSubject::Operation(contract::OperationId::from_uuid(bulk));
    let first = contract::Secret::new("a first password".to_owned());
    let box_of_row = store(&old).put(&of_bulk, "row", &first).await.unwrap().0;
    let sql = format!(
        "insert into registry.operation (id, kind, state, step, plan)
             values ('{bulk}', 'bulk_create', 'stuck', 'make', '{{}}');
         insert into registry.bulk_row (operation_id, number, request)
             values ('{bulk}', 1, '{{\"password\": \"{box_of_row}\"}}')"
    );
    postgres.run("registry", &sql).await;
    let sql = format!(
        "insert into registry.tenant_data_key (tenant_id, key)
             values ('{}', 'sealed:v1:k1:AAAA')",
        beta.id()
    );
    postgres.run("registry", &sql).await;
    let keys = world.operator().get("/v1/keys").await.expect(200).json();
    assert_eq!(keys["sealing"][0]["id"], "k2");
    assert_eq!(keys["sealing"][0]["state"], "seals");
    assert_eq!(keys["sealing"][0]["secrets"], 0, "{keys}");
    assert_eq!(keys["sealing"][1]["state"], "opens");
    assert_eq!(keys["sealing"][1]["secrets"], 9, "{keys}");
    assert_eq!(keys["signing"][0]["state"], "signs");

    let load = [Load::start(acme.owner()), Load::start(beta.owner())];
    for one in &load {
        one.served_more().await;
    }
    let answer = world
        .operator()
        .request(Method::POST, "/v1/keys/reseal")
        .send()
        .await;
    let id = harness::operation_of(&answer);
    harness::reaches(&world, &id, "done", "the reseal").await;
    for one in &load {
        one.served_more().await;
    }
    let path = format!("/v1/operations/{id}");
    let done = world.operator().get(&path).await.expect(200).json();
    assert_eq!(
        done["result"],
        json!({ "resealed": 8, "unopened": 1 }),
        "{done}"
    );
    let keys = world.operator().get("/v1/keys").await.expect(200).json();
    assert_eq!(keys["sealing"][0]["secrets"], 8, "{keys}");
    assert_eq!(keys["sealing"][1]["secrets"], 1, "{keys}");
    // Everything opens with the new key alone.
    let only_new = store(&new);
    let plan = format!(
        "select plan #>> '{{deep,0,box}}' from registry.operation where id = '{operation}'"
    );
    let text = postgres.texts("registry", &plan).await.remove(0);
    let opened = only_new.open(&subject, &SecretRef(text)).await.unwrap();
    assert_eq!(opened.expose(), "kept for later");
    let row = format!(
        "select request ->> 'password' from registry.bulk_row where operation_id = '{bulk}'"
    );
    let text = postgres.texts("registry", &row).await.remove(0);
    let opened = only_new.open(&of_bulk, &SecretRef(text)).await.unwrap();
    assert_eq!(opened.expose(), "a first password");
    let credential = format!(
        "select credentials[1] from registry.tenant where id = '{}'",
        acme.id()
    );
    let text = postgres.texts("registry", &credential).await.remove(0);
    let subject = SecretSubject::Tenant(acme.id().clone());
    only_new.open(&subject, &SecretRef(text)).await.unwrap();
    // Who connects anew does it with the new boxes: on the tenants' side and on the platform's.
    let end = format!(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = '{}'",
        acme.id()
    );
    let [acmes, betas] = load;
    assert_eq!(acmes.failures().await, Vec::<String>::new());
    assert_eq!(betas.failures().await, Vec::<String>::new());
    postgres.run("postgres", &end).await;
    until("it is served over new connections", || async {
        acme.owner().get("/v1/entries").await.status() == 200
    })
    .await;
    world.tenant("after").await;
    // A second one has nothing to do.
    let answer = world
        .operator()
        .request(Method::POST, "/v1/keys/reseal")
        .send()
        .await;
    let again = harness::operation_of(&answer);
    harness::reaches(&world, &again, "done", "the second reseal").await;
}

#[tokio::test]
async fn a_new_signing_key_is_published_first_and_tokens_stay_good() {
    let options = WorldOptions::default()
        .stock_level(1)
        .platform_setting("signing_keys.publish_before", "3s");
    let world = World::with(options).await;
    let acme = world.tenant("signed").await;
    let operator = world.operator();
    let rotate = async || {
        let answer = operator.request(Method::POST, "/v1/keys/signing/rotate");
        answer.send().await.expect(200).json()
    };
    let first = rotate().await;
    assert_eq!(first["state"], "published", "{first}");
    assert_eq!(rotate().await["kid"], first["kid"], "one waits already");
    acme.owner().get("/v1/entries").await.expect(200);
    until("the new key signs", || async {
        let keys = operator.get("/v1/keys").await.expect(200).json();
        keys["signing"][0]["kid"] == first["kid"] && keys["signing"][0]["state"] == "signs"
    })
    .await;
    let keys = operator.get("/v1/keys").await.expect(200).json();
    assert_eq!(keys["signing"][1]["state"], "verifies", "{keys}");
    assert!(!keys["signing"][1]["verifies_until"].is_null(), "{keys}");
    // What the old key signed is good, whoever asks.
    acme.owner().get("/v1/entries").await.expect(200);
    let replica = world.add_app_replica().await;
    let elsewhere = acme.owner().at(&world.app_url(replica));
    elsewhere.get("/v1/entries").await.expect(200);
    let operations = operator.get("/v1/operations?kind=rotate_signing_key").await;
    let operations = operations.expect(200).json();
    assert_eq!(
        operations["data"].as_array().unwrap().len(),
        1,
        "{operations}"
    );
}

#[tokio::test]
async fn the_whole_fleet_gets_new_passwords_and_no_request_fails() {
    let world = World::with(harness::roomy()).await;
    let mut tenants = Vec::new();
    for _ in 0..3 {
        tenants.push(world.tenant("rotated").await);
    }
    let held = world.tenant("held").await;
    let postgres = world.postgres();
    let stuck = format!(
        "insert into registry.operation (id, kind, tenant_id, state, step, plan)
             values (gen_random_uuid(), 'create', '{}', 'stuck', 'database', '{{}}')",
        held.id()
    );
    postgres.run("registry", &stuck).await;
    let references = "select credentials[1] from registry.tenant order by id";
    let before = postgres.texts("registry", references).await;
    let load: Vec<Load> = tenants.iter().map(|one| Load::start(one.owner())).collect();
    for one in &load {
        one.served_more().await;
    }
    let answer = world
        .operator()
        .post(
            "/v1/keys/credentials/rotate",
            json!({ "filter": {}, "at_once": 2 }),
        )
        .await;
    let id = harness::operation_of(&answer);
    harness::reaches(&world, &id, "done", "the rotation").await;
    for one in load {
        one.served_more().await;
        assert_eq!(one.failures().await, Vec::<String>::new());
    }
    let path = format!("/v1/operations/{id}");
    let done = world.operator().get(&path).await.expect(200).json();
    assert_eq!(
        done["result"],
        json!({ "tenants": 4, "rotated": 3, "failed": 0, "left_out": [held.id()] }),
        "{done}"
    );
    let after = postgres.texts("registry", references).await;
    let kept = before.iter().filter(|one| after.contains(one)).count();
    assert_eq!(kept, 1, "only that of the tenant that was left out");
    let children = format!("/v1/operations?parent={id}&limit=10");
    let children = world.operator().get(&children).await.expect(200).json();
    assert_eq!(children["data"].as_array().unwrap().len(), 3, "{children}");
}

/// A tenant that is served, which is all that these kinds leave behind.
fn of_a_tenant(
    kind: OperationKind,
    steps: &'static [Step],
    begin: for<'a> fn(&'a Speaker, &'a TenantHandle) -> futures::future::BoxFuture<'a, Answer>,
) -> Case {
    Case {
        kind,
        steps,
        point_of_no_return: steps[0],
        prepare: |world| Box::pin(world.tenant("kept-up")),
        begin,
        after_done: |_, tenant| Box::pin(served(tenant)),
        after_undone: |_, tenant| Box::pin(served(tenant)),
    }
}

async fn served(tenant: &TenantHandle) {
    tenant.owner().get("/v1/entries").await.expect(200);
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        of_a_tenant(OperationKind::Reseal, &[Step::Reseal], |operator, _| {
            Box::pin(operator.request(Method::POST, "/v1/keys/reseal").send())
        }),
        of_a_tenant(
            OperationKind::RotateFleet,
            &[Step::Rotate],
            |operator, tenant| {
                let body = json!({ "filter": { "ids": [tenant.id()] } });
                Box::pin(async move { operator.post("/v1/keys/credentials/rotate", body).await })
            },
        ),
    ]
}

#[tokio::test]
async fn upkeep_that_fails_or_is_killed_ends_well() {
    let patient = World::with(harness::patient()).await;
    for case in cases() {
        harness::every_step_fails(&patient, &case).await;
        harness::every_step_twice(&patient, &case).await;
        harness::undo_stuck_and_retried(&patient, &case).await;
    }
    drop(patient);
    let impatient = World::with(harness::impatient()).await;
    for case in cases() {
        harness::every_instruction_killed(&impatient, &case).await;
    }
}
