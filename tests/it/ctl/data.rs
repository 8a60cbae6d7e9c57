//! A tenant's data: backups, restores, copies, archives, files of tenants.

use world::{PASSWORD, WorldOptions};

use super::Ctl;
use crate::fleet::backups::{Keeping, write};
use crate::support::unique;

async fn titles(keeping: &Keeping, tenant: &str) -> Vec<String> {
    let sql = "select title from entries.entry order by 1";
    keeping.world.postgres().texts(tenant, sql).await
}

#[tokio::test]
async fn a_backup_is_made_shown_tried_restored_and_deleted() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let ctl = Ctl::new(&keeping.world);
    let tenant = keeping.world.tenant("backed").await;
    let id = tenant.id().as_str();
    write(&tenant, &["kept"]).await;
    let made = ctl.json(&["tenants", "backup", id, "--encrypt"]);
    let backup = made["result"]["backup"].as_str().unwrap();
    ctl.lists(&["backups", "list", "--tenant", id], backup);
    let narrow = ["backups", "list", "--kind", "manual", "--state", "ready"];
    ctl.lists(&narrow, backup);
    for other in [["--kind", "final"], ["--state", "corrupt"]] {
        let none = ctl.json(&[&["backups", "list"], &other[..]].concat());
        assert_eq!(none, serde_json::json!([]), "{other:?}");
    }
    ctl.run(&["backups", "list", "--kind", "odd"])
        .expect(2)
        .says("possible values: manual, scheduled, final, export");
    let shown = ctl.shows(&["backups", "show", backup], backup);
    assert_eq!(
        (&shown["tenant"], &shown["encryption"]),
        (&id.into(), &"tenant".into())
    );
    assert_eq!(ctl.json(&["backups", "verify", backup])["state"], "done");
    assert!(ctl.json(&["backups", "show", backup])["verified_at"].is_string());

    write(&tenant, &["later"]).await;
    let restore = ["tenants", "restore-backup", id, backup];
    let preview = ctl.run(&[&restore[..], &["--dry-run"]].concat()).expect(0);
    preview.says("Nothing was changed");
    preview.says(&format!("the backup {backup} of "));
    for shown in ["no longer seen", "size", "rows"] {
        assert!(preview.out.contains(shown), "{shown}: {}", preview.out);
    }
    let made = ctl.json(&["backups", "show", backup])["created_at"].clone();
    let dry = ctl.json(&[&restore[..], &["--dry-run"]].concat());
    assert_eq!(
        (&dry["lost_since"], &dry["backup"]["created_at"]),
        (&made, &made)
    );
    // What a restore would refuse, a dry run refuses.
    let previous_dry = ["tenants", "restore-backup", id, "previous", "--dry-run"];
    ctl.run(&previous_dry).expect(3);
    let other = keeping.world.tenant("other").await;
    let foreign = ["tenants", "restore-backup", other.id().as_str(), backup];
    let refused = ctl.run(&[&foreign[..], &["--yes"]].concat());
    let dry = ctl.run(&[&foreign[..], &["--dry-run"]].concat());
    assert_ne!(dry.code, Some(0), "{}", dry.out);
    assert_eq!(dry.code, refused.code, "{}", dry.err);
    ctl.run(&restore).expect(2).says("--yes");
    assert_eq!(titles(&keeping, id).await, ["kept", "later"]);
    let previous = ["tenants", "restore-backup", id, "previous", "--yes"];
    ctl.run(&previous).expect(3);
    preview.says(&format!("tenantctl backups verify {backup}"));
    let done = ctl.run(&[&restore[..], &["--yes"]].concat()).expect(0);
    for shown in ["tables whose rows differ", "ROWS NOW", "entries.entry"] {
        assert!(done.out.contains(shown), "{shown}: {}", done.out);
    }
    assert!(!done.out.contains("changes"), "{}", done.out);
    assert_eq!(titles(&keeping, id).await, ["kept"]);
    assert_eq!(ctl.json(&previous_dry)["from"], "previous");
    assert_eq!(titles(&keeping, id).await, ["kept"]);
    ctl.run(&previous).expect(0);
    assert_eq!(titles(&keeping, id).await, ["kept", "later"]);

    let schedule = ["backups", "schedule", "premium"];
    assert!(ctl.json(&schedule)["every_minutes"].is_null());
    let every = [
        &schedule[..],
        &["--every", "6h", "--keep", "28", "--keep-days", "40"],
    ]
    .concat();
    let set = ctl.shows(&every, "360");
    assert_eq!((&set["keep"], &set["keep_days"]), (&28.into(), &40.into()));
    // What is not named stays, and what would be deleted is asked for.
    let every = [&schedule[..], &["--every", "12h", "--encrypt"]].concat();
    let set = ctl.json(&every);
    assert_eq!(
        (&set["keep"], &set["every_minutes"]),
        (&28.into(), &720.into())
    );
    let fewer = [&schedule[..], &["--keep", "5"]].concat();
    ctl.run(&fewer).expect(2).says("--yes");
    let dry = ctl.run(&[&fewer[..], &["--dry-run"]].concat()).expect(0);
    dry.says(": all but the newest 5 of each tenant");
    assert_eq!(ctl.json(&schedule)["keep"], 28);
    ctl.run(&[&fewer[..], &["--yes"]].concat()).expect(0);
    let odd = ctl.run(&[&schedule[..], &["--every", "90s"]].concat());
    odd.expect(2).says("whole minutes");
    ctl.run(&[&schedule[..], &["--off"]].concat()).expect(0);
    let off = ctl.json(&schedule);
    assert!(off["every_minutes"].is_null());
    assert_eq!(
        (&off["keep"], &off["encryption"]),
        (&5.into(), &"tenant".into())
    );

    let delete = ["backups", "delete", backup];
    ctl.run(&[&delete[..], &["--dry-run"]].concat())
        .expect(0)
        .says("Nothing was changed");
    ctl.run(&delete).expect(2).says("--yes");
    ctl.run(&[&delete[..], &["--yes"]].concat()).expect(0);
    ctl.run(&["backups", "show", backup]).expect(3);
}

