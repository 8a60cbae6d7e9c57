//! The life of an operator key: its end, and when it was last used.
//!
//! Deliberately without waiting for a time to come: a test moves it in the registry.

use contract::Code;
use futures::future::join_all;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use world::{Answer, Faults, Speaker, World, until};

use crate::support::unique;

/// A key that may see tenants: its id, and who holds it.
async fn made(world: &World, expires_at: Option<&str>) -> (String, Speaker) {
    let body = json!({
        "name": unique("kept"), "scopes": ["tenants:read"], "expires_at": expires_at,
    });
    let made = world.operator().post("/v1/operator-keys", body).await;
    let made = made.expect(201).json();
    let holder = world.visitor().bearer(made["key"].as_str().unwrap());
    (made["id"].as_str().unwrap().to_owned(), holder)
}

/// The key as the registry has it.
fn row(id: &str) -> String {
    let uuid = id.strip_prefix("opr_").unwrap();
    format!("registry.operator_key where id = '{uuid}'")
}

async fn set(world: &World, id: &str, what: &str) {
    let row = row(id).replace(" where ", &format!(" set {what} where "));
    world
        .postgres()
        .run("registry", &format!("update {row}"))
        .await;
}

/// The key as operators see it.
async fn listed(world: &World, id: &str) -> Value {
    let mut after = String::new();
    loop {
        let path = format!("/v1/operator-keys?limit=100{after}");
        let page = world.operator().get(&path).await.expect(200).json();
        let keys = page["data"].as_array().unwrap();
        if let Some(key) = keys.iter().find(|key| key["id"] == id) {
            return key.clone();
        }
        assert_eq!(page["has_more"], true, "{id} is in no page");
        let last = keys.last().unwrap()["id"].as_str().unwrap();
        after = format!("&starting_after={last}");
    }
}

fn at(text: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(text.as_str().unwrap(), &Rfc3339).unwrap()
}

#[tokio::test]
async fn an_expired_key_is_refused_like_one_that_never_was() {
    let world = World::shared().await;
    let end = OffsetDateTime::now_utc() + Duration::hours(1);
    let end = end.format(&Rfc3339).unwrap();
    let (id, holder) = made(&world, Some(&end)).await;
    let (endless, _) = made(&world, None).await;
    assert!(listed(&world, &endless).await["expires_at"].is_null());
    let expires = at(&listed(&world, &id).await["expires_at"]);
    assert!((expires - at(&json!(end))).abs() < Duration::milliseconds(1));
    holder.get("/v1/tenants").await.expect(200);

    // This moment is its end.
    set(&world, &id, "expires_at = now()").await;
    let refused = holder.get("/v1/tenants").await.expect(401);
    let forged = world.visitor().bearer(&format!("opk_{}", "A".repeat(43)));
    let unknown = forged.get("/v1/tenants").await.expect(401);
    let words = |answer: &Answer| {
        let mut problem = answer.refused(Code::OperatorKeyInvalid);
        problem.request_id = None;
        serde_json::to_value(problem).unwrap()
    };
    assert_eq!(words(&refused), words(&unknown));
    let hints = world.logs().with("it has expired");
    assert!(hints.iter().any(|line| line.contains(&id)), "{hints:?}");
    for hint in &hints {
        assert!(!hint.contains(holder.token()), "{hint}");
    }
    // A poll token's door takes no key that has ended either.
    holder
        .get("/v1/operations/op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")
        .await
        .refused(Code::OperatorKeyInvalid);
}

#[tokio::test]
async fn no_key_ends_in_the_past() {
    let world = World::shared().await;
    let name = unique("ended");
    let ago = OffsetDateTime::now_utc() - Duration::seconds(1);
    for end in [
        ago.format(&Rfc3339).unwrap().as_str(),
        "1999-12-31T23:59:59Z",
        "9999-12-31T23:59:59-23:59",
        "tomorrow",
    ] {
        let body = json!({ "name": name, "scopes": ["tenants:read"], "expires_at": end });
        let answer = world.operator().post("/v1/operator-keys", body).await;
        let problem = answer.refused(Code::ValidationFailed);
        assert_eq!(problem.errors.len(), 1, "{end}: {problem:?}");
        assert_eq!(problem.errors[0].pointer, "/expires_at", "{end}");
    }
    let keys = format!("select count(*) from registry.operator_key where name = '{name}'");
    assert_eq!(world.postgres().number("registry", &keys).await, 0);
}

/// Notes of a key's use, and tries to note one of any key.
async fn noted(world: &World, id: &str) -> (i64, i64) {
    let from = row(id).replace("registry.operator_key", "public.noted");
    let notes = format!("select count(*) from {from}");
    let tries = "select count(*) from public.tried where who <> current_user";
    let postgres = world.postgres();
    (
        postgres.number("registry", &notes).await,
        postgres.number("registry", tries).await,
    )
}

