//! Operators who look in: logins that end, secrets that are shown once.

use contract::Code;
use contract::operator::upkeep::PsqlLogin;
use serde_json::json;
use sqlx::AssertSqlSafe;
use world::{Logs, TenantHandle, World, WorldOptions, until};

use super::backups::{Keeping, back_up};
use super::moves::{move_to, servers};
use crate::support::entry;

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
    let _everything = Logs::everything();
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
    // The role goes first, then its row says so.
    until("the logins have ended", || async {
        let sql = "select count(*) from registry.psql_login where dropped_at is null";
        postgres.number("registry", sql).await == 0
    })
    .await;
    let roles = "select count(*) from pg_roles where rolname like 'psql:%'";
    assert_eq!(postgres.number("postgres", roles).await, 0);
    let alive = sqlx::raw_sql("select 1").execute(&mut reading).await;
    assert!(alive.is_err(), "a session outlived its login");

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

#[tokio::test]
async fn logins_end_that_have_something_in_a_database_which_is_put_away() {
    let keeping = Keeping::start(WorldOptions::default().stock_level(1)).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("brought-back").await;
    let backup = back_up(&operator, &acme, "none").await;
    let postgres = world.postgres();
    let reader = psql(world, &acme, "read").await;
    let writer = psql(world, &acme, "write").await;
    // One makes it, and the other one merely has rights to it.
    let mut writing = postgres
        .connect_as(&writer.role, writer.password.expose(), &writer.database)
        .await
        .unwrap();
    let make = format!(
        "select lo_create(4711); grant select on large object 4711 to \"{}\"",
        reader.role
    );
    sqlx::raw_sql(AssertSqlSafe(make))
        .execute(&mut writing)
        .await
        .unwrap();
    let path = format!("/v1/tenants/{}/restore-backup", acme.id());
    let body = json!({ "from": backup, "confirm": acme.id() });
    operator.post(&path, body).await.expect(200);
    for (access, left) in [("read", 1), ("write", 0)] {
        let over = format!(
            "update registry.psql_login set expires_at = now() - interval '1 second'
             where access = '{access}'"
        );
        postgres.run("registry", &over).await;
        until("the login has ended", || async {
            let sql = "select count(*) from registry.psql_login where dropped_at is null";
            postgres.number("registry", sql).await == left
        })
        .await;
    }
    let roles = "select count(*) from pg_roles where rolname like 'psql:%'";
    assert_eq!(postgres.number("postgres", roles).await, 0);
}

#[tokio::test]
async fn what_a_login_makes_is_in_nobodys_way_while_it_lives_and_is_carried_nowhere() {
    let keeping = Keeping::start(WorldOptions::default().stock_level(1)).await;
    let world = &keeping.world;
    let operator = world.operator();
    world.second_cluster().await;
    let acme = world.tenant("scribbled").await;
    acme.owner()
        .post("/v1/entries", entry("kept"))
        .await
        .expect(201);
    let path = |what: &str| format!("/v1/tenants/{}/{what}", acme.id());
    let objects = "select count(*) from pg_largeobject_metadata";
    let scribble = async |number: u32| {
        let (reader, writer) = (
            psql(world, &acme, "read").await,
            psql(world, &acme, "write").await,
        );
        let (server, _) = servers(world, acme.id()).await;
        let password = writer.password.expose();
        let entered = server.connect_as(&writer.role, password, &writer.database);
        let mut session = entered.await.unwrap();
        let make = format!(
            "select lo_from_bytea({number}, 'scribble');
             grant select on large object {number} to \"{}\"",
            reader.role
        );
        sqlx::raw_sql(AssertSqlSafe(make))
            .execute(&mut session)
            .await
            .unwrap();
        session
    };

    // Its session lives on through all that reads the database.
    let mut session = scribble(1).await;
    let backup = back_up(&operator, &acme, "tenant").await;
    for (what, body) in [
        ("export", json!({})),
        ("clones", json!({ "slug": "scribbled-twin" })),
        (
            "restore-backup",
            json!({ "from": backup, "confirm": acme.id() }),
        ),
    ] {
        let answer = operator.post(&path(what), body).await;
        super::harness::done(&operator, answer).await;
        if what != "restore-backup" {
            let alive = sqlx::raw_sql("select lo_get(1)").execute(&mut session);
            alive.await.unwrap();
        }
    }
    let twin = "t_scribbled_twin".parse().unwrap();
    for tenant in [&twin, acme.id()] {
        let (server, _) = servers(world, tenant).await;
        let found = server.number(tenant.as_str(), objects).await;
        assert_eq!(found, 0, "{tenant}");
    }
    for (to, variant) in [("second", "dump"), ("main", "replicate")] {
        let _session = scribble(2).await;
        move_to(world, &acme, to, variant).await;
        let (server, _) = servers(world, acme.id()).await;
        assert_eq!(server.number(acme.id().as_str(), objects).await, 0);
    }

    // Those of the tenant's own are carried, and never mixed with a login's.
    let postgres = world.postgres();
    let own = "select lo_from_bytea(3, 'own'); alter large object 3 owner to tn_schema";
    postgres.run(acme.id().as_str(), own).await;
    let backup = back_up(&operator, &acme, "none").await;
    let body = json!({ "from": backup, "confirm": acme.id() });
    let restored = operator.post(&path("restore-backup"), body).await;
    super::harness::done(&operator, restored).await;
    let held = "select convert_from(lo_get(3), 'utf8')";
    assert_eq!(postgres.texts(acme.id().as_str(), held).await, ["own"]);
    let mut session = scribble(4).await;
    let refused = operator.post(&path("backups"), json!({})).await;
    let words = refused.refused(Code::Conflict).detail.unwrap();
    assert!(words.contains("lo_unlink"), "{words}");
    sqlx::raw_sql("select lo_unlink(4)")
        .execute(&mut session)
        .await
        .unwrap();
    back_up(&operator, &acme, "none").await;
}