#[tokio::test]
async fn a_backup_becomes_a_new_tenant_by_its_id_or_by_a_time() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let ctl = Ctl::new(&keeping.world);
    let tenant = keeping.world.tenant("then").await;
    let id = tenant.id().as_str();
    write(&tenant, &["first"]).await;
    let made = ctl.json(&["tenants", "backup", id]);
    let first = made["result"]["backup"].as_str().unwrap();
    let at = ctl.json(&["backups", "show", first])["finished_at"].clone();
    let at = at.as_str().unwrap();
    write(&tenant, &["second"]).await;
    ctl.json(&["tenants", "backup", id]);

    let restore = |more: &[&str]| {
        let words = [&["backups", "restore"], more].concat();
        ctl.run(&[&words[..], &["-o", "json"]].concat())
    };
    let slug = unique("then");
    let copy = format!("t_{}", slug.replace('-', "_"));
    let done = restore(&[first, "--to-new", &slug]).expect(0).json();
    assert_eq!(
        (&done["tenant"], &done["state"]),
        (&copy.as_str().into(), &"done".into())
    );
    assert_eq!(titles(&keeping, &copy).await, ["first"]);
    restore(&[first, "--to-new", &slug]).expect(5);
    // By a time, and named by the id that it is to have.
    let copy = format!("t_{}", unique("at").replace('-', "_"));
    let done = restore(&[
        "--tenant",
        id,
        "--at",
        at,
        "--to-new",
        &copy,
        "--company",
        "Then",
    ]);
    assert_eq!(done.expect(0).json()["result"]["backup"], first);
    assert_eq!(titles(&keeping, &copy).await, ["first"]);
    assert_eq!(ctl.json(&["tenants", "show", &copy])["company"], "Then");
    assert_eq!(titles(&keeping, id).await, ["first", "second"]);
    // Before the first one there is nothing; and one is not chosen twice.
    let early = restore(&["--tenant", id, "--at", "1d", "--to-new", &slug]);
    early.expect(1).says("no backup that was complete then");
    restore(&[first, "--tenant", id, "--at", at, "--to-new", &slug]).expect(2);
    restore(&["--to-new", &slug]).expect(2);
    restore(&[first]).expect(2).says("--to-new");
    let nobodys = "bak_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f";
    restore(&[nobodys, "--to-new", &slug]).expect(3);
}

