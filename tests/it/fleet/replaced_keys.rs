//! Keys and passwords that are replaced while requests go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use adapters::secret_store::{ClusterRole, KeyRing, SealedStore, SecretStore, SecretSubject};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use contract::Code;
use contract::secret::SecretRef;
use http::Method;
use serde_json::json;
use uuid::Uuid;
use world::{Answer, OperationKind, Speaker, Step, TenantHandle, World, WorldOptions, until};

use super::harness::{self, Case};
use crate::support::entry;

/// Writes of a tenant that go on until they are stopped; counts those that were served.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    running: tokio::task::JoinHandle<Vec<String>>,
}

impl Load {
    fn start(owner: Speaker) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicU64::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&served));
        let running = tokio::spawn(async move {
            let mut failures = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let answer = owner.post("/v1/entries", entry("Load")).await;
                if answer.status() == 201 {
                    counted.fetch_add(1, Ordering::Relaxed);
                } else {
                    failures.push(answer.to_string());
                }
            }
            failures
        });
        Self {
            stop,
            served,
            running,
        }
    }

    async fn served_more(&self) {
        let before = self.served.load(Ordering::Relaxed);
        until("requests are served", || async {
            self.served.load(Ordering::Relaxed) > before + 3
        })
        .await;
    }

    /// Stops; no request has failed, and the tenant has what was acknowledged.
    async fn has_lost_nothing(self, world: &World, tenant: &TenantHandle) {
        self.stop.store(true, Ordering::Relaxed);
        assert_eq!(self.running.await.unwrap(), Vec::<String>::new());
        let kept = "select count(*) from entries.entry where title = 'Load'";
        let kept = world.postgres().number(tenant.id().as_str(), kept).await;
        let served = self.served.load(Ordering::Relaxed);
        assert_eq!(kept.unsigned_abs(), served, "{}", tenant.id());
    }
}

fn key(id: &str) -> String {
    format!("{id}:{}", STANDARD.encode(rand::random::<[u8; 32]>()))
}

fn store(ring: &str) -> SecretStore {
    SecretStore::Sealed(SealedStore::new(KeyRing::parse(ring).unwrap()))
}

/// Seals everything with a key that only opens from now on, as it was before another came first.
async fn seal_with(world: &World, ring: &str, older: &str) {
    let (both, old) = (store(ring), store(older));
    let anew = async |subject: &SecretSubject, text: String| -> String {
        let secret = both.open(subject, &SecretRef(text)).await.unwrap();
        old.put(subject, "v", &secret).await.unwrap().0
    };
    let postgres = world.postgres();
    let rows = "select id || ' ' || credentials[1] from registry.tenant where credentials <> '{}'";
    for row in postgres.texts("registry", rows).await {
        let (id, text) = row.split_once(' ').unwrap();
        let subject = SecretSubject::Tenant(id.parse().unwrap());
        let sealed = anew(&subject, text.to_owned()).await;
        let sql =
            format!("update registry.tenant set credentials = '{{{sealed}}}' where id = '{id}'");
        postgres.run("registry", &sql).await;
    }
    for (column, role) in [
        ("platform_credential", ClusterRole::Platform),
        ("schema_credential", ClusterRole::Schema),
        ("query_credential", ClusterRole::Query),
    ] {
        let sql = format!("select {column} from registry.cluster");
        let text = postgres.texts("registry", &sql).await.remove(0);
        let subject = SecretSubject::Cluster("main".parse().unwrap(), role);
        let sealed = anew(&subject, text).await;
        let sql = format!("update registry.cluster set {column} = '{sealed}'");
        postgres.run("registry", &sql).await;
    }
    let text = "select private_key from registry.signing_key";
    let text = postgres.texts("registry", text).await.remove(0);
    let sealed = anew(&SecretSubject::SigningKey, text).await;
    let sql = format!("update registry.signing_key set private_key = '{sealed}'");
    postgres.run("registry", &sql).await;
}

