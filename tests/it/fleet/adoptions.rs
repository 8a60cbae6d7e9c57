//! Databases that become tenants: what was in them stays, what stands in the way is named, and what
//! fails is given back as it was found.
//!
//! Deliberately databases that the superuser made, past everything of ours. Invariant: no database of
//! theirs is ever dropped.

use contract::Code;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use world::{
    Answer, Logs, OperationKind, PASSWORD, Speaker, Step, TenantHandle, World, WorldOptions,
};

use super::harness::{self, Case};
use crate::support::{role_password, unique};

/// Somebody whose databases are adopted, and somebody who uses them.
async fn legacy_roles(world: &World) {
    let sql = "do $$ begin
             perform pg_advisory_xact_lock(1);
             if not exists (select from pg_roles where rolname = 'legacy') then
                 create role legacy login password 'legacy';
                 create role legacy_app login password 'legacy';
             end if;
             if to_regrole('tn_platform') is not null then
                 grant legacy to tn_platform, tn_schema;
             end if;
         end $$";
    world.postgres().run("postgres", sql).await;
}

/// What somebody else keeps in a database.
const THEIRS: &str = "set role legacy;
     create schema crm;
     create type crm.mood as enum ('good', 'bad');
     create table crm.customer (id serial primary key, name text not null, mood crm.mood);
     insert into crm.customer (name, mood) values ('Ada', 'good'), ('Grace', 'bad');
     create view crm.good as select * from crm.customer where mood = 'good';
     create function crm.count() returns bigint language sql as 'select count(*) from crm.customer';
     create table public.note (id bigint primary key, text text);
     insert into public.note values (1, 'kept');
     grant usage on schema crm to legacy_app;
     grant select on crm.customer to legacy_app;
     reset role;";

/// A database with nothing of ours in it.
async fn plain_database(world: &World, name: &str) {
    legacy_roles(world).await;
    let server = world.postgres();
    let make =
        format!("create database \"{name}\" owner legacy template template0 encoding 'UTF8'");
    server.run("postgres", &make).await;
    furnish(world, name).await;
}

async fn furnish(world: &World, name: &str) {
    let server = world.postgres();
    server.run(name, THEIRS).await;
    let about = format!(
        "comment on database \"{name}\" is 'of old';
         revoke all on database \"{name}\" from public;
         grant connect on database \"{name}\" to legacy_app with grant option;
         grant connect, create on database \"{name}\" to legacy"
    );
    server.run("postgres", &about).await;
}

/// Takes the work of a migration back: `entries` is at its first version then.
const FIRST_ENTRIES: &str = "alter table entries.entry drop column search;";

/// A database with our schemas, made by somebody else: no history, no rights, and another owner.
async fn scripted_database(world: &World, name: &str) {
    legacy_roles(world).await;
    let server = world.postgres();
    let newest = "select 'tpl:' || max(number) from registry.template where status = 'ready'";
    let template = server.texts("registry", newest).await.remove(0);
    let make = format!("create database \"{name}\" owner legacy template \"{template}\"");
    server.run("postgres", &make).await;
    let sql = format!(
        "drop table auth.refinery_schema_history, entries.refinery_schema_history;
         {FIRST_ENTRIES}
         revoke all on all tables in schema auth, entries from tn_data, tn_read, tn_sign_in;
         revoke all on schema auth, entries from tn_data, tn_read, tn_sign_in;
         do $$ declare statement text; begin
             for statement in
                 select format('alter table %I.%I owner to legacy', schemaname, tablename)
                 from pg_tables where schemaname in ('auth', 'entries')
             loop execute statement; end loop;
         end $$;
         alter schema auth owner to legacy;
         alter schema entries owner to legacy;"
    );
    server.run(name, &sql).await;
    furnish(world, name).await;
}