#[tokio::test]
async fn a_tenant_is_copied_taken_along_and_brought_back() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let ctl = Ctl::new(&keeping.world);
    let tenant = keeping.world.tenant("copied").await;
    let id = tenant.id().as_str();
    write(&tenant, &["secret"]).await;
    let folder = tempfile::tempdir().unwrap();
    let scrub = folder.path().join("scrub.sql");
    std::fs::write(&scrub, "update entries.entry set title = 'scrubbed'").unwrap();
    let slug = unique("copy");
    let scrub = scrub.to_str().unwrap();
    let cloned = ctl.json(&["tenants", "clone", id, "--as", &slug, "--anonymise", scrub]);
    let copy = format!("t_{}", slug.replace('-', "_"));
    assert_eq!(cloned["state"], "done");
    assert_eq!(titles(&keeping, &copy).await, ["scrubbed"]);
    ctl.run(&["tenants", "clone", id, "--as", &slug]).expect(5);

    let archive = folder.path().join("acme.tar");
    let archive = archive.to_str().unwrap();
    let exported = ctl.run(&["tenants", "export", id, "--to", archive, "-o", "json"]);
    let export = exported.expect(0).json();
    // Fetched once more, by who did not wait.
    let again = folder.path().join("again.tar");
    let again = again.to_str().unwrap();
    let export = export["id"].as_str().unwrap();
    let fetch = [
        "tenants",
        "export",
        id,
        "--operation",
        export,
        "--to",
        again,
    ];
    ctl.run(&fetch).expect(0);
    assert_eq!(
        std::fs::read(again).unwrap(),
        std::fs::read(archive).unwrap()
    );
    ctl.run(&["tenants", "export", id, "--to", "-"]).expect(2);
    // What is there is not written over, unless it is said.
    std::fs::write(again, "something else").unwrap();
    ctl.run(&fetch).expect(2).says("--force");
    assert_eq!(std::fs::read(again).unwrap(), b"something else");
    ctl.run(&[fetch.as_slice(), &["--force"]].concat())
        .expect(0);
    assert_eq!(
        std::fs::read(again).unwrap(),
        std::fs::read(archive).unwrap()
    );
    ctl.run(&[
        "tenants",
        "import",
        folder.path().to_str().unwrap(),
        "--slug",
        &unique("folder"),
    ])
    .expect(1)
    .says("reading");
    let slug = unique("import");
    let imported = ctl.json(&[
        "tenants", "import", archive, "--slug", &slug, "--tier", "premium",
    ]);
    assert_eq!(imported["state"], "done");
    let copy = format!("t_{}", slug.replace('-', "_"));
    assert_eq!(titles(&keeping, &copy).await, ["secret"]);
    assert_eq!(ctl.json(&["tenants", "show", &copy])["tier"], "premium");
    let bytes = std::fs::read(archive).unwrap();
    std::fs::write(archive, &bytes[..bytes.len() / 2]).unwrap();
    let torn = ctl.run(&["tenants", "import", archive, "--slug", &unique("torn")]);
    torn.expect(1).says("it breaks off");
    ctl.run(&["tenants", "import", "/nowhere.tar"]).expect(1);
}

