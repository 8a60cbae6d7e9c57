//! Keys: of operators, which are never arguments and never shown; of the platform.

use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use world::{World, WorldOptions};

use super::{Ctl, Ran};

#[tokio::test]
async fn a_key_is_never_an_argument_and_never_shown() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let given = ctl.run(&["tenants", "list", &ctl.key]).expect(2);
    assert!(!given.err.contains(&ctl.key), "{}", given.err);

    let mut login = ctl.command(&["login", "--key-stdin"]);
    login.env_remove("TENANTCTL_KEY");
    ctl.piped(login, &format!("{}\n", ctl.key)).expect(0);
    let mut kept = ctl.command(&["tenants", "list", "-o", "ndjson"]);
    kept.env_remove("TENANTCTL_KEY").env_remove("TENANTCTL_URL");
    Ran::from(kept.output().unwrap()).expect(0);
    let profiles = ctl.run(&["profiles", "-o", "json"]).expect(0);
    assert!(!profiles.out.contains(&ctl.key), "{}", profiles.out);

    // A wrong key is not kept.
    let wrong = ctl.command(&["login", "--key-stdin", "--profile", "wrong"]);
    ctl.piped(wrong, &format!("opk_{}", "A".repeat(43)))
        .expect(4);
    let text = std::fs::read_to_string(ctl.config()).unwrap();
    assert!(!text.contains("wrong"), "a key that is refused was kept");

    ctl.run(&["logout"]).expect(0);
    let text = std::fs::read_to_string(ctl.config()).unwrap();
    assert!(!text.contains(&ctl.key), "the key is still there");
}

#[tokio::test]
async fn what_destroys_asks_for_the_name() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let (id, holder) = ctl.with_scopes(&["tenants:read"]);
    let revoke = ["keys", "revoke", id.as_str()];

    ctl.run(&[&revoke[..], &["--dry-run"]].concat())
        .expect(0)
        .says("Nothing was changed");
    ctl.run(&revoke).expect(2).says("--yes");
    let wrong = ctl.on_terminal(&revoke, "opr_other").expect(1);
    assert!(wrong.out.contains("nothing was changed"), "{}", wrong.out);
    assert!(
        wrong.out.contains(&ctl.url),
        "the prompt names the server: {}",
        wrong.out
    );
    holder.run(&["tenants", "list"]).expect(0);

    ctl.on_terminal(&revoke, &id).expect(0);
    holder.run(&["tenants", "list"]).expect(4);
    // Said again it changes nothing; a script agrees in its command.
    ctl.run(&[&revoke[..], &["--yes"]].concat()).expect(0);
}

#[tokio::test]
async fn keys_of_operators_are_listed_and_those_of_the_platform_rotated() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let ctl = Ctl::new(&world);
    let tenant = world.tenant("rotated").await;
    let (id, _) = ctl.with_scopes(&["tenants:read"]);
    ctl.lists(&["keys", "list"], &id);
    let table = ctl.run(&["keys", "create", "console", "--scope", "tenants:read"]);
    let table = table.expect(0);
    table.says("save it now");
    assert!(table.out.starts_with("opk_") && table.out.lines().count() == 1);
    ctl.run(&["keys", "create", "console", "--scope", "everything"])
        .expect(2);
    a_key_gets_an_end(&ctl);

    let before = ctl.shows(&["keys", "platform"], "k1");
    let rotated = ctl.json(&["keys", "rotate-signing"]);
    assert_ne!(rotated["kid"], before["signing"][0]["kid"]);
    let after = ctl.shows(&["keys", "platform"], rotated["kid"].as_str().unwrap());
    assert_eq!(
        after["signing"].as_array().map(Vec::len),
        Some(2),
        "{after}"
    );
    let credentials = ctl.json(&["keys", "rotate-credentials", "--at-once", "2"]);
    assert_eq!(credentials["result"]["failed"], 0, "{credentials}");
    assert_eq!(ctl.json(&["keys", "reseal"])["state"], "done");

    let stuck = format!(
        "insert into registry.operation (id, kind, tenant_id, state, step, plan)
             values (gen_random_uuid(), 'create', '{}', 'stuck', 'database', '{{}}')",
        tenant.id()
    );
    world.postgres().run("registry", &stuck).await;
    let left_out = ctl.run(&["keys", "rotate-credentials"]).expect(1);
    left_out.says("no new password for 1 tenant");
    left_out.says(tenant.id().as_str());
    ctl.run(&["keys", "rotate-credentials", "--status", "deleted"])
        .expect(2)
        .says("[possible values: active, suspended]");
    tenant.owner().get("/v1/me").await.expect(200);
}

fn a_key_gets_an_end(ctl: &Ctl) {
    let create = ["keys", "create", "ended", "--scope", "tenants:read"];
    let made = ctl.json(&[&create[..], &["--expires-in", "90d"]].concat());
    let id = made["id"].as_str().unwrap();
    let keys = ctl.lists(&["keys", "list"], id);
    let key = keys.iter().find(|key| key["id"] == id).unwrap();
    let end = OffsetDateTime::parse(key["expires_at"].as_str().unwrap(), &Rfc3339).unwrap();
    let from_now = end - OffsetDateTime::now_utc();
    assert!((from_now - Duration::days(90)).abs() < Duration::hours(1));
    assert!(key["last_used_at"].is_null(), "{key}");
    let table = ctl.run(&["keys", "list"]).expect(0);
    assert!(
        table.out.contains("LAST USED") && table.out.contains("EXPIRES"),
        "{}",
        table.out
    );
    let end = ["--expires-at", "2999-12-31T00:00:00Z"];
    ctl.json(&[&create[..], &end].concat());
    let past = ["--expires-at", "1999-12-31T00:00:00Z"];
    ctl.run(&[&create[..], &past].concat())
        .expect(2)
        .says("must be in the future");
    ctl.run(&[&create[..], &["--expires-in", "soon"]].concat())
        .expect(2)
        .says("90s");
    ctl.run(&[&create[..], &["--expires-in", "1d"], &end].concat())
        .expect(2)
        .says("cannot be used with");
}
