//! Backups: made, tried, restored, removed; what is damaged or full; what neighbours notice of it.
//!
//! Deliberately with the programs of PostgreSQL that are installed beside the server. Invariant: what
//! a test calls restored has the rows, table by table, that were backed up.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use contract::Code;
use futures::FutureExt as _;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use world::{Logs, Mode, OperationKind, Speaker, Step, TenantHandle, World, WorldOptions, until};

use super::harness::{self, Case};
use super::moves::load::unlimited;
use crate::support::entry;

/// A world that keeps objects.
pub(crate) struct Keeping {
    pub(crate) world: World,
    pub(crate) folder: TempDir,
}

impl Keeping {
    pub(crate) async fn start(options: WorldOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::fs::create_dir(place("work")).unwrap();
        let options = options
            .platform_setting("objects.folder", &place("objects"))
            .platform_setting("objects.work_dir", &place("work"));
        let world = World::with(options).await;
        Self { world, folder }
    }

    /// The files that are kept.
    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join("objects")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.file_type().unwrap().is_dir() {
                    true => folders.push(entry.path()),
                    false => found.push(entry.path()),
                }
            }
        }
        found.sort();
        found
    }
}

/// Rows and hashes of every table of a tenant.
pub(crate) async fn hashes(world: &World, database: &str) -> Vec<String> {
    let tables = "select quote_ident(schemaname) || '.' || quote_ident(tablename) from pg_tables
         where schemaname !~ '^pg_' and schemaname <> 'information_schema' order by 1";
    let mut hashes = Vec::new();
    for table in world.postgres().texts(database, tables).await {
        let sql = format!(
            "select '{table} ' || count(*) || ' ' || coalesce(
                 md5(string_agg(held::text, ' ' order by held::text)), '') from {table} held"
        );
        hashes.extend(world.postgres().texts(database, &sql).await);
    }
    hashes
}

/// Writes entries as the tenant's owner.
pub(crate) async fn write(tenant: &TenantHandle, titles: &[&str]) {
    for title in titles {
        let answer = tenant.owner().post("/v1/entries", entry(title)).await;
        answer.expect(201);
    }
}

/// Backs a tenant up and gives the backup's id.
pub(crate) async fn back_up(operator: &Speaker, tenant: &TenantHandle, encryption: &str) -> String {
    let path = format!("/v1/tenants/{}/backups", tenant.id());
    let body = json!({ "encryption": encryption });
    let done = operator.post(&path, body).await.expect(200).json();
    done["result"]["backup"].as_str().unwrap().to_owned()
}

fn restore_body(tenant: &TenantHandle, from: &str) -> Value {
    json!({ "from": from, "confirm": tenant.id() })
}

fn restore_path(tenant: &TenantHandle) -> String {
    format!("/v1/tenants/{}/restore-backup", tenant.id())
}

async fn post(operator: &Speaker, path: &str) -> world::Answer {
    operator.request(Method::POST, path).send().await
}

#[tokio::test]
async fn a_restore_brings_back_every_row_and_neighbours_notice_nothing() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let (acme, beta) = (world.tenant("acme").await, world.tenant("beta").await);
    write(&acme, &["one", "two", "three"]).await;
    let before = hashes(world, acme.id().as_str()).await;
    let backup = back_up(&operator, &acme, "tenant").await;
    let shown = operator
        .get(&format!("/v1/backups/{backup}"))
        .await
        .expect(200)
        .json();
    assert_eq!(shown["state"], "ready");
    assert_eq!(shown["encryption"], "tenant");
    let verified = post(&operator, &format!("/v1/backups/{backup}/verify")).await;
    verified.expect(200);
    let shown = operator.get(&format!("/v1/backups/{backup}")).await.json();
    assert!(shown["verified_at"].is_string(), "{shown}");

    write(&acme, &["four"]).await;
    let after = hashes(world, acme.id().as_str()).await;
    assert_ne!(before, after);

    // A neighbour writes, and somebody reads the tenant, as long as it is restored.
    let stop = CancellationToken::new();
    let neighbour = tokio::spawn(steady(beta.owner(), Method::POST, stop.clone()));
    let reader = tokio::spawn(steady(acme.owner(), Method::GET, stop.clone()));
    let answer = operator
        .post(&restore_path(&acme), restore_body(&acme, &backup))
        .await
        .expect(200);
    assert_eq!(answer.json()["result"]["copy"], 2, "{answer}");
    assert_eq!(hashes(world, acme.id().as_str()).await, before);
    let back = operator
        .post(&restore_path(&acme), restore_body(&acme, "previous"))
        .await
        .expect(200);
    assert_eq!(back.json()["result"]["copy"], 3, "{back}");
    assert_eq!(hashes(world, acme.id().as_str()).await, after);
    stop.cancel();
    let (neighbours, read) = (neighbour.await.unwrap(), reader.await.unwrap());
    assert_eq!(neighbours.failed, Vec::<u16>::new());
    assert!(neighbours.answered > 0);
    assert_eq!(
        read.failed,
        Vec::<u16>::new(),
        "requests wait while names change"
    );
    assert!(read.longest < Duration::from_secs(5), "{:?}", read.longest);
    write(&acme, &["five"]).await;
}

