//! Tenants: made, changed, adopted, held back, deleted, purged.

use world::{PASSWORD, World, WorldOptions, until};

use super::Ctl;
use crate::fleet::backups::Keeping;
use crate::support::unique;

#[tokio::test]
async fn a_tenant_is_made_changed_and_shown_in_every_form() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let slug = unique("made");
    let command = ctl.command(&[
        "tenants",
        "create",
        "--company",
        "Made Up",
        "--slug",
        &slug,
        "--email",
        "ada@made.example",
        "--password-stdin",
        "-o",
        "json",
    ]);
    let made = ctl.piped(command, PASSWORD).expect(0).json();
    assert_eq!(made["status"], "active");
    let id = made["id"].as_str().unwrap();

    let changed = ctl
        .run(&[
            "tenants",
            "update",
            id,
            "--company",
            "Made Down",
            "-o",
            "ndjson",
        ])
        .expect(0);
    assert_eq!(changed.json()["company"], "Made Down");

    let table = ctl.run(&["tenants", "list", "--text", &slug]).expect(0).out;
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines[0].starts_with("ID ") && lines[1].starts_with(id),
        "{table}"
    );
    assert_eq!(lines.len(), 2, "{table}");
    let list = ctl
        .run(&["tenants", "list", "--text", &slug, "-o", "json"])
        .expect(0)
        .json();
    assert_eq!(list[0]["id"], id);

    // The default tenant of a profile.
    ctl.piped(ctl.command(&["login", "--key-stdin"]), &ctl.key)
        .expect(0);
    ctl.run(&["use", id]).expect(0);
    let meant = ctl.run(&["tenants", "show", "-o", "json"]).expect(0).json();
    assert_eq!(meant["id"], id);

    let operations = ctl
        .run(&[
            "operations",
            "list",
            "--tenant",
            id,
            "--kind",
            "create",
            "-o",
            "json",
        ])
        .expect(0)
        .json();
    let operation = operations[0]["id"].as_str().unwrap();
    let shown = ctl.run(&["operations", "show", operation]).expect(0).out;
    assert!(
        shown.contains("log") && shown.contains("activate"),
        "{shown}"
    );
    ctl.run(&["operations", "retry", operation]).expect(5);
}

#[tokio::test]
async fn a_database_is_adopted_by_a_command() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let (slug, database) = (unique("taken-in"), unique("legacy"));
    let make = format!("create database \"{database}\" template template0 encoding 'UTF8'");
    world.postgres().run("postgres", &make).await;
    let adopt = [
        "tenants",
        "adopt",
        &database,
        "--cluster",
        "main",
        "--company",
        "Taken In",
        "--slug",
        &slug,
        "--owner-email",
        "ada@taken.example",
        "--generate-password",
    ];
    // What stands in the way is shown with what mends it, and is a failure.
    let refused = ctl.run(&[&adopt[..], &["--dry-run"]].concat()).expect(1);
    refused.says("cannot be adopted like this");
    refused.says("Nothing was changed");
    let remedy = format!("alter database \"{database}\" owner to \"tn_platform\"");
    assert!(refused.out.contains(&remedy), "{}", refused.out);
    ctl.run(&adopt).expect(5).says("tn_platform");
    world.postgres().run("postgres", &remedy).await;
    let wrong = [&adopt[..], &["--baseline", "auth=two"]].concat();
    ctl.run(&wrong).expect(2).says("such as auth=2");
    let preview = [&adopt[..], &["--dry-run", "-o", "json"]].concat();
    let preview = ctl.run(&preview).expect(0).json();
    assert_eq!(preview["adoptable"], true, "{preview}");
    let done = ctl.run(&[&adopt[..], &["-o", "json"]].concat()).expect(0);
    let (done, id) = (done.json(), format!("t_{}", slug.replace('-', "_")));
    assert_eq!(
        (&done["state"], &done["tenant"]),
        (&"done".into(), &id.clone().into())
    );
    let login = serde_json::json!({ "email": "ada@taken.example", "password": done["password"] });
    let door = world.anonymous().in_tenant(&id);
    door.post("/v1/auth/login", login).await.expect(200);
}

