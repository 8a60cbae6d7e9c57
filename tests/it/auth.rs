//! Signing in and staying signed in: what works, what ends it, and that refusals tell nothing.

use std::time::Instant;

use contract::Code;
use http::Method;
use serde_json::{Value, json};
use world::{Answer, PASSWORD, Speaker, World, until};

fn credentials(email: &str, password: &str) -> Value {
    json!({ "email": email, "password": password })
}

/// The tokens of somebody who logs in.
pub(crate) async fn log_in(door: &Speaker, email: &str) -> Value {
    door.post("/v1/auth/login", credentials(email, PASSWORD))
        .await
        .expect(200)
        .json()
}

/// What becomes of the refresh token among some tokens.
pub(crate) async fn refresh(door: &Speaker, tokens: &Value) -> Answer {
    let body = json!({ "refresh_token": tokens["refresh_token"] });
    door.post("/v1/auth/refresh", body).await
}

#[tokio::test]
async fn a_login_gives_tokens_that_say_who_and_where() {
    let world = World::shared().await;
    let acme = world.tenant("login").await;
    let login = acme
        .anonymous()
        .post("/v1/auth/login", credentials(acme.email(), PASSWORD))
        .await;
    let answer = login.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let tokens = answer.json();
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["expires_in"], 900);
    let shouting = acme.email().to_uppercase();
    log_in(&acme.anonymous(), &shouting).await;
    let speaker = acme
        .anonymous()
        .bearer(tokens["access_token"].as_str().unwrap());
    let me = speaker.get("/v1/me").await.expect(200).json();
    assert_eq!(me["user"]["email"], acme.email());
    for permission in [
        "entries:read",
        "entries:write",
        "users:manage",
        "users:read",
    ] {
        let held = me["permissions"].as_array().unwrap();
        assert!(held.contains(&json!(permission)), "{permission}: {held:?}");
    }
    assert_eq!(me["features"], json!(["entries"]));
    assert_eq!(me["limits"]["users"], 50);
}

#[tokio::test]
async fn whoever_is_not_let_in_learns_nothing() {
    let world = World::shared().await;
    let acme = world.tenant("quiet").await;
    let gone = world.tenant("gone").await;
    world.set_status(gone.id(), "deleted").await;
    let held = world.tenant("held-back").await;
    world.set_status(held.id(), "suspended").await;
    let making = world.tenant("in-the-making").await;
    world.set_status(making.id(), "provisioning").await;
    for (tenant, status) in [(&gone, 410), (&held, 403), (&making, 503)] {
        until("how it stands is known", || async {
            tenant.owner().get("/v1/me").await.status() == status
        })
        .await;
    }
    let ask = async |tenant: &str, email: &str| {
        let door = world.anonymous().in_tenant(tenant);
        door.post("/v1/auth/login", credentials(email, "not the password"))
            .await
    };
    let answers = [
        ask(acme.id().as_str(), acme.email()).await,
        ask(acme.id().as_str(), "nobody@acme.example").await,
        ask(acme.id().as_str(), "not even an address").await,
        ask(acme.id().as_str(), "").await,
        ask("t_nobody_has_this", acme.email()).await,
        ask(gone.id().as_str(), gone.email()).await,
        ask(held.id().as_str(), held.email()).await,
        ask(held.id().as_str(), "nobody@acme.example").await,
        ask(making.id().as_str(), making.email()).await,
    ];
    let bytes = |answer: &Answer| {
        let id = answer.problem().request_id.unwrap();
        let mut headers = answer.headers().clone();
        for differs in ["date", "x-request-id"] {
            headers.remove(differs);
        }
        let headers: Vec<String> = headers.iter().map(|h| format!("{h:?}")).collect();
        (answer.status(), headers, answer.text().replace(&id, "-"))
    };
    for answer in &answers {
        answer.refused(Code::CredentialsWrong);
        assert_eq!(bytes(answer), bytes(&answers[0]));
    }
    // Such a tenant answers its own right password alike.
    for tenant in [&gone, &held, &making] {
        let right = world.anonymous().in_tenant(tenant.id().as_str());
        let right = right
            .post("/v1/auth/login", credentials(tenant.email(), PASSWORD))
            .await;
        assert_eq!(bytes(&right), bytes(&answers[0]));
    }
    // Nor does the door of refresh tokens tell them apart.
    let made_up = json!({ "refresh_token": "no such token" });
    let mut refused = Vec::new();
    for tenant in [acme.id(), gone.id(), held.id(), making.id()] {
        let door = world.anonymous().in_tenant(tenant.as_str());
        refused.push(door.post("/v1/auth/refresh", &made_up).await);
    }
    let door = world.anonymous().in_tenant("t_nobody_has_this");
    refused.push(door.post("/v1/auth/refresh", &made_up).await);
    for answer in &refused {
        answer.refused(Code::RefreshTokenInvalid);
        assert_eq!(bytes(answer), bytes(&refused[0]));
    }
}