/// Counts them from now on.
async fn watch(world: &World) {
    let count = "create table public.noted (id uuid not null);
         create table public.tried (who name not null default current_user);
         grant insert on public.noted, public.tried to public;
         create function public.note() returns trigger language plpgsql as $$
             begin insert into public.noted values (new.id); return null; end $$;
         create function public.try() returns trigger language plpgsql as $$
             begin insert into public.tried default values; return null; end $$;
         create trigger note after update of last_used_at on registry.operator_key for each row
             when (new.last_used_at > now() - interval '5 s') execute function public.note();
         create trigger try after update of last_used_at on registry.operator_key
             for each statement execute function public.try()";
    world.postgres().run("registry", count).await;
}

#[tokio::test]
async fn a_use_is_noted_once_a_minute_by_all_replicas_together() {
    let world = World::start().await;
    let other_replica = world.platform_replica(Faults::none()).await;
    let (id, holder) = made(&world, None).await;
    let (other_id, other) = made(&world, None).await;
    assert!(listed(&world, &id).await["last_used_at"].is_null());
    watch(&world).await;
    let there = holder.clone().at(&other_replica.url());
    let uses = async || {
        for _ in 0..8 {
            let (here, there) = (holder.get("/v1/tenants"), there.get("/v1/tenants"));
            for answer in join_all([here, there]).await {
                answer.expect(200);
            }
        }
    };
    // Each replica finds that it is to note one, and both may write at the same moment.
    let lock = "lock table registry.operator_key in share mode";
    let locked = world.postgres().begin("registry", lock).await;
    uses().await;
    let waiting = "select count(*) from pg_stat_activity
         where wait_event_type = 'Lock' and query like '%last_used_at%'";
    until("both replicas wait", || async {
        world.postgres().number("registry", waiting).await == 2
    })
    .await;
    let begun = OffsetDateTime::now_utc();
    locked.commit().await;
    until("both have tried", || async {
        world.postgres().number("registry", waiting).await == 0 && noted(&world, &id).await.1 >= 2
    })
    .await;
    assert_eq!(noted(&world, &id).await.0, 1);
    let last_used = at(&listed(&world, &id).await["last_used_at"]);
    assert!((last_used - begun).abs() < Duration::minutes(1));

    // Whatever earlier uses have tried is there once a later one of another key is noted.
    let others_use = async || {
        set(&world, &other_id, "last_used_at = null").await;
        until("the other key's use is noted", || async {
            other.get("/v1/tenants").await.expect(200);
            !listed(&world, &other_id).await["last_used_at"].is_null()
        })
        .await;
    };
    set(&world, &id, "last_used_at = now() - interval '30 s'").await;
    let (_, before) = noted(&world, &id).await;
    uses().await;
    others_use().await;
    let (notes, tries) = noted(&world, &id).await;
    assert_eq!(notes, 1);
    // The other key's, and those of the key that lists.
    assert!(tries - before < 8, "{} statements", tries - before);
    set(&world, &id, "last_used_at = now() - interval '61 s'").await;
    until("the use is noted again", || async {
        uses().await;
        noted(&world, &id).await.0 == 2
    })
    .await;
}

#[tokio::test]
async fn noting_a_use_is_in_no_requests_way() {
    let world = World::start().await;
    let (id, holder) = made(&world, None).await;
    // More requests than there are connections for callers.
    let use_it = async || {
        for _ in 0..20 {
            holder.get("/v1/tenants").await.expect(200);
        }
    };
    let lock = "lock table registry.operator_key in share mode";
    let locked = world.postgres().begin("registry", lock).await;
    use_it().await;
    locked.commit().await;
    // At once and for itself: a use that waited for the lock may be noted just now.
    let unused = row(&id).replace(" where ", " set last_used_at = null where ");
    let refuse = format!(
        "begin;
         lock table registry.operator_key in share row exclusive mode;
         update {unused};
         create function public.refuse() returns trigger language plpgsql as $$
             begin raise exception 'nothing is noted'; end $$;
         create trigger refuse before update on registry.operator_key
             for each row execute function public.refuse();
         commit"
    );
    world.postgres().run("registry", &refuse).await;
    let refused = async || {
        let lines = world.logs().with("was not noted");
        lines.iter().any(|line| line.contains(&id))
    };
    until("the log says so", || async {
        use_it().await;
        refused().await
    })
    .await;
    let drop = "drop function public.refuse() cascade";
    world.postgres().run("registry", drop).await;
    until("a later use is noted", || async {
        use_it().await;
        !listed(&world, &id).await["last_used_at"].is_null()
    })
    .await;
}
