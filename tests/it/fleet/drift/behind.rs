//! Drift of tenants that are not at the newest versions: each is held against its own, and who cannot be
//! is named with the reason.
//!
//! Deliberately with a module and a service of a test's own. Invariant: no look brings anybody to other
//! versions.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use contract::internal::{Heartbeat, OwnedSchema, ReplicaPhase};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use world::{TenantHandle, World, WorldOptions, until};

use super::super::harness::{no_leftovers, operation_of, patient, reaches, run_out};
use super::compared;
use crate::migrations::{releases, versions};

/// What the registry believes of a tenant's versions from now on, as an expression.
pub(super) async fn believe(world: &World, tenant: &TenantHandle, expression: &str) {
    let id = tenant.id();
    let sql =
        format!("update registry.tenant set schema_versions = {expression} where id = '{id}'");
    world.postgres().run("registry", &sql).await;
}

/// How something differs in a tenant, what it is, and what became of it.
fn found(report: &Value, tenant: &TenantHandle) -> Vec<[String; 3]> {
    let findings = report["findings"].as_array().unwrap().iter();
    let of = findings.filter(|one| one["tenant"] == json!(tenant.id()));
    of.map(|one| {
        ["difference", "object", "repair"].map(|part| one[part].as_str().unwrap().to_owned())
    })
    .collect()
}

