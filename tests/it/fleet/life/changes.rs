//! Another password, another owner, another slug.

use app_service::{App, Module, auth, entries};
use contract::Code;
use contract::internal::{OwnershipAct, OwnershipRequest};
use futures::future::{BoxFuture, join_all};
use http::Method;
use kit::error::Problem;
use refinery::Migration;
use serde_json::{Value, json};
use sqlx::PgConnection;
use world::{Fault, Mode, Step, World, WorldOptions, until};

use super::{
    done, harness, has_one_password, is_still_its_owners, owners, path, post, rotate, tell,
    with_an_entry,
};
use crate::support::{entry, role_password, signup};

#[tokio::test]
async fn rotation_under_load_fails_no_request() {
    // No connection lives for long, so that passwords are needed all the time.
    let options = WorldOptions::default()
        .app_replicas(2)
        .app_setting("connections.idle", "1ms");
    let world = World::with(options).await;
    let acme = with_an_entry(&world).await;
    let before = role_password(&world, acme.id()).await;
    let over = tokio_util::sync::CancellationToken::new();
    let writers = (0..4).map(|number: usize| {
        let (over, owner) = (over.clone(), acme.owner().at(&world.app_url(number % 2)));
        async move {
            let mut written = 0;
            while !over.is_cancelled() {
                owner.post("/v1/entries", entry("steady")).await.expect(201);
                written += 1;
            }
            written
        }
    });
    let rotations = async {
        for _ in 0..3 {
            tell(&world.operator(), &acme, "/rotate").await.expect(200);
        }
        over.cancel();
    };
    let (written, ()) = futures::future::join(join_all(writers), rotations).await;
    let written: i64 = written.into_iter().sum();
    assert!(written > 10, "{written}");
    let id = acme.id().as_str();
    let kept = "select count(*) from entries.entry where title = 'steady'";
    assert_eq!(world.postgres().number(id, kept).await, written);
    let old = world.postgres().connect_as(id, before.expose(), id).await;
    assert!(old.is_err(), "the password of before opens nothing");
    has_one_password(&world, &acme).await;
}

#[tokio::test]
async fn a_password_that_changes_between_the_tries_of_both_lets_in() {
    let options = harness::patient()
        .app_setting("connections.open", "20s")
        .app_setting("connections.queue_wait", "20s");
    let world = World::with(options).await;
    let far = world.cluster_behind_proxy("far").await;
    let full = json!({ "status": "full" });
    let main = world.operator().patch("/v1/clusters/main", full).await;
    main.expect(200);
    let mut acme = Some(with_an_entry(&world).await);
    // Both are told to the replicas, and the server takes the old one.
    let case = rotate();
    let faults = case.fault(Step::Publish, Fault::HaltAfterLog);
    let (acme, rotation) = harness::halted(&world, &case, faults, &mut acme).await;
    acme.owner().get("/v1/entries").await.expect(200);
    let new = role_password(&world, acme.id()).await;
    let change = format!("alter role {} password '{}'", acme.id(), new.expose());
    let link = far.link();
    link.set(Mode::Delay(200..=200));
    let sessions = format!(
        "select pg_terminate_backend(pid, 30000) from pg_stat_activity where usename = '{}'",
        acme.id()
    );
    far.postgres().run("postgres", &sessions).await;
    let tried = link.accepted();
    let changed = async {
        until(
            "the new one was refused, and the other is tried",
            || async { link.accepted() >= tried + 2 },
        )
        .await;
        // That goes on when the password is the new one.
        link.set(Mode::Blackhole);
        far.postgres().run("postgres", &change).await;
        link.set(Mode::Pass);
    };
    let owner = acme.owner();
    let (answer, ()) = futures::join!(owner.get("/v1/entries"), changed);
    answer.expect(200);
    harness::run_out(&world, &rotation).await;
    harness::reaches(&world, &rotation, "done", "the rotation").await;
    acme.owner().get("/v1/entries").await.expect(200);
}