#[tokio::test]
async fn the_last_backup_of_a_purged_tenant_is_fetched_and_brought_back() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let ctl = Ctl::new(&keeping.world);
    let tenant = keeping.world.tenant("gone").await;
    let id = tenant.id().as_str();
    write(&tenant, &["kept"]).await;
    ctl.run(&["tenants", "delete", id, "--yes"]).expect(0);
    let purge = ["tenants", "purge", id, "--force", "--final-backup", "--yes"];
    let last = ctl.json(&purge)["result"]["final_backup"].clone();
    let last = last.as_str().unwrap();
    let listed = ctl.lists(&["backups", "list", "--tenant", id], last);
    assert!(listed[0]["expires_at"].is_string(), "{listed:?}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("last.tar");
    let fetch = ["backups", "fetch", last, "--to", file.to_str().unwrap()];
    ctl.run(&fetch).expect(0).says("The archive is");
    ctl.run(&fetch).expect(2).says("--force");
    let slug = unique("again");
    let import = ["tenants", "import", file.to_str().unwrap(), "--slug", &slug];
    let made = ctl.json(&import)["tenant"].clone();
    assert_eq!(titles(&keeping, made.as_str().unwrap()).await, ["kept"]);
    let backup = ctl.json(&["tenants", "backup", made.as_str().unwrap()]);
    let backup = backup["result"]["backup"].as_str().unwrap();
    let other = folder.path().join("other.tar");
    let refused = ["backups", "fetch", backup, "--to", other.to_str().unwrap()];
    ctl.run(&refused).expect(3);
    assert!(!other.exists());
}

#[tokio::test]
async fn what_a_deletion_says_of_a_last_backup_holds_for_the_purge_that_says_nothing() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let ctl = Ctl::new(&keeping.world);
    for (flag, words, is_kept) in [
        (None, "a final backup is kept", true),
        (Some("--no-final-backup"), "no backup is kept", false),
    ] {
        let tenant = keeping.world.tenant("asked").await;
        let id = tenant.id().as_str();
        let delete = ["tenants", "delete", id, "--final-backup", "--yes"];
        ctl.run(&delete).expect(0);
        let mut purge = vec!["tenants", "purge", id, "--force"];
        purge.extend(flag);
        let dry = [&purge[..], &["--dry-run"]].concat();
        ctl.run(&dry).expect(0).says(words);
        let shown = ctl.json(&dry);
        assert_eq!(shown["final_backup"] == "keep", is_kept, "{shown:#}");
        let done = ctl.json(&[&purge[..], &["--yes"]].concat());
        let last = &done["result"]["final_backup"];
        assert_eq!(last.is_string(), is_kept, "{done:#}");
    }
}

#[tokio::test]
async fn a_file_of_tenants_is_made_with_a_report_per_row() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let ctl = Ctl::new(&keeping.world);
    let file = format!(
        "company,slug,email,password\nOne,row-one,one@rows.example,{PASSWORD}\n\
         Two,row-one,two@rows.example,{PASSWORD}\n"
    );
    let command = ctl.command(&["tenants", "bulk", "-", "-o", "json"]);
    let ran = ctl.piped(command, &file).expect(1);
    ran.says("1 of 2 rows failed");
    let rows = ran.json();
    assert_eq!(
        (&rows[0]["tenant"], &rows[0]["state"]),
        (&"t_row_one".into(), &"done".into())
    );
    assert_eq!(rows[1]["failure"]["code"], "slug-taken");
    let operation = ctl.json(&["operations", "list", "--kind", "bulk_create"])[0]["id"].clone();
    ctl.lists(
        &["operations", "rows", operation.as_str().unwrap()],
        "t_row_one",
    );
    let good = file
        .lines()
        .take(2)
        .collect::<Vec<_>>()
        .join("\n")
        .replace("one", "two");
    let command = ctl.command(&["tenants", "bulk", "-"]);
    ctl.piped(command, &good).expect(0);
}