#[tokio::test]
async fn a_tenant_that_is_behind_is_held_against_its_own_versions() {
    let (options, second) = releases();
    let world = World::with(options).await;
    let [late, sound, misjudged] = [
        world.tenant("late").await,
        world.tenant("sound").await,
        world.tenant("misjudged").await,
    ];
    second.store(true, Ordering::SeqCst);
    let newer = world.add_app_replica().await;
    let fresh = world.tenant("fresh").await;
    assert_eq!(versions(&world, fresh.id().as_str()).await, ["1", "2"]);
    // It has not got what it is said to have, and must not be given that.
    believe(&world, &misjudged, r#"schema_versions || '{"ledger": 2}'"#).await;
    let same = compared(&world, json!({})).await;
    assert_eq!(
        (&same["compared"], &same["findings"], &same["not_compared"]),
        (&json!(4), &json!([]), &json!([])),
        "{same:#}"
    );

    // What is too much of a tenant that is behind is what another one lacks.
    let server = world.postgres();
    let drifted = "alter table ledger.line add constraint line_id_check check (id < 100);
         alter table ledger.line drop constraint line_key;
         revoke insert on ledger.line from tn_data";
    server.run(late.id().as_str(), drifted).await;
    let drifted = "alter table ledger.line drop constraint line_id_check";
    server.run(fresh.id().as_str(), drifted).await;
    let report = compared(&world, json!({ "repair": "objects" })).await;
    assert_eq!(report["compared"], 4, "{report:#}");
    let check = "constraint line_id_check on ledger.line";
    let key = "constraint line_key on ledger.line";
    let right = "right of tn_data to insert on table ledger.line";
    assert_eq!(
        found(&report, &late),
        [
            ["extra", check, "mended"],
            ["missing", key, "mended"],
            ["missing", right, "mended"],
        ],
        "{report:#}"
    );
    assert_eq!(found(&report, &fresh), [["missing", check, "mended"]]);
    for none in [&sound, &misjudged] {
        assert_eq!(found(&report, none), [[""; 3]; 0], "{report:#}");
    }
    let report = compared(&world, json!({ "filter": { "schema": "behind" } })).await;
    assert_eq!(
        (&report["compared"], &report["findings"]),
        (&json!(2), &json!([]))
    );
    for behind in [&late, &sound, &misjudged] {
        assert_eq!(versions(&world, behind.id().as_str()).await, ["1"]);
    }
    let believed = "select count(*) from registry.tenant where schema_versions ->> 'ledger' = '1'";
    assert_eq!(server.number("registry", believed).await, 2);

    // It can be brought up afterwards, and is ahead as soon as nobody serves the newer release.
    let newer_url = world.app_url(newer);
    late.owner().at(&newer_url).get("/v1/me").await.expect(200);
    until("its migration is known", || async {
        server.number("registry", believed).await == 1
    })
    .await;
    world.take_app_replica(newer).stop().await;
    believe(&world, &misjudged, r#"schema_versions || '{"gone": 1}'"#).await;
    let report = compared(&world, json!({})).await;
    let named = |tenant: &TenantHandle, reason| json!({ "tenant": tenant.id(), "reason": reason });
    let not_compared = report["not_compared"].as_array().unwrap();
    for named in [
        named(&late, "ahead"),
        named(&fresh, "ahead"),
        named(&misjudged, "unowned"),
    ] {
        assert!(not_compared.contains(&named), "{named}: {report:#}");
    }
    assert_eq!((not_compared.len(), &report["compared"]), (3, &json!(1)));
    assert_eq!(report["findings"], json!([]), "{report:#}");
    no_leftovers(&world).await;
}

/// How a service of a test's own answers who asks it to stop at a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manners {
    Stops,
    /// As one that was built before anybody could ask.
    GoesOn,
    Silent,
}

/// A service that owns a schema, of which its databases have nothing.
#[derive(Clone)]
struct Other {
    manners: Arc<Mutex<Manners>>,
    /// The versions that it was asked to stop at.
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Other {
    /// Starts it and lets the platform know.
    async fn start(world: &World, manners: Manners) -> (Self, String) {
        let other = Self {
            manners: Arc::new(Mutex::new(manners)),
            asked: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/internal/migrate", post(Self::migrate));
        let router = router.with_state(other.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        live(world, &url).await;
        (other, url)
    }

    async fn migrate(State(other): State<Self>, Json(request): Json<Value>) -> Json<Value> {
        let wanted = request["until"]["other"].clone();
        other.asked.lock().unwrap().push(wanted.clone());
        let manners = *other.manners.lock().unwrap();
        let version = match (manners, wanted.as_i64()) {
            (Manners::Silent, Some(1)) => std::future::pending().await,
            (Manners::Stops | Manners::Silent, Some(wanted)) => wanted.min(2),
            (Manners::GoesOn, _) | (_, None) => 2,
        };
        Json(json!({ "schema_versions": { "other": version } }))
    }

    fn was_asked(&self, version: i64) -> bool {
        self.asked.lock().unwrap().contains(&json!(version))
    }
}

/// In which a service lives for as long as a test, of one sign of life.
pub(in crate::fleet) fn outliving(options: WorldOptions) -> WorldOptions {
    options.platform_setting("replicas.silent_after", "4m")
}

/// A sign of life of a service `other`, whose schema is at version 2.
pub(in crate::fleet) async fn live(world: &World, url: &str) {
    let heartbeat = Heartbeat {
        replica: contract::ReplicaId::new(),
        service: "other".parse().unwrap(),
        internal_url: url.to_owned(),
        owns: vec![OwnedSchema {
            owner: "other".parse().unwrap(),
            newest: 2,
            minimum: 0,
        }],
        shares: Default::default(),
        epoch: None,
        seen_change: 0,
        phase: ReplicaPhase::Serving,
    };
    let service = world.service();
    service
        .post("/internal/heartbeat", &heartbeat)
        .await
        .expect(200);
}

/// Tenants without that service's schema, with its version 1 and with its version 2.
async fn three(world: &World) -> [TenantHandle; 3] {
    let none = world.tenant("none").await;
    let (one, two) = (world.tenant("one").await, world.tenant("two").await);
    for (tenant, version) in [(&one, 1), (&two, 2)] {
        let more = format!(r#"schema_versions || '{{"other": {version}}}'"#);
        believe(world, tenant, &more).await;
    }
    [none, one, two]
}

#[tokio::test]
async fn a_service_that_goes_on_to_its_newest_version_says_nothing_about_older_ones() {
    let world = World::with(outliving(WorldOptions::default())).await;
    let [_none, one, _two] = three(&world).await;
    let (other, url) = Other::start(&world, Manners::GoesOn).await;
    let report = compared(&world, json!({ "repair": "objects" })).await;
    let not_made = json!([{ "tenant": one.id(), "reason": "not_made" }]);
    assert_eq!(report["not_compared"], not_made, "{report:#}");
    assert_eq!(
        (&report["compared"], &report["findings"]),
        (&json!(2), &json!([]))
    );
    assert!(other.was_asked(1) && other.was_asked(2));
    // A replica that stops there is found, though another one is asked before it.
    Other::start(&world, Manners::Stops).await;
    live(&world, &url).await;
    let report = compared(&world, json!({})).await;
    assert_eq!(
        (&report["compared"], &report["not_compared"]),
        (&json!(3), &json!([]))
    );
    no_leftovers(&world).await;
}

#[tokio::test]
async fn a_kill_between_two_references_leaves_none() {
    let world = World::with(outliving(patient())).await;
    three(&world).await;
    // The versions of most tenants come first.
    world.tenant("most").await;
    let (other, url) = Other::start(&world, Manners::Silent).await;
    let begun = world
        .operator()
        .post("/v1/drift?wait=none", json!({}))
        .await;
    let id = operation_of(&begun.expect(202));
    let scratch = "select count(*) from pg_database where datname like 'scratch:%'";
    until("the second one is being made", || async {
        other.was_asked(1)
    })
    .await;
    assert_eq!(world.postgres().number("postgres", scratch).await, 1);
    world.kill_platform();
    *other.manners.lock().unwrap() = Manners::Stops;
    world.start_platform().await;
    live(&world, &url).await;
    run_out(&world, &id).await;
    reaches(&world, &id, "done", "the comparison").await;
    let path = format!("/v1/operations/{id}");
    let report = world.operator().get(&path).await.json()["result"].clone();
    assert_eq!(
        (&report["compared"], &report["findings"]),
        (&json!(4), &json!([]))
    );
    assert_eq!(world.postgres().number("postgres", scratch).await, 0);
    let kept = "select count(*) from registry.kept_database";
    assert_eq!(world.postgres().number("registry", kept).await, 0);
    no_leftovers(&world).await;
}