#[tokio::test]
async fn an_owner_is_somebody_with_an_account_or_a_first_password() {
    let world = World::shared().await;
    let acme = with_an_entry(&world).await;
    let operator = world.operator();
    let nobody = json!({ "to": "nobody@acme.example" });
    let refused = post(&operator, &acme, "/transfer", nobody).await;
    let refused = refused.expect(422).refused(Code::ValidationFailed);
    assert_eq!(refused.errors[0].pointer, "/password", "{refused:?}");
    let begun = format!("/v1/operations?tenant={}&kind=transfer", acme.id());
    let begun: Value = operator.get(&begun).await.expect(200).json();
    assert_eq!(begun["data"], json!([]), "nothing was begun");
    let weak = json!({ "to": "grace@acme.example", "password": "12345678" });
    post(&operator, &acme, "/transfer", weak)
        .await
        .expect(422)
        .refused(Code::ValidationFailed);
    is_still_its_owners(&world, &acme).await;
    let email = format!("editor@{}.example", acme.slug());
    let body = json!({ "email": email, "password": world::PASSWORD, "role": "editor" });
    acme.owner().post("/v1/users", body).await.expect(201);
    let both = json!({ "to": email.to_uppercase(), "others": "keep" });
    let answer = post(&operator, &acme, "/transfer", both).await;
    done(&operator, answer).await;
    let mut expected = [acme.email().to_owned(), email];
    expected.sort_unstable();
    assert_eq!(owners(&world, &acme).await, expected);
}

/// Writes down whatever it is asked.
fn note_act<'c>(
    db: &'c mut PgConnection,
    request: &'c OwnershipRequest,
) -> BoxFuture<'c, Result<(), Problem>> {
    Box::pin(async move {
        let act = match request.act {
            OwnershipAct::Look { .. } => "look",
            OwnershipAct::Give { .. } => "give",
            OwnershipAct::TakeBack => "take_back",
        };
        let noted = sqlx::query("insert into ledger.act (name) values ($1)").bind(act);
        noted.execute(db).await?;
        Ok(())
    })
}

#[tokio::test]
async fn a_look_whether_somebody_can_be_an_owner_leaves_nothing_that_a_module_wrote() {
    let options = WorldOptions::default().app(|| {
        let table = "create table ledger.act (name text not null);";
        let migrations = vec![Migration::unapplied("V1__ledger", table).unwrap()];
        App::new()
            .module(auth::module())
            .module(entries::module())
            .module(Module::new("ledger", migrations).on_ownership(note_act))
    });
    let world = World::with(options).await;
    let acme = with_an_entry(&world).await;
    let email = format!("editor@{}.example", acme.slug());
    let body = json!({ "email": email, "password": world::PASSWORD, "role": "editor" });
    acme.owner().post("/v1/users", body).await.expect(201);
    let operator = world.operator();
    // Without a password it is looked first.
    let answer = post(&operator, &acme, "/transfer", json!({ "to": email })).await;
    done(&operator, answer).await;
    let acts = world
        .postgres()
        .texts(acme.id().as_str(), "select name from ledger.act");
    assert_eq!(acts.await, ["give"]);
}

#[tokio::test]
async fn another_slug_and_labels_are_recorded_and_reach_the_replicas() {
    let world = World::shared().await;
    let acme = with_an_entry(&world).await;
    let beta = world.tenant("taken").await;
    let operator = world.operator();
    let patch = |body: Value| {
        let (operator, path) = (operator.clone(), path(&acme, ""));
        async move {
            let tag = operator.get(&path).await.expect(200);
            operator
                .request(Method::PATCH, &path)
                .header("if-match", tag.header("etag"))
                .json(body)
                .send()
                .await
        }
    };
    let renamed = format!("{}-new", acme.slug());
    let body = json!({ "slug": renamed, "labels": { "disk": "nvme" }, "tier": "premium" });
    let answer: Value = patch(body).await.expect(200).json();
    assert_eq!(answer["slug"], renamed.as_str());
    assert_eq!(answer["labels"]["disk"], "nvme");
    let route = format!("/internal/tenants/{}/db-info", acme.id());
    let route: Value = world.service().get(&route).await.expect(200).json();
    assert_eq!(route["slug"], renamed.as_str());
    assert_eq!(route["tier"]["name"], "premium");
    let path = format!("/v1/operations?tenant={}&kind=change", acme.id());
    let recorded: Value = operator.get(&path).await.expect(200).json();
    assert_eq!(recorded["data"][0]["state"], "done", "{recorded:#}");
    let malformed = beta.slug().to_uppercase();
    for (slug, code) in [
        (beta.slug(), Code::SlugTaken),
        ("admin", Code::SlugReserved),
        (malformed.as_str(), Code::ValidationFailed),
    ] {
        let refused = patch(json!({ "slug": slug })).await.refused(code);
        let proposal = refused.proposal.unwrap();
        assert_ne!(proposal, slug);
        let answer: Value = patch(json!({ "slug": proposal })).await.expect(200).json();
        assert_eq!(answer["slug"], proposal);
    }
    patch(json!({ "labels": { "": "x" } }))
        .await
        .expect(422)
        .refused(Code::ValidationFailed);
    // Nobody else gets the slug of before: its id is taken.
    let refused = world
        .visitor()
        .post("/v1/signup", signup(acme.slug()))
        .await;
    refused.expect(409).refused(Code::SlugTaken);
}