/// Who has what in a database, and what they have in it.
async fn as_found(world: &World, name: &str) -> Vec<String> {
    let server = world.postgres();
    let about = format!(
        "select concat_ws(' ', datdba::regrole, shobj_description(oid, 'pg_database'), (
             select string_agg(entry.grantee::regrole || ':' || entry.privilege_type
                 || entry.is_grantable, ' ' order by entry.grantee::regrole::text, entry.privilege_type)
             from aclexplode(coalesce(datacl, acldefault('d', datdba))) entry))
         from pg_database where datname = '{name}'"
    );
    let mut found = server.texts("postgres", &about).await;
    let things = "select concat_ws(' ', 'relation', relnamespace::regnamespace, relname,
             relowner::regrole) from pg_class
         where relkind in ('r', 'v', 'S') and oid >= 16384 and relname <> 'refinery_schema_history'
             and relnamespace in (select oid from pg_namespace
                 where nspname in ('crm', 'public', 'auth', 'entries') and nspowner <> 'tn_schema'::regrole)
         union all
         select concat_ws(' ', 'schema', nspname, nspowner::regrole) from pg_namespace
         where oid >= 16384 and nspowner <> 'tn_schema'::regrole
         union all
         select concat_ws(' ', 'routine', proname, proowner::regrole) from pg_proc where oid >= 16384
         union all
         select concat_ws(' ', 'type', typname, typowner::regrole) from pg_type
         where typtype = 'e' and oid >= 16384
         union all
         select 'customer ' || name from crm.customer
         union all
         select 'note ' || text from public.note
         order by 1";
    found.extend(server.texts(name, things).await);
    found
}

fn wanted(database: &str, slug: &str) -> Value {
    json!({
        "cluster": "main", "database": database, "company": "Acme", "slug": slug,
        "email": format!("owner@{slug}.example"), "password": PASSWORD,
    })
}

fn with(mut body: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else {
        panic!("{changes}")
    };
    body.as_object_mut().unwrap().extend(changes);
    body
}

fn id_of(slug: &str) -> String {
    format!("t_{}", slug.replace('-', "_"))
}

async fn adopt(operator: &Speaker, body: Value) -> Answer {
    operator.post("/v1/tenants/adopt", body).await
}

async fn adopted(world: &World, body: Value) -> Value {
    let answer = adopt(&world.operator(), body).await;
    assert!(matches!(answer.status(), 200 | 202), "{answer}");
    let id = harness::operation_of(&answer);
    harness::reaches(world, &id, "done", "an adoption").await;
    let path = format!("/v1/operations/{id}");
    world.operator().get(&path).await.json()["result"].clone()
}

async fn looked(world: &World, body: Value) -> Value {
    let body = with(body, json!({ "dry_run": true }));
    adopt(&world.operator(), body).await.expect(200).json()
}

fn outcome<'a>(preview: &'a Value, check: &str) -> &'a Value {
    let checks = preview["checks"].as_array().unwrap();
    let found = checks.iter().find(|one| one["check"] == check);
    found.unwrap_or_else(|| panic!("{check} is not in {preview:#}"))
}

/// The owner logs in, writes and reads.
async fn is_served(world: &World, slug: &str) {
    let door = world.anonymous().in_tenant(&id_of(slug));
    let body = json!({ "email": format!("owner@{slug}.example"), "password": PASSWORD });
    let answer = door.post("/v1/auth/login", body).await.expect(200).json();
    let owner = door.bearer(answer["access_token"].as_str().unwrap());
    let entry = owner
        .post("/v1/entries", crate::support::entry("New"))
        .await;
    let id = entry.expect(201).json()["id"].clone();
    let path = format!("/v1/entries/{}", id.as_str().unwrap());
    owner.get(&path).await.expect(200);
}

async fn theirs_is_kept(world: &World, database: &str) {
    let server = world.postgres();
    let rows = "select name from crm.customer union all select text from public.note order by 1";
    assert_eq!(server.texts(database, rows).await, ["Ada", "Grace", "kept"]);
}