#[tokio::test]
async fn a_suspended_tenant_says_so_to_its_own_people_alone() {
    let world = World::shared().await;
    let acme = world.tenant("held").await;
    let tokens = log_in(&acme.anonymous(), acme.email()).await;
    world.set_status(acme.id(), "suspended").await;
    until("the suspension is known", || async {
        acme.owner().get("/v1/me").await.status() == 403
    })
    .await;
    acme.owner()
        .get("/v1/me")
        .await
        .expect(403)
        .refused(Code::TenantSuspended);
    // Its database lets nobody in, so nobody can be told apart from a stranger.
    for password in ["wrong!", PASSWORD] {
        acme.anonymous()
            .post("/v1/auth/login", credentials(acme.email(), password))
            .await
            .expect(401)
            .refused(Code::CredentialsWrong);
    }
    refresh(&acme.anonymous(), &tokens)
        .await
        .expect(401)
        .refused(Code::RefreshTokenInvalid);
    world.set_status(acme.id(), "active").await;
    until("the tenant is served again", || async {
        acme.owner().get("/v1/me").await.status() == 200
    })
    .await;
    // The refusal spent nothing.
    refresh(&acme.anonymous(), &tokens).await.expect(200);
}

#[tokio::test]
async fn refresh_tokens_rotate_and_a_stolen_one_ends_the_session() {
    let world = World::shared().await;
    let acme = world.tenant("rotate").await;
    let door = acme.anonymous();
    let first = log_in(&door, acme.email()).await;
    let second = refresh(&door, &first).await.expect(200).json();
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let third = refresh(&door, &second).await.expect(200).json();
    // The first was used by somebody else: its successor was used already.
    refresh(&door, &first)
        .await
        .expect(401)
        .refused(Code::RefreshTokenInvalid);
    refresh(&door, &third)
        .await
        .expect(401)
        .refused(Code::RefreshTokenInvalid);
    let sql = "select count(*) from auth.audit where action = 'session.reuse_detected'";
    assert_eq!(world.postgres().number(acme.id().as_str(), sql).await, 1);
    // Another session is not meant.
    let other = log_in(&door, acme.email()).await;
    refresh(&door, &other).await.expect(200);
}

#[tokio::test]
async fn an_answer_that_was_lost_can_be_asked_for_again() {
    let world = World::shared().await;
    let acme = world.tenant("lost").await;
    let door = acme.anonymous();
    let first = log_in(&door, acme.email()).await;
    let lost = refresh(&door, &first).await.expect(200).json();
    let again = refresh(&door, &first).await.expect(200).json();
    // What was lost is worth nothing now, and using it ends the session.
    refresh(&door, &lost).await.expect(401);
    refresh(&door, &again).await.expect(401);
}

#[tokio::test]
async fn of_racing_refreshes_one_token_stays_good() {
    let world = World::shared().await;
    let acme = world.tenant("tabs").await;
    let door = acme.anonymous();
    let tokens = log_in(&door, acme.email()).await;
    let (one, two) = tokio::join!(refresh(&door, &tokens), refresh(&door, &tokens));
    let good: Vec<Value> = [one, two]
        .iter()
        .filter(|a| a.status() == 200)
        .map(Answer::json)
        .collect();
    assert!(!good.is_empty());
    let newest =
        "select count(*) from auth.refresh_token t join auth.session s on s.id = t.session_id
         where t.state = 'live' and s.revoked_at is null and t.parent is not null";
    assert_eq!(world.postgres().number(acme.id().as_str(), newest).await, 1);
}