/// What somebody met who asked without a pause.
struct Met {
    answered: u64,
    failed: Vec<u16>,
    longest: Duration,
}

async fn steady(speaker: Speaker, method: Method, stop: CancellationToken) -> Met {
    let mut met = Met {
        answered: 0,
        failed: Vec::new(),
        longest: Duration::ZERO,
    };
    while !stop.is_cancelled() {
        let began = Instant::now();
        let request = speaker.request(method.clone(), "/v1/entries");
        let answer = match method {
            Method::POST => request.json(entry("steady")).send().await,
            _ => request.send().await,
        };
        met.longest = met.longest.max(began.elapsed());
        match answer.status() {
            200 | 201 => met.answered += 1,
            other => met.failed.push(other),
        }
    }
    met
}

#[tokio::test]
async fn writers_to_the_old_copy_are_refused() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("stale").await;
    write(&acme, &["one"]).await;
    let backup = back_up(&operator, &acme, "none").await;
    // A replica that hears nothing any more.
    world.platform_link().set(Mode::Reset);
    let restored = operator
        .post(&restore_path(&acme), restore_body(&acme, &backup))
        .await;
    restored.expect(200);
    let old = format!("old:{}:1", acme.id());
    let kept = hashes(world, &old).await;
    let stale = acme.owner().post("/v1/entries", entry("lost")).await;
    assert_eq!(stale.status(), 503, "{stale}");
    assert_eq!(hashes(world, &old).await, kept);
    world.platform_link().set(Mode::Pass);
    until("the tenant is served again", || async {
        acme.owner().get("/v1/entries").await.status() == 200
    })
    .await;
    write(&acme, &["two"]).await;
    assert_eq!(hashes(world, &old).await, kept);
}

/// What was acknowledged to somebody who wrote and read what was written, in order.
#[derive(Default)]
struct Acknowledged {
    ids: Vec<String>,
    /// How often what was written was not there to be read: it is in the copy that was put away.
    put_away: usize,
    strange: Vec<String>,
}

async fn writing(
    speaker: Speaker,
    count: Arc<AtomicUsize>,
    stop: CancellationToken,
) -> Acknowledged {
    let mut met = Acknowledged::default();
    while !stop.is_cancelled() {
        let written = speaker.post("/v1/entries", entry("steady")).await;
        if written.status() != 201 {
            met.strange.push(written.to_string());
            continue;
        }
        let read = speaker.get(written.header("location")).await;
        match read.status() {
            200 => {}
            404 => met.put_away += 1,
            _ => met.strange.push(read.to_string()),
        }
        met.ids
            .push(written.json()["id"].as_str().unwrap().to_owned());
        count.fetch_add(1, Ordering::SeqCst);
    }
    met
}

