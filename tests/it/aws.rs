//! A world whose tenants' passwords are in AWS Secrets Manager: what is there while tenants are made,
//! served, rotated and purged, and what is not there afterwards.
//!
//! Deliberately against a local AWS API server (moto), with nothing changed but the address and the
//! credentials; looked at with AWS's own client. Invariant: under a world's prefix is one secret for each
//! tenant that lives, and nothing else.

use aws_config::{BehaviorVersion, Region};
use futures::{StreamExt, stream};
use http::Method;
use serde_json::{Value, json};
use world::{Fault, Faults, OperationKind, Step, TenantHandle, World, WorldOptions};

use crate::fleet::harness::done;
use crate::fleet::life::{purged, remove};
use crate::saga::{self, AT_ONCE};
use crate::support::{entry, signup, unique};

#[path = "../../crates/adapters/tests/secret_store/moto.rs"]
mod moto;

const KIND: OperationKind = OperationKind::Create;

/// What AWS has under one world's prefix.
struct Aws {
    client: aws_sdk_secretsmanager::Client,
    prefix: String,
    address: &'static str,
}

impl Aws {
    async fn start() -> Self {
        let address = tokio::task::spawn_blocking(moto::url).await.unwrap();
        let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .test_credentials()
            .region(Region::new("eu-west-1"))
            .endpoint_url(address)
            .load()
            .await;
        Self {
            client: aws_sdk_secretsmanager::Client::new(&config),
            prefix: unique("world"),
            address,
        }
    }

    fn with(&self, options: WorldOptions) -> WorldOptions {
        options.aws_secrets(self.address, &self.prefix)
    }

    /// The names under the prefix, also of what waits for its deletion, without the prefix.
    async fn names(&self) -> Vec<String> {
        let list = self.client.list_secrets().include_planned_deletion(true);
        let mut pages = list.into_paginator().send();
        let mut names = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.unwrap();
            let ours = page.secret_list().iter().filter_map(|secret| {
                let name = secret.name()?.strip_prefix(&self.prefix)?;
                Some(name.trim_start_matches('/').to_owned())
            });
            names.extend(ours);
        }
        names
    }

    /// The versions that are there of a tenant's password.
    async fn versions(&self, tenant: &str) -> Vec<String> {
        let names = self.names().await;
        let of_tenant = format!("tenant/{tenant}/");
        let versions = names
            .iter()
            .filter_map(|name| name.strip_prefix(&of_tenant));
        versions.map(str::to_owned).collect()
    }

    async fn text(&self, id: &str) -> String {
        let answer = self.client.get_secret_value().secret_id(id).send().await;
        answer.unwrap().secret_string.unwrap()
    }
}

async fn findings(world: &World) -> Vec<String> {
    let answer = world.operator().get("/v1/findings?place=secrets").await;
    let found = answer.expect(200).json();
    let found = found["data"].as_array().unwrap().iter();
    found
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect()
}

async fn sweep(world: &World) -> Value {
    let answer = world.operator().post("/v1/findings/sweep", json!({})).await;
    answer.expect(200).json()
}

/// The reference that the registry has, and that a route carries.
async fn reference(world: &World, tenant: &TenantHandle) -> String {
    let path = format!("/internal/tenants/{}/db-info", tenant.id());
    let route = world.service().get(&path).await.expect(200).json();
    let sql = format!(
        "select unnest(credentials) from registry.tenant where id = '{}'",
        tenant.id()
    );
    let kept = world.postgres().texts("registry", &sql).await;
    assert_eq!(route["credentials"], json!(kept), "{route}");
    assert_eq!(kept.len(), 1, "{kept:?}");
    kept[0].clone()
}

/// A name in the store is all that the services have of a password; it opens the tenant's database.
async fn is_in_the_store(world: &World, aws: &Aws, tenant: &TenantHandle) -> Vec<String> {
    let id = tenant.id().as_str();
    let versions = aws.versions(id).await;
    assert_eq!(versions.len(), 1, "{versions:?}");
    let reference = reference(world, tenant).await;
    let name = format!("{}/tenant/{id}/{}", aws.prefix, versions[0]);
    let named = format!("aws:arn:aws:secretsmanager:eu-west-1:123456789012:secret:{name}-");
    assert!(reference.starts_with(&named), "{reference} of {named}");
    let password = aws.text(&name).await;
    let in_person = world.postgres().connect_as(id, &password, id).await;
    in_person.expect("the password in the store opens the database");
    versions
}

