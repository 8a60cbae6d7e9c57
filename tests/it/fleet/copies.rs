//! Copies of tenants: clones, exports and imports, and files of new ones.
//!
//! Deliberately through the operators' API alone. Invariant: what is copied has the rows of one moment,
//! and nobody's session.

use std::sync::atomic::Ordering;

use contract::Code;
use futures::FutureExt as _;
use http::Method;
use serde_json::{Value, json};
use world::{
    Logs, OperationKind, PASSWORD, Speaker, Step, TenantHandle, World, WorldOptions, until,
};

use super::backups::{Keeping, hashes, write};
use super::harness::{self, Case};
use crate::auth;
use crate::migrations::releases;

async fn post(operator: &Speaker, path: &str) -> world::Answer {
    operator.request(Method::POST, path).send().await
}

/// Logs somebody of a tenant in at a copy of it.
pub(super) async fn log_in(world: &World, tenant: &str, email: &str) -> world::Answer {
    let door = world.anonymous().in_tenant(tenant);
    let body = json!({ "email": email, "password": PASSWORD });
    door.post("/v1/auth/login", body).await
}

pub(crate) fn without_sessions(hashes: Vec<String>) -> Vec<String> {
    let gone = ["auth.session ", "auth.refresh_token ", "auth.audit "];
    hashes
        .into_iter()
        .filter(|line| gone.iter().all(|table| !line.starts_with(table)))
        .collect()
}

#[tokio::test]
async fn a_clone_has_every_row_but_what_is_taken_out_and_nobodys_session() {
    let _everything = Logs::everything();
    let world = World::with(WorldOptions::default()).await;
    let operator = world.operator();
    let acme = world.tenant("original").await;
    write(&acme, &["one", "two"]).await;
    let path = format!("/v1/tenants/{}/clones", acme.id());
    let slug = format!("{}-copy", acme.slug());
    operator
        .post(&path, json!({ "slug": slug }))
        .await
        .expect(200);
    let copy = format!("t_{}", slug.replace('-', "_"));
    assert_eq!(
        without_sessions(hashes(&world, &copy).await),
        without_sessions(hashes(&world, acme.id().as_str()).await)
    );
    let sessions = "select count(*) from auth.session";
    assert_eq!(world.postgres().number(&copy, sessions).await, 0);
    log_in(&world, &copy, acme.email()).await.expect(200);

    let slug = format!("{}-anon", acme.slug());
    let sql = "update entries.entry set title = 'hidden'; update auth.account set email = id || '@example.com'";
    operator
        .post(&path, json!({ "slug": slug, "anonymise_sql": sql }))
        .await
        .expect(200);
    let copy = format!("t_{}", slug.replace('-', "_"));
    let titles = "select distinct title from entries.entry";
    assert_eq!(world.postgres().texts(&copy, titles).await, ["hidden"]);
    log_in(&world, &copy, acme.email())
        .await
        .refused(Code::CredentialsWrong);

    // An administrator's, some of which tn_schema could change itself.
    let defaults = "alter role tn_schema set log_statement = 'ddl';
         alter role tn_schema set work_mem = '5MB';
         alter role tn_schema set search_path = \"$user\", public";
    world.postgres().run("postgres", defaults).await;
    let slug = format!("{}-quiet", acme.slug());
    let body = json!({ "slug": slug, "anonymise_sql": sql });
    operator.post(&path, body).await.expect(200);

    let ends = "update entries.entry set title = 'canary-sql'; rollback";
    let ties = "create function entries.later() returns trigger language plpgsql as
             $$ begin alter role current_user password 'mine'; return new; end $$;
         create trigger later after insert on entries.refinery_schema_history
             execute function entries.later()";
    let ticking = "create function public.tick() returns trigger language plpgsql as
             $$ begin return new; end $$;
         create trigger tick after insert on entries.entry execute function public.tick()";
    for (sql, said) in [
        ("update nothing set x = 'canary-sql'", "42P01"),
        (ends, "must not end it"),
        ("alter role current_user password 'mine'", "`alter role`"),
        (
            "alter role current_user set search_path = mine",
            "`alter role`",
        ),
        (
            "alter role current_user set lock_timeout = '1ms'",
            "`alter role`",
        ),
        ("alter role current_user reset all", "`alter role`"),
        // Lets it in nowhere.
        (
            "alter role current_user set local_preload_libraries = 'missing'",
            "`alter role`",
        ),
        (POWERFUL, "its owner's rights"),
        (ticking, "trigger tick on table entries.entry"),
        (ties, "later on entries.refinery_schema_history"),
        // Refused, and committed before that.
        (
            "alter role current_user password 'mine'; commit",
            "must not end it",
        ),
    ] {
        let slug = format!("{}-bad", acme.slug());
        let body = json!({ "slug": slug, "anonymise_sql": sql });
        let refused = operator.post(&path, body).await;
        let words = refused.refused(Code::ValidationFailed).detail.unwrap();
        assert!(words.contains(said), "{words}");
    }
    assert_eq!(world.logs().with("canary-sql"), Vec::<String>::new());
    let defaults = "select unnest(setconfig) from pg_db_role_setting
         where setrole = 'tn_schema'::regrole order by 1";
    assert_eq!(
        world.postgres().texts("postgres", defaults).await,
        [
            "log_statement=ddl",
            "search_path=\"$user\", public",
            "work_mem=5MB"
        ]
    );
    let slug = format!("{}-again", acme.slug());
    let again = operator.post(&path, json!({ "slug": slug })).await;
    again.expect(200);
    let refused = operator.post(&path, json!({ "slug": acme.slug() })).await;
    refused.refused(Code::SlugTaken);
    harness::no_leftovers(&world).await;
    full_for(&world, &acme).await;
}

