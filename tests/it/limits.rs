//! Limits and gates that somebody meets who does nothing wrong: of a tier, of a replica, of everybody.
//!
//! Deliberately through the doors. What is limited by account and address when signing in is in `auth`.

use std::collections::BTreeMap;

use contract::Code;
use contract::internal::{Heartbeat, OwnedSchema, ReplicaPhase};
use futures::future::join_all;
use http::Method;
use serde_json::{Value, json};
use world::{Speaker, TenantHandle, World, WorldOptions, until};

use crate::directory::{count_look_ups, look_ups};
use crate::support::{entry, signup, unique};

/// Lays something over what a tenant's tier gives.
pub(crate) async fn lay_over(world: &World, tenant: &str, overrides: Value) {
    let operator = world.operator();
    let path = format!("/v1/tenants/{tenant}");
    let etag = operator.get(&path).await.header("etag").to_owned();
    let request = operator.request(Method::PATCH, &path);
    let request = request.header("if-match", &etag);
    let body = json!({ "overrides": overrides });
    request.json(body).send().await.expect(200);
}

/// Lifts a tenant's limit of requests, and waits until the first replica knows.
pub(crate) async fn unlimited(world: &World, tenant: &TenantHandle) {
    let limits = json!({ "limits": { "requests_per_second": null } });
    lay_over(world, tenant.id().as_str(), limits).await;
    until("the limit is lifted", || async {
        let me = tenant.owner().get("/v1/me").await.json();
        me["limits"]["requests_per_second"].is_null()
    })
    .await;
}

#[tokio::test]
async fn a_tenant_over_its_requests_per_second_is_told_so_and_nobody_else() {
    let world = World::shared().await;
    let (quick, other) = (world.tenant("quick").await, world.tenant("other").await);
    let limits = json!({ "limits": { "requests_per_second": 5 } });
    lay_over(&world, quick.id().as_str(), limits).await;
    until("the new limit is known", || async {
        let me = quick.owner().get("/v1/me").await;
        me.status() == 429 || me.json()["limits"]["requests_per_second"] == 5
    })
    .await;
    // Ever so many at once, until even a slow machine sends six in a second.
    until("somebody is over the limit", || async {
        let burst = (0..40).map(|_| {
            let owner = quick.owner();
            async move { owner.get("/v1/me").await }
        });
        let answers = join_all(burst).await;
        let mut refused = answers.iter().filter(|answer| answer.status() != 200);
        refused.next().is_some_and(|answer| {
            answer.clone().expect(429).refused(Code::RateLimited);
            true
        })
    })
    .await;
    let burst = (0..40).map(|_| {
        let owner = other.owner();
        async move { owner.get("/v1/me").await }
    });
    for answer in join_all(burst).await {
        answer.expect(200);
    }
}

#[tokio::test]
async fn what_the_tier_lacks_is_refused_whoever_asks() {
    let world = World::shared().await;
    let acme = world.tenant("featureless").await;
    acme.owner().get("/v1/entries").await.expect(200);
    lay_over(
        &world,
        acme.id().as_str(),
        json!({ "features": { "entries": false } }),
    )
    .await;
    until("the tier has no entries", || async {
        acme.owner().get("/v1/entries").await.status() != 200
    })
    .await;
    let refused = acme.owner().get("/v1/entries").await.expect(403);
    refused.refused(Code::FeatureNotInTier);
    let added = acme.owner().post("/v1/entries", entry("a")).await;
    added.expect(403).refused(Code::FeatureNotInTier);
    acme.owner().get("/v1/me").await.expect(200);
}