#[tokio::test]
async fn a_tenants_life_by_commands() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let tenant = world.tenant("lived").await;
    let id = tenant.id().as_str();

    let suspend = [
        "tenants",
        "suspend",
        id,
        "--reason",
        "Stocktaking.",
        "--until",
        "2h",
        "--wait=replicas",
    ];
    ctl.run(&suspend).expect(0);
    // Every replica has heard of it.
    assert_eq!(tenant.owner().get("/v1/me").await.status(), 403);
    let shown = ctl.run(&["tenants", "show", id]).expect(0).out;
    assert!(
        shown.contains("blocked") && shown.contains("Stocktaking."),
        "{shown}"
    );
    ctl.run(&["tenants", "resume", id, "--wait=replicas"])
        .expect(0);
    assert_eq!(tenant.owner().get("/v1/me").await.status(), 200);

    let delete = ["tenants", "delete", id];
    let preview = ctl
        .run(&[&delete[..], &["--dry-run", "-o", "json"]].concat())
        .expect(0)
        .json();
    assert_eq!(preview["tenant"], id);
    ctl.run(&delete).expect(2).says("--yes");
    ctl.on_terminal(&delete, tenant.slug()).expect(1);
    assert_eq!(tenant.owner().get("/v1/me").await.status(), 200);
    let asked = ctl.on_terminal(&delete, id).expect(0);
    assert!(
        asked.out.contains(&ctl.url),
        "the prompt names the server: {}",
        asked.out
    );

    ctl.run(&["tenants", "suspend", id])
        .expect(3)
        .says("tenantctl tenants restore");
    ctl.run(&["tenants", "restore", id, "--wait=replicas"])
        .expect(0);
    // A connection that the deletion ended may still answer one request with 503.
    until("the tenant is served again", || async {
        tenant.owner().get("/v1/me").await.status() == 200
    })
    .await;

    // Begun and not waited for; then followed to its end.
    let begun = ctl
        .run(&["tenants", "rotate", id, "--no-wait", "-o", "json"])
        .expect(0);
    begun.says("operations watch");
    let operation = begun.json()["id"].as_str().unwrap().to_owned();
    let over = ctl
        .run(&["operations", "watch", &operation, "-o", "ndjson"])
        .expect(0);
    assert_eq!(over.json()["state"], "done");
}

#[tokio::test]
async fn every_change_is_waited_for_until_all_replicas_have_heard() {
    // A replica that is silent is waited for as long as it may live.
    let options = WorldOptions::default()
        .stock_level(1)
        .platform_setting("replicas.silent_after", "4m")
        .platform_setting("operations.wait", "15s");
    let world = World::with(options).await;
    let ctl = Ctl::new(&world);
    let slug = unique("heard");
    let create = [
        "tenants",
        "create",
        "--company",
        "Heard",
        "--slug",
        &slug,
        "--email",
        "a@heard.example",
        "--generate-password",
        "--wait=replicas",
        "-o",
        "json",
    ];
    let made = ctl.run(&create).expect(0).json();
    assert_eq!(made["status"], "active");
    let id = made["id"].as_str().unwrap();
    let file = format!("company,email,password\nRow,row@{slug}.example,{PASSWORD}\n");
    let bulk = ["tenants", "bulk", "-", "--wait=replicas"];
    ctl.piped(ctl.command(&bulk), &file).expect(0);
    let wait = ["--wait=replicas", "--timeout", "1s"];
    let update = [&["tenants", "update", id, "--company", "Told"][..], &wait].concat();
    ctl.run(&update).expect(0);
    // No replica hears of anything: what is done is done, and is not said to be heard of.
    world.platform_link().set(world::Mode::Blackhole);
    let unheard = ctl.run(&update).expect(6);
    unheard.says("not every replica has applied it");
    unheard.says("tenantctl replicas list");
    assert_eq!(ctl.json(&["tenants", "show", id])["company"], "Told");
    let delete = [&["tenants", "delete", id, "--yes"][..], &wait].concat();
    ctl.run(&delete).expect(6);
    assert_eq!(ctl.json(&["tenants", "show", id])["status"], "deleted");

    let read = ctl.run(&["clusters", "list", "--wait=replicas"]).expect(2);
    read.says("--wait=replicas");
}

