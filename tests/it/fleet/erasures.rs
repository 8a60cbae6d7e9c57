//! What a purge leaves of encrypted backups that somebody has copied: nothing that opens them.
//!
//! Deliberately tries every key that is left, and not only the way of the platform. Invariant: the same
//! try opens the copy as long as the tenant is not purged.

use adapters::object_store::{DataKey, ObjectPath, open_reader};
use adapters::secret_store::SecretSubject;
use contract::TenantId;
use contract::secret::{Secret, SecretRef};
use http::Method;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use world::{
    Fault, Faults, OperationKind, Speaker, Step, TenantHandle, World, WorldOptions, until,
};

use super::backups::{Keeping, back_up};
use super::canaries::places;
use super::harness;
use crate::support::seal;

/// An object that somebody has taken away.
struct Copy {
    path: ObjectPath,
    bytes: Vec<u8>,
}

impl Copy {
    fn of(keeping: &Keeping, tenant: &TenantHandle) -> Self {
        let folder = keeping.folder.path().join("objects");
        let objects = keeping.objects();
        let file = objects
            .iter()
            .find(|file| file.to_str().unwrap().contains(tenant.id().as_str()))
            .unwrap();
        let path = file.strip_prefix(folder).unwrap().to_str().unwrap();
        Self {
            path: path.parse().unwrap(),
            bytes: std::fs::read(file).unwrap(),
        }
    }

    /// Whether any key that there is opens it.
    async fn opens(&self, world: &World) -> bool {
        for key in keys(world).await {
            let mut data = Vec::new();
            let mut reader = open_reader(&key, &self.path, self.bytes.as_slice());
            if reader.read_to_end(&mut data).await.is_ok() {
                assert!(data.starts_with(b"PGDMP"));
                return true;
            }
        }
        false
    }
}

/// Every data key of the registry, and what they are sealed with.
async fn keys(world: &World) -> Vec<DataKey> {
    let ring = world.key_ring().split(',').map(|key| {
        let (_, key) = key.split_once(':').unwrap();
        DataKey::parse(&Secret::new(key.to_owned())).unwrap()
    });
    let mut keys: Vec<DataKey> = ring.collect();
    let rows = "select tenant_id || ' ' || key from registry.tenant_data_key";
    for row in world.postgres().texts("registry", rows).await {
        let (tenant, sealed) = row.split_once(' ').unwrap();
        let subject = SecretSubject::DataKey(tenant.parse::<TenantId>().unwrap());
        let (seal, sealed) = (seal(world), SecretRef(sealed.to_owned()));
        let key = seal.open(&subject, &sealed).await.unwrap();
        keys.push(DataKey::parse(&key).unwrap());
    }
    keys
}

/// A tenant's data key as it is kept.
async fn sealed_key(world: &World, tenant: &TenantHandle) -> Option<String> {
    let id = tenant.id();
    let sql = format!("select key from registry.tenant_data_key where tenant_id = '{id}'");
    world.postgres().texts("registry", &sql).await.pop()
}

fn path(tenant: &TenantHandle, rest: &str) -> String {
    format!("/v1/tenants/{}{rest}", tenant.id())
}

async fn delete(operator: &Speaker, tenant: &TenantHandle) {
    let confirmed = path(tenant, &format!("?confirm={}", tenant.id()));
    operator.delete(&confirmed).await.expect(200);
}

fn purge_body(tenant: &TenantHandle) -> Value {
    json!({ "confirm": tenant.id(), "force": tenant.id() })
}

async fn certificate(operator: &Speaker, tenant: &TenantHandle) -> Value {
    let found = operator.get(&path(tenant, "/certificate")).await;
    found.expect(200).json()["body"].clone()
}

#[tokio::test]
async fn a_purge_destroys_the_key_before_the_objects_and_nothing_opens_a_copy_of_one() {
    let keeping =
        Keeping::start(WorldOptions::default().platform_setting("operations.lease", "30s")).await;
    let world = &keeping.world;
    let operator = world.operator();
    let (acme, beta) = (world.tenant("keyed").await, world.tenant("beside").await);
    back_up(&operator, &acme, "tenant").await;
    let beside = back_up(&operator, &beta, "tenant").await;
    let copy = Copy::of(&keeping, &acme);
    assert!(copy.opens(world).await, "with the tenant's key");
    let key = sealed_key(world, &acme).await.unwrap();
    let kept = places(world, keeping.folder.path(), &key).await;
    assert_eq!(kept, ["registry: registry.tenant_data_key"]);

    // Its runner dies before it removes an object.
    delete(&operator, &acme).await;
    let (kind, step) = (OperationKind::Purge, Step::Objects);
    let faults = Faults::none().with(kind, step, Fault::HaltBeforeAct);
    let dying = world.platform_replica(faults).await;
    let asked = operator.clone().at(&dying.url());
    let begun = asked
        .post(&path(&acme, "/purge?wait=none"), purge_body(&acme))
        .await;
    let id = harness::operation_of(&begun);
    let dying = world.visitor().at(&dying.url());
    until("the runner has halted", || async {
        dying.get("/readyz").await.status() != 200
    })
    .await;
    assert_eq!(Copy::of(&keeping, &acme).bytes, copy.bytes, "still there");
    assert_eq!(sealed_key(world, &acme).await, None);
    assert!(!copy.opens(world).await, "with what is left");

    harness::run_out(world, &id).await;
    harness::reaches(world, &id, "done", "the purge").await;
    let said = certificate(&operator, &acme).await;
    assert_eq!(said["data_key"], "destroyed", "{said:#}");
    assert!(!copy.opens(world).await, "with what is left");
    let left = places(world, keeping.folder.path(), &key).await;
    assert_eq!(left, Vec::<String>::new());
    let objects = keeping.objects();
    assert_eq!(objects.len(), 1, "a neighbour's: {objects:?}");
    let verify = format!("/v1/backups/{beside}/verify");
    let verified = operator.request(Method::POST, &verify).send().await;
    verified.expect(200);
}

#[tokio::test]
async fn a_certificate_says_of_no_key_that_it_is_destroyed_where_there_was_none() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let operator = keeping.world.operator();
    let acme = keeping.world.tenant("keyless").await;
    back_up(&operator, &acme, "none").await;
    delete(&operator, &acme).await;
    let purge = path(&acme, "/purge");
    let purged = operator.post(&purge, purge_body(&acme)).await;
    purged.expect(200);
    let said = certificate(&operator, &acme).await;
    assert_eq!(said["data_key"], "none", "{said:#}");
}