#[tokio::test]
async fn a_database_of_somebody_else_becomes_a_tenant_and_keeps_what_it_has() {
    let world = World::with(WorldOptions::default()).await;
    let (slug, database) = (unique("adopted"), unique("Legacy DB"));
    plain_database(&world, &database).await;
    let server = world.postgres();
    let before = (as_found(&world, &database).await, server.names().await);
    let sitting = server.connect_as("legacy_app", "legacy", &database).await;
    let mut sitting = sitting.expect("its user may connect");

    let preview = looked(&world, wanted(&database, &slug)).await;
    assert_eq!(preview["adoptable"], true, "{preview:#}");
    assert_eq!(preview["tenant"], id_of(&slug).as_str());
    let sessions = outcome(&preview, "sessions");
    assert_eq!(sessions["outcome"], "warning");
    assert!(sessions["detail"].as_str().unwrap().contains("legacy_app"));
    assert_eq!(as_found(&world, &database).await, before.0);
    let of_it = |names: &[String]| {
        names
            .iter()
            .filter(|name| name.contains(&id_of(&slug)))
            .count()
    };
    assert_eq!(of_it(&server.names().await), 0);
    sqlx::Connection::ping(&mut sitting)
        .await
        .expect("a look ends no session");
    world
        .operator()
        .get(&format!("/v1/tenants/{}", id_of(&slug)))
        .await
        .refused(Code::NotFound);

    // Nobody could log in.
    let mut nobody = wanted(&database, &slug);
    nobody.as_object_mut().unwrap().remove("password");
    adopt(&world.operator(), nobody)
        .await
        .refused(Code::ValidationFailed);

    let done = adopted(&world, wanted(&database, &slug)).await;
    assert_eq!(done["database"], database.as_str());
    let tenant = id_of(&slug);
    theirs_is_kept(&world, &tenant).await;
    is_served(&world, &slug).await;
    assert!(sqlx::Connection::ping(&mut sitting).await.is_err());
    assert!(
        server
            .connect_as("legacy", "legacy", &tenant)
            .await
            .is_err()
    );
    assert!(
        server
            .connect_as("legacy_app", "legacy", &tenant)
            .await
            .is_err()
    );
    let foreign = "select distinct relowner::regrole::text from pg_class where oid >= 16384
         union select distinct nspowner::regrole::text from pg_namespace where oid >= 16384";
    assert_eq!(server.texts(&tenant, foreign).await, ["tn_schema"]);

    // Its role has its own database and data rights, and no more.
    let neighbour = world.tenant("neighbour").await;
    let password = role_password(&world, &tenant.parse().unwrap()).await;
    let connect = |database: &str| {
        let (tenant, password, database) = (tenant.clone(), password.clone(), database.to_owned());
        async move {
            server
                .connect_as(&tenant, password.expose(), &database)
                .await
        }
    };
    for other in [neighbour.id().as_str(), "postgres", "registry"] {
        assert!(connect(other).await.is_err(), "{other}");
    }
    let mut own = connect(&tenant).await.expect("its own database");
    let theirs = sqlx::raw_sql("select * from crm.customer")
        .execute(&mut own)
        .await;
    assert!(
        theirs.is_err(),
        "the tenant's role reads what is not of a module"
    );
    drop(own);

    // It is a tenant like any other: a copy has everything.
    let copy = unique("copied");
    let path = format!("/v1/tenants/{tenant}/clones");
    let begun = world.operator().post(&path, json!({ "slug": copy })).await;
    let copying = harness::operation_of(&begun);
    harness::reaches(&world, &copying, "done", "a copy of what was adopted").await;
    theirs_is_kept(&world, &id_of(&copy)).await;
    // Said again it is a tenant's already.
    let again = wanted(&tenant, &unique("again"));
    let refused = adopt(&world.operator(), again)
        .await
        .refused(Code::Conflict);
    assert!(refused.detail.unwrap().contains("ours already"));
}

