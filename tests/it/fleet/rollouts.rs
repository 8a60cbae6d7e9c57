//! Roll-outs: canaries first, failures that halt, steering, kills, and what a halted one means to its
//! tenants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use app_service::{App, Module, auth, entries};
use contract::Code;
use contract::operator::upkeep::Diagnosis;
use refinery::Migration;
use serde_json::{Value, json};
use world::{
    Answer, DEADLINE, Faults, OpenTransaction, TenantHandle, World, WorldOptions, eventually, until,
};

use super::harness::{patient, reaches, roomy, run_out};
use crate::support::away;

mod calls;
mod failing;
mod faults;
mod load;
mod moving;
mod places;

pub(super) use faults::case;

const FIRST: &str =
    "create table ledger.line (id int not null, constraint line_key primary key (id));";
/// Works unless a tenant has a line that it cannot take.
const SECOND: &str =
    "-- Bounded.\nalter table ledger.line add constraint line_id_check check (id < 100);";
pub(crate) const POISON: &str = "insert into ledger.line values (500)";
pub(crate) const CURE: &str = "delete from ledger.line";

/// A fleet of which a new release with a second migration waits for its roll-out.
pub(crate) struct Fleet {
    pub(crate) world: World,
    second: Arc<AtomicBool>,
    pub(crate) tenants: Vec<TenantHandle>,
}

impl Fleet {
    /// So many tenants, in the order of their ids; the new release serves none that is behind.
    pub(crate) async fn with(options: WorldOptions, tenants: usize) -> Self {
        Self::served_by(options, tenants, |ledger| ledger).await
    }

    /// The same with what else the module says of itself.
    async fn served_by(
        options: WorldOptions,
        tenants: usize,
        ledger: fn(Module) -> Module,
    ) -> Self {
        let second = Arc::new(AtomicBool::new(false));
        let switch = Arc::clone(&second);
        let options = options
            .app_setting("migrations.on_demand", "minimum")
            .app(move || {
                let mut migrations = vec![Migration::unapplied("V1__ledger", FIRST).unwrap()];
                let is_second = switch.load(Ordering::SeqCst);
                if is_second {
                    migrations.push(Migration::unapplied("V2__bounded", SECOND).unwrap());
                }
                App::new()
                    .module(auth::module())
                    .module(entries::module())
                    .module(ledger(Module::new("ledger", migrations)))
            });
        let world = World::with(options).await;
        let mut fleet = Vec::new();
        for number in 0..tenants {
            fleet.push(world.tenant(&format!("fleet{number}")).await);
        }
        fleet.sort_by(|one, next| one.id().cmp(next.id()));
        Self {
            world,
            second,
            tenants: fleet,
        }
    }

    /// Replaces app-service by its second release.
    pub(crate) async fn release(&self) {
        self.second.store(true, Ordering::SeqCst);
        let newer = self.world.add_app_replica().await;
        self.world.take_app_replica(newer - 1).stop().await;
    }

    pub(crate) async fn on(&self, tenant: usize, sql: &str) {
        let database = self.tenants[tenant].id().as_str();
        self.world.postgres().run(database, sql).await;
    }

    /// Lets no migration of a tenant go on until it is released.
    pub(crate) async fn held_up(&self, tenant: usize) -> OpenTransaction {
        let database = self.tenants[tenant].id().as_str();
        self.world.postgres().lock(database, "ledger.line").await
    }

    async fn start(&self, request: Value) -> String {
        let answer = self
            .world
            .operator()
            .post("/v1/rollouts?wait=none", request)
            .await;
        answer.expect(202).json()["id"].as_str().unwrap().to_owned()
    }

    async fn order(&self, id: &str, order: &str) -> Answer {
        let path = format!("/v1/rollouts/{id}/{order}");
        let operator = self.world.operator();
        operator.request(http::Method::POST, &path).send().await
    }

    async fn rollout(&self, id: &str) -> Value {
        let path = format!("/v1/rollouts/{id}");
        self.world.operator().get(&path).await.expect(200).json()
    }

    /// Waits until the roll-out looks as wanted.
    async fn becomes(&self, id: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(DEADLINE, what, || async {
            let rollout = self.rollout(id).await;
            wanted(&rollout).then_some(rollout)
        })
        .await
    }

