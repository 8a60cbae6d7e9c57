//! Sign-up: what it makes, what it refuses, and that it happens once.

use std::collections::BTreeSet;
use std::time::Duration;

use contract::Code;
use futures::future::join_all;
use http::Method;
use serde_json::{Value, json};
use world::{DEADLINE, Faults, PASSWORD, World, WorldOptions, eventually, until};

use crate::support::{signup, unique};

#[tokio::test]
async fn a_sign_up_makes_a_tenant_whose_owner_can_log_in() {
    let world = World::shared().await;
    let slug = unique("acme");
    let answer = world.visitor().post("/v1/signup", signup(&slug)).await;
    assert!(matches!(answer.status(), 201 | 202), "{answer}");
    if answer.status() == 202 {
        assert_eq!(world.operation(&answer).await["state"], "done");
    }
    let view = answer.json();
    let id = format!("t_{}", slug.replace('-', "_"));
    assert_eq!(view["id"], id);
    assert_eq!(view["slug"], slug);
    assert_eq!(view["login"]["headers"]["x-tenant-id"], id);
    assert!(!answer.text().contains(PASSWORD), "{answer}");
    let login = json!({ "email": view["login"]["body"]["email"], "password": PASSWORD });
    let door = world.anonymous().in_tenant(&id);
    let login = door.post("/v1/auth/login", login).await.expect(200).json();
    let owner = door.bearer(login["access_token"].as_str().unwrap());
    let me = owner.get("/v1/me").await.expect(200).json();
    assert_eq!(me["user"]["roles"], json!(["owner"]));
    assert_eq!(me["tenant"]["id"], id);
    assert_eq!(me["limits"]["users"], 50);
}

#[tokio::test]
async fn a_sign_up_that_takes_long_is_accepted_and_can_be_followed() {
    let options = WorldOptions::default().platform_setting("signup.wait", "1ms");
    let world = World::with(options).await;
    let slug = unique("slow");
    let answer = world
        .visitor()
        .post("/v1/signup", signup(&slug))
        .await
        .expect(202);
    assert_eq!(answer.json()["status"], "provisioning");
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    let path = answer.header("location").to_owned();
    assert_eq!(answer.json()["operation"]["path"], path);
    world.visitor().get(&path).await.expect(401);
    let another = "poll_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for (token, status) in [(another, 404), ("elsewhere", 401)] {
        let refused = world.visitor().bearer(token).get(&path).await;
        refused.expect(status);
    }
    let operation = world.operation(&answer).await;
    assert_eq!(operation["state"], "done", "{operation}");
    world.operator().get(&path).await.expect(200);
}

#[tokio::test]
async fn a_hundred_racing_posts_with_one_key_make_one_tenant() {
    let world = World::shared().await;
    let slug = unique("race");
    let key = unique("key");
    let posts = (0..100).map(|_| {
        let visitor = world.visitor().header("idempotency-key", &key);
        let body = signup(&slug);
        async move { visitor.post("/v1/signup", body).await }
    });
    let answers = join_all(posts).await;
    let statuses: BTreeSet<u16> = answers.iter().map(world::Answer::status).collect();
    assert!(
        statuses.iter().all(|s| matches!(s, 201 | 202 | 409)),
        "{statuses:?}"
    );
    for answer in answers.iter().filter(|answer| answer.status() == 409) {
        assert!(answer.headers().contains_key("retry-after"), "{answer}");
        answer.refused(Code::IdempotencyKeyInProgress);
    }
    assert!(answers.iter().any(|answer| answer.status() != 409));
    // A repeat answers the state that the tenant has by now.
    let visitor = world.visitor().header("idempotency-key", &key);
    let repeated = eventually(DEADLINE, "the tenant is made", || async {
        let answer = visitor
            .clone()
            .from_another_address()
            .post("/v1/signup", signup(&slug))
            .await;
        (answer.status() == 201).then_some(answer)
    })
    .await;
    assert_eq!(repeated.json()["slug"], slug);
    let made = format!(
        "select count(*) from registry.operation o join registry.tenant t on t.id = o.tenant_id where slug = '{slug}'"
    );
    assert_eq!(world.postgres().number("registry", &made).await, 1);
    // The same key for something else.
    let mut other = signup(&slug);
    other["company"] = json!("Another");
    let refused = world
        .visitor()
        .header("idempotency-key", &key)
        .post("/v1/signup", other)
        .await;
    refused.expect(422).refused(Code::IdempotencyKeyReused);
}