#[tokio::test]
async fn schemas_of_ours_without_a_history_need_the_right_baseline() {
    let world = World::with(WorldOptions::default()).await;
    let (slug, database) = (unique("scripted"), unique("scripted"));
    let first = world.tenant("first").await;
    scripted_database(&world, &database).await;
    let before = as_found(&world, &database).await;
    let operator = world.operator();
    let body = wanted(&database, &slug);

    let words = adopt(&operator, body.clone())
        .await
        .refused(Code::ValidationFailed);
    assert!(words.detail.unwrap().contains("give the version"));
    for (baseline, says) in [
        (json!({ "auth": 2 }), "entries has no history"),
        (json!({ "auth": 9, "entries": 1 }), "1 to 2"),
        (json!({ "auth": 2, "entries": 2 }), "entries.entry.search"),
        (
            json!({ "auth": 2, "entries": 1, "crm": 1 }),
            "no service owns",
        ),
    ] {
        let body = with(body.clone(), json!({ "baseline": baseline }));
        let answer = adopt(&operator, body.clone()).await;
        if answer.status() == 202 {
            // Slow: it says so when it is over.
            let id = harness::operation_of(&answer);
            harness::reaches(&world, &id, "undone", "a wrong baseline").await;
        } else {
            let words = answer.refused(Code::ValidationFailed).detail.unwrap();
            assert!(words.contains(says), "{says}: {words}");
        }
        let preview = looked(&world, body).await;
        assert_eq!(preview["adoptable"], false, "{preview:#}");
        assert!(preview.to_string().contains(says), "{says}: {preview:#}");
    }
    assert_eq!(as_found(&world, &database).await, before);

    let right = with(body, json!({ "baseline": { "auth": 2, "entries": 1 } }));
    let preview = looked(&world, right.clone()).await;
    assert_eq!(preview["adoptable"], true, "{preview:#}");
    let done = adopted(&world, right).await;
    // All that a new tenant has, whichever modules there are.
    let path = format!("/v1/tenants/{}", first.id());
    let newest = operator.get(&path).await.expect(200).json()["schema_versions"].clone();
    assert_eq!(newest["entries"], 2, "{newest}");
    assert_eq!(done["schema_versions"], newest);
    is_served(&world, &slug).await;
    theirs_is_kept(&world, &id_of(&slug)).await;
    // As if it had been made here.
    let only = json!({ "filter": { "ids": [id_of(&slug)] } });
    let begun = operator.post("/v1/drift", only).await;
    let id = harness::operation_of(&begun);
    harness::reaches(&world, &id, "done", "a comparison").await;
    let report = operator.get(&format!("/v1/operations/{id}")).await.json();
    assert_eq!(report["result"]["findings"], json!([]), "{report:#}");
    assert_eq!(report["result"]["compared"], 1);
}

#[tokio::test]
async fn what_cannot_be_adopted_is_refused_with_what_mends_it() {
    let _everything = Logs::everything();
    let world = World::with(WorldOptions::default()).await;
    let operator = world.operator();
    let slug = unique("refused");
    let neighbour = world.tenant("taken").await;
    let refuse = async |body: Value, code: Code, says: &str| {
        let answer = adopt(&operator, body).await;
        let words = answer.refused(code).detail.unwrap_or_default();
        assert!(words.contains(says), "{says}: {words}");
    };
    refuse(wanted("nowhere", &slug), Code::NotFound, "no database").await;
    refuse(wanted("postgres", &slug), Code::Conflict, "server's own").await;
    refuse(wanted("template1", &slug), Code::Conflict, "server's own").await;
    refuse(wanted("registry", &slug), Code::Conflict, "registry").await;
    let of_ours = wanted(neighbour.id().as_str(), &slug);
    refuse(of_ours, Code::Conflict, "ours already").await;

    let database = unique("roots");
    let make = format!("create database \"{database}\" template template0 encoding 'UTF8'");
    world.postgres().run("postgres", &make).await;
    world
        .postgres()
        .run(&database, "create table public.mine (id int)")
        .await;
    let body = wanted(&database, &slug);
    let remedy = format!("alter database \"{database}\" owner to \"tn_platform\"");
    refuse(body.clone(), Code::Conflict, &remedy).await;
    world.postgres().run("postgres", &remedy).await;
    let remedy = "alter table public.mine owner to tn_schema";
    refuse(body.clone(), Code::Conflict, remedy).await;
    world.postgres().run(&database, remedy).await;
    let preview = looked(&world, body.clone()).await;
    assert_eq!(preview["adoptable"], true, "{preview:#}");
    for (change, code, says) in [
        (
            json!({ "region": "elsewhere" }),
            Code::RegionLeft,
            "stands in",
        ),
        (json!({ "cluster": "none" }), Code::ValidationFailed, ""),
        (json!({ "slug": neighbour.slug() }), Code::SlugTaken, ""),
        (json!({ "slug": "postgres" }), Code::SlugReserved, ""),
        (json!({ "database": "" }), Code::ValidationFailed, ""),
        (
            json!({ "password": "password" }),
            Code::ValidationFailed,
            "",
        ),
    ] {
        refuse(with(body.clone(), change), code, says).await;
    }
    let latin = unique("latin");
    let make = format!(
        "create database \"{latin}\" template template0 encoding 'LATIN1' lc_collate 'C' lc_ctype 'C'
             owner tn_platform"
    );
    world.postgres().run("postgres", &make).await;
    refuse(wanted(&latin, &slug), Code::Conflict, "LATIN1").await;
    assert_eq!(world.logs().with(PASSWORD), Vec::<String>::new());
}

