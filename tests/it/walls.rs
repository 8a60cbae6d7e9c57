//! The last wall: what the database itself refuses, whatever our code does.

use contract::Code;
use futures::future::join_all;
use sqlx::{Connection, PgConnection};
use world::{TenantHandle, World, until};

use crate::support::{entry, role_password};

/// A connection with the tenant's own role to any database.
async fn as_role(
    world: &World,
    tenant: &TenantHandle,
    database: &str,
) -> Result<PgConnection, sqlx::Error> {
    let password = role_password(world, tenant.id()).await;
    let role = tenant.id().as_str();
    world
        .postgres()
        .connect_as(role, password.expose(), database)
        .await
}

/// Databases that PUBLIC has nothing to do with. A copy comes into the world as the server makes it: it
/// gets its walls, and with them its marker, in the statement after that, and somebody's data later.
const WALLED: &str = "datname <> 'template0'
     and (datname not like '%:%' or shobj_description(pg_database.oid, 'pg_database') is not null)";

fn sqlstate(error: &sqlx::Error) -> String {
    error
        .as_database_error()
        .and_then(|e| e.code())
        .map(Into::into)
        .unwrap_or_default()
}

#[tokio::test]
async fn a_tenants_role_enters_its_own_database_alone() {
    let world = World::shared().await;
    let acme = world.tenant("wall-a").await;
    let beta = world.tenant("wall-b").await;
    as_role(&world, &acme, acme.id().as_str())
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    let others = format!("select datname from pg_database where {WALLED}");
    let mut tried = 0;
    for database in world.postgres().texts("postgres", &others).await {
        if database == acme.id().as_str() {
            continue;
        }
        tried += 1;
        let refused = as_role(&world, &acme, &database)
            .await
            .expect_err(&database);
        // 42501: no right to connect; 55000: closed to everybody; 3D000: claimed or dropped meanwhile.
        let state = sqlstate(&refused);
        assert!(
            matches!(state.as_str(), "42501" | "55000" | "3D000"),
            "{database}: {refused:?}"
        );
        assert!(
            state != "3D000" || database.contains(':'),
            "{database} is gone"
        );
    }
    assert!(
        tried >= 4,
        "the other tenant, the registry, postgres, template1: {tried}"
    );
    let id = acme.id().as_str();
    let stranger = world.postgres().connect_as(id, "wrong", id).await;
    assert_eq!(sqlstate(&stranger.unwrap_err()), "28P01");
    drop(beta);
}

#[tokio::test]
async fn of_a_hundred_pairs_of_tenants_no_role_enters_the_others_database() {
    const TENANTS: usize = 11;
    let world = World::shared().await;
    let names: Vec<String> = (0..TENANTS).map(|n| format!("pair{n}")).collect();
    let tenants = join_all(names.iter().map(|name| world.tenant(name))).await;
    let mut refused = 0;
    for tenant in &tenants {
        let id = tenant.id().as_str();
        let password = role_password(&world, tenant.id()).await;
        let enters = async |database: &str| {
            let server = world.postgres();
            server.connect_as(id, password.expose(), database).await
        };
        enters(id).await.expect("its own");
        let others = tenants.iter().filter(|other| other.id() != tenant.id());
        for outcome in join_all(others.map(|other| enters(other.id().as_str()))).await {
            let refusal = outcome.expect_err("a wall");
            assert_eq!(sqlstate(&refusal), "42501", "{refusal:?}");
            refused += 1;
        }
    }
    assert!(refused >= 100, "{refused} pairs");
}