#[tokio::test]
async fn a_restore_under_load_loses_no_acknowledged_write_and_serves_no_stale_one() {
    let keeping = Keeping::start(WorldOptions::default().app_replicas(2)).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("loaded").await;
    unlimited(world, &acme).await;
    let backup = back_up(&operator, &acme, "none").await;
    let (stop, count) = (CancellationToken::new(), Arc::<AtomicUsize>::default());
    let writers: Vec<_> = (0..4)
        .map(|number| {
            let owner = acme.owner().at(&world.app_url(number % 2));
            tokio::spawn(writing(owner, Arc::clone(&count), stop.clone()))
        })
        .collect();
    let more = async || {
        let wanted = count.load(Ordering::SeqCst) + 20;
        until("the load goes on", || async {
            count.load(Ordering::SeqCst) >= wanted
        })
        .await;
    };
    more().await;
    operator
        .post(&restore_path(&acme), restore_body(&acme, &backup))
        .await
        .expect(200);
    more().await;
    stop.cancel();
    let ids = "select 'ent_' || replace(id::text, '-', '') from entries.entry";
    let of = async |database: &str| -> BTreeSet<String> {
        world
            .postgres()
            .texts(database, ids)
            .await
            .into_iter()
            .collect()
    };
    let old = of(&format!("old:{}:1", acme.id())).await;
    let mut found = 0;
    for writer in writers {
        let met = writer.await.unwrap();
        let new = of(acme.id().as_str()).await;
        assert_eq!(met.strange, Vec::<String>::new());
        assert!(met.put_away <= 1, "{} were not there", met.put_away);
        let put_away = met.ids.iter().take_while(|id| old.contains(*id)).count();
        let (before, after) = met.ids.split_at(put_away);
        for id in before {
            assert!(!new.contains(id), "{id} was written before the restore");
        }
        for id in after {
            assert!(new.contains(id), "{id} was acknowledged and is lost");
            assert!(!old.contains(id), "{id} was written to the old copy");
        }
        found += before.len().min(1) + after.len().min(1);
    }
    assert_eq!(found, 8, "everybody wrote before and after");
}

#[tokio::test]
async fn a_corrupt_archive_is_named_and_changes_nothing() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("corrupt").await;
    write(&acme, &["one"]).await;
    for encryption in ["none", "tenant"] {
        let backup = back_up(&operator, &acme, encryption).await;
        let before = hashes(world, acme.id().as_str()).await;
        let file = keeping
            .objects()
            .into_iter()
            .find(|file| file.to_str().unwrap().contains(&backup))
            .unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        std::fs::write(&file, &bytes).unwrap();
        let refused = operator
            .post(&restore_path(&acme), restore_body(&acme, &backup))
            .await;
        let words = refused.refused(Code::ArchiveCorrupt).detail.unwrap();
        assert!(
            words.contains("SHA-256") && words.contains(&backup),
            "{words}"
        );
        assert_eq!(hashes(world, acme.id().as_str()).await, before);
        let shown = operator.get(&format!("/v1/backups/{backup}")).await.json();
        assert_eq!(shown["state"], "corrupt", "a restore marks it as well");
        let refused = post(&operator, &format!("/v1/backups/{backup}/verify")).await;
        refused.refused(Code::ArchiveCorrupt);
        let shown = operator.get(&format!("/v1/backups/{backup}")).await.json();
        assert_eq!(shown["state"], "corrupt");

        bytes[middle] ^= 0x10;
        std::fs::write(&file, &bytes).unwrap();
        let verified = post(&operator, &format!("/v1/backups/{backup}/verify")).await;
        verified.expect(200);
        let shown = operator.get(&format!("/v1/backups/{backup}")).await.json();
        assert_eq!(shown["state"], "ready");
    }
    harness::no_leftovers(world).await;
}