/// Does what its owner may, whoever calls it.
const POWERFUL: &str = "create function public.powerful(sql text) returns void language plpgsql
     security definer as $$ begin execute sql; end $$";

/// Fits statements of the platform better than what they mean, and tells who fell for it.
const LOOKALIKES: &str = "create function public.shown(by text) returns boolean language plpgsql as
         $$ begin
             if current_user = 'tn_platform' then raise exception 'lookalike %', by; end if;
             return true;
         end $$;
     create function public.format(form text, space regnamespace, name name) returns text
         language plpgsql as $$ begin perform public.shown('format'); return 'x'; end $$;
     create function public.shobj_description(object oid, catalog text) returns text
         language plpgsql as $$ begin perform public.shown('description'); return 'x'; end $$;
     create function public.unlike(one name, other name) returns boolean
         language plpgsql as $$ begin return public.shown('operator'); end $$";

#[tokio::test]
async fn no_lookalike_in_a_tenants_database_is_run_by_the_platform() {
    let here = Keeping::start(WorldOptions::default().stock_level(1)).await;
    let acme = here.world.tenant("lookalike").await;
    let operator = here.world.operator();
    let path = format!("/v1/tenants/{}/clones", acme.id());
    let body = json!({ "slug": copy_slug(&acme), "anonymise_sql": LOOKALIKES });
    operator.post(&path, body).await.expect(200);
    let copy = format!("/v1/tenants/t_{}", copy_slug(&acme).replace('-', "_"));
    let clones = format!("{copy}/clones");
    let body = json!({ "slug": format!("{}-two", acme.slug()), "anonymise_sql": "select 1" });
    operator.post(&clones, body).await.expect(200);
    for kind in ["backups", "export"] {
        let path = format!("{copy}/{kind}");
        operator.post(&path, json!({})).await.expect(200);
    }
}

/// Makes the next line of a history change the login that writes it.
const LATER: &str = "create function ledger.later(line text) returns boolean language plpgsql as
         $$ begin
             if line = 'bounded' then alter role tn_schema password 'mine'; end if;
             return true;
         end $$;
     create domain ledger.line_name as text check (ledger.later(value));
     alter table ledger.refinery_schema_history alter column name type ledger.line_name";

