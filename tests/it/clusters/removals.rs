//! Clusters that are removed: what stands in the way, what is left of them, who meets them on their way out.
//!
//! Deliberately with a second cluster each time, whose server is looked at afterwards.

use contract::Code;
use futures::future::join_all;
use http::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use world::{
    Answer, Cluster, DEADLINE, Mode, Postgres, TenantHandle, World, WorldOptions, eventually, until,
};

use crate::support::signup;

pub(super) const SECOND: &str = "/v1/clusters/second";
pub(super) const REMOVE: &str = "/v1/clusters/second?confirm=second";

/// Asks again while the cluster is just being stocked.
pub(super) async fn remove(world: &World) -> Answer {
    eventually(DEADLINE, "the cluster can be removed or not", || async {
        let removed = world.operator().delete(REMOVE).await;
        (removed.status() != 503).then_some(removed)
    })
    .await
}

/// A removal that is refused: the words.
async fn refused(world: &World) -> String {
    let refused = remove(world).await.expect(409).refused(Code::Conflict);
    // A dry run says the same.
    let (operator, dry) = (world.operator(), format!("{SECOND}?dry_run=true"));
    operator.delete(&dry).await.refused(Code::Conflict);
    refused.detail.expect("it says why")
}

/// What the registry has that names the second cluster, but for what was done to it.
pub(super) async fn known(world: &World) -> Vec<String> {
    let sql = "select 'cluster' from registry.cluster where name = 'second'
        union all select 'tenant ' || id from registry.tenant where cluster = 'second'
        union all select 'stock' from registry.stock where cluster = 'second'
        union all select 'template' from registry.template where cluster = 'second'
        union all select 'share' from registry.replica_share where cluster = 'second'
        union all select 'finding' from registry.finding where place = 'second'
        union all select 'login' from registry.psql_login where cluster = 'second'
        union all select 'kept' from registry.kept_database where cluster = 'second'";
    world.postgres().texts("registry", sql).await
}

pub(super) async fn names(cluster: &Cluster) -> Vec<String> {
    let made = |name: &String| name.contains(':');
    let all = cluster.postgres().names().await;
    all.into_iter().filter(made).collect()
}

/// Whether an answer names the second cluster.
fn mentions(text: &str) -> bool {
    text.contains("\"second\"") || text.contains("/second/") || text.contains("second:")
}

pub(super) async fn mark(server: &Postgres) -> Vec<String> {
    let sql = "select coalesce(shobj_description(oid, 'pg_authid'), '') from pg_roles
         where rolname = 'tn_platform'";
    server.texts("postgres", sql).await
}

/// Adds the server of the second cluster again.
pub(super) async fn add_again(world: &World, cluster: &Cluster) {
    let superuser = cluster.postgres().superuser();
    let body = json!({
        "name": "second", "region": "here", "host": superuser.host.to_string(),
        "port": superuser.port, "tls": "disable", "connection_budget": 10,
        "admin_user": superuser.user, "admin_password": superuser.password.expose_secret(),
    });
    world
        .operator()
        .post("/v1/clusters", body)
        .await
        .expect(201);
    until("it has stock again", || async {
        let shown = world.operator().get(SECOND).await.expect(200).json();
        shown["stock"].as_u64() > Some(0)
    })
    .await;
}