#[tokio::test]
async fn encrypted_objects_cannot_be_swapped_and_tell_nothing() {
    let _everything = Logs::everything();
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let (acme, beta) = (world.tenant("box-a").await, world.tenant("box-b").await);
    write(&acme, &["canary-in-a-box"]).await;
    let first = back_up(&operator, &acme, "tenant").await;
    let second = back_up(&operator, &acme, "tenant").await;
    let other = back_up(&operator, &beta, "tenant").await;
    let objects = keeping.objects();
    let file = |id: &str| {
        let found = objects
            .iter()
            .find(|file| file.to_str().unwrap().contains(id));
        found.unwrap().clone()
    };
    for object in &objects {
        let bytes = std::fs::read(object).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("canary-in-a-box") && !text.contains("PGDMP"));
        assert!(!object.to_str().unwrap().contains("canary"));
    }
    // Whoever can write to the store and to the registry puts one in the place of the other.
    for from in [&second, &other] {
        std::fs::copy(file(from), file(&first)).unwrap();
        let sql = format!(
            "update registry.backup set (size_bytes, sha256) =
                 (select size_bytes, sha256 from registry.backup where 'bak_' || replace(id::text, '-', '') = '{from}')
             where 'bak_' || replace(id::text, '-', '') = '{first}'"
        );
        world.postgres().run("registry", &sql).await;
        let refused = post(&operator, &format!("/v1/backups/{first}/verify")).await;
        refused.refused(Code::ArchiveCorrupt);
    }
    assert_eq!(world.logs().with("canary-in-a-box"), Vec::<String>::new());
}

#[tokio::test]
async fn a_store_that_fails_leaves_nothing_and_the_retry_works() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("full").await;
    let path = format!("/v1/tenants/{}/backups", acme.id());
    // What stands where the tenant's folder should be cannot be written to, even by root.
    let tenants = keeping.folder.path().join("objects/tenants");
    std::fs::create_dir_all(tenants.parent().unwrap()).unwrap();
    std::fs::write(&tenants, "in the way").unwrap();
    let begun = operator
        .post(&format!("{path}?wait=none"), json!({}))
        .await
        .expect(202);
    let id = begun.json()["id"].as_str().unwrap().to_owned();
    until("it says what it waits for", || async {
        let operation = operator.get(&format!("/v1/operations/{id}")).await.json();
        operation["failure"]["code"] == "object-store-unavailable"
    })
    .await;
    std::fs::remove_file(&tenants).unwrap();
    harness::reaches(world, &id, "done", "a backup whose store came back").await;
    assert_eq!(keeping.objects().len(), 1);

    let missing = WorldOptions::default();
    let poor = World::with(missing).await;
    let beta = poor.tenant("poor").await;
    let refused = poor
        .operator()
        .post(&format!("/v1/tenants/{}/backups", beta.id()), json!({}))
        .await;
    let words = refused.refused(Code::Conflict).detail.unwrap();
    assert!(words.contains("objects.folder"), "{words}");
}

#[tokio::test]
async fn programs_that_are_missing_are_named_and_nothing_is_left() {
    let options = WorldOptions::default().platform_setting("tools.bin_dir", "/nowhere");
    let keeping = Keeping::start(options).await;
    let acme = keeping.world.tenant("no-tools").await;
    let path = format!("/v1/tenants/{}/backups", acme.id());
    let refused = keeping.world.operator().post(&path, json!({})).await;
    let words = refused.refused(Code::ToolsMissing).detail.unwrap();
    assert!(words.contains("tools.bin_dir"), "{words}");
    let left = keeping.world.operator().get("/v1/backups").await.json();
    assert_eq!(left["data"], json!([]));
}

#[tokio::test]
async fn a_restore_needs_its_confirmation_and_a_backup_of_that_tenant() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let (acme, beta) = (world.tenant("mine").await, world.tenant("theirs").await);
    let theirs = back_up(&operator, &beta, "none").await;
    let path = restore_path(&acme);
    let refused = operator.post(&path, json!({ "from": theirs })).await;
    refused.refused(Code::ConfirmationMissing);
    let refused = operator.post(&path, restore_body(&acme, &theirs)).await;
    refused.refused(Code::Conflict);
    let refused = operator.post(&path, restore_body(&acme, "previous")).await;
    refused.refused(Code::NotFound);
}