#[tokio::test]
async fn what_statements_leave_to_run_with_a_migration_is_refused_as_well() {
    let (options, second) = releases();
    let world = World::with(options).await;
    let acme = world.tenant("patient").await;
    second.store(true, Ordering::SeqCst);
    world.add_app_replica().await;
    let path = format!("/v1/tenants/{}/clones", acme.id());
    let body = json!({ "slug": copy_slug(&acme), "anonymise_sql": LATER });
    let refused = world.operator().post(&path, body).await;
    let words = refused.refused(Code::ValidationFailed).detail.unwrap();
    assert!(words.contains("by the routine ledger.later"), "{words}");
    nothing_is_left(&world, &acme).await;
    let body = json!({ "slug": copy_slug(&acme) });
    world.operator().post(&path, body).await.expect(200);
    copy_is_served(&world, &acme).await;
}

#[tokio::test]
async fn the_login_of_the_schemas_is_put_back_whoever_changes_it() {
    let world = World::with(WorldOptions::default()).await;
    let postgres = world.postgres();
    let verifier = "select rolpassword from pg_authid where rolname = 'tn_schema'";
    let change = "alter role tn_schema password 'mine'";
    // In one message, which is one transaction.
    let change = format!("{change}; {verifier}");
    let changed = postgres.texts("postgres", &change).await;
    until("it is put back", || async {
        postgres.texts("postgres", verifier).await != changed
    })
    .await;
    until("the log says so", || async {
        let lines = world.logs().with("tn_schema was refused");
        lines.iter().any(|line| line.contains("ERROR"))
    })
    .await;
    let acme = world.tenant("after").await;
    let path = format!("/v1/tenants/{}/clones", acme.id());
    let body = json!({ "slug": copy_slug(&acme) });
    world.operator().post(&path, body).await.expect(200);
}

/// A cluster with room for less than what a tenant has takes no clone of it.
async fn full_for(world: &World, tenant: &TenantHandle) {
    // As long as it is not measured, nothing of it is used.
    let most = json!({ "max_disk_bytes": 2 << 20 });
    let operator = world.operator();
    operator.patch("/v1/clusters/main", most).await.expect(200);
    let path = format!("/v1/tenants/{}/clones", tenant.id());
    let slug = format!("{}-large", tenant.slug());
    let refused = operator.post(&path, json!({ "slug": slug })).await;
    refused.refused(Code::ClusterFull);
}

async fn exported(operator: &Speaker, tenant: &TenantHandle) -> Vec<u8> {
    let done = post(operator, &format!("/v1/tenants/{}/export", tenant.id())).await;
    let id = done.expect(200).json()["result"]["export"].clone();
    let path = format!("/v1/exports/{}/archive", id.as_str().unwrap());
    operator.get(&path).await.expect(200).body().to_vec()
}

async fn upload(operator: &Speaker, name: &str, archive: Vec<u8>) -> world::Answer {
    operator
        .request(Method::PUT, &format!("/v1/imports/{name}"))
        .body_of_type("application/x-tar", archive)
        .send()
        .await
}

