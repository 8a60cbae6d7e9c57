//! A store that fails while something is read from it: a restore, a verification and an import say what they
//! wait for, and go on when it is back.
//!
//! Deliberately with a link to itself in the place of the folder, which nobody can enter, and with one to memory
//! that is not there in the place of an object, which can be opened and not read: root included. Invariant: the
//! tenant is served meanwhile, and nothing is left that was half loaded.

use std::path::{Path, PathBuf};

use contract::Code;
use http::Method;
use serde_json::json;
use world::{Fault, Faults, OperationKind, Step, TenantHandle, World, until};

use super::super::harness;
use super::{Keeping, back_up, restore_body, restore_path, write};

/// A place whose content is put aside until it is put back.
struct Aside {
    place: PathBuf,
    content: PathBuf,
}

impl Aside {
    fn of(place: &Path, beside: &Path) -> Self {
        let aside = Self {
            place: place.to_owned(),
            content: beside.to_owned(),
        };
        std::fs::rename(&aside.place, &aside.content).unwrap();
        aside
    }

    fn back(self) {
        std::fs::remove_file(&self.place).unwrap();
        std::fs::rename(&self.content, &self.place).unwrap();
    }
}

/// Waits until an operation says that it waits for the store, while the tenant is served.
async fn waits_for_the_store(world: &World, operation: &str, tenant: &TenantHandle) {
    until("it says what it waits for", || async {
        let shown = harness::operation_at(world, operation).await;
        assert_eq!(shown["state"], "running", "{shown:#}");
        shown["failure"]["code"] == "object-store-unavailable"
    })
    .await;
    tenant.owner().get("/v1/entries").await.expect(200);
}

/// How a store fails: nothing can be found in it, or what is found cannot be read.
#[derive(Debug, Clone, Copy)]
enum Failure {
    Away,
    Unreadable,
}

impl Failure {
    /// Puts aside what is in the way of this failure of an object.
    fn begin(self, keeping: &Keeping, object: &Path) -> Aside {
        let [objects, beside] = ["objects", "beside"].map(|name| keeping.folder.path().join(name));
        match self {
            Self::Away => {
                let aside = Aside::of(&objects, &beside);
                std::os::unix::fs::symlink(&objects, &objects).unwrap();
                aside
            }
            Self::Unreadable => {
                let aside = Aside::of(object, &beside);
                std::os::unix::fs::symlink("/proc/self/mem", object).unwrap();
                aside
            }
        }
    }
}

#[tokio::test]
async fn a_backup_that_cannot_be_read_is_read_when_the_store_is_back() {
    let keeping = Keeping::start(harness::roomy()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("unread").await;
    write(&acme, &["kept"]).await;
    let backup = back_up(&operator, &acme, "none").await;
    let object = keeping.objects().remove(0);
    for (path, body) in [
        (format!("/v1/backups/{backup}/verify"), json!({})),
        (restore_path(&acme), restore_body(&acme, &backup)),
    ] {
        let aside = Failure::Away.begin(&keeping, &object);
        let begun = operator.post(&format!("{path}?wait=none"), &body).await;
        let operation = harness::operation_of(&begun);
        waits_for_the_store(world, &operation, &acme).await;
        aside.back();
        harness::reaches(world, &operation, "done", &path).await;
    }
    let kept = acme.owner().get("/v1/entries").await.expect(200).json();
    assert_eq!(kept["data"][0]["title"], "kept", "{kept}");
    harness::no_leftovers(world).await;
}

#[tokio::test]
async fn an_archive_that_cannot_be_read_is_imported_when_the_store_is_back() {
    let keeping = Keeping::start(harness::patient()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("unread").await;
    write(&acme, &["kept"]).await;
    let exported = format!("/v1/tenants/{}/export", acme.id());
    let exported = harness::done(&operator, operator.post(&exported, json!({})).await).await;
    let export = exported["result"]["export"].as_str().expect("an export");
    let archive = operator.get(&format!("/v1/exports/{export}/archive")).await;
    let archive = archive.expect(200).body().to_vec();
    let before = keeping.objects();
    for (number, failure) in [Failure::Away, Failure::Unreadable].into_iter().enumerate() {
        let upload = operator.request(Method::PUT, "/v1/imports/unread.tar");
        let upload = upload.body_of_type("application/x-tar", archive.clone());
        upload.send().await.expect(200);
        let objects = keeping.objects();
        let object = objects.iter().find(|object| !before.contains(object));
        let object = object.expect("the upload");
        let slug = format!("unread-again-{number}");
        let body = json!({ "archive": "unread.tar", "slug": slug });

        let aside = failure.begin(&keeping, object);
        let refused = operator.post("/v1/imports", &body).await;
        refused.expect(503).refused(Code::ObjectStoreUnavailable);
        aside.back();

        // It was there when the import was asked for, and is not when it is loaded.
        let faults = Faults::none().with(OperationKind::Import, Step::Unpack, Fault::HaltBeforeAct);
        let replica = world.platform_replica(faults).await;
        let there = operator.clone().at(&replica.url());
        let begun = there.post("/v1/imports?wait=none", &body).await;
        let operation = harness::operation_of(&begun);
        until("it has not begun to load", || async {
            there.get("/readyz").await.status() != 200
        })
        .await;
        drop(replica);
        let aside = failure.begin(&keeping, object);
        harness::run_out(world, &operation).await;
        waits_for_the_store(world, &operation, &acme).await;
        aside.back();
        harness::reaches(world, &operation, "done", "the import").await;
        let imported = format!("t_unread_again_{number}");
        let count = "select count(*) from entries.entry where title = 'kept'";
        assert_eq!(world.postgres().number(&imported, count).await, 1);
    }
    harness::no_leftovers(world).await;
}