#[tokio::test]
async fn an_idempotency_key_is_remembered_for_a_day_and_no_longer() {
    let world = World::shared().await;
    let send = async |key: &str, slug: &str| {
        let visitor = world.visitor().header("idempotency-key", key);
        let answer = visitor.post("/v1/signup", signup(slug)).await;
        if answer.status() == 202 {
            assert_eq!(world.operation(&answer).await["state"], "done");
        }
        answer
    };
    let (young, old) = (unique("young"), unique("old"));
    for (slug, age) in [(&young, "23:30:00"), (&old, "24:00:01")] {
        let made = send(slug, slug).await;
        assert!(matches!(made.status(), 201 | 202), "{made}");
        let passes = format!(
            "update registry.operation set finished_at = now() - interval '{age}'
             where tenant_id = (select id from registry.tenant where slug = '{slug}')"
        );
        world.postgres().run("registry", &passes).await;
    }
    // Whoever starts forgets soon.
    let replica = world.platform_replica(Faults::none()).await;
    let known = format!(
        "select count(*) from registry.operation o join registry.tenant t on t.id = o.tenant_id
         where slug = '{old}' and idempotency_key is not null"
    );
    until("a day is over", || async {
        world.postgres().number("registry", &known).await == 0
    })
    .await;
    replica.stop().await;
    let other = unique("other");
    let refused = send(&young, &other).await;
    refused.expect(422).refused(Code::IdempotencyKeyReused);
    assert_eq!(send(&young, &young).await.expect(201).json()["slug"], young);
    // The same request is a new one, and so is another.
    send(&old, &old).await.expect(409).refused(Code::SlugTaken);
    let made = send(&old, &other).await;
    assert!(matches!(made.status(), 201 | 202), "{made}");
    assert_eq!(made.json()["slug"], other);
}

#[tokio::test]
async fn an_idempotency_key_has_a_shape() {
    let world = World::shared().await;
    for bad in ["", " ", "a b", &"k".repeat(256)] {
        let visitor = world.visitor().header("idempotency-key", bad);
        let answer = visitor.post("/v1/signup", signup(&unique("shape"))).await;
        answer.expect(400).refused(Code::HeaderInvalid);
    }
}

#[tokio::test]
async fn of_two_sign_ups_for_one_slug_exactly_one_wins() {
    let world = World::shared().await;
    for _ in 0..3 {
        let slug = unique("both");
        let (one, two) = tokio::join!(
            async { world.visitor().post("/v1/signup", signup(&slug)).await },
            async { world.visitor().post("/v1/signup", signup(&slug)).await },
        );
        let mut answers = [one, two];
        answers.sort_by_key(world::Answer::status);
        let [won, lost] = answers;
        assert!(matches!(won.status(), 201 | 202), "{won}");
        let problem = lost.expect(409).refused(Code::SlugTaken);
        let proposal = problem.proposal.expect("a proposal");
        world.sign_up(signup(&proposal)).await;
    }
}

#[tokio::test]
async fn slugs_that_give_the_same_id_are_one() {
    let world = World::shared().await;
    let digits = format!("1{}", unique("digits"));
    world.sign_up(signup(&digits)).await;
    let twin = format!("n{digits}");
    let answer = world.visitor().post("/v1/signup", signup(&twin)).await;
    answer.expect(409).refused(Code::SlugTaken);
}

#[tokio::test]
async fn reserved_slugs_are_refused_with_a_proposal() {
    let world = World::shared().await;
    for slug in [
        "postgres",
        "template",
        "admin",
        "stock",
        "registry",
        "tn-data",
        "template1",
    ] {
        let answer = world.visitor().post("/v1/signup", signup(slug)).await;
        let problem = answer.expect(409).refused(Code::SlugReserved);
        assert!(
            problem.proposal.is_some_and(|proposal| proposal != slug),
            "{slug}"
        );
    }
}

#[tokio::test]
async fn a_slug_that_cannot_be_comes_with_one_that_can() {
    let world = World::shared().await;
    let mailbox = unique("ada");
    for (slug, company, nearest) in [
        (json!(""), "Böhm & Co", "boehm-co"),
        (json!("日本"), "x", &*mailbox),
        (Value::Null, "日本", &*mailbox),
        (Value::Null, "x", &*mailbox),
    ] {
        let mut body = signup(&unique("unnamed"));
        body["company"] = json!(company);
        body["slug"] = slug;
        body["email"] = json!(format!("{mailbox}@acme.example"));
        let answer = world.visitor().post("/v1/signup", &body).await;
        let problem = answer.expect(422).refused(Code::ValidationFailed);
        assert_eq!(problem.errors[0].pointer, "/slug");
        assert_eq!(problem.proposal.as_deref(), Some(nearest), "{body}");
    }
    // Nobody's name has a letter that could be used: it is still one that a sign-up takes.
    let mut body = signup(&unique("unnamed"));
    body["slug"] = json!("");
    body["company"] = json!("日本");
    body["email"] = json!("_@acme.example");
    let refused = world.visitor().post("/v1/signup", &body).await;
    let proposal = refused.refused(Code::ValidationFailed).proposal.unwrap();
    body["slug"] = json!(proposal);
    let made = world.sign_up(body).await;
    assert_eq!(made["slug"], proposal);
}