#[tokio::test]
async fn a_cluster_that_nothing_is_on_is_removed_and_leaves_nothing_behind() {
    let world = World::with(WorldOptions::default().stock_level(2)).await;
    let (operator, second) = (world.operator(), world.second_cluster().await);
    // Something that nobody claims, and that could be somebody's data; a login that is not over.
    let server = second.postgres();
    let make = "create database warehouse owner tn_platform";
    server.run("postgres", make).await;
    let login = uuid::Uuid::now_v7();
    let role = format!("create role \"psql:{}\" login", login.simple());
    server.run("postgres", &role).await;
    let login = format!(
        "insert into registry.psql_login
             (id, tenant_id, cluster, access, reason, issued_to, expires_at)
         values ('{login}', 't_x', 'second', 'read', 'r', 'operator', now() + interval '1 hour')"
    );
    world.postgres().run("registry", &login).await;
    let sweep = operator.post("/v1/findings/sweep", json!({})).await;
    sweep.expect(200);
    let before = known(&world).await;
    for kind in ["cluster", "stock", "template", "share", "finding", "login"] {
        assert!(before.contains(&kind.to_owned()), "{kind}: {before:?}");
    }
    let (there, ours) = (names(second).await, mark(second.postgres()).await);

    operator
        .delete(SECOND)
        .await
        .expect(409)
        .refused(Code::ConfirmationMissing);
    operator
        .delete(&format!("{SECOND}?confirm=main"))
        .await
        .expect(409)
        .refused(Code::ConfirmationMissing);
    let dry = operator.delete(&format!("{SECOND}?dry_run=true")).await;
    let dry = dry.expect(200).json();
    assert_eq!(known(&world).await, before);
    assert_eq!(
        (names(second).await, mark(second.postgres()).await),
        (there, ours)
    );

    let removed = remove(&world).await.expect(200).json();
    assert_eq!(removed, dry);
    assert_eq!(removed["server"], "done", "{removed}");
    assert_eq!(removed["stays"], json!(["warehouse"]));
    // A template, two copies, a login.
    let dropped = removed["dropped"].as_array().map(Vec::len);
    assert_eq!(dropped, Some(4), "{removed}");
    assert_eq!(known(&world).await, Vec::<String>::new());
    assert_eq!(names(second).await, Vec::<String>::new());
    assert_eq!(mark(second.postgres()).await, [""]);

    operator.get(SECOND).await.refused(Code::NotFound);
    remove(&world).await.refused(Code::NotFound);
    for place in ["/v1/clusters", "/v1/doctor", "/v1/findings"] {
        let text = operator.get(place).await.expect(200).text();
        assert!(!mentions(&text), "{place}: {text}");
    }
    let sweep = operator.post("/v1/findings/sweep", json!({})).await;
    let sweep = sweep.expect(200).text();
    assert!(!mentions(&sweep), "{sweep}");
    let done = "select detail ->> 'cluster' from registry.audit where action = 'cluster.removed'";
    assert_eq!(world.postgres().texts("registry", done).await, ["second"]);
    // Life goes on, and the server is as good as another.
    world.tenant("after").await;
    add_again(&world, second).await;
}

#[tokio::test]
async fn what_is_on_a_cluster_keeps_it_and_is_named_with_what_helps() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let (operator, _) = (world.operator(), world.second_cluster().await);
    let on_second = async |name: &str| -> TenantHandle {
        let tenant = world.tenant(name).await;
        let cluster = format!("/v1/tenants/{}", tenant.id());
        let shown = operator.get(&cluster).await.expect(200).json();
        if shown["cluster"] != "second" {
            let to = json!({ "to": "second" });
            operator
                .post(&format!("{cluster}/move"), to)
                .await
                .expect(200);
        }
        tenant
    };
    let (moves, deleted) = (on_second("moves").await, on_second("deleted").await);
    let words = refused(&world).await;
    assert!(words.contains("It has 2 tenants"), "{words}");
    assert!(words.contains(moves.id().as_str()), "{words}");
    assert!(
        words.contains("`tenantctl clusters drain second`"),
        "{words}"
    );

    let path = format!("/v1/tenants/{0}?confirm={0}", deleted.id());
    operator.delete(&path).await.expect(200);
    let drained = operator.post(&format!("{SECOND}/drain"), json!({})).await;
    drained.expect(200);
    let words = refused(&world).await;
    assert!(!words.contains("clusters drain"), "{words}");
    assert!(words.contains("1 deleted tenants"), "{words}");
    assert!(words.contains(&format!("old:{}:", moves.id())), "{words}");

    let purge = format!("/v1/tenants/{}/purge", deleted.id());
    let body = json!({ "confirm": deleted.id(), "force": deleted.id() });
    operator.post(&purge, body).await.expect(200);
    let words = refused(&world).await;
    assert!(!words.contains("deleted tenants"), "{words}");
    let due = "update registry.kept_database set drop_after = now() where cluster = 'second'";
    world.postgres().run("registry", due).await;
    let _replica = world.platform_replica(world::Faults::none()).await;
    until("what was kept is dropped", || async {
        !known(&world).await.contains(&"kept".to_owned())
    })
    .await;

    // Operations that have chosen it, wherever their tenant is.
    for plan in [r#"{"to": "second"}"#, r#"{"cluster": "second"}"#] {
        let begin = format!(
            "insert into registry.operation (id, kind, tenant_id, state, step, plan)
             values (gen_random_uuid(), 'move', 't_other', 'stuck', 'target', '{plan}')"
        );
        world.postgres().run("registry", &begin).await;
        let words = refused(&world).await;
        assert!(words.contains("tenantctl operations retry op_"), "{words}");
        let end = "delete from registry.operation where tenant_id = 't_other'";
        world.postgres().run("registry", end).await;
    }
    let drain = "insert into registry.operation (id, kind, cluster, state, step, plan)
         values (gen_random_uuid(), 'drain', 'second', 'stuck', 'moves', '{}')";
    world.postgres().run("registry", drain).await;
    refused(&world).await;
    let end = "delete from registry.operation where cluster = 'second' and state = 'stuck'";
    world.postgres().run("registry", end).await;

    remove(&world).await.expect(200);
    assert_eq!(known(&world).await, Vec::<String>::new());
    // The tombstone outlives its cluster, and its names stay taken.
    let path = format!("/v1/tenants/{}", deleted.id());
    let tombstone = operator.get(&path).await.expect(200).json();
    assert_eq!(tombstone["cluster"], Value::Null, "{tombstone}");
    let route = format!("/internal/tenants/{}/db-info", deleted.id());
    let gone = world.service().get(&route).await;
    gone.refused(Code::TenantDeleted);
    let taken = signup(deleted.slug());
    let taken = world.visitor().post("/v1/signup", taken).await;
    taken.refused(Code::SlugTaken);
    moves.owner().get("/v1/me").await.expect(200);
}

