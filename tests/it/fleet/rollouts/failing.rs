//! The data of a tenant on which the newest migration fails: brought back and copied all the same.

use serde_json::json;
use world::WorldOptions;

use super::super::backups::{back_up, keeping};
use super::{CURE, Fleet, POISON};

#[tokio::test]
async fn a_restore_and_a_clone_go_as_far_as_the_migrations_do() {
    let (options, _folder) = keeping(WorldOptions::default());
    let fleet = Fleet::served_by(options, 2, |ledger| ledger.minimum(1)).await;
    let operator = fleet.world.operator();
    let (sick, well) = (&fleet.tenants[0], &fleet.tenants[1]);
    fleet.on(0, POISON).await;
    let backup = back_up(&operator, sick, "none").await;
    let other = back_up(&operator, well, "none").await;
    fleet.release().await;

    let restore = |tenant: &world::TenantHandle, from: &str| {
        let path = format!("/v1/tenants/{}/restore-backup", tenant.id());
        let body = json!({ "from": from, "confirm": tenant.id() });
        let operator = operator.clone();
        async move { operator.post(&path, body).await.expect(200) }
    };
    let restored = restore(sick, &backup).await.json();
    let reached = &restored["result"]["schema_versions"];
    assert_eq!(reached["ledger"], 1, "{restored:#}");
    assert_eq!(fleet.versions(0).await, ["1"]);
    let served = sick.owner().at(&fleet.world.app_url(0));
    served.get("/v1/entries").await.expect(200);
    let path = format!("/v1/tenants/{}/clones", sick.id());
    let slug = format!("{}-look", sick.slug());
    operator
        .post(&path, json!({ "slug": slug }))
        .await
        .expect(200);

    // A halted roll-out is not passed by a restore, though nothing would fail.
    let request = json!({
        "filter": { "ids": [sick.id(), well.id()] },
        "waves": [{ "tenants": [sick.id()] }],
    });
    let id = fleet.start(request).await;
    fleet.ends(&id, "halted").await;
    restore(well, &other).await;
    assert_eq!(fleet.versions(1).await, ["1"]);

    fleet.on(0, CURE).await;
    fleet.order(&id, "retry-failed").await.expect(200);
    fleet.ends(&id, "done").await;
    assert_eq!(fleet.versions(0).await, ["1", "2"]);
    assert_eq!(fleet.versions(1).await, ["1", "2"]);
}
