//! What has to hold when it is over.
//!
//! Deliberately looked up in the servers and in the registry, past the services. Invariant: every tenant
//! and every row that somebody was told of is there once, and nothing else is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::json;
use world::{DEADLINE, OperationKind, Postgres, World, eventually};

use super::desk::Desk;
use super::writers::{Met, Subject};
use crate::fleet::backups::Keeping;
use crate::markers;

/// Waits until no operation is under way, and that none is stuck.
pub(super) async fn operations_are_over(world: &World) {
    let live =
        "select id || ' ' || kind || ' ' || coalesce(tenant_id, '') || ' ' || state || ' ' || step
         from registry.operation where state not in ('done', 'undone')";
    let mut left = Vec::new();
    let began = std::time::Instant::now();
    while began.elapsed() < DEADLINE * 3 {
        left = world.postgres().texts("registry", live).await;
        if left.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("operations that do not end: {left:#?}");
}

/// The server of a cluster.
async fn server<'a>(world: &'a World, cluster: &str) -> &'a Postgres {
    match cluster {
        "main" => world.postgres(),
        _ => world.second_cluster().await.postgres(),
    }
}

/// A tenant has these rows, and none twice.
pub(super) async fn has_rows(world: &World, desk: &Desk, id: &str, titles: &[String]) {
    let shown = desk.get(&format!("/v1/tenants/{id}")).await;
    let server = server(world, shown["cluster"].as_str().unwrap()).await;
    let sql = "select title from entries.entry";
    let rows = server.texts(id, sql).await;
    let there: BTreeSet<_> = rows.iter().collect();
    assert_eq!(there.len(), rows.len(), "{id}: a write is there twice");
    let lost: Vec<_> = titles
        .iter()
        .filter(|title| !there.contains(title))
        .collect();
    assert!(lost.is_empty(), "{id}: acknowledged and lost: {lost:?}");
}

/// Gives what it was in words.
pub(super) async fn on(
    keeping: &Keeping,
    desk: &Desk,
    subjects: &[Arc<Subject>],
    met: Vec<Met>,
) -> String {
    let world = &keeping.world;
    let mut statuses = BTreeMap::new();
    for met in met {
        assert!(met.strange.is_empty(), "{:#?}", met.strange);
        for (status, count) in met.statuses {
            *statuses.entry(status).or_insert(0) += count;
        }
    }
    let mut acknowledged = 0;
    for subject in subjects {
        let titles = subject.acknowledged();
        acknowledged += titles.len();
        has_rows(world, desk, subject.id(), &titles).await;
        let owner = subject.tenant.owner();
        eventually(DEADLINE, "it is served", || async {
            (owner.get("/v1/entries").await.status() == 200).then_some(())
        })
        .await;
    }
    every_tenant_once(world, desk, subjects).await;
    nothing_is_left(world, desk).await;
    let missing = never_done(world).await;
    assert!(missing.is_empty(), "never done: {missing:?}");
    for secret in world.secrets() {
        let told = world.logs().with(&secret).len();
        assert_eq!(told, 0, "a secret is in the logs");
    }
    for undone in desk.undone() {
        assert!(!undone.contains("\"internal\""), "{undone}");
    }
    format!(
        "{acknowledged} writes acknowledged and found, answers {statuses:?}, ends {:?}",
        desk.ends()
    )
}

/// In the registry and on the servers: the tenants that there must be, each at its place alone.
async fn every_tenant_once(world: &World, desk: &Desk, subjects: &[Arc<Subject>]) {
    let mut expected = desk.all_made();
    expected.extend(subjects.iter().map(|subject| subject.id().to_owned()));
    let sql = "select id from registry.tenant where status = 'active' order by 1";
    let active: BTreeSet<_> = world
        .postgres()
        .texts("registry", sql)
        .await
        .into_iter()
        .collect();
    assert_eq!(active, expected);
    let sql = "select id from registry.tenant where status <> 'active' and purged_at is null";
    let others = world.postgres().texts("registry", sql).await;
    assert_eq!(others, Vec::<String>::new(), "neither active nor purged");
    for cluster in ["main", "second"] {
        let sql = format!(
            "select id from registry.tenant where status = 'active' and cluster = '{cluster}'
             order by 1"
        );
        let placed = world.postgres().texts("registry", &sql).await;
        let server = server(world, cluster).await;
        for (catalog, name) in [("pg_database", "datname"), ("pg_roles", "rolname")] {
            let sql =
                format!("select {name}::text from {catalog} where {name} like 't\\_%' order by 1");
            assert_eq!(
                server.texts("postgres", &sql).await,
                placed,
                "{cluster}: {catalog}"
            );
        }
    }
}

/// No find of a sweep, no half-made drop, no slot, nothing that followed a move.
async fn nothing_is_left(world: &World, desk: &Desk) {
    let began = std::time::Instant::now();
    loop {
        let body = json!({});
        let answer = desk
            .ask(Method::POST, "/v1/findings/sweep", Some(&body))
            .await;
        let report = answer.expect(200).json();
        if report["found"] == 0 && report["failed"] == json!([]) {
            break;
        }
        if began.elapsed() > DEADLINE * 2 {
            let found = desk.get("/v1/findings?limit=100").await;
            panic!("{report}: {found:#}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for cluster in ["main", "second"] {
        let server = server(world, cluster).await;
        let sql = "select datname::text from pg_database where datconnlimit = -2
             union all select slot_name::text from pg_replication_slots
             union all select pid::text from pg_stat_activity where state like 'idle in transaction%'
                 and state_change < now() - interval '30 s'";
        assert_eq!(
            server.texts("postgres", sql).await,
            Vec::<String>::new(),
            "{cluster}"
        );
        markers::agree(server).await;
        let sql = "select datname::text from pg_database where datname like 't\\_%'";
        for database in server.texts("postgres", sql).await {
            let left = "select (select count(*) from pg_publication)
                 + (select count(*) from pg_namespace where nspname = 'tn_move')";
            assert_eq!(server.number(&database, left).await, 0, "{database}");
        }
    }
}

/// Kinds of which no operation was done yet.
pub(super) async fn never_done(world: &World) -> Vec<OperationKind> {
    let sql = "select distinct kind from registry.operation where state = 'done'";
    let done = world.postgres().texts("registry", sql).await;
    let kinds = OperationKind::ALL.iter().copied();
    // Needs databases that somebody else made; loops of its own kill it at every instruction.
    kinds
        .filter(|kind| *kind != OperationKind::Adopt)
        .filter(|kind| !done.iter().any(|one| one == kind.as_str()))
        .collect()
}