#[tokio::test]
async fn reseal_leaves_no_box_under_the_old_key_and_fails_no_request() {
    let (new, old) = (key("k2"), key("k1"));
    let ring = format!("{new},{old}");
    let options = WorldOptions::default()
        .stock_level(1)
        .platform_setting("sealing.keys", &ring)
        .app_setting("sealing.keys", &ring)
        .app_setting("tenants.fresh", "200ms");
    let world = World::with(options).await;
    let acme = world.tenant("sealed-anew").await;
    let beta = world.tenant("sealed-anew").await;
    let postgres = world.postgres();
    until("the login for questions is made", || async {
        let sql = "select count(*) from registry.cluster where query_credential is not null";
        postgres.number("registry", sql).await == 1
    })
    .await;
    seal_with(&world, &ring, &old).await;
    // One that nobody can open, one in the plan of an operation that nobody runs, and one of theirs.
    let operation = Uuid::now_v7();
    let subject = SecretSubject::Operation(contract::OperationId::from_uuid(operation));
    let kept = contract::Secret::new("kept for later".to_owned());
    let sealed = store(&old).put(&subject, "v", &kept).await.unwrap().0;
    let sql = format!(
        "insert into registry.operation (id, kind, tenant_id, state, step, plan)
             values ('{operation}', 'create', 't_stuck_one', 'stuck', 'database',
                 '{{\"deep\": [{{\"box\": \"{sealed}\"}}]}}')"
    );
    postgres.run("registry", &sql).await;
    // Rows of a file of tenants that wait for their turn.
    let bulk = Uuid::now_v7();
    let of_bulk = SecretSubject::Operation(contract::OperationId::from_uuid(bulk));
    let first = contract::Secret::new("a first password".to_owned());
    let box_of_row = store(&old).put(&of_bulk, "row", &first).await.unwrap().0;
    let sql = format!(
        "insert into registry.operation (id, kind, state, step, plan)
             values ('{bulk}', 'bulk_create', 'stuck', 'make', '{{}}');
         insert into registry.bulk_row (operation_id, number, request)
             values ('{bulk}', 1, '{{\"password\": \"{box_of_row}\"}}')"
    );
    postgres.run("registry", &sql).await;
    let sql = format!(
        "insert into registry.tenant_data_key (tenant_id, key)
             values ('{}', 'sealed:v1:k1:AAAA')",
        beta.id()
    );
    postgres.run("registry", &sql).await;
    let keys = world.operator().get("/v1/keys").await.expect(200).json();
    assert_eq!(keys["sealing"][0]["id"], "k2");
    assert_eq!(keys["sealing"][0]["state"], "seals");
    assert_eq!(keys["sealing"][0]["secrets"], 0, "{keys}");
    assert_eq!(keys["sealing"][1]["state"], "opens");
    assert_eq!(keys["sealing"][1]["secrets"], 9, "{keys}");
    assert_eq!(keys["signing"][0]["state"], "signs");

    let load = [Load::start(acme.owner()), Load::start(beta.owner())];
    for one in &load {
        one.served_more().await;
    }
    let answer = world
        .operator()
        .request(Method::POST, "/v1/keys/reseal")
        .send()
        .await;
    let id = harness::operation_of(&answer);
    harness::reaches(&world, &id, "done", "the reseal").await;
    for one in &load {
        one.served_more().await;
    }
    let path = format!("/v1/operations/{id}");
    let done = world.operator().get(&path).await.expect(200).json();
    assert_eq!(
        done["result"],
        json!({ "resealed": 8, "unopened": 1 }),
        "{done}"
    );
    let keys = world.operator().get("/v1/keys").await.expect(200).json();
    assert_eq!(keys["sealing"][0]["secrets"], 8, "{keys}");
    assert_eq!(keys["sealing"][1]["secrets"], 1, "{keys}");
    // Everything opens with the new key alone.
    let only_new = store(&new);
    let plan = format!(
        "select plan #>> '{{deep,0,box}}' from registry.operation where id = '{operation}'"
    );
    let text = postgres.texts("registry", &plan).await.remove(0);
    let opened = only_new.open(&subject, &SecretRef(text)).await.unwrap();
    assert_eq!(opened.expose(), "kept for later");
    let row = format!(
        "select request ->> 'password' from registry.bulk_row where operation_id = '{bulk}'"
    );
    let text = postgres.texts("registry", &row).await.remove(0);
    let opened = only_new.open(&of_bulk, &SecretRef(text)).await.unwrap();
    assert_eq!(opened.expose(), "a first password");
    let credential = format!(
        "select credentials[1] from registry.tenant where id = '{}'",
        acme.id()
    );
    let text = postgres.texts("registry", &credential).await.remove(0);
    let subject = SecretSubject::Tenant(acme.id().clone());
    only_new.open(&subject, &SecretRef(text)).await.unwrap();
    // Who connects anew does it with the new boxes: on the tenants' side and on the platform's.
    let end = format!(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = '{}'",
        acme.id()
    );
    let [acmes, betas] = load;
    acmes.has_lost_nothing(&world, &acme).await;
    betas.has_lost_nothing(&world, &beta).await;
    postgres.run("postgres", &end).await;
    until("it is served over new connections", || async {
        acme.owner().get("/v1/entries").await.status() == 200
    })
    .await;
    world.tenant("after").await;
    // A second one has nothing to do.
    let answer = world
        .operator()
        .request(Method::POST, "/v1/keys/reseal")
        .send()
        .await;
    let again = harness::operation_of(&answer);
    harness::reaches(&world, &again, "done", "the second reseal").await;
}