#[tokio::test]
async fn an_export_is_a_tenant_again_on_another_installation() {
    let here = Keeping::start(WorldOptions::default()).await;
    let acme = here.world.tenant("leaver").await;
    write(&acme, &["one", "two"]).await;
    let tokens = auth::log_in(&acme.anonymous(), acme.email()).await;
    let archive = exported(&here.world.operator(), &acme).await;
    let before = hashes(&here.world, acme.id().as_str()).await;

    let there = Keeping::start(WorldOptions::default()).await;
    let operator = there.world.operator();
    let kept = upload(&operator, "leaver.tar", archive.clone())
        .await
        .expect(200);
    assert_eq!(kept.json()["size_bytes"], archive.len());
    let done = operator
        .post("/v1/imports", json!({ "archive": "leaver.tar" }))
        .await
        .expect(200);
    assert_eq!(done.json()["tenant"], acme.id().as_str(), "{done}");
    let brought = hashes(&there.world, acme.id().as_str()).await;
    assert_eq!(without_sessions(brought), without_sessions(before));
    let door = there.world.anonymous().in_tenant(acme.id().as_str());
    let refused = auth::refresh(&door, &tokens).await;
    refused.refused(Code::RefreshTokenInvalid);
    let tokens = auth::log_in(&door, acme.email()).await;
    auth::refresh(&door, &tokens).await.expect(200);

    // The upload went with its import.
    assert_eq!(there.objects(), Vec::<std::path::PathBuf>::new());
    let again = json!({ "archive": "leaver.tar", "slug": "leaver-two" });
    let gone = operator.post("/v1/imports", again).await;
    gone.refused(Code::NotFound);

    // Said again it is taken, and the upload stays; under another name it is another tenant.
    upload(&operator, "leaver.tar", archive.clone())
        .await
        .expect(200);
    let again = json!({ "archive": "leaver.tar" });
    operator
        .post("/v1/imports", again)
        .await
        .refused(Code::SlugTaken);
    let other = json!({ "archive": "leaver.tar", "slug": "leaver-two" });
    operator.post("/v1/imports", other).await.expect(200);
    log_in(&there.world, "t_leaver_two", acme.email())
        .await
        .expect(200);

    // A byte of each file is changed: the head, the manifest, the facts, the dump.
    let text = String::from_utf8_lossy(&archive).into_owned();
    let place = |what: &str| {
        text.as_bytes()
            .windows(what.len())
            .position(|w| w == what.as_bytes())
    };
    let dump = archive
        .windows(5)
        .position(|window| window == b"PGDMP")
        .unwrap();
    for (at, named) in [
        (3, "manifest.json"),
        (place("\"format\"").unwrap() + 3, "manifest.json"),
        (place("\"contact_email\"").unwrap() + 20, "registry.json"),
        (dump + 400, "database.dump"),
    ] {
        let mut damaged = archive.clone();
        damaged[at] ^= 1;
        upload(&operator, "damaged.tar", damaged).await.expect(200);
        let body = json!({ "archive": "damaged.tar", "slug": "damaged" });
        let refused = operator.post("/v1/imports", body).await;
        let words = refused.refused(Code::ArchiveCorrupt).detail.unwrap();
        assert!(words.contains(named), "{at}: {words}");
        if named == "database.dump" {
            assert_eq!(there.objects(), Vec::<std::path::PathBuf>::new());
        } else {
            let path = "/v1/imports/damaged.tar";
            operator.delete(path).await.expect(204);
        }
    }
    upload(
        &operator,
        "short.tar",
        archive[..archive.len() / 2].to_vec(),
    )
    .await
    .expect(200);
    let body = json!({ "archive": "short.tar", "slug": "short" });
    operator
        .post("/v1/imports", body)
        .await
        .refused(Code::ArchiveCorrupt);
    harness::no_leftovers(&there.world).await;
    let missing = json!({ "archive": "missing.tar" });
    operator
        .post("/v1/imports", missing)
        .await
        .refused(Code::NotFound);
    upload(&operator, "..", Vec::new()).await;
    upload(&operator, ".hidden", Vec::new())
        .await
        .refused(Code::ValidationFailed);
}

async fn bulk(operator: &Speaker, content_type: &str, text: &str) -> world::Answer {
    operator
        .request(Method::POST, "/v1/tenants/bulk?wait=none")
        .body_of_type(content_type, text.to_owned())
        .send()
        .await
}