    async fn ends(&self, id: &str, state: &str) -> Value {
        self.becomes(id, state, |rollout| {
            rollout["state"] == state && (state == "halted" || !rollout["finished_at"].is_null())
        })
        .await
    }

    /// The states of the tenants, in the order of their ids.
    async fn states(&self, id: &str) -> Vec<String> {
        let path = format!("/v1/rollouts/{id}/tenants?limit=100");
        let page = self.world.operator().get(&path).await.expect(200).json();
        let states = page["data"].as_array().unwrap().iter();
        states
            .map(|tenant| tenant["state"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn versions(&self, tenant: usize) -> Vec<String> {
        let sql = "select version::text from ledger.refinery_schema_history order by version";
        let database = self.tenants[tenant].id().as_str();
        self.world.postgres().texts(database, sql).await
    }

    /// When each tenant had its last turn, as the registry says.
    async fn turns(&self, column: &str) -> Vec<String> {
        let sql = format!(
            "select coalesce({column}::text, '') from registry.rollout_tenant order by tenant_id"
        );
        self.world.postgres().texts("registry", &sql).await
    }
}

#[tokio::test]
async fn canaries_first_then_waves_and_nothing_twice() {
    let fleet = Fleet::with(WorldOptions::default(), 4).await;
    fleet.release().await;
    let canary = fleet.tenants[3].id();
    let request = json!({
        "title": "Bounded lines",
        "waves": [{ "tenants": [canary] }, { "tier": "standard" }],
        "concurrency": 2,
    });
    let operator = fleet
        .world
        .operator()
        .header("idempotency-key", "bounded-lines");
    let answer = operator
        .post("/v1/rollouts", &request)
        .await
        .expect(200)
        .json();
    let id = answer["id"].as_str().unwrap();
    assert_eq!(answer["result"]["tally"]["done"], 4);
    assert_eq!(answer["progress"]["done"], 4);
    let rollout = fleet.rollout(id).await;
    assert_eq!(rollout["state"], "done");
    assert_eq!(rollout["target"]["ledger"], 2);
    for tenant in 0..4 {
        assert_eq!(fleet.versions(tenant).await, ["1", "2"]);
    }
    assert_eq!(fleet.turns("wave").await, ["1", "1", "1", "0"]);
    let started = fleet.turns("started_at").await;
    assert!(
        started[..3].iter().all(|other| *other > started[3]),
        "{started:?}"
    );
    // The registry knows, and the replicas hear of it.
    let path = format!("/v1/tenants/{canary}");
    let tenant = fleet.world.operator().get(&path).await.expect(200).json();
    assert_eq!(tenant["schema_versions"]["ledger"], 2, "{tenant}");
    fleet.tenants[3]
        .owner()
        .at(&fleet.world.app_url(0))
        .get("/v1/entries")
        .await
        .expect(200);
    // The same request again is the same roll-out; another finds nothing to do.
    let again = operator
        .post("/v1/rollouts", &request)
        .await
        .expect(200)
        .json();
    assert_eq!(again["id"], id);
    let request = json!({ "filter": { "ids": [canary] } });
    let another = fleet.world.operator().post("/v1/rollouts", request).await;
    let tally = another.expect(200).json()["result"]["tally"].clone();
    assert_eq!((&tally["skipped"], &tally["done"]), (&json!(1), &json!(0)));
    let list = fleet
        .world
        .operator()
        .get("/v1/rollouts")
        .await
        .expect(200)
        .json();
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
    assert_eq!(list["data"][1]["id"], id);
}

#[tokio::test]
async fn failures_past_the_share_halt_and_nobody_else_is_hurt() {
    let fleet = Fleet::with(WorldOptions::default(), 8).await;
    for sick in 0..3 {
        fleet.on(sick, POISON).await;
    }
    fleet.release().await;
    // Whoever writes down what came of a turn, the next one does not wait for it.
    let slow = "create function public.slow() returns trigger language plpgsql as $$
         begin perform pg_sleep(0.5); return new; end $$;
         create trigger slow before update on registry.rollout_tenant for each row
             when (new.state = 'failed') execute function public.slow()";
    fleet.world.postgres().run("registry", slow).await;
    let request = json!({ "concurrency": 1, "halt_share": 0.3 });
    let id = fleet.start(request).await;
    let rollout = fleet.ends(&id, "halted").await;
    assert_eq!(rollout["tally"]["failed"], 3, "{rollout}");
    assert!(
        rollout["tally"]["pending"].as_u64().unwrap() > 0,
        "{rollout}"
    );
    assert!(rollout["halted_reason"].as_str().unwrap().contains('3'));
    let path = format!("/v1/rollouts/{id}/tenants?state=failed");
    let failed = fleet.world.operator().get(&path).await.expect(200).json();
    let failure = &failed["data"][0]["failure"];
    assert_eq!(failure["owner"], "ledger");
    assert_eq!(failure["migration"], "V2__bounded");
    assert_eq!(failure["sqlstate"], "23514");
    let statement = "alter table ledger.line add constraint line_id_check check (id < 100)";
    assert_eq!(failure["statement"], statement);
    let message = failure["message"].as_str().unwrap();
    assert!(
        message.contains("line_id_check") && !message.contains("alter table"),
        "{message}"
    );
    let path = format!("/v1/tenants/{}", fleet.tenants[0].id());
    let tenant = fleet.world.operator().get(&path).await.expect(200).json();
    assert_eq!(tenant["migration_failures"][0]["sqlstate"], "23514");
    assert_eq!(tenant["migration_failures"][0]["statement"], statement);
    // This release cannot serve whoever is below its minimum, and nobody tries what fails for others.
    let waiting = &fleet.tenants[7];
    let owner = waiting.owner().at(&fleet.world.app_url(0));
    owner
        .get("/v1/entries")
        .await
        .expect(503)
        .refused(Code::RolloutHalted);
    assert_eq!(fleet.versions(7).await, ["1"]);
    // An operator goes past the failures: the rest has its turn, the failed do not.
    let tries = fleet.turns("attempts").await;
    fleet.order(&id, "resume").await.expect(200);
    let rollout = fleet.ends(&id, "done").await;
    assert_eq!(rollout["tally"]["failed"], 3);
    assert_eq!(rollout["tally"]["done"], 5);
    assert_eq!(fleet.turns("attempts").await, tries);
    eventually(DEADLINE, "those are served", || async {
        (owner.get("/v1/entries").await.status() == 200).then_some(())
    })
    .await;
    // Once the cause is gone, the failed have another turn.
    for sick in 0..3 {
        fleet.on(sick, CURE).await;
    }
    let again = fleet.order(&id, "retry-failed").await.expect(200).json();
    assert_ne!(again["operation"], again["id"]);
    let rollout = fleet.ends(&id, "done").await;
    assert_eq!(rollout["tally"]["done"], 8, "{rollout}");
    let tenant = fleet.world.operator().get(&path).await.expect(200).json();
    assert_eq!(tenant["migration_failures"], json!([]));
    assert_eq!(fleet.versions(0).await, ["1", "2"]);
    fleet
        .order(&id, "retry-failed")
        .await
        .expect(409)
        .refused(Code::Conflict);
}

#[tokio::test]
async fn what_a_list_shows_is_what_the_same_words_roll_out_to() {
    let fleet = Fleet::with(WorldOptions::default(), 2).await;
    fleet.release().await;
    let operator = fleet.world.operator();
    let chosen = &fleet.tenants[1];
    // Part of the owner's address, which neither id nor company has.
    let text = format!("NER@{}", &chosen.slug()[..chosen.slug().len() - 1]);
    for text in [&text, chosen.slug(), chosen.email()] {
        let path = format!("/v1/tenants?schema=behind&text={text}");
        let list = operator.get(&path).await.expect(200).json();
        let listed: Vec<&Value> = list["data"].as_array().unwrap().iter().collect();
        let ids: Vec<&Value> = listed.iter().map(|tenant| &tenant["id"]).collect();
        let request = json!({ "filter": { "text": text, "schema": "behind" } });
        let preview = operator.post("/v1/rollouts?dry_run=true", request).await;
        let preview = preview.expect(200).json();
        assert_eq!(preview["waves"][0]["tenants"], json!(ids), "{text}");
        assert!(ids.contains(&&json!(chosen.id())), "{text}: {list}");
    }
}

#[tokio::test]
async fn a_roll_out_is_forgotten_with_the_operations_of_its_age() {
    let fleet = Fleet::with(WorldOptions::default(), 1).await;
    let operator = fleet.world.operator();
    let mut made = Vec::new();
    for _ in 0..3 {
        let answer = operator.post("/v1/rollouts", json!({})).await.expect(200);
        made.push(answer.json()["id"].as_str().unwrap().to_owned());
    }
    let registry = fleet.world.postgres();
    for (id, age) in made.iter().zip(["90 days 1 s", "90 days 1 s", "89 days"]) {
        let passes = format!(
            "update registry.rollout set finished_at = now() - interval '{age}'
             where id = '{}'",
            id.trim_start_matches("op_")
        );
        registry.run("registry", &passes).await;
    }
    // As if somebody had the failed tenants of the second one tried again.
    let again = format!(
        "update registry.operation set state = 'stuck', finished_at = null where id = '{}'",
        made[1].trim_start_matches("op_")
    );
    registry.run("registry", &again).await;
    // Whoever starts forgets soon.
    let replica = fleet.world.platform_replica(Faults::none()).await;
    let path = format!("/v1/rollouts/{}", made[0]);
    until("ninety days are over", || async {
        operator.get(&path).await.status() == 404
    })
    .await;
    replica.stop().await;
    for kept in &made[1..] {
        assert_eq!(fleet.states(kept).await, ["skipped"]);
    }
    let rows = "select count(*) from registry.rollout_tenant";
    assert_eq!(registry.number("registry", rows).await, 2);
}

#[tokio::test]
async fn a_roll_out_that_names_nobody_is_refused() {
    let world = World::shared().await;
    let operator = world.operator();
    for (body, field) in [
        (
            json!({ "waves": [{ "tenants": ["t_nobody_at_all"] }] }),
            "/waves/0/tenants/0",
        ),
        (
            json!({ "waves": [{ "percent": 5 }, { "tier": "gold" }] }),
            "/waves/1/tier",
        ),
        (
            json!({ "waves": [{ "cluster": "nowhere" }] }),
            "/waves/0/cluster",
        ),
        (
            json!({ "filter": { "ids": ["t_nobody_at_all"] } }),
            "/filter/ids/0",
        ),
    ] {
        let answer = operator.post("/v1/rollouts", body).await;
        assert_eq!(
            answer.refused(Code::ValidationFailed).errors[0].pointer,
            field
        );
    }
    for (path, body) in [
        (
            "/v1/query",
            json!({ "sql": "select 1", "filter": { "tier": "gold" } }),
        ),
        ("/v1/drift", json!({ "filter": { "tier": "gold" } })),
        (
            "/v1/keys/credentials/rotate",
            json!({ "filter": { "tier": "gold" } }),
        ),
    ] {
        let answer = operator.post(path, body).await;
        assert_eq!(
            answer.refused(Code::ValidationFailed).errors[0].pointer,
            "/filter/tier"
        );
    }
}

#[tokio::test]
async fn one_failed_canary_halts_and_an_abort_ends_it() {
    let fleet = Fleet::with(WorldOptions::default(), 3).await;
    fleet.on(0, POISON).await;
    fleet.release().await;
    let request = json!({ "waves": [{ "tenants": [fleet.tenants[0].id()] }] });
    let id = fleet.start(request).await;
    fleet.ends(&id, "halted").await;
    assert_eq!(fleet.states(&id).await, ["failed", "pending", "pending"]);
    let second = fleet.world.operator().post("/v1/rollouts", json!({})).await;
    let second = second.expect(409).refused(Code::Conflict).detail.unwrap();
    assert!(second.contains(&id), "{second}");
    let doctor = fleet.world.operator().get("/v1/doctor").await.expect(200);
    let doctor: Vec<Diagnosis> = doctor.parse();
    for check in ["rollout", "tenants_behind"] {
        let one = doctor.iter().find(|one| one.check == check).unwrap();
        let mend = one.mend.as_deref().unwrap();
        assert!(mend.contains(&format!("rollouts retry {id}")), "{one:?}");
        assert!(!mend.contains("rollouts start"), "{one:?}");
    }
    fleet.order(&id, "abort").await.expect(200);
    let rollout = fleet.ends(&id, "aborted").await;
    assert_eq!(rollout["tally"]["pending"], 2);
    for order in ["resume", "pause", "retry-failed"] {
        fleet
            .order(&id, order)
            .await
            .expect(409)
            .refused(Code::Conflict);
    }
    // What is not halted any more is migrated on demand again.
    let owner = fleet.tenants[1].owner().at(&fleet.world.app_url(0));
    eventually(DEADLINE, "it is served", || async {
        (owner.get("/v1/entries").await.status() == 200).then_some(())
    })
    .await;
    // Of a small fleet each counts: no failure is too few for a share of none, with nobody left either.
    let id = fleet.start(json!({ "halt_share": 0 })).await;
    let rollout = fleet.ends(&id, "halted").await;
    assert_eq!(rollout["tally"]["failed"], 1, "{rollout}");
    assert_eq!(rollout["tally"]["pending"], 0, "{rollout}");
    // An abort is over when it is answered: the next one can be started.
    fleet.order(&id, "abort").await.expect(200);
    fleet.on(0, CURE).await;
    let id = fleet.start(json!({ "halt_share": 0 })).await;
    fleet.ends(&id, "done").await;
}

#[tokio::test]
async fn a_roll_out_that_is_over_waits_for_the_one_that_is_not() {
    let fleet = Fleet::with(WorldOptions::default(), 2).await;
    fleet.on(0, POISON).await;
    fleet.release().await;
    let request = json!({ "halt_share": 0 });
    let first = fleet.start(request.clone()).await;
    fleet.ends(&first, "halted").await;
    fleet.order(&first, "resume").await.expect(200);
    fleet.ends(&first, "done").await;
    let second = fleet.start(request).await;
    fleet.ends(&second, "halted").await;
    let again = fleet.order(&first, "retry-failed").await;
    let words = again.expect(409).refused(Code::Conflict).detail.unwrap();
    assert!(words.contains(&second), "{words}");
}

#[tokio::test]
async fn whose_turn_is_asked_for_at_the_last_moment_can_be_asked_for_again() {
    let fleet = Fleet::with(WorldOptions::default(), 2).await;
    fleet.on(0, POISON).await;
    fleet.release().await;
    let id = fleet.start(json!({ "halt_share": 1 })).await;
    let registry = fleet.world.postgres();
    let row = "select from registry.rollout for update";
    let mut asks = registry.begin("registry", row).await;
    until("the roll-out is about to end", || async {
        let ends = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'
            and query like '%update registry.rollout%finished_at%'";
        registry.number("postgres", ends).await == 1
    })
    .await;
    asks.run("update registry.rollout_tenant set state = 'pending' where state = 'failed'")
        .await;
    asks.commit().await;
    fleet.ends(&id, "done").await;
    assert_eq!(fleet.states(&id).await, ["failed", "done"]);
    fleet.on(0, CURE).await;
    fleet.order(&id, "retry-failed").await.expect(200);
    fleet.ends(&id, "done").await;
    assert_eq!(fleet.states(&id).await, ["done", "done"]);
}

#[tokio::test]
async fn a_pause_lets_those_that_run_end_and_events_tell_all() {
    let fleet = Fleet::with(WorldOptions::default(), 4).await;
    fleet.on(1, POISON).await;
    fleet.release().await;
    let lock = fleet.held_up(0).await;
    let id = fleet
        .start(json!({ "concurrency": 1, "halt_share": 1.0 }))
        .await;
    let events = tokio::spawn({
        let operator = fleet.world.operator();
        let path = format!("/v1/rollouts/{id}/events");
        async move { operator.get(&path).await.expect(200) }
    });
    fleet
        .becomes(&id, "one runs", |rollout| {
            rollout["tally"]["running"].as_u64() > Some(0)
        })
        .await;
    fleet.order(&id, "pause").await.expect(200);
    fleet
        .becomes(&id, "the others are given back", |rollout| {
            rollout["tally"]["running"] == 1
        })
        .await;
    lock.commit().await;
    let rollout = fleet
        .becomes(&id, "that one is done", |rollout| {
            rollout["tally"]["done"] == 1 && rollout["tally"]["running"] == 0
        })
        .await;
    assert_eq!(rollout["state"], "paused");
    assert_eq!(rollout["tally"]["pending"], 3);
    fleet.order(&id, "resume").await.expect(200);
    let rollout = fleet.ends(&id, "done").await;
    assert_eq!(rollout["tally"]["done"], 3);
    assert_eq!(rollout["tally"]["failed"], 1);
    let events = events.await.unwrap();
    assert_eq!(events.header("content-type"), "text/event-stream");
    let text = events.text();
    let names: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    assert_eq!(
        names.iter().filter(|name| **name == "tenant").count(),
        1,
        "{text}"
    );
    assert_eq!(names.first(), Some(&"wave"), "{text}");
    assert_eq!(names.last(), Some(&"end"), "{text}");
    assert!(text.contains(r#""sqlstate":"23514""#), "{text}");
}

#[tokio::test]
async fn a_killed_platform_goes_on_with_the_rest_alone() {
    const ALL: usize = 40;
    const POISONED: usize = 20;
    /// What fails ends its call, so what comes after it is the first of one: those before are known to be done.
    const HELD: usize = POISONED + 1;
    let fleet = Fleet::with(patient(), ALL).await;
    fleet.on(POISONED, POISON).await;
    fleet.release().await;
    let lock = fleet.held_up(HELD).await;
    let request = json!({ "concurrency": 1, "halt_share": 0.5 });
    let id = fleet.start(request).await;
    fleet
        .becomes(
            &id,
            "all before the one that is held up had their turn",
            |rollout| rollout["tally"]["done"] == HELD - 1 && rollout["tally"]["failed"] == 1,
        )
        .await;
    let before = fleet.turns("started_at").await;
    fleet.world.kill_platform();
    run_out(&fleet.world, &id).await;
    lock.commit().await;
    fleet.world.start_platform().await;
    let rollout = fleet.ends(&id, "done").await;
    assert_eq!(rollout["tally"]["done"], ALL - 1, "{rollout}");
    let after = fleet.turns("started_at").await;
    assert_eq!(
        before[..HELD],
        after[..HELD],
        "who had a turn had no other one"
    );
    for tenant in 0..ALL {
        let reached: &[&str] = match tenant {
            POISONED => &["1"],
            _ => &["1", "2"],
        };
        assert_eq!(fleet.versions(tenant).await, reached);
    }
}

#[tokio::test]
async fn a_tenant_without_its_database_is_its_own_trouble() {
    let fleet = Fleet::with(WorldOptions::default(), 3).await;
    fleet.release().await;
    away(&fleet.world, &fleet.tenants[1]).await;
    let id = fleet.start(json!({ "halt_share": 1.0 })).await;
    let rollout = fleet.ends(&id, "done").await;
    assert_eq!(
        fleet.states(&id).await,
        ["done", "failed", "done"],
        "{rollout}"
    );
    let path = format!("/v1/rollouts/{id}/tenants?state=failed");
    let failed = fleet.world.operator().get(&path).await.expect(200).json();
    assert!(
        failed["data"][0]["failure"]["message"].is_string(),
        "{failed}"
    );
}

#[tokio::test]
async fn senseless_roll_outs_are_refused() {
    let fleet = Fleet::with(WorldOptions::default(), 0).await;
    for (request, pointer) in [
        (json!({ "concurrency": 0 }), "/concurrency"),
        (json!({ "halt_share": 2 }), "/halt_share"),
        (json!({ "waves": [{ "percent": 0 }] }), "/waves/0"),
        (
            json!({ "filter": { "status": "deleted" } }),
            "/filter/status",
        ),
    ] {
        let answer = fleet.world.operator().post("/v1/rollouts", request).await;
        let problem = answer.expect(422).refused(Code::ValidationFailed);
        assert_eq!(problem.errors[0].pointer, pointer);
    }
    let nobody = "op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f";
    for order in ["pause", "resume", "abort", "retry-failed"] {
        fleet.order(nobody, order).await.expect(404);
    }
    // A fleet of nobody is rolled out at once.
    let answer = fleet.world.operator().post("/v1/rollouts", json!({})).await;
    assert_eq!(answer.expect(200).json()["state"], "done");
}

#[tokio::test]
async fn a_cancelled_operation_aborts_its_roll_out() {
    let fleet = Fleet::with(roomy(), 2).await;
    fleet.release().await;
    let lock = fleet.held_up(0).await;
    let id = fleet.start(json!({ "concurrency": 1 })).await;
    fleet
        .becomes(&id, "one runs", |rollout| {
            rollout["tally"]["running"].as_u64() > Some(0)
        })
        .await;
    let path = format!("/v1/operations/{id}/cancel");
    let operator = fleet.world.operator();
    let cancelled = operator.request(http::Method::POST, &path).send().await;
    assert_eq!(cancelled.status(), 202, "{cancelled}");
    lock.commit().await;
    fleet.ends(&id, "aborted").await;
    reaches(&fleet.world, &id, "done", "an aborted roll-out").await;
}