#[tokio::test]
async fn a_tenants_role_has_data_rights_and_nothing_else() {
    let world = World::shared().await;
    let acme = world.tenant("rights").await;
    let id = acme.id().as_str();
    let attributes = format!(
        "select concat_ws(' ', rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolcanlogin)
         from pg_roles where rolname = '{id}'"
    );
    assert_eq!(
        world.postgres().texts("postgres", &attributes).await,
        ["f f f f f t"]
    );
    let groups = format!(
        "select g.rolname from pg_auth_members m join pg_roles r on r.oid = m.member
         join pg_roles g on g.oid = m.roleid where r.rolname = '{id}'"
    );
    assert_eq!(
        world.postgres().texts("postgres", &groups).await,
        ["tn_data"]
    );
    let owned = format!(
        "select count(*) from pg_shdepend d join pg_roles r on r.oid = d.refobjid
         where r.rolname = '{id}' and d.deptype = 'o'"
    );
    assert_eq!(world.postgres().number("postgres", &owned).await, 0);
    let mut role = as_role(&world, &acme, id).await.unwrap();
    sqlx::raw_sql("select count(*) from entries.entry")
        .execute(&mut role)
        .await
        .unwrap();
    for forbidden in [
        "create table entries.x ()",
        "create table public.x ()",
        "create schema x",
        "create temporary table x ()",
        "drop table entries.entry",
        "alter table entries.entry add column x int",
        "truncate entries.entry",
        "update auth.audit set action = 'x'",
        "delete from auth.audit",
        "update entries.refinery_schema_history set name = 'x'",
        "create role x",
        "create database x",
        "alter role tn_data login",
        "set role tn_schema",
        "copy entries.entry to program 'true'",
        "select pg_read_file('/etc/passwd')",
        "select rolpassword from pg_authid",
        "create function public.now() returns int language sql as 'select 1'",
        "comment on database \"postgres\" is 'x'",
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'tn_platform'",
    ] {
        let outcome = sqlx::raw_sql(forbidden).execute(&mut role).await;
        let Err(refused) = outcome else {
            panic!("{forbidden} was allowed")
        };
        assert_eq!(sqlstate(&refused), "42501", "{forbidden}: {refused:?}");
    }
    for forged in [
        format!("comment on database {id} is 'tenantry:other:1'"),
        format!("alter database {id} set tenantry.database = 'tenantry:other:1'"),
        format!("alter role {id} set tenantry.database = 'tenantry:other:1'"),
        format!("alter role {id} in database {id} set tenantry.database = 'tenantry:other:1'"),
    ] {
        let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(forged.clone()))
            .execute(&mut role)
            .await;
        assert_eq!(sqlstate(&refused.expect_err(&forged)), "42501", "{forged}");
    }
}

#[tokio::test]
async fn no_function_runs_as_its_owner_with_the_search_path_of_its_caller() {
    let world = World::shared().await;
    let acme = world.tenant("definers").await;
    let id = acme.id().as_str();
    let unpinned = "select proname from pg_proc where prosecdef and not exists (
             select from unnest(proconfig) setting where setting like 'search_path=%'
         )";
    let none: [&str; 0] = [];
    assert_eq!(world.postgres().texts(id, unpinned).await, none);
    // What is looked for would be found.
    let trap =
        "create function public.trap() returns int security definer language sql as 'select 1'";
    world.postgres().run(id, trap).await;
    assert_eq!(world.postgres().texts(id, unpinned).await, ["trap"]);
    let pinned = "alter function public.trap() set search_path = pg_catalog";
    world.postgres().run(id, pinned).await;
    assert_eq!(world.postgres().texts(id, unpinned).await, none);
}