async fn rows(operator: &Speaker, id: &str) -> Vec<Value> {
    let page = operator
        .get(&format!("/v1/operations/{id}/rows"))
        .await
        .expect(200);
    page.json()["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_file_of_tenants_is_made_row_by_row_and_each_says_how_it_went() {
    let _everything = Logs::everything();
    let world = World::with(WorldOptions::default()).await;
    let operator = world.operator();
    let text = format!(
        "company,slug,email,password\n\
         One,bulk-one,one@bulk.example,{PASSWORD}\n\
         Two,bulk-two,two@bulk.example,password\n\
         Three,bulk-one,three@bulk.example,{PASSWORD}\n\
         Four,bulk-four,no address,{PASSWORD}\n\
         Five,bulk-five,five@bulk.example\n\
         Six,bulk-six,six@bulk.example,{PASSWORD}\n\
         Seven,bulk-seven,seven@bulk.example,\n"
    );
    let begun = bulk(&operator, "text/csv", &text).await.expect(202);
    let id = harness::operation_of(&begun);
    harness::reaches(&world, &id, "done", "a file of tenants").await;
    let rows = rows(&operator, &id).await;
    let states: Vec<&str> = rows
        .iter()
        .map(|row| row["state"].as_str().unwrap())
        .collect();
    assert_eq!(
        states,
        [
            "done", "failed", "failed", "failed", "failed", "done", "failed"
        ]
    );
    let codes: Vec<_> = rows
        .iter()
        .map(|row| row["failure"]["code"].clone())
        .collect();
    assert_eq!(codes[2], "slug-taken", "{rows:?}");
    for (row, field) in [(1, "/password"), (3, "/email"), (6, "/password")] {
        let words = rows[row]["failure"]["detail"].as_str().unwrap();
        assert!(words.starts_with(field), "{rows:?}");
    }
    for email in ["one", "six"] {
        let email = format!("{email}@bulk.example");
        let tenant = format!("t_bulk_{}", email.split('@').next().unwrap());
        log_in(&world, &tenant, &email).await.expect(200);
    }
    let shown = operator.get(&format!("/v1/operations/{id}")).await.json();
    assert_eq!(
        shown["result"],
        json!({ "rows": 7, "done": 2, "failed": 5 })
    );
    let kept = "select count(*) from registry.bulk_row where request <> '{}'";
    assert_eq!(world.postgres().number("registry", kept).await, 0);
    assert_eq!(world.logs().with(PASSWORD), Vec::<String>::new());
    bulk(&operator, "application/json", "{}")
        .await
        .refused(Code::ContentTypeUnsupported);
}

#[tokio::test]
async fn a_row_stands_where_its_operation_does_and_a_cancelled_file_keeps_nothing_of_the_others() {
    let world =
        World::with(WorldOptions::default().platform_setting("operations.lease", "2s")).await;
    let operator = world.operator();
    let line = |n: usize| format!("Row {n},row-{n},row{n}@bulk.example,{PASSWORD}\n");
    let text = |rows: std::ops::Range<usize>| {
        let lines: String = rows.map(line).collect();
        format!("company,slug,email,password\n{lines}")
    };
    let begun = bulk(&operator, "text/csv", &text(0..1)).await.expect(202);
    let id = harness::operation_of(&begun);
    harness::reaches(&world, &id, "done", "a file of one tenant").await;
    let row = rows(&operator, &id).await.remove(0);
    let child = row["operation"].as_str().unwrap().trim_start_matches("op_");
    let is = async |state: &str| {
        let sql = format!(
            "update registry.operation set state = '{state}',
                 failure = '{{\"code\": \"internal\", \"detail\": \"It broke.\"}}' where id = '{child}'"
        );
        world.postgres().run("registry", &sql).await;
        rows(&operator, &id).await.remove(0)
    };
    let stuck = is("stuck").await;
    assert_eq!(
        (&stuck["state"], &stuck["failure"]["code"]),
        (&json!("failed"), &json!("internal"))
    );
    let done = is("done").await;
    assert_eq!(
        (&done["state"], &done["failure"]),
        (&json!("done"), &Value::Null)
    );

    // None of them gets a place, so they are not over when the file is cancelled.
    operator
        .patch("/v1/clusters/main", json!({ "max_databases": 1 }))
        .await
        .expect(200);
    let begun = bulk(&operator, "text/csv", &text(1..30)).await.expect(202);
    let id = harness::operation_of(&begun);
    let cancel = format!("/v1/operations/{id}/cancel");
    operator.post(&cancel, json!({})).await.expect(202);
    harness::reaches(&world, &id, "done", "the cancelled file").await;
    let waited = rows(&operator, &id).await;
    let last = waited.last().unwrap();
    assert_eq!(last["state"], "failed", "{last}");
    assert_eq!(last["failure"]["code"], "operation-cancelled", "{last}");
    let kept = "select count(*) from registry.bulk_row where request <> '{}' or state = 'pending'";
    assert_eq!(world.postgres().number("registry", kept).await, 0);
}

/// A slug of a copy of a tenant.
pub(super) fn copy_slug(tenant: &TenantHandle) -> String {
    format!("c-{}", tenant.slug())
}

pub(super) fn copy_id(tenant: &TenantHandle) -> String {
    format!("t_{}", copy_slug(tenant).replace('-', "_"))
}

pub(super) async fn copy_is_served(world: &World, tenant: &TenantHandle) {
    let copy = copy_id(tenant);
    until("the copy is served", || async {
        log_in(world, &copy, tenant.email()).await.status() == 200
    })
    .await;
}

pub(super) async fn nothing_is_left(world: &World, tenant: &TenantHandle) {
    let copy = copy_id(tenant);
    let left = world.postgres().names().await;
    assert!(!left.iter().any(|name| name.contains(&copy)), "{left:?}");
    let path = format!("/v1/tenants/{copy}");
    world.operator().get(&path).await.refused(Code::NotFound);
}

const ARRIVES: &[Step] = &[
    Step::Secret,
    Step::Place,
    Step::Survey,
    Step::Load,
    Step::Schema,
    Step::Database,
    Step::Activate,
];

/// Every kind of this theme.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case {
            kind: OperationKind::Clone,
            steps: ARRIVES,
            point_of_no_return: Step::Activate,
            prepare: |world| async { world.tenant("orig").await }.boxed(),
            begin: |operator, tenant| {
                async {
                    let path = format!("/v1/tenants/{}/clones", tenant.id());
                    operator
                        .post(&path, json!({ "slug": copy_slug(tenant) }))
                        .await
                }
                .boxed()
            },
            after_done: |world, tenant| copy_is_served(world, tenant).boxed(),
            after_undone: |world, tenant| nothing_is_left(world, tenant).boxed(),
        },
        Case {
            kind: OperationKind::Export,
            steps: &[Step::Pack, Step::Record],
            point_of_no_return: Step::Record,
            prepare: |world| async { world.tenant("leaves").await }.boxed(),
            begin: |operator, tenant| {
                async { post(operator, &format!("/v1/tenants/{}/export", tenant.id())).await }
                    .boxed()
            },
            after_done: |world, tenant| {
                async { assert_eq!(exports(world, tenant).await, ["ready"]) }.boxed()
            },
            after_undone: |world, tenant| {
                async { assert_eq!(exports(world, tenant).await, [""; 0]) }.boxed()
            },
        },
        Case {
            kind: OperationKind::Import,
            steps: &[
                Step::Unpack,
                Step::Secret,
                Step::Place,
                Step::Survey,
                Step::Load,
                Step::Schema,
                Step::Database,
                Step::Activate,
                Step::Remove,
            ],
            point_of_no_return: Step::Activate,
            prepare: |world| {
                async {
                    let tenant = world.tenant("packed").await;
                    let operator = world.operator();
                    let path = format!("/v1/tenants/{}/export?wait=none", tenant.id());
                    let begun = post(&operator, &path).await.expect(202);
                    harness::reaches(world, &harness::operation_of(&begun), "done", "export").await;
                    tenant
                }
                .boxed()
            },
            begin: |operator, tenant| {
                async {
                    // It goes with each import, also with one that is undone.
                    let list = format!("/v1/backups?tenant={}", tenant.id());
                    let id = operator.get(&list).await.json()["data"][0]["id"].clone();
                    let path = format!("/v1/exports/{}/archive", id.as_str().unwrap());
                    let archive = operator.get(&path).await.expect(200).body().to_vec();
                    upload(operator, tenant.slug(), archive).await.expect(200);
                    let body = json!({ "archive": tenant.slug(), "slug": copy_slug(tenant) });
                    operator.post("/v1/imports", body).await
                }
                .boxed()
            },
            after_done: |world, tenant| copy_is_served(world, tenant).boxed(),
            after_undone: |world, tenant| nothing_is_left(world, tenant).boxed(),
        },
        Case {
            kind: OperationKind::BulkCreate,
            steps: &[Step::Rows, Step::Make],
            point_of_no_return: Step::Rows,
            prepare: |world| async { world.tenant("bulk").await }.boxed(),
            begin: |operator, tenant| {
                async {
                    let row = json!({
                        "company": "Copy", "slug": copy_slug(tenant), "email": tenant.email(),
                        "password": PASSWORD,
                    });
                    bulk(operator, "application/x-ndjson", &row.to_string()).await
                }
                .boxed()
            },
            after_done: |world, tenant| copy_is_served(world, tenant).boxed(),
            after_undone: |world, tenant| {
                async {
                    nothing_is_left(world, tenant).await;
                    let left = "select count(*) from registry.bulk_row row
                         join registry.operation on operation.id = row.operation_id
                         where operation.state = 'undone'";
                    assert_eq!(world.postgres().number("registry", left).await, 0);
                }
                .boxed()
            },
        },
    ]
}