#[tokio::test]
async fn a_logout_ends_the_session() {
    let world = World::shared().await;
    let acme = world.tenant("logout").await;
    let door = acme.anonymous();
    let tokens = log_in(&door, acme.email()).await;
    let speaker = door
        .clone()
        .bearer(tokens["access_token"].as_str().unwrap());
    speaker
        .request(Method::POST, "/v1/auth/logout")
        .send()
        .await
        .expect(204);
    speaker
        .request(Method::POST, "/v1/auth/logout")
        .send()
        .await
        .expect(204);
    refresh(&door, &tokens)
        .await
        .expect(401)
        .refused(Code::RefreshTokenInvalid);
}

#[tokio::test]
async fn bad_log_ins_and_refreshes_are_refused() {
    let world = World::shared().await;
    let acme = world.tenant("bad-logins").await;
    let door = acme.anonymous();
    for token in [
        "",
        "rt_",
        "rt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "'",
    ] {
        let answer = refresh(&door, &json!({ "refresh_token": token })).await;
        answer.expect(401).refused(Code::RefreshTokenInvalid);
    }
    for body in [
        json!({}),
        json!([]),
        json!({ "email": 1, "password": "x" }),
        json!({ "email": "a", "password": "b", "tenant": "t_x" }),
    ] {
        door.post("/v1/auth/login", body)
            .await
            .expect(422)
            .refused(Code::ValidationFailed);
    }
    let long = credentials(acme.email(), &"p".repeat(100_000));
    let answer = door.post("/v1/auth/login", long).await;
    assert!(matches!(answer.status(), 401 | 413 | 422), "{answer}");
    let headless = world
        .anonymous()
        .post("/v1/auth/login", credentials("a@b.example", "c"))
        .await;
    headless.expect(400).refused(Code::TenantHeaderMissing);
}

/// So many of these sorted answers are refusals of a password, and the others of the tenth try of a minute;
/// but for those that the time since then has given back.
fn looked_at(statuses: &[u16], wanted: usize, since: Instant) {
    let looked_at = statuses.partition_point(|status| *status == 401);
    let given_back = usize::try_from(since.elapsed().as_secs() / 6).unwrap();
    assert!(
        (wanted..=wanted + given_back).contains(&looked_at),
        "{statuses:?}"
    );
    assert!(
        statuses[looked_at..].iter().all(|status| *status == 429),
        "{statuses:?}"
    );
}

#[tokio::test]
async fn no_text_holds_a_nul_character() {
    let world = World::shared().await;
    let acme = world.tenant("nul").await;
    let user = |field: &str| {
        let mut user = json!({
            "email": "grace@nul.example", "name": "Grace", "password": world::PASSWORD, "role": "editor",
        });
        user[field] = json!("a\u{0}b");
        user
    };
    let mut answers = Vec::new();
    for field in ["email", "name", "password", "role"] {
        answers.push((acme.owner().post("/v1/users", user(field)).await, field));
    }
    let door = acme.anonymous();
    answers.push((
        door.post("/v1/auth/login", credentials("a\u{0}@b.example", "c"))
            .await,
        "email",
    ));
    let token = json!({ "refresh_token": "\u{0}" });
    answers.push((refresh(&door, &token).await, "refresh_token"));
    let key = json!({ "name": "a\u{0}", "scopes": ["tenants:read"] });
    let operator = world.operator();
    answers.push((operator.post("/v1/operator-keys", key).await, "name"));
    for (answer, field) in answers {
        let problem = answer.clone().expect(422).refused(Code::ValidationFailed);
        assert_eq!(problem.errors.len(), 1, "{answer}");
        assert_eq!(problem.errors[0].pointer, format!("/{field}"), "{answer}");
    }
}