#[tokio::test]
async fn a_password_is_in_the_store_from_the_sign_up_to_the_purge() {
    let aws = Aws::start().await;
    let world = World::with(aws.with(WorldOptions::default().stock_level(1))).await;
    let operator = world.operator();
    let (acme, beta) = (world.tenant("stored").await, world.tenant("stored").await);
    let made = acme.owner().post("/v1/entries", entry("kept")).await;
    let path = format!(
        "/v1/entries/{}",
        made.expect(201).json()["id"].as_str().unwrap()
    );
    let shown = acme.owner().get(&path).await.expect(200).json();
    assert_eq!(shown["title"], "kept");
    let first = is_in_the_store(&world, &aws, &acme).await;

    // Rotated: the one before is gone, and a replica that never saw it serves.
    let rotate = format!("/v1/tenants/{}/rotate", acme.id());
    let rotated = operator.request(Method::POST, &rotate).send().await;
    done(&operator, rotated).await;
    assert_ne!(is_in_the_store(&world, &aws, &acme).await, first);
    let fresh = world.add_app_replica().await;
    let there = acme.owner().at(&world.app_url(fresh));
    there.get(&path).await.expect(200);

    // What nobody refers to is found, and removed after its grace: that, and nothing else.
    let lost = format!("{}/tenant/t_nobody/op_1", aws.prefix);
    let make = aws.client.create_secret().name(&lost).secret_string("lost");
    make.send().await.unwrap();
    assert_eq!(sweep(&world).await["removed"], json!([]));
    let orphan = "secret/secrets/tenant/t_nobody/op_1";
    assert_eq!(findings(&world).await, [orphan]);
    assert_eq!(aws.versions("t_nobody").await, ["op_1"]);
    let aged = "update registry.finding set first_seen_at = now() - interval '1 year'";
    world.postgres().run("registry", aged).await;
    assert_eq!(sweep(&world).await["removed"], json!([orphan]));
    assert_eq!(aws.versions("t_nobody").await, Vec::<String>::new());
    is_in_the_store(&world, &aws, &acme).await;

    // Whoever is deleted may come back; whoever is purged leaves nothing.
    done(&operator, remove(&operator, &acme).await).await;
    assert_eq!(aws.versions(acme.id().as_str()).await.len(), 1);
    done(&operator, purged(&operator, &acme, "none").await).await;
    let left = aws.names().await;
    let of_beta = format!("tenant/{}/", beta.id());
    assert!(left.len() == 1 && left[0].starts_with(&of_beta), "{left:?}");
    is_in_the_store(&world, &aws, &beta).await;
}

/// What goes wrong with a create around its secret, without a kill, and how it ends.
fn mishaps() -> Vec<(Faults, &'static str)> {
    let at = |step, fault| Faults::none().with(KIND, step, fault);
    let late = at(Step::Activate, Fault::FailAfterAct);
    vec![
        (at(Step::Secret, Fault::FailBeforeAct), "undone"),
        (at(Step::Secret, Fault::FailAfterAct), "undone"),
        (at(Step::Secret, Fault::RepeatAct), "done"),
        (late.with(KIND, Step::Secret, Fault::RepeatUndo), "undone"),
    ]
}

/// Every instruction around the secret at which a create can be killed, and how it ends.
fn kills() -> Vec<(Faults, &'static str)> {
    let late = || Faults::none().with(KIND, Step::Activate, Fault::FailAfterAct);
    let forwards = [
        Fault::HaltBeforeAct,
        Fault::HaltAfterAct,
        Fault::HaltAfterLog,
    ];
    let backwards = [Fault::HaltBeforeUndo, Fault::HaltAfterUndo];
    let forwards = forwards.map(|halt| (Faults::none().with(KIND, Step::Secret, halt), "done"));
    let backwards = backwards.map(|halt| (late().with(KIND, Step::Secret, halt), "undone"));
    forwards.into_iter().chain(backwards).collect()
}

/// A create that is over has its one secret, or none.
async fn ends(world: &World, aws: &Aws, slug: &str, wanted: &str, here: &str) {
    saga::reaches(world, slug, wanted).await;
    let versions = aws.versions(&saga::id_of(slug)).await;
    if wanted == "done" {
        assert_eq!(versions.len(), 1, "{here}: {versions:?}");
        saga::owner_logs_in(world, slug).await;
    } else {
        assert_eq!(versions, Vec::<String>::new(), "{here}");
        assert_eq!(
            saga::traces(world, slug).await,
            Vec::<String>::new(),
            "{here}"
        );
    }
}

#[tokio::test]
async fn a_create_that_fails_repeats_or_is_killed_leaves_no_secret_that_nobody_has() {
    let aws = Aws::start().await;
    let options = saga::roomy(1).platform_setting("operations.lease", "30s");
    let world = World::with(aws.with(options)).await;
    stream::iter(mishaps())
        .for_each_concurrent(AT_ONCE, |(faults, wanted)| {
            let (world, aws) = (&world, &aws);
            async move {
                let here = format!("{faults:?}");
                let slug = unique("aws");
                let replica = world.platform_replica(faults).await;
                saga::sign_up_at(world, &replica, &slug).await;
                ends(world, aws, &slug, wanted, &here).await;
                if wanted == "undone" {
                    // The name is free, in the store as well.
                    world.sign_up(signup(&slug)).await;
                    saga::owner_logs_in(world, &slug).await;
                }
            }
        })
        .await;
    // One after the other: replicas with other faults would take part in the work.
    for (faults, wanted) in kills() {
        let here = format!("{faults:?}");
        let slug = unique("aws");
        let replica = world.platform_replica(faults).await;
        saga::sign_up_at(&world, &replica, &slug).await;
        saga::halted(&world, &replica).await;
        drop(replica);
        saga::run_out(&world, &slug).await;
        ends(&world, &aws, &slug, wanted, &here).await;
    }
    let mut left = aws.names().await;
    left.sort();
    let known = "select 'tenant/' || t.id || '/' || 'op_' || replace(o.id::text, '-', '')
         from registry.tenant t join registry.operation o on o.tenant_id = t.id
         where t.status = 'active' and o.state = 'done' order by 1";
    let known = world.postgres().texts("registry", known).await;
    assert_eq!(left, known);
    assert_eq!(sweep(&world).await["removed"], json!([]));
    assert_eq!(findings(&world).await, Vec::<String>::new());
}