#[tokio::test]
async fn bad_sign_ups_are_refused_and_leave_nothing() {
    let world = World::shared().await;
    let before = world.postgres().names().await.len();
    let with = |field: &str, value: Value| {
        let mut body = signup(&unique("unfit"));
        body[field] = value;
        body
    };
    let cases = [
        (with("slug", json!("-a")), "/slug"),
        (with("slug", json!("A B")), "/slug"),
        (
            with("slug", json!("a'; drop table registry.tenant; --")),
            "/slug",
        ),
        (with("slug", json!("x".repeat(40))), "/slug"),
        (with("slug", json!(7)), "/slug"),
        (with("company", json!("")), "/company"),
        (with("company", json!("a\nb")), "/company"),
        (with("company", json!("c".repeat(201))), "/company"),
        (with("email", json!("nobody")), "/email"),
        (
            with("email", json!("a\r\nBcc: b@c.example@d.example")),
            "/email",
        ),
        (with("password", json!("short")), "/password"),
        (with("password", json!("password")), "/password"),
        (with("password", json!("p".repeat(600))), "/password"),
        (with("tier", json!("gold")), "/tier"),
        (with("region", json!("mars")), "/region"),
        (with("time_zone", json!("../etc/passwd")), "/time_zone"),
        (with("status", json!("active")), ""),
        (with("tenant_id", json!("t_acme")), ""),
        (with("id", json!("t_acme")), ""),
        (with("overrides", json!({"limits": {"users": null}})), ""),
    ];
    for (body, pointer) in cases {
        let answer = world.visitor().post("/v1/signup", &body).await;
        let problem = answer.clone().expect(422).refused(Code::ValidationFailed);
        assert!(!problem.errors.is_empty(), "{answer}");
        assert!(
            problem
                .errors
                .iter()
                .any(|error| error.pointer.starts_with(pointer)),
            "{pointer}: {answer}"
        );
        assert!(!answer.text().contains(PASSWORD), "{answer}");
    }
    for (body, code) in [
        (r#"{"company": "#.to_owned(), Code::JsonMalformed),
        ("[".repeat(10_000), Code::JsonMalformed),
        (
            format!(r#"{{"company": {}1{}}}"#, "[".repeat(200), "]".repeat(200)),
            Code::JsonMalformed,
        ),
        (
            format!(r#"{{"company": "{}"}}"#, "c".repeat(70_000)),
            Code::BodyTooLarge,
        ),
    ] {
        let request = world.visitor().request(http::Method::POST, "/v1/signup");
        let answer = request.body(body).send().await;
        let problem = answer.problem();
        assert!(
            problem.code == code || problem.code == Code::ValidationFailed,
            "{answer}"
        );
    }
    let request = world.visitor().request(http::Method::POST, "/v1/signup");
    let text = request.body_of_type("text/plain", signup(&unique("text")).to_string());
    text.send()
        .await
        .expect(415)
        .refused(Code::ContentTypeUnsupported);
    let sql = "select count(*) from registry.tenant where id like 't_unfit%'";
    assert_eq!(world.postgres().number("registry", sql).await, 0);
    let grown = world.postgres().names().await;
    assert!(
        !grown.iter().any(|name| name.contains("t_unfit")),
        "{before} names before, now {grown:?}"
    );
}

#[tokio::test]
async fn a_closed_platform_takes_tenants_from_operators_alone() {
    let options = WorldOptions::default()
        .platform_setting("signup.policy", "closed")
        .stock_level(0);
    let world = World::with(options).await;
    let slug = unique("closed");
    let refused = world.visitor().post("/v1/signup", signup(&slug)).await;
    refused.expect(403).refused(Code::SignupClosed);
    let answer = world.operator().post("/v1/tenants", signup(&slug)).await;
    assert!(matches!(answer.status(), 201 | 202), "{answer}");
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    eventually(
        Duration::from_secs(30),
        "the operator's tenant is active",
        || async {
            let tenant = world
                .operator()
                .get(&format!("/v1/tenants/{id}"))
                .await
                .expect(200)
                .json();
            (tenant["status"] == "active").then_some(())
        },
    )
    .await;
}

#[tokio::test]
async fn a_tier_that_operators_give_is_not_chosen_at_the_sign_up() {
    let world = World::start().await;
    let wanted = |tier: &str| {
        let mut body = signup(&unique("tier"));
        body["tier"] = tier.into();
        body
    };
    let visitor = world.visitor();
    let refused = visitor
        .post("/v1/signup", wanted("enterprise"))
        .await
        .expect(422);
    let error = refused.json()["errors"][0].clone();
    assert_eq!(error["pointer"], "/tier");
    assert_eq!(
        error["detail"],
        "cannot be chosen here: choose one of standard, premium"
    );
    let given = world
        .operator()
        .post("/v1/tenants", wanted("enterprise"))
        .await;
    assert!(matches!(given.status(), 201 | 202), "{given}");
    let open = json!({ "self_service": true });
    let changed = world.operator().patch("/v1/tiers/enterprise", open).await;
    assert_eq!(changed.expect(200).json()["self_service"], true);
    world.sign_up(wanted("enterprise")).await;
}

#[tokio::test]
async fn sign_ups_from_one_address_are_limited_before_anything_is_made() {
    let world = World::shared().await;
    let visitor = world.visitor();
    let mut refused = None;
    for _ in 0..12 {
        // Not valid, and counted nevertheless.
        let answer = visitor.post("/v1/signup", json!({ "company": "x" })).await;
        if answer.status() == 429 {
            refused = Some(answer);
            break;
        }
        answer.expect(422);
    }
    refused
        .expect("the tenth was the last")
        .refused(Code::RateLimited);
    // Another address is not meant, and its forged ones in front do not help it.
    world
        .visitor()
        .post("/v1/signup", json!({}))
        .await
        .expect(422);
}

#[tokio::test]
async fn tiers_are_public_data() {
    let world = World::shared().await;
    let tiers = world.visitor().get("/v1/tiers").await.expect(200).json();
    let tiers = tiers["data"]
        .as_array()
        .or(tiers.as_array())
        .cloned()
        .expect("a list");
    let names: Vec<&str> = tiers
        .iter()
        .map(|tier| tier["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["standard", "premium", "enterprise"]);
    assert_eq!(tiers[0]["limits"]["users"], 50);
    assert_eq!(tiers[1]["limits"]["storage_bytes"], 50_u64 << 30);
    assert!(tiers[2]["limits"]["users"].is_null());
}

#[tokio::test]
async fn operators_see_and_change_tenants() {
    let world = World::shared().await;
    let acme = world.tenant("listed").await;
    let operator = world.operator();
    let path = format!("/v1/tenants/{}", acme.id());
    let shown = operator.get(&path).await.expect(200).json();
    assert_eq!(shown["slug"], acme.slug());
    assert_eq!(shown["status"], "active");
    for filter in [
        "text=listed",
        "status=active",
        "tier=standard",
        "cluster=main",
        "region=here",
    ] {
        let mut found = false;
        let mut cursor = String::new();
        loop {
            let page = operator
                .get(&format!("/v1/tenants?limit=100&{filter}{cursor}"))
                .await;
            let page = page.expect(200).json();
            let data = page["data"].as_array().unwrap();
            found |= data.iter().any(|tenant| tenant["id"] == acme.id().as_str());
            if page["has_more"] == false {
                break;
            }
            cursor = format!(
                "&starting_after={}",
                data.last().unwrap()["id"].as_str().unwrap()
            );
        }
        assert!(found, "{filter}");
    }
    let none = operator
        .get("/v1/tenants?status=suspended&text=listed")
        .await
        .expect(200)
        .json();
    assert_eq!(none["data"], json!([]));
    operator
        .get("/v1/tenants?status=nonsense")
        .await
        .expect(400)
        .refused(Code::QueryInvalid);
    operator
        .get("/v1/tenants?limit=101")
        .await
        .expect(400)
        .refused(Code::QueryInvalid);
    let patch = async |etag: &str, body: Value| {
        let request = operator
            .request(Method::PATCH, &path)
            .header("if-match", etag);
        request.json(body).send().await
    };
    let etag = operator.get(&path).await.header("etag").to_owned();
    patch(&etag, json!({ "tier": "premium" })).await.expect(200);
    patch(&etag, json!({ "tier": "standard" }))
        .await
        .expect(412)
        .refused(Code::VersionStale);
    eventually(DEADLINE, "the new tier reaches app-service", || async {
        let me = acme.owner().get("/v1/me").await.expect(200).json();
        (me["tenant"]["tier"] == "premium" && me["limits"]["users"] == 200).then_some(())
    })
    .await;
    let etag = operator.get(&path).await.header("etag").to_owned();
    patch(&etag, json!({ "id": "t_other" })).await.expect(422);
    patch(&etag, json!({ "status": "suspended" }))
        .await
        .expect(422);
    patch(&etag, json!({ "tier": "gold" })).await.expect(422);
    operator
        .get("/v1/tenants/t_nobody_has_this")
        .await
        .expect(404)
        .refused(Code::NotFound);
}