#[tokio::test]
async fn a_new_signing_key_is_published_first_and_tokens_stay_good() {
    let options = WorldOptions::default()
        .stock_level(1)
        .platform_setting("signing_keys.publish_before", "1h");
    let world = World::with(options).await;
    let acme = world.tenant("signed").await;
    let operator = world.operator();
    let rotate = async || {
        let answer = operator.request(Method::POST, "/v1/keys/signing/rotate");
        answer.send().await.expect(200).json()
    };
    let first = rotate().await;
    assert_eq!(first["state"], "published", "{first}");
    assert_eq!(rotate().await["kid"], first["kid"], "one waits already");
    acme.owner().get("/v1/entries").await.expect(200);
    // As if the time had passed for which it is published before it signs.
    let passed = "update registry.signing_key set signs_from = now() where signs_from > now()";
    world.postgres().run("registry", passed).await;
    let keys = operator.get("/v1/keys").await.expect(200).json();
    assert_eq!(keys["signing"][0]["kid"], first["kid"], "{keys}");
    assert_eq!(keys["signing"][0]["state"], "signs", "{keys}");
    let keys = operator.get("/v1/keys").await.expect(200).json();
    assert_eq!(keys["signing"][1]["state"], "verifies", "{keys}");
    assert!(!keys["signing"][1]["verifies_until"].is_null(), "{keys}");
    // What the old key signed is good, whoever asks.
    acme.owner().get("/v1/entries").await.expect(200);
    let replica = world.add_app_replica().await;
    let elsewhere = acme.owner().at(&world.app_url(replica));
    elsewhere.get("/v1/entries").await.expect(200);
    let operations = operator.get("/v1/operations?kind=rotate_signing_key").await;
    let operations = operations.expect(200).json();
    assert_eq!(
        operations["data"].as_array().unwrap().len(),
        1,
        "{operations}"
    );
}

