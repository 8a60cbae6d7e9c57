//! The marker of a database: written twice, and what counts where the two differ or one is missing.

use contract::Code;
use serde_json::json;
use world::{TenantHandle, World, WorldOptions};

use crate::fleet::rollouts::Fleet;
use crate::support::entry;

/// Every database of ours by name, with its comment and its setting.
const MARKERS: &str = "select database.datname || ' ' || shobj_description(database.oid, 'pg_database')
         || ' ' || coalesce(split_part(setting.setting, '=', 2), 'none')
     from pg_database database
     left join (select setdatabase, unnest(setconfig) as setting from pg_db_role_setting where setrole = 0)
         setting on setting.setdatabase = database.oid and setting.setting like 'tenantry.database=%'
     where shobj_description(database.oid, 'pg_database') like 'tenantry:%'
     order by 1";

/// Comment and setting of each database of ours say the same.
pub(crate) async fn agree(server: &world::Postgres) {
    for line in server.texts("postgres", MARKERS).await {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[1], words[2], "{line}");
    }
}

/// Ends what is open in a tenant's database, so that the next request opens a connection.
async fn disconnected(world: &World, tenant: &TenantHandle) {
    let sql = format!(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '{}'",
        tenant.id()
    );
    world.postgres().run("postgres", &sql).await;
}

async fn set(world: &World, tenant: &TenantHandle, marker: &str) {
    let id = tenant.id();
    let sql = format!("alter database {id} set tenantry.database = '{marker}'");
    world.postgres().run("postgres", &sql).await;
    disconnected(world, tenant).await;
}

#[tokio::test]
async fn either_of_setting_and_comment_proves_a_database() {
    let world = World::start().await;
    let acme = world.tenant("marked").await;
    agree(world.postgres()).await;
    let there = world.postgres().texts("postgres", MARKERS).await;
    let id = acme.id();
    let ours = format!("{id} tenantry:{id}:1 tenantry:{id}:1");
    assert!(there.contains(&ours), "{there:?}");
    // As a release leaves it that knows of no setting.
    for stale in ["tenantry:other:1", ""] {
        set(&world, &acme, stale).await;
        acme.owner().get("/v1/entries").await.expect(200);
    }
    let comment = format!("comment on database {id} is 'tenantry:other:1'");
    world.postgres().run("postgres", &comment).await;
    set(&world, &acme, &format!("tenantry:{id}:1")).await;
    acme.owner().get("/v1/entries").await.expect(200);
    set(&world, &acme, "tenantry:other:1").await;
    let refused = acme.owner().get("/v1/entries").await;
    assert_eq!(refused.expect(503).code(), Code::TenantUnavailable);
}

#[tokio::test]
async fn a_platform_that_may_not_set_it_marks_with_the_comment_alone() {
    let fleet = Fleet::with(WorldOptions::default(), 1).await;
    let world = &fleet.world;
    let revoke = "revoke set on parameter tenantry.database from tn_platform";
    world.postgres().run("postgres", revoke).await;
    let stocked = format!(
        "alter database {} reset tenantry.database",
        fleet.tenants[0].id()
    );
    world.postgres().run("postgres", &stocked).await;
    let acme = world.tenant("unset").await;
    let there = world.postgres().texts("postgres", MARKERS).await;
    let id = acme.id();
    assert!(
        !there
            .iter()
            .any(|line| line.ends_with(&format!(" tenantry:{id}:1"))),
        "{there:?}"
    );
    for tenant in [&acme, &fleet.tenants[0]] {
        disconnected(world, tenant).await;
        tenant
            .owner()
            .post("/v1/entries", entry("With the comment"))
            .await
            .expect(201);
    }
    fleet.release().await;
    let answer = world.operator().post("/v1/rollouts", json!({})).await;
    let tally = &answer.expect(200).json()["result"]["tally"];
    assert_eq!((&tally["done"], &tally["failed"]), (&json!(2), &json!(0)));
}