#[tokio::test]
async fn a_tenant_that_is_being_made_is_there_soon() {
    let world = World::shared().await;
    let acme = world.tenant("in-the-making").await;
    world.set_status(acme.id(), "provisioning").await;
    until("the replica has heard of it", || async {
        acme.owner().get("/v1/me").await.status() != 200
    })
    .await;
    let refused = acme.owner().get("/v1/me").await.expect(503);
    // With `Retry-After`, as of every 503.
    assert!(refused.refused(Code::TenantProvisioning).retryable);
    // Nobody without a token learns that.
    let body = json!({ "email": acme.email(), "password": world::PASSWORD });
    let door = acme.anonymous();
    let answer = door.post("/v1/auth/login", body).await;
    answer.expect(401).refused(Code::CredentialsWrong);
    world.set_status(acme.id(), "active").await;
    until("it is made", || async {
        acme.owner().get("/v1/me").await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn an_owner_belongs_to_one_service_as_long_as_that_lives() {
    let world = World::shared().await;
    let mut heartbeat = Heartbeat {
        replica: contract::ReplicaId::new(),
        service: "usurper".parse().unwrap(),
        internal_url: "http://127.0.0.1:9".to_owned(),
        owns: vec![OwnedSchema {
            owner: "entries".parse().unwrap(),
            newest: 99,
            minimum: 0,
        }],
        shares: BTreeMap::new(),
        epoch: None,
        seen_change: 0,
        phase: ReplicaPhase::Serving,
    };
    let refused = world
        .service()
        .post("/internal/heartbeat", &heartbeat)
        .await;
    refused.expect(409).refused(Code::OwnerClaimed);
    let left = "select count(*) from registry.replica where service = 'usurper'";
    assert_eq!(world.postgres().number("registry", left).await, 0);
    let owner = "select service from registry.schema_owner where name = 'entries'";
    let owners = world.postgres().texts("registry", owner).await;
    assert_eq!(owners, ["app-service"]);
    // Whoever claims nothing may come and go.
    heartbeat.owns.clear();
    for phase in [ReplicaPhase::Serving, ReplicaPhase::Gone] {
        heartbeat.phase = phase;
        let taken = world
            .service()
            .post("/internal/heartbeat", &heartbeat)
            .await;
        taken.expect(200);
    }
}

#[tokio::test]
async fn sign_ups_of_everybody_together_are_limited() {
    let options = WorldOptions::default().platform_setting("signup.overall", "3/1h");
    let world = World::with(options).await;
    for _ in 0..3 {
        // Not valid, and counted nevertheless; each from an address of its own.
        let answer = world.visitor().post("/v1/signup", json!({})).await;
        answer.expect(422);
    }
    let slug = unique("late");
    let refused = world.visitor().post("/v1/signup", signup(&slug)).await;
    refused.expect(429).refused(Code::RateLimited);
    // Operators are not meant.
    let made = world.operator().post("/v1/tenants", signup(&slug)).await;
    assert!(matches!(made.status(), 201 | 202), "{made}");
}

#[tokio::test]
async fn a_flood_from_one_address_learns_of_no_tenant_and_keeps_nobody_else_out() {
    const TRIES: usize = 60;
    const LET_IN: usize = 40;
    // What is used up stays used up.
    let options = WorldOptions::default()
        .app_setting("auth.sign_in_per_address", &format!("{LET_IN}/1h"))
        .app_setting("auth.unknown_look_ups", "100/1h");
    let world = World::with(options).await;
    let (acme, beta) = (world.tenant("warm").await, world.tenant("cold").await);
    // One that knows neither.
    let replica = world.add_app_replica().await;
    let log_in = async |door: Speaker, tenant: &str, email: &str| {
        let body = json!({ "email": email, "password": world::PASSWORD });
        door.in_tenant(tenant).post("/v1/auth/login", body).await
    };
    let refresh = async |door: Speaker, tenant: &str| {
        let body = json!({ "refresh_token": "rt_made_up" });
        door.in_tenant(tenant).post("/v1/auth/refresh", body).await
    };
    let first = world.anonymous_at(replica);
    let answer = log_in(first, acme.id().as_str(), acme.email()).await;
    answer.expect(200);
    count_look_ups(&world).await;
    let before = look_ups(&world).await;

    let made_up = |n: usize| format!("t_flood_{n}");
    let known = |_: usize| acme.id().to_string();
    let names: [(&str, &dyn Fn(usize) -> String); 2] = [("known", &known), ("made up", &made_up)];
    for (what, name) in names {
        let (people, holders) = (world.anonymous_at(replica), world.anonymous_at(replica));
        let tries = (0..TRIES).map(|n| {
            let (tenant, email) = (name(n), format!("{n}@b.example"));
            let (log_in, refresh) = (&log_in, &refresh);
            let (person, holder) = (people.clone(), holders.clone());
            async move {
                let answers = (log_in(person, &tenant, &email), refresh(holder, &tenant));
                let answers = futures::future::join(answers.0, answers.1).await;
                (answers.0.status(), answers.1.status())
            }
        });
        let (logins, refreshes): (Vec<u16>, Vec<u16>) = join_all(tries).await.into_iter().unzip();
        for statuses in [logins, refreshes] {
            let told = |status| statuses.iter().filter(|is| **is == status).count();
            let expected = (LET_IN, TRIES - LET_IN);
            assert_eq!((told(401), told(429)), expected, "{what}: {statuses:?}");
        }
    }
    let asked = look_ups(&world).await - before;
    assert!(asked <= (2 * LET_IN) as f64, "{asked} look-ups");
    // Others have theirs, of a tenant that this replica does not know yet too.
    for tenant in [&acme, &beta] {
        let bystander = world.anonymous_at(replica);
        let answer = log_in(bystander, tenant.id().as_str(), tenant.email()).await;
        answer.expect(200);
    }
}

#[tokio::test]
async fn a_replica_knows_no_more_tenants_than_it_may_and_serves_all() {
    let options = WorldOptions::default().app_setting("tenants.capacity", "2");
    let world = World::with(options).await;
    let tenants = [
        world.tenant("one").await,
        world.tenant("two").await,
        world.tenant("three").await,
        world.tenant("four").await,
    ];
    let asked_for_again = || {
        let lines = world.logs().with("\"operation\":\"users.me\"");
        let misses = lines.iter().filter(|line| {
            let of_ours = tenants.iter().any(|one| line.contains(one.id().as_str()));
            of_ours && line.contains("\"lookup\":\"miss\"")
        });
        misses.count()
    };
    // Two are known: of four in turn, none is still known when its turn comes again.
    until("tenants were forgotten and asked for again", || async {
        for tenant in &tenants {
            tenant.owner().get("/v1/me").await.expect(200);
        }
        asked_for_again() >= 4
    })
    .await;
}

#[tokio::test]
async fn what_a_tier_does_not_name_is_not_granted() {
    let world = World::start().await;
    let acme = world.tenant("acme").await;
    let change = async |change: Value| {
        let path = "/v1/tiers/standard?wait=replicas";
        world.operator().patch(path, &change).await.expect(200);
    };
    acme.owner().get("/v1/entries").await.expect(200);
    for (limit, usual) in [("connections", 4), ("requests_per_second", 200)] {
        for none in [
            json!({ "dropped_limits": [limit] }),
            json!({ "limits": { limit: 0 } }),
        ] {
            change(none).await;
            let refused = acme.owner().get("/v1/entries").await.expect(403);
            refused.refused(Code::LimitReached);
            let detail = format!("The tier standard grants no {limit}.");
            assert_eq!(refused.json()["detail"], detail);
        }
        // What the platform does in a tenant goes on.
        world.sign_up(signup(&unique("beta"))).await;
        change(json!({ "limits": { limit: usual } })).await;
        acme.owner().get("/v1/entries").await.expect(200);
    }
    // More than anybody can ask for is no less than what a replica can serve.
    let most = json!({ "limits": { "requests_per_second": 2_000_000_000_i64 } });
    change(most).await;
    acme.owner().get("/v1/entries").await.expect(200);
}

#[tokio::test]
async fn a_tier_that_is_changed_reaches_its_tenants_and_nobody_else() {
    let world = World::start().await;
    let operator = world.operator();
    let (acme, beta) = (world.tenant("acme").await, world.tenant("beta").await);
    let mut premium = signup("gamma");
    premium["tier"] = "premium".into();
    let gamma = world.sign_up(premium).await["id"].clone();
    let generation = async |id: &str| {
        let tenant = operator.get(&format!("/v1/tenants/{id}")).await.expect(200);
        tenant.json()["generation"].as_u64().unwrap()
    };
    let gamma = gamma.as_str().unwrap();
    let before = generation(gamma).await;
    let own = json!({ "limits": { "users": 7 } });
    lay_over(&world, beta.id().as_str(), own).await;

    let path = "/v1/tiers/standard?wait=replicas";
    let change = json!({
        "limits": { "users": 60, "maps": 3 }, "dropped_limits": ["storage_bytes"],
        "features": { "map": true, "entries": false }, "retention_days": 45, "weight": 2
    });
    let tier = operator.patch(path, &change).await.expect(200).json();
    assert_eq!(tier["limits"]["users"], 60);
    assert_eq!(tier["limits"]["connections"], 4);
    assert!(tier["limits"].get("storage_bytes").is_none());
    assert_eq!(tier["features"], json!(["map"]));
    let tiers = world.visitor().get("/v1/tiers").await.expect(200).json();
    assert_eq!(tiers["data"][0], tier);
    let me = acme.owner().get("/v1/me").await.expect(200).json();
    assert_eq!(me["limits"]["users"], 60);
    assert_eq!(me["limits"]["maps"], 3);
    assert_eq!(me["features"], json!(["map"]));
    let me = beta.owner().get("/v1/me").await.expect(200).json();
    assert_eq!(me["limits"]["users"], 7);
    assert_eq!(me["limits"]["maps"], 3);
    assert_eq!(generation(gamma).await, before);
    let path_of_acme = format!("/v1/tenants/{}?dry_run=true", acme.id());
    let preview = operator.delete(&path_of_acme).await.json();
    assert_eq!(preview["retention_days"], 45);

    for (odd, field) in [
        (json!({ "limits": { "users": -1 } }), "/limits/users"),
        (json!({ "limits": { "Users": 1 } }), "/limits"),
        (json!({ "features": { "a b": true } }), "/features"),
        (json!({ "dropped_limits": ["nothing"] }), "/dropped_limits"),
        (
            json!({ "dropped_limits": ["users"], "limits": { "users": 1 } }),
            "/dropped_limits",
        ),
        (json!({ "weight": 0 }), "/weight"),
        (json!({ "retention_days": 0 }), "/retention_days"),
        (json!({ "title": " " }), "/title"),
    ] {
        let refused = operator.patch(path, &odd).await.expect(422);
        refused.refused(Code::ValidationFailed);
        assert_eq!(refused.json()["errors"][0]["pointer"], field, "{odd}");
    }
    let nobody = operator.patch("/v1/tiers/gold", json!({})).await;
    nobody.expect(404).refused(Code::NotFound);
    let audit = operator
        .get("/v1/audit?action=tier.updated")
        .await
        .expect(200);
    assert_eq!(audit.json()["data"].as_array().unwrap().len(), 1);
}