/// What a case adopts, and what it becomes.
fn names(tenant: &TenantHandle) -> (String, String) {
    (
        format!("old {}", tenant.slug()),
        format!("a-{}", tenant.slug()),
    )
}

fn prepare(world: &World) -> BoxFuture<'_, TenantHandle> {
    async move {
        let tenant = world.tenant("beside").await;
        scripted_database(world, &names(&tenant).0).await;
        tenant
    }
    .boxed()
}

fn begin<'a>(operator: &'a Speaker, tenant: &'a TenantHandle) -> BoxFuture<'a, Answer> {
    async move {
        let (database, slug) = names(tenant);
        let baseline = json!({ "baseline": { "auth": 2, "entries": 1 } });
        adopt(operator, with(wanted(&database, &slug), baseline)).await
    }
    .boxed()
}

fn after_done<'a>(world: &'a World, tenant: &'a TenantHandle) -> BoxFuture<'a, ()> {
    async move {
        let (_, slug) = names(tenant);
        is_served(world, &slug).await;
        theirs_is_kept(world, &id_of(&slug)).await;
        let owners = "select count(*) from auth.account";
        assert_eq!(world.postgres().number(&id_of(&slug), owners).await, 1);
    }
    .boxed()
}

fn after_undone<'a>(world: &'a World, tenant: &'a TenantHandle) -> BoxFuture<'a, ()> {
    async move {
        let (database, slug) = names(tenant);
        let untouched = format!("{database} untouched");
        scripted_database(world, &untouched).await;
        let found = as_found(world, &untouched).await;
        assert_eq!(as_found(world, &database).await, found);
        let drop = format!("drop database \"{untouched}\"");
        world.postgres().run("postgres", &drop).await;
        let owners = "select count(*) from auth.account";
        assert_eq!(world.postgres().number(&database, owners).await, 0);
        let left = world.postgres().names().await;
        let id = id_of(&slug);
        assert!(!left.iter().any(|name| name.contains(&id)), "{left:?}");
        let path = format!("/v1/tenants/{id}");
        world.operator().get(&path).await.refused(Code::NotFound);
    }
    .boxed()
}

/// Every kind of this theme.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case {
        kind: OperationKind::Adopt,
        steps: &[
            Step::Compare,
            Step::Secret,
            Step::Close,
            Step::Own,
            Step::Database,
            Step::Schema,
            Step::Account,
            Step::Activate,
        ],
        point_of_no_return: Step::Activate,
        prepare,
        begin,
        after_done,
        after_undone,
    }]
}

#[tokio::test]
async fn adopt_fails_repeats_and_sticks_at_every_step() {
    let world = World::with(harness::patient()).await;
    for case in &cases() {
        harness::every_step_fails(&world, case).await;
        harness::every_step_twice(&world, case).await;
        harness::undo_stuck_and_retried(&world, case).await;
    }
}

#[tokio::test]
async fn adopt_is_killed_at_every_instruction() {
    let world = World::with(harness::patient()).await;
    for case in &cases() {
        harness::every_instruction_killed(&world, case).await;
    }
}