#[tokio::test]
async fn a_schedule_makes_backups_and_keeps_as_many_as_it_says() {
    let options = WorldOptions::default().platform_setting("backups.check_every", "50ms");
    let keeping = Keeping::start(options).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("due").await;
    let schedule = json!({
        "every_minutes": 5, "keep": 2, "keep_days": 30, "encryption": "tenant",
    });
    let put = operator
        .request(Method::PUT, "/v1/tiers/standard/backups")
        .json(&schedule)
        .send()
        .await
        .expect(200);
    assert_eq!(put.json(), schedule);
    // As if minutes had passed.
    let earlier = "update registry.tenant set activated_at = activated_at - interval '6 minutes';
         update registry.backup set created_at = created_at - interval '6 minutes'";
    let path = format!("/v1/backups?tenant={}", acme.id());
    for made in 1..=4 {
        world.postgres().run("registry", earlier).await;
        let sql =
            "select count(*) from registry.operation where kind = 'backup' and state = 'done'";
        until("the backup is made", || async {
            world.postgres().number("registry", sql).await >= made
        })
        .await;
    }
    until("the oldest are removed", || async {
        let left = operator.get(&path).await.json();
        let left = left["data"].as_array().unwrap();
        assert!(
            left.iter().all(|row| row["encryption"] == "tenant"),
            "{left:?}"
        );
        left.len() == 2
    })
    .await;
    until("their objects as well", || async {
        keeping.objects().len() == 2
    })
    .await;
}

fn ids(answer: &Value) -> Vec<String> {
    let data = answer["data"].as_array().unwrap();
    data.iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect()
}

async fn newest(world: &World, tenant: &TenantHandle) -> Option<String> {
    let path = format!("/v1/backups?tenant={}", tenant.id());
    ids(&world.operator().get(&path).await.expect(200).json())
        .into_iter()
        .next()
}

async fn served(tenant: &TenantHandle) {
    until("the tenant is served", || async {
        tenant.owner().get("/v1/entries").await.status() == 200
    })
    .await;
}

async fn with_backup(world: &World) -> TenantHandle {
    let tenant = world.tenant("kept").await;
    write(&tenant, &["one"]).await;
    let path = format!("/v1/tenants/{}/backups?wait=none", tenant.id());
    let begun = world.operator().post(&path, json!({})).await.expect(202);
    harness::reaches(world, &harness::operation_of(&begun), "done", "a backup").await;
    tenant
}

fn titles(tenant: &TenantHandle) -> String {
    let id = tenant.id();
    format!("select distinct title from entries.entry where '{id}' <> '' order by 1")
}