#[tokio::test]
async fn a_tenant_that_is_just_being_placed_keeps_its_cluster() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    world.second_cluster().await;
    let acme = world.tenant("placed").await;
    // As whoever places does: under the lock of the region's clusters.
    let mut placing = world
        .postgres()
        .begin(
            "registry",
            "select from registry.cluster where region = 'here' order by name for no key update",
        )
        .await;
    let removing = tokio::spawn({
        let operator = world.operator();
        async move { operator.delete(REMOVE).await }
    });
    until("the removal waits for who places", || async {
        let sql = "select count(*) from pg_stat_activity
             where wait_event_type = 'Lock' and query like '%cluster where name = $1 for update%'";
        world.postgres().number("postgres", sql).await == 1
    })
    .await;
    let place = format!(
        "update registry.tenant set cluster = 'second' where id = '{}'",
        acme.id()
    );
    placing.run(&place).await;
    placing.commit().await;
    let refused = removing.await.unwrap().refused(Code::Conflict);
    let words = refused.detail.expect("it says why");
    assert!(words.contains(acme.id().as_str()), "{words}");
}

#[tokio::test]
async fn sign_ups_and_a_removal_at_once_agree() {
    let world = World::with(WorldOptions::default().stock_level(4)).await;
    let second = world.second_cluster().await;
    let sign_ups = join_all((0..6).map(|_| world.tenant("crowd")));
    let (tenants, removed) = tokio::join!(sign_ups, remove(&world));
    let there = "select count(*) from registry.tenant where cluster = 'second'";
    let there = world.postgres().number("registry", there).await;
    match removed.status() {
        200 => {
            assert_eq!(there, 0);
            assert_eq!(names(second).await, Vec::<String>::new());
        }
        409 => assert!(there > 0, "{removed}"),
        _ => panic!("{removed}"),
    }
    for tenant in &tenants {
        tenant.owner().get("/v1/me").await.expect(200);
    }
}

#[tokio::test]
async fn a_cluster_that_is_just_being_stocked_is_removed_whole() {
    let world = World::with(WorldOptions::default().stock_level(3)).await;
    let server = world.server().await;
    let superuser = server.superuser();
    let body = json!({
        "name": "second", "region": "here", "host": superuser.host.to_string(),
        "port": superuser.port, "tls": "disable", "connection_budget": 10,
        "admin_user": superuser.user, "admin_password": superuser.password.expose_secret(),
    });
    let operator = world.operator();
    operator.post("/v1/clusters", body).await.expect(201);
    until("its template is being made", || async {
        known(&world).await.contains(&"template".to_owned())
    })
    .await;
    remove(&world).await.expect(200);
    assert_eq!(known(&world).await, Vec::<String>::new());
    let left = server.names().await;
    assert!(!left.iter().any(|name| name.contains(':')), "{left:?}");
}

#[tokio::test]
async fn a_cluster_whose_server_is_gone_is_removed_and_the_answer_says_so() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let second = world.cluster_behind_proxy("second").await;
    let before = names(&second).await;
    second.link().set(Mode::Reset);
    let removed = remove(&world).await.expect(200).json();
    assert_eq!(removed["server"], "by_hand", "{removed}");
    assert_eq!(removed["dropped"], json!([]));
    let note = removed["note"].as_str().expect("it says so");
    assert!(note.contains("left as it is"), "{note}");
    assert_eq!(known(&world).await, Vec::<String>::new());
    assert_eq!(names(&second).await, before);
    // What it still has is in nobody's way.
    add_again(&world, &second).await;
    until("what was left is dropped", || async {
        let now = names(&second).await;
        before.iter().all(|name| !now.contains(name))
    })
    .await;
}

#[tokio::test]
async fn who_may_only_look_removes_nothing() {
    let world = World::shared().await;
    let body = json!({ "name": "reader", "scopes": ["clusters:read"] });
    let made = world.operator().post("/v1/operator-keys", body).await;
    let made = made.expect(201).json();
    let reader = world.visitor().bearer(made["key"].as_str().unwrap());
    let path = "/v1/clusters/main?confirm=main";
    let asked = reader.request(Method::DELETE, path).send().await;
    asked.refused(Code::PermissionMissing);
}