#[tokio::test]
async fn labels_choose_the_cluster_of_new_tenants_copies_and_imports() {
    let keeping = Keeping::start(WorldOptions::default().stock_level(1)).await;
    let world = &keeping.world;
    let ctl = Ctl::new(world);
    world.second_cluster().await;
    ctl.run(&["clusters", "update", "second", "--label", "disk=nvme"])
        .expect(0);
    let cluster = |id: &str| ctl.json(&["tenants", "show", id])["cluster"].clone();
    let labels = |id: &str| ctl.json(&["tenants", "show", id])["labels"].clone();
    let wanted = serde_json::json!({ "disk": "nvme" });
    let id_of = |slug: &str| format!("t_{}", slug.replace('-', "_"));
    // Placement fills the emptier one first, so one alone might be there by chance.
    for _ in 0..2 {
        let slug = unique("nvme");
        let create = [
            "tenants",
            "create",
            "--company",
            "Fast",
            "--slug",
            &slug,
            "--email",
            "a@fast.example",
            "--generate-password",
            "--label",
            "disk=nvme",
        ];
        ctl.run(&create).expect(0);
        assert_eq!(cluster(&id_of(&slug)), "second");
        assert_eq!(labels(&id_of(&slug)), wanted);
        let copy = unique("copy");
        ctl.run(&["tenants", "clone", &id_of(&slug), "--as", &copy])
            .expect(0);
        assert_eq!(cluster(&id_of(&copy)), "second");
        let archive = keeping.folder.path().join(format!("{slug}.tar"));
        let archive = archive.to_str().unwrap();
        ctl.run(&["tenants", "export", &id_of(&slug), "--to", archive])
            .expect(0);
        let import = unique("import");
        ctl.run(&["tenants", "import", archive, "--slug", &import])
            .expect(0);
        assert_eq!(
            (cluster(&id_of(&import)), labels(&id_of(&import))),
            ("second".into(), wanted.clone())
        );
    }
    let row = unique("row");
    let file = format!(
        "company,slug,email,password,labels\nRow,{row},a@row.example,{PASSWORD},disk=nvme\n"
    );
    ctl.piped(ctl.command(&["tenants", "bulk", "-"]), &file)
        .expect(0);
    assert_eq!(cluster(&id_of(&row)), "second");
    // A sign-up does not choose among clusters.
    let mut signup = crate::support::signup(&unique("anybody"));
    signup["labels"] = wanted;
    let refused = world.visitor().post("/v1/signup", signup).await;
    refused.refused(contract::Code::ValidationFailed);
}

#[tokio::test]
async fn a_tenant_gets_another_owner_and_is_destroyed_with_proof() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let tenant = world.tenant("ended").await;
    let id = tenant.id().as_str();
    let grace = format!("grace@{}.example", tenant.slug());
    ctl.run(&["tenants", "transfer", id, "--to", &grace])
        .expect(2)
        .says("/password");
    let transfer = [
        "tenants",
        "transfer",
        id,
        "--to",
        &grace,
        "--replace",
        "--password-stdin",
        "-o",
        "json",
    ];
    let transferred = ctl.piped(ctl.command(&transfer), PASSWORD).expect(0);
    assert_eq!(transferred.json()["state"], "done");
    assert_eq!(ctl.json(&["tenants", "show", id])["contact_email"], *grace);
    let login = serde_json::json!({ "email": grace, "password": PASSWORD });
    let door = tenant.anonymous();
    door.post("/v1/auth/login", login).await.expect(200);

    // A password is made for who needs one, and shown once.
    let hopper = format!("hopper@{}.example", tenant.slug());
    let make = [
        "tenants",
        "transfer",
        id,
        "--to",
        &hopper,
        "--generate-password",
    ];
    let made = ctl.json(&make);
    let login = serde_json::json!({ "email": hopper, "password": made["password"] });
    door.post("/v1/auth/login", &login).await.expect(200);
    let kept = ctl.run(&[&make[..], &["-o", "json"]].concat()).expect(0);
    assert!(kept.json()["password"].is_null(), "{}", kept.out);
    kept.says("keeps its password");
    door.post("/v1/auth/login", &login).await.expect(200);

    ctl.run(&["tenants", "purge", id, "--yes", "--force"])
        .expect(5);
    ctl.run(&["tenants", "delete", id, "--yes"]).expect(0);
    ctl.run(&["tenants", "certificate", id]).expect(3);
    let preview = ctl.run(&["tenants", "purge", id, "--dry-run"]).expect(0);
    preview.says("Nothing was changed");
    assert!(
        preview.out.contains(&format!("deleted:{id}")),
        "{}",
        preview.out
    );
    ctl.run(&["tenants", "purge", id, "--yes"]).expect(5);
    ctl.run(&["tenants", "purge", id, "--force"])
        .expect(2)
        .says("--yes");
    ctl.run(&["tenants", "purge", id, "--force", "--yes"])
        .expect(0);
    let proof = ctl.shows(&["tenants", "certificate", id], id);
    assert!(proof["signature"].is_string(), "{proof}");
    ctl.run(&["tenants", "restore", id]).expect(3);
}