/// Every kind of this theme.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case {
            kind: OperationKind::Backup,
            steps: &[Step::Dump, Step::Record],
            point_of_no_return: Step::Record,
            prepare: |world| async { world.tenant("dumped").await }.boxed(),
            begin: |operator, tenant| {
                async {
                    let path = format!("/v1/tenants/{}/backups", tenant.id());
                    operator
                        .post(&path, json!({ "encryption": "tenant" }))
                        .await
                }
                .boxed()
            },
            after_done: |world, tenant| {
                async {
                    let id = newest(world, tenant).await.unwrap();
                    let path = format!("/v1/backups/{id}");
                    assert_eq!(world.operator().get(&path).await.json()["state"], "ready");
                }
                .boxed()
            },
            after_undone: |world, tenant| {
                async { assert_eq!(newest(world, tenant).await, None) }.boxed()
            },
        },
        Case {
            kind: OperationKind::VerifyBackup,
            steps: &[Step::Load, Step::Compare, Step::Drop],
            point_of_no_return: Step::Compare,
            prepare: |world| with_backup(world).boxed(),
            begin: |operator, tenant| {
                async {
                    let list = format!("/v1/backups?tenant={}", tenant.id());
                    let id = ids(&operator.get(&list).await.json()).remove(0);
                    post(operator, &format!("/v1/backups/{id}/verify")).await
                }
                .boxed()
            },
            after_done: |world, tenant| {
                async {
                    let id = newest(world, tenant).await.unwrap();
                    let shown = world
                        .operator()
                        .get(&format!("/v1/backups/{id}"))
                        .await
                        .json();
                    assert!(shown["verified_at"].is_string(), "{shown}");
                }
                .boxed()
            },
            after_undone: |world, tenant| {
                async {
                    let id = newest(world, tenant).await.unwrap();
                    let shown = world
                        .operator()
                        .get(&format!("/v1/backups/{id}"))
                        .await
                        .json();
                    assert!(shown["verified_at"].is_null(), "{shown}");
                    assert_eq!(shown["state"], "ready", "{shown}");
                }
                .boxed()
            },
        },
        Case {
            kind: OperationKind::ForgetBackup,
            steps: &[Step::Mark, Step::Remove],
            point_of_no_return: Step::Mark,
            prepare: |world| with_backup(world).boxed(),
            begin: |operator, tenant| {
                async {
                    let list = format!("/v1/backups?tenant={}", tenant.id());
                    let id = ids(&operator.get(&list).await.json()).remove(0);
                    operator.delete(&format!("/v1/backups/{id}")).await
                }
                .boxed()
            },
            after_done: |world, tenant| {
                async { assert_eq!(newest(world, tenant).await, None) }.boxed()
            },
            after_undone: |world, tenant| {
                async {
                    let id = newest(world, tenant).await.unwrap();
                    let path = format!("/v1/backups/{id}");
                    assert_eq!(world.operator().get(&path).await.json()["state"], "ready");
                }
                .boxed()
            },
        },
        Case {
            kind: OperationKind::RestoreBackup,
            steps: &[
                Step::Load,
                Step::Compare,
                Step::Schema,
                Step::Hold,
                Step::Wall,
                Step::Swap,
            ],
            point_of_no_return: Step::Swap,
            prepare: |world| {
                async {
                    let tenant = with_backup(world).await;
                    write(&tenant, &["two"]).await;
                    tenant
                }
                .boxed()
            },
            begin: |operator, tenant| {
                async {
                    let list = format!("/v1/backups?tenant={}", tenant.id());
                    let id = ids(&operator.get(&list).await.json()).remove(0);
                    operator
                        .post(&restore_path(tenant), restore_body(tenant, &id))
                        .await
                }
                .boxed()
            },
            after_done: |world, tenant| {
                async {
                    served(tenant).await;
                    let titles = world
                        .postgres()
                        .texts(tenant.id().as_str(), &titles(tenant))
                        .await;
                    assert_eq!(titles, ["one"]);
                }
                .boxed()
            },
            after_undone: |world, tenant| {
                async {
                    served(tenant).await;
                    write(tenant, &["three"]).await;
                    let titles = world
                        .postgres()
                        .texts(tenant.id().as_str(), &titles(tenant))
                        .await;
                    assert_eq!(titles, ["one", "three", "two"]);
                }
                .boxed()
            },
        },
    ]
}

async fn patiently(kind: OperationKind) {
    let keeping = Keeping::start(harness::patient()).await;
    for case in cases().iter().filter(|case| case.kind == kind) {
        harness::every_step_fails(&keeping.world, case).await;
        harness::every_step_twice(&keeping.world, case).await;
        harness::undo_stuck_and_retried(&keeping.world, case).await;
    }
}

async fn killed(kind: OperationKind) {
    let keeping = Keeping::start(harness::impatient()).await;
    for case in cases().iter().filter(|case| case.kind == kind) {
        harness::every_instruction_killed(&keeping.world, case).await;
    }
}

#[tokio::test]
async fn backup_fails_repeats_and_sticks_at_every_step() {
    patiently(OperationKind::Backup).await;
}

#[tokio::test]
async fn backup_is_killed_at_every_instruction() {
    killed(OperationKind::Backup).await;
}

#[tokio::test]
async fn verify_backup_fails_repeats_and_sticks_at_every_step() {
    patiently(OperationKind::VerifyBackup).await;
}

#[tokio::test]
async fn verify_backup_is_killed_at_every_instruction() {
    killed(OperationKind::VerifyBackup).await;
}

#[tokio::test]
async fn forget_backup_fails_repeats_and_sticks_at_every_step() {
    patiently(OperationKind::ForgetBackup).await;
}

#[tokio::test]
async fn forget_backup_is_killed_at_every_instruction() {
    killed(OperationKind::ForgetBackup).await;
}

#[tokio::test]
async fn restore_backup_fails_repeats_and_sticks_at_every_step() {
    patiently(OperationKind::RestoreBackup).await;
}

#[tokio::test]
async fn restore_backup_is_killed_at_every_instruction() {
    killed(OperationKind::RestoreBackup).await;
}