#[tokio::test]
async fn tries_are_limited_by_account_whether_it_exists_or_not() {
    let world = World::shared().await;
    let acme = world.tenant("tries").await;
    for email in ["owner@limited.example", "nobody@limited.example"] {
        let began = Instant::now();
        let tries = (0..20).map(|_| {
            // From ever other addresses: it is the account that is counted.
            let door = acme.anonymous();
            async move {
                let body = credentials(email, "wrong");
                let answer = door.post("/v1/auth/login", body).await;
                if answer.status() == 429 {
                    answer.refused(Code::RateLimited);
                }
                answer.status()
            }
        });
        let mut statuses = futures::future::join_all(tries).await;
        statuses.sort_unstable();
        looked_at(&statuses, 10, began);
    }
    log_in(&acme.anonymous(), acme.email()).await;
}

#[tokio::test]
async fn two_hundred_guesses_at_once_cost_ten_looks_and_lock_nobody_out_for_long() {
    let world = World::shared().await;
    let (acme, beta) = (world.tenant("besieged").await, world.tenant("beside").await);
    let email = "grace@besieged.example";
    let user = json!({ "email": email, "name": "Grace", "password": PASSWORD, "role": "editor" });
    let added = acme.owner().post("/v1/users", user).await;
    added.expect(201);
    let began = Instant::now();
    let guesses = (0..200).map(|_| {
        let door = acme.anonymous();
        async move {
            let body = credentials(email, "wrong");
            let answer = door.post("/v1/auth/login", body).await;
            if answer.status() == 429 {
                let refused = answer.refused(Code::RateLimited);
                assert!(refused.retryable, "{answer}");
                assert!(!answer.header("retry-after").is_empty(), "{answer}");
            }
            answer.status()
        }
    });
    // Nobody else waits for them.
    let others = async {
        log_in(&acme.anonymous(), acme.email()).await;
        log_in(&beta.anonymous(), beta.email()).await;
    };
    let (mut statuses, ()) = tokio::join!(futures::future::join_all(guesses), others);
    statuses.sort_unstable();
    looked_at(&statuses, 10, began);
    // The account is not locked: its owner is let in with the next try that is given back.
    until("the right password is let in", || async {
        let body = credentials(email, PASSWORD);
        let answer = acme.anonymous().post("/v1/auth/login", body).await;
        match answer.status() {
            200 => true,
            _ => {
                answer.expect(429).refused(Code::RateLimited);
                false
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_address_typed_in_another_way_is_the_same_account_to_the_limit_too() {
    let world = World::shared().await;
    let began = Instant::now();
    let acme = world.tenant("iiii").await;
    let tries = (0..16_u32).map(|n| {
        // U+0130: PostgreSQL takes it for an I.
        let mut ways = (0..).map(|place| match n >> place & 1 {
            1 => '\u{130}',
            _ => 'I',
        });
        let typed = acme.email().chars().map(|letter| match letter {
            'i' => ways.next().unwrap(),
            other => other,
        });
        let body = credentials(&typed.collect::<String>(), "wrong");
        let door = acme.anonymous();
        async move { door.post("/v1/auth/login", body).await.status() }
    });
    let mut statuses = futures::future::join_all(tries).await;
    statuses.sort_unstable();
    // The tenth is the log-in of the owner before.
    looked_at(&statuses, 9, began);
    let beta = world.tenant("iii").await;
    let dotted = beta.email().replace('i', "\u{130}");
    log_in(&beta.anonymous(), &dotted).await;
}

#[tokio::test]
async fn a_refusal_leaves_when_every_refusal_leaves_and_not_when_its_work_is_done() {
    let world = World::shared().await;
    let acme = world.tenant("levelled").await;
    let nobody = world.anonymous().in_tenant("t_nobody_levelled");
    for door in [acme.anonymous(), nobody] {
        for (path, body) in [
            ("/v1/auth/login", credentials(acme.email(), "wrong")),
            ("/v1/auth/refresh", json!({ "refresh_token": "rt_unknown" })),
        ] {
            // It can only be late: that it is not early does not depend on the machine.
            let began = std::time::Instant::now();
            door.post(path, body).await.expect(401);
            let least = std::time::Duration::from_millis(200);
            assert!(began.elapsed() >= least, "{path}: {:?}", began.elapsed());
        }
    }
}

#[tokio::test]
async fn tries_are_limited_by_address_before_anything_is_looked_up() {
    let world = World::shared().await;
    // Known already: what is not known has a limit of its own.
    let from_one = world.tenant("guessed").await.anonymous();
    let (mut limited, began) = (0, Instant::now());
    let tries = (0..80).map(|n| {
        let door = from_one.clone();
        let body = credentials(&format!("{n}@x.example"), "wrong");
        async move { door.post("/v1/auth/login", body).await }
    });
    for answer in futures::future::join_all(tries).await {
        match answer.status() {
            429 => limited += 1,
            status => assert_eq!(status, 401, "{answer}"),
        }
    }
    // One more is let in for every second that it took.
    let given_back = 1 + began.elapsed().as_secs();
    assert!(
        (20_u64.saturating_sub(given_back)..=20).contains(&limited),
        "{limited} of 80 were over 60 a minute"
    );
}

#[tokio::test]
async fn users_are_added_within_the_rules() {
    let world = World::shared().await;
    let acme = world.tenant("users").await;
    let owner = acme.owner();
    let user = |email: &str| json!({ "email": email, "password": PASSWORD, "role": "viewer" });
    let with = |field: &str, value: Value| {
        let mut body = user(&format!("{:08x}@users.example", rand::random::<u32>()));
        body[field] = value;
        body
    };
    owner
        .post("/v1/users", user("ada@users.example"))
        .await
        .expect(201);
    let twice = owner.post("/v1/users", user("ADA@users.example")).await;
    twice.expect(409).refused(Code::Conflict);
    for body in [
        with("role", json!("emperor")),
        with("email", json!("nobody")),
        with("password", json!("short")),
        with("password", json!("users.example")),
        with("id", json!("usr_1")),
        with("permissions", json!(["*"])),
        with("status", json!("active")),
    ] {
        let answer = owner.post("/v1/users", &body).await;
        assert!(!answer.text().contains(PASSWORD), "{answer}");
        answer.expect(422).refused(Code::ValidationFailed);
    }
    let page = owner.get("/v1/users?limit=100").await.expect(200);
    assert_eq!(page.json()["data"].as_array().unwrap().len(), 2);
    assert!(!page.text().contains("argon2"), "{page}");
}

#[tokio::test]
async fn a_tier_limits_its_users_however_many_are_added_at_once() {
    let world = World::shared().await;
    let acme = world.tenant("seats").await;
    let path = format!("/v1/tenants/{}", acme.id());
    let overrides = json!({ "overrides": { "limits": { "users": 5 } } });
    let etag = world.operator().get(&path).await.header("etag").to_owned();
    let request = world
        .operator()
        .request(Method::PATCH, &path)
        .header("if-match", &etag);
    request.json(overrides).send().await.expect(200);
    until("the new limit is known", || async {
        acme.owner().get("/v1/me").await.json()["limits"]["users"] == 5
    })
    .await;
    let adds = (0..12).map(|n| {
        let body = json!({ "email": format!("{n}@seats.example"), "password": PASSWORD, "role": "viewer" });
        let owner = acme.owner();
        async move { owner.post("/v1/users", body).await }
    });
    let answers = futures::future::join_all(adds).await;
    let added = answers
        .iter()
        .filter(|answer| answer.status() == 201)
        .count();
    assert_eq!(added, 4);
    for answer in answers.iter().filter(|answer| answer.status() != 201) {
        answer.refused(Code::LimitReached);
    }
}

#[tokio::test]
async fn passwords_are_kept_as_argon2id_and_shown_nowhere() {
    let world = World::shared().await;
    let acme = world.tenant("hashes").await;
    let sql = "select password_hash from auth.account";
    let hashes = world.postgres().texts(acme.id().as_str(), sql).await;
    assert!(
        hashes
            .iter()
            .all(|hash| hash.starts_with("$argon2id$v=19$")),
        "{hashes:?}"
    );
    let kept = format!(
        "select plan::text from registry.operation where tenant_id = '{}'",
        acme.id()
    );
    for plan in world.postgres().texts("registry", &kept).await {
        assert!(
            !plan.contains("argon2id"),
            "an operation that is over keeps no hash: {plan}"
        );
    }
}

/// A setting of a service's defaults.
fn default_of(defaults: &str, path: &[&str]) -> toml::Value {
    let table: toml::Table = toml::from_str(defaults).unwrap();
    let mut found = toml::Value::Table(table);
    for name in path {
        found = found[*name].clone();
    }
    found
}

#[test]
fn a_password_costs_the_attacker_what_was_promised() {
    let app = app_service::config::SPEC.defaults;
    let platform = platform_service::config::SPEC.defaults;
    let number = |defaults, path: &[&str]| default_of(defaults, path).as_integer().unwrap();
    for (defaults, place) in [
        (app, &["auth", "passwords"][..]),
        (platform, &["passwords"][..]),
    ] {
        let of = |name| number(defaults, &[place, &[name]].concat());
        assert!(of("memory_kib") >= 19 * 1024, "{place:?}");
        assert!(of("iterations") >= 2, "{place:?}");
        assert!(of("parallelism") >= 1, "{place:?}");
    }
    let tries = default_of(app, &["auth", "sign_in_per_account"]);
    assert_eq!(tries.as_str(), Some("10/1m"));
}

#[tokio::test]
async fn a_hash_of_another_cost_is_made_anew_by_the_next_log_in() {
    let world = World::shared().await;
    let acme = world.tenant("rehash").await;
    let id = acme.id().as_str();
    let stored = async || {
        let sql = "select password_hash from auth.account";
        world.postgres().texts(id, sql).await.remove(0)
    };
    let today = stored().await;
    let cost = |hash: &str| hash.split('$').nth(3).unwrap().to_owned();
    let hasher = kit::passwords::Hasher::new(kit::passwords::PasswordCost::default()).unwrap();
    let password = contract::Secret::new(PASSWORD.to_owned());
    let other = hasher.hash_verified(&password).await.unwrap();
    assert_ne!(cost(&other), cost(&today));
    let sql = format!("update auth.account set password_hash = '{other}'");
    world.postgres().run(id, &sql).await;
    acme.anonymous()
        .post("/v1/auth/login", credentials(acme.email(), "wrong"))
        .await
        .expect(401);
    assert_eq!(stored().await, other, "a wrong password changes nothing");
    log_in(&acme.anonymous(), acme.email()).await;
    let renewed = stored().await;
    assert_eq!(cost(&renewed), cost(&today));
    log_in(&acme.anonymous(), acme.email()).await;
    assert_eq!(stored().await, renewed, "what is as it should be stays");
}

#[tokio::test]
async fn a_log_in_whose_hash_another_one_renews_meanwhile_is_let_in() {
    let world = World::shared().await;
    let acme = world.tenant("renewed").await;
    let id = acme.id().as_str();
    let sql = "select password_hash from auth.account";
    let renewed = world.postgres().texts(id, sql).await.remove(0);
    let hasher = kit::passwords::Hasher::new(kit::passwords::PasswordCost::default()).unwrap();
    let hashed = async |password: &str| {
        let password = contract::Secret::new(password.to_owned());
        hasher.hash_verified(&password).await.unwrap()
    };
    let (outdated, another) = (
        hashed(PASSWORD).await,
        hashed("quite another password").await,
    );
    let store = |hash: &str| format!("update auth.account set password_hash = '{hash}'");
    for (meanwhile, status) in [(&renewed, 200), (&another, 401)] {
        world.postgres().run(id, &store(&outdated)).await;
        let mut lock = world.postgres().lock(id, "auth.session").await;
        let (door, body) = (acme.anonymous(), credentials(acme.email(), PASSWORD));
        let login = tokio::spawn(async move { door.post("/v1/auth/login", body).await });
        // Its password was right, by what was stored then.
        let starting = "select count(*) from pg_stat_activity where datname = current_database()
             and wait_event_type = 'Lock' and query like '%insert into auth.session%'";
        until("its session is being started", || async {
            world.postgres().number(id, starting).await == 1
        })
        .await;
        lock.run(&store(meanwhile)).await;
        lock.commit().await;
        login.await.unwrap().expect(status);
    }
}