#[tokio::test]
async fn the_whole_fleet_gets_new_passwords_and_no_request_fails() {
    let world = World::with(harness::roomy()).await;
    let mut tenants = Vec::new();
    for _ in 0..3 {
        tenants.push(world.tenant("rotated").await);
    }
    let held = world.tenant("held").await;
    let postgres = world.postgres();
    let stuck = format!(
        "insert into registry.operation (id, kind, tenant_id, state, step, plan)
             values (gen_random_uuid(), 'create', '{}', 'stuck', 'database', '{{}}')",
        held.id()
    );
    postgres.run("registry", &stuck).await;
    let references = "select credentials[1] from registry.tenant order by id";
    let before = postgres.texts("registry", references).await;
    let load: Vec<Load> = tenants.iter().map(|one| Load::start(one.owner())).collect();
    for one in &load {
        one.served_more().await;
    }
    let answer = world
        .operator()
        .post(
            "/v1/keys/credentials/rotate",
            json!({ "filter": {}, "at_once": 2 }),
        )
        .await;
    let id = harness::operation_of(&answer);
    harness::reaches(&world, &id, "done", "the rotation").await;
    for (one, tenant) in load.into_iter().zip(&tenants) {
        one.served_more().await;
        one.has_lost_nothing(&world, tenant).await;
    }
    let path = format!("/v1/operations/{id}");
    let done = world.operator().get(&path).await.expect(200).json();
    assert_eq!(
        done["result"],
        json!({ "tenants": 4, "rotated": 3, "failed": 0, "left_out": [held.id()],
            "left_out_count": 1 }),
        "{done}"
    );
    let deleted = json!({ "filter": { "status": "deleted" } });
    let path = "/v1/keys/credentials/rotate";
    let senseless = world.operator().post(path, deleted).await;
    let senseless = senseless.expect(422).refused(Code::ValidationFailed);
    assert_eq!(senseless.errors[0].pointer, "/filter/status");
    let after = postgres.texts("registry", references).await;
    let kept = before.iter().filter(|one| after.contains(one)).count();
    assert_eq!(kept, 1, "only that of the tenant that was left out");
    let children = format!("/v1/operations?parent={id}&limit=10");
    let children = world.operator().get(&children).await.expect(200).json();
    assert_eq!(children["data"].as_array().unwrap().len(), 3, "{children}");
}

/// A tenant that is served, which is all that these kinds leave behind.
fn of_a_tenant(
    kind: OperationKind,
    steps: &'static [Step],
    begin: for<'a> fn(&'a Speaker, &'a TenantHandle) -> futures::future::BoxFuture<'a, Answer>,
) -> Case {
    Case {
        kind,
        steps,
        point_of_no_return: steps[0],
        prepare: |world| Box::pin(world.tenant("kept-up")),
        begin,
        after_done: |_, tenant| Box::pin(served(tenant)),
        after_undone: |_, tenant| Box::pin(served(tenant)),
    }
}

async fn served(tenant: &TenantHandle) {
    tenant.owner().get("/v1/entries").await.expect(200);
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        of_a_tenant(OperationKind::Reseal, &[Step::Reseal], |operator, _| {
            Box::pin(operator.request(Method::POST, "/v1/keys/reseal").send())
        }),
        of_a_tenant(
            OperationKind::RotateFleet,
            &[Step::Rotate],
            |operator, tenant| {
                let body = json!({ "filter": { "ids": [tenant.id()] } });
                Box::pin(async move { operator.post("/v1/keys/credentials/rotate", body).await })
            },
        ),
    ]
}

#[tokio::test]
async fn upkeep_that_fails_or_is_killed_ends_well() {
    let patient = World::with(harness::patient()).await;
    for case in cases() {
        harness::every_step_fails(&patient, &case).await;
        harness::every_step_twice(&patient, &case).await;
        harness::undo_stuck_and_retried(&patient, &case).await;
    }
    drop(patient);
    let impatient = World::with(harness::impatient()).await;
    for case in cases() {
        harness::every_instruction_killed(&impatient, &case).await;
    }
}
