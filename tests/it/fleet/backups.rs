//! Backups: made, tried, restored, removed; what is damaged or full; what neighbours notice of it.
//!
//! Deliberately with the programs of PostgreSQL that are installed beside the server. Invariant: what
//! a test calls restored has the rows, table by table, that were backed up.

use std::path::PathBuf;

use contract::Code;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use world::{Logs, Mode, Speaker, TenantHandle, World, WorldOptions, until};

use super::harness;
use crate::support::entry;

mod beside;
mod changes;
mod faults;
mod held;
mod restores;
mod unread;

pub(crate) use faults::cases;

/// A world that keeps objects.
pub(crate) struct Keeping {
    pub(crate) world: World,
    pub(crate) folder: TempDir,
}

impl Keeping {
    pub(crate) async fn start(options: WorldOptions) -> Self {
        let (options, folder) = keeping(options);
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

/// Options of a world that keeps objects in a folder.
pub(crate) fn keeping(options: WorldOptions) -> (WorldOptions, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(place("work")).unwrap();
    let options = options
        .platform_setting("objects.folder", &place("objects"))
        .platform_setting("objects.work_dir", &place("work"));
    (options, folder)
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
    let done = harness::done(operator, operator.post(&path, body).await).await;
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
async fn a_schedule_that_nothing_can_be_made_by_is_refused_or_warned_of() {
    let options = WorldOptions::default().platform_setting("backups.check_every", "50ms");
    let world = World::with(options).await;
    let operator = world.operator();
    let put = async |every: Value| {
        let schedule = json!({ "every_minutes": every, "keep": 2, "keep_days": 30 });
        let put = operator.request(Method::PUT, "/v1/tiers/premium/backups");
        put.json(&schedule).send().await
    };
    let refused = put(json!(60)).await.expect(409).refused(Code::Conflict);
    let words = refused.detail.unwrap();
    assert!(words.contains("objects.folder"), "{words}");
    put(Value::Null).await.expect(200);
    // As if the folder had been taken out of the settings since.
    let scheduled = "update registry.tier set backup_every = '1 hour' where name = 'premium'";
    world.postgres().run("registry", scheduled).await;
    let warnings = || Logs::of_process().with("no backups are made by schedule");
    until("it is warned of", || async { !warnings().is_empty() }).await;
    let warnings = warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("premium"), "{warnings:?}");
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
async fn a_backup_of_a_newer_server_is_refused_by_name() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let (world, operator) = (&keeping.world, keeping.world.operator());
    let acme = world.tenant("newer").await;
    write(&acme, &["one"]).await;
    let backup = back_up(&operator, &acme, "none").await;
    // As if it were of a server that was since replaced by an older one.
    let newer = format!(
        "update registry.backup set server_version = 990001 where tenant_id = '{}'",
        acme.id()
    );
    world.postgres().run("registry", &newer).await;
    let mut body = restore_body(&acme, &backup);
    body["dry_run"] = true.into();
    let dry = operator.post(&restore_path(&acme), body.clone()).await;
    dry.refused(Code::DowngradeRefused);
    body["dry_run"] = false.into();
    let answer = operator.post(&restore_path(&acme), body).await;
    let id = harness::operation_of(&answer);
    harness::reaches(world, &id, "undone", "the restore").await;
    let failure = harness::operation_at(world, &id).await["failure"].clone();
    assert_eq!(failure["code"], "downgrade-refused", "{failure:#}");
    assert!(
        failure["detail"].as_str().unwrap().contains("99"),
        "{failure:#}"
    );
    let kept: Value = acme.owner().get("/v1/entries").await.expect(200).json();
    assert_eq!(kept["data"].as_array().unwrap().len(), 1);
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
async fn a_dry_run_is_refused_for_what_would_refuse_it_in_earnest() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("busy").await;
    let backup = back_up(&operator, &acme, "none").await;
    let restore = json!({ "from": backup, "dry_run": true });
    let delete = format!("/v1/tenants/{}?dry_run=true", acme.id());
    let path = restore_path(&acme);
    operator.post(&path, restore.clone()).await.expect(200);
    operator.delete(&delete).await.expect(200);
    let live = "insert into registry.operation (id, kind, tenant_id, state, step, plan)
             values ('0192f0c1-a2b3-7c4d-8e9f-0a1b2c3d4e5f', 'move', 't_x', 'stuck', 'check', '{}')";
    let live = live.replace("t_x", acme.id().as_str());
    world.postgres().run("registry", &live).await;
    for refused in [
        operator.post(&path, restore).await,
        operator.delete(&delete).await,
        operator.post(&path, restore_body(&acme, &backup)).await,
    ] {
        let words = refused.expect(409).refused(Code::Conflict).detail.unwrap();
        let id = "op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f";
        assert!(words.contains(id), "{words}");
    }
}

#[tokio::test]
async fn a_backup_is_deleted_where_its_id_is_said_again_and_a_dry_run_deletes_nothing() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let operator = keeping.world.operator();
    let acme = keeping.world.tenant("unwanted").await;
    let backup = back_up(&operator, &acme, "none").await;
    let path = format!("/v1/backups/{backup}");
    let shown = operator.get(&path).await.expect(200).json();
    let dry = operator.delete(&format!("{path}?dry_run=true")).await;
    assert_eq!(dry.expect(200).json(), shown);
    let other = "bak_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f";
    for said in ["", &format!("?confirm={other}")] {
        let refused = operator.delete(&format!("{path}{said}")).await;
        refused.refused(Code::ConfirmationMissing);
    }
    let dry = format!("/v1/backups/{other}?dry_run=true");
    operator.delete(&dry).await.refused(Code::NotFound);
    assert_eq!(keeping.objects().len(), 1);
    let begun = format!("/v1/operations?tenant={}&kind=forget_backup", acme.id());
    let begun = operator.get(&begun).await.expect(200).json();
    assert_eq!(begun["data"], json!([]));

    let confirmed = format!("{path}?confirm={backup}");
    operator.delete(&confirmed).await.expect(200);
    operator.get(&path).await.refused(Code::NotFound);
    assert_eq!(keeping.objects(), Vec::<PathBuf>::new());
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

#[tokio::test]
async fn what_copies_data_says_how_many_bytes_it_has_copied() {
    let keeping = Keeping::start(WorldOptions::default().behind_proxy()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("watched").await;
    write(&acme, &["one"]).await;
    // A dump asks its server some dozens of questions.
    world.database_link().set(Mode::Delay(40..=40));
    let path = format!("/v1/tenants/{}/backups?wait=none", acme.id());
    let plain = json!({ "encryption": "none" });
    let begun = operator.post(&path, plain).await.expect(202);
    let shown = format!("/v1/operations/{}", begun.json()["id"].as_str().unwrap());
    until("it says what it copies", || async {
        let view = operator.get(&shown).await.expect(200).json();
        view["progress"]["unit"] == "bytes"
    })
    .await;
    world.database_link().set(Mode::Pass);
    until("it is done", || async {
        operator.get(&shown).await.expect(200).json()["state"] == "done"
    })
    .await;
    let view = operator.get(&shown).await.expect(200).json();
    let progress = &view["progress"];
    assert_eq!(progress["done"], view["result"]["size_bytes"], "{view:#}");
    assert_eq!(progress["total"], progress["done"], "{view:#}");
}