async fn exports(world: &World, tenant: &TenantHandle) -> Vec<String> {
    let path = format!("/v1/backups?tenant={}", tenant.id());
    let list = world.operator().get(&path).await.expect(200).json();
    let data = list["data"].as_array().unwrap();
    data.iter()
        .map(|row| row["state"].as_str().unwrap().to_owned())
        .collect()
}

async fn patiently(kind: OperationKind) {
    let keeping = Keeping::start(harness::patient()).await;
    for case in cases().iter().filter(|case| case.kind == kind) {
        harness::every_step_fails(&keeping.world, case).await;
        harness::every_step_twice(&keeping.world, case).await;
        harness::undo_stuck_and_retried(&keeping.world, case).await;
    }
}

async fn killed(kind: OperationKind) {
    let options = match kind {
        // It has parts.
        OperationKind::BulkCreate => harness::impatient(),
        _ => harness::patient(),
    };
    let keeping = Keeping::start(options).await;
    for case in cases().iter().filter(|case| case.kind == kind) {
        harness::every_instruction_killed(&keeping.world, case).await;
    }
}

#[tokio::test]
async fn clone_fails_repeats_and_sticks_at_every_step() {
    patiently(OperationKind::Clone).await;
}

#[tokio::test]
async fn clone_is_killed_at_every_instruction() {
    killed(OperationKind::Clone).await;
}

#[tokio::test]
async fn export_fails_repeats_and_sticks_at_every_step() {
    patiently(OperationKind::Export).await;
}

#[tokio::test]
async fn export_is_killed_at_every_instruction() {
    killed(OperationKind::Export).await;
}

#[tokio::test]
async fn import_fails_repeats_and_sticks_at_every_step() {
    patiently(OperationKind::Import).await;
}

#[tokio::test]
async fn import_is_killed_at_every_instruction() {
    killed(OperationKind::Import).await;
}

#[tokio::test]
async fn bulk_create_fails_repeats_and_sticks_at_every_step() {
    patiently(OperationKind::BulkCreate).await;
}

#[tokio::test]
async fn bulk_create_is_killed_at_every_instruction() {
    killed(OperationKind::BulkCreate).await;
}