#[tokio::test]
async fn public_has_no_right_on_any_database_of_ours() {
    let world = World::shared().await;
    let _acme = world.tenant("public").await;
    let sql = format!(
        "select datname || ' ' || a.privilege_type from pg_database,
             aclexplode(coalesce(datacl, acldefault('d', datdba))) a
         where a.grantee = 0 and {WALLED}"
    );
    assert_eq!(
        world.postgres().texts("postgres", &sql).await,
        Vec::<String>::new()
    );
    let roles =
        "select rolname || ' ' || concat_ws(' ', rolsuper, rolcreatedb, rolcreaterole, rolcanlogin)
         from pg_roles where rolname like 'tn\\_%' order by 1";
    let expected = [
        "tn_data f f f f",
        "tn_platform f t t t",
        "tn_query f f f t",
        "tn_read f f f f",
        "tn_schema f f f t",
        "tn_sign_in f f f f",
    ];
    assert_eq!(world.postgres().texts("postgres", roles).await, expected);
    let iterations = "select rolname from pg_authid where rolpassword is not null
         and rolname <> 'postgres' and rolname <> 'platform' and rolpassword not like 'SCRAM-SHA-256$1:%'";
    assert_eq!(
        world.postgres().texts("postgres", iterations).await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn a_replica_that_missed_the_news_can_neither_read_nor_write() {
    let world = World::start().await;
    let acme = world.tenant("lockout").await;
    let beta = world.tenant("lockout").await;
    let owner = acme.owner();
    let made = owner.post("/v1/entries", entry("Before")).await.expect(201);
    let path = made.header("location").to_owned();
    // Nothing is heard any more, and connections are open.
    world.kill_platform();
    owner.get(&path).await.expect(200);
    let id = acme.id();
    let lockout = format!(
        "revoke tn_data from {id}; revoke connect on database {id} from {id}; alter role {id} nologin;
         select pg_terminate_backend(pid) from pg_stat_activity where usename = '{id}'"
    );
    world.postgres().run("postgres", &lockout).await;
    for _ in 0..5 {
        let read = owner.get(&path).await;
        assert_eq!(read.status(), 503, "{read}");
        let written = owner.post("/v1/entries", entry("After")).await;
        assert_eq!(written.status(), 503, "{written}");
        beta.owner().get("/v1/entries").await.expect(200);
    }
    let count = "select count(*) from entries.entry";
    assert_eq!(world.postgres().number(id.as_str(), count).await, 1);
    let unlock = format!(
        "alter role {id} login; grant connect on database {id} to {id}; grant tn_data to {id}"
    );
    world.postgres().run("postgres", &unlock).await;
    until("the tenant is served again", || async {
        owner.get(&path).await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn rights_lost_in_a_live_session_stop_its_next_statement() {
    let world = World::shared().await;
    let acme = world.tenant("midway").await;
    let owner = acme.owner();
    owner.post("/v1/entries", entry("Before")).await.expect(201);
    let id = acme.id();
    world
        .postgres()
        .run("postgres", &format!("revoke tn_data from {id}"))
        .await;
    let refused = owner.post("/v1/entries", entry("After")).await;
    assert_eq!(refused.status(), 503, "{refused}");
    refused.problem();
    world
        .postgres()
        .run("postgres", &format!("grant tn_data to {id}"))
        .await;
    until("the tenant is served again", || async {
        owner.get("/v1/entries").await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn of_two_databases_that_were_swapped_no_row_is_served() {
    let world = World::start().await;
    let acme = world.tenant("swap").await;
    let beta = world.tenant("swap").await;
    for (tenant, text) in [(&acme, "of acme"), (&beta, "of beta")] {
        tenant
            .owner()
            .post("/v1/entries", entry(text))
            .await
            .expect(201);
    }
    let (a, b) = (acme.id(), beta.id());
    let sessions = format!(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname in ('{a}', '{b}')"
    );
    let swap = [
        format!("alter database {a} rename to swapped"),
        format!("alter database {b} rename to {a}"),
        format!("alter database swapped rename to {b}"),
        // As generous as a mistake can be: each role may enter what has its name now.
        format!("grant connect on database {a} to {a}"),
        format!("grant connect on database {b} to {b}"),
    ];
    world.postgres().run("postgres", &sessions).await;
    for statement in &swap[..3] {
        // A connection that the service opened meanwhile is in the way.
        let mut tries = 0;
        while sqlx::raw_sql(sqlx::AssertSqlSafe(statement.clone()))
            .execute(&mut world.postgres().connect("postgres").await)
            .await
            .is_err()
        {
            tries += 1;
            assert!(tries < 20, "{statement}");
            world.postgres().run("postgres", &sessions).await;
        }
    }
    for grant in &swap[3..] {
        world.postgres().run("postgres", grant).await;
    }
    for round in 0..10 {
        for tenant in [&acme, &beta] {
            let answer = tenant.owner().get("/v1/entries").await;
            assert_eq!(answer.status(), 503, "{answer}");
            // The first may meet a connection that the swap has ended.
            assert!(
                round == 0 || answer.code() == Code::TenantUnavailable,
                "{answer}"
            );
            let written = tenant.owner().post("/v1/entries", entry("lost?")).await;
            assert_eq!(written.status(), 503, "{written}");
        }
    }
    let count = "select count(*) from entries.entry";
    for database in [a, b] {
        assert_eq!(world.postgres().number(database.as_str(), count).await, 1);
    }
}

#[tokio::test]
async fn a_database_dropped_behind_our_back_is_its_tenants_trouble_alone() {
    let world = World::start().await;
    let acme = world.tenant("dropped").await;
    let beta = world.tenant("kept").await;
    acme.owner().get("/v1/entries").await.expect(200);
    let drop = format!("drop database {} with (force)", acme.id());
    world.postgres().run("postgres", &drop).await;
    for _ in 0..10 {
        let answer = acme.owner().get("/v1/entries").await;
        assert_eq!(answer.status(), 503, "{answer}");
        answer.problem();
        beta.owner().get("/v1/entries").await.expect(200);
    }
    let login = serde_json::json!({ "email": acme.email(), "password": world::PASSWORD });
    let answer = acme.anonymous().post("/v1/auth/login", login).await;
    assert!(matches!(answer.status(), 401 | 503), "{answer}");
}
