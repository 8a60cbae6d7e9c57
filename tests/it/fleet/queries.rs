//! One question asked of many tenants: what it may not do, and what it says when some do not answer.

use adapters::secret_store::{ClusterRole, SecretSubject};
use contract::Code;
use contract::operator::fleet::QueryLine;
use contract::secret::SecretRef;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use world::{Answer, World, WorldOptions};

use super::most_during;
use crate::support::entry;

async fn ask(world: &World, body: Value) -> Answer {
    world.operator().post("/v1/query", body).await
}

fn lines(answer: &Answer) -> Vec<QueryLine> {
    let text = answer.text();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[tokio::test]
async fn a_query_marks_partial_results_and_cannot_write() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let acme = world.tenant("asked-a").await;
    let beta = world.tenant("asked-b").await;
    let gamma = world.tenant("asked-c").await;
    let filter = json!({ "ids": [acme.id(), beta.id(), gamma.id()] });
    for (tenant, titles) in [(&acme, &["One", "Two, \"three\""][..]), (&beta, &["Four"])] {
        for title in titles {
            tenant
                .owner()
                .post("/v1/entries", entry(title))
                .await
                .expect(201);
        }
    }

    let sql =
        "select title, 12345678901234567890.5::numeric as big from entries.entry order by title;";
    let answer = ask(&world, json!({ "sql": sql, "filter": filter }))
        .await
        .expect(200);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    assert!(answer.text().contains("12345678901234567890.5"), "{answer}");
    let rows: Vec<(String, String)> = lines(&answer)
        .iter()
        .filter_map(|line| match line {
            QueryLine::Row { tenant, row } => {
                Some((tenant.to_string(), row["title"].as_str()?.to_owned()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        rows.iter()
            .filter(|(tenant, _)| tenant == acme.id().as_str())
            .count(),
        2
    );
    assert_eq!(rows.len(), 3, "{answer}");
    // Compressed, it ends as well.
    let compressed = world.operator().header("accept-encoding", "gzip");
    let body = json!({ "sql": sql, "filter": filter });
    let compressed = compressed.post("/v1/query", body).await.expect(200);
    assert_eq!(compressed.header("content-encoding"), "gzip");
    let Some(QueryLine::End { end }) = lines(&answer).pop() else {
        panic!("{answer}")
    };
    assert!(
        end.complete && end.tenants == 3 && end.failed == 0,
        "{end:?}"
    );
    let path = format!("/v1/operations/{}", end.operation);
    let recorded = world.operator().get(&path).await.expect(200).json();
    assert_eq!(recorded["kind"], "query");
    assert_eq!(recorded["result"]["rows"], 3);
    assert_eq!(recorded["result"]["sql"], sql.trim_end_matches(';'));
    let audit = "select detail::text from registry.audit where action = 'query.run'";
    let audit = world.postgres().texts("registry", audit).await;
    assert!(
        audit[0].contains("sha256") && !audit[0].contains("entries.entry"),
        "{audit:?}"
    );

    // One tenant is locked, another has too many rows: both are named, the third is complete.
    let lock = world
        .postgres()
        .lock(beta.id().as_str(), "entries.entry")
        .await;
    let body = json!({
        "sql": "select title from entries.entry", "filter": filter, "row_limit": 1,
        "timeout_ms": 30000,
    });
    let answer = ask(&world, body.clone()).await.expect(200);
    let mut failed: Vec<(String, Code)> = Vec::new();
    for line in lines(&answer) {
        match line {
            QueryLine::Failed { tenant, error } => failed.push((tenant.to_string(), error.code)),
            QueryLine::End { end } => {
                assert!(!end.complete, "{answer}");
                assert_eq!((end.tenants, end.rows, end.failed), (3, 1, 2), "{answer}");
            }
            QueryLine::Row { tenant, .. } => assert_eq!(&tenant, acme.id()),
        }
    }
    failed.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(
        failed,
        [
            (acme.id().to_string(), Code::BodyTooLarge),
            (beta.id().to_string(), Code::Overloaded),
        ]
    );
    let mut csv = body;
    csv["format"] = json!("csv");
    let answer = ask(&world, csv).await.expect(200);
    let text = answer.text();
    assert!(text.starts_with("tenant,title\n"), "{text}");
    assert!(
        text.contains("\n# partial: rows of 2 of 3 tenants are missing\n"),
        "{text}"
    );
    drop(lock);

    // What the server cannot read is said once; what writes never works.
    for sql in [
        "select from where",
        "selec 1",
        "delete from entries.entry",
        "select 1; select 2",
    ] {
        let answer = ask(&world, json!({ "sql": sql, "filter": filter })).await;
        answer.expect(422).refused(Code::ValidationFailed);
    }
    // No JSON has two fields of one name.
    let body = json!({ "sql": "select 1 as n, 2 as n", "filter": filter });
    let answer = ask(&world, body).await.expect(200);
    for line in lines(&answer) {
        match line {
            QueryLine::Failed { error, .. } => {
                assert_eq!(error.code, Code::ValidationFailed, "{answer}");
                assert!(error.detail.contains("\"n\""), "{answer}");
            }
            QueryLine::End { end } => assert_eq!((end.rows, end.failed), (0, 3), "{answer}"),
            QueryLine::Row { .. } => panic!("{answer}"),
        }
    }
    for sql in [
        "with gone as (delete from entries.entry returning 1) select * from gone",
        "select set_config('transaction_read_only', 'off', true)",
        "select * from entries.entry for update",
    ] {
        let answer = ask(&world, json!({ "sql": sql, "filter": filter }))
            .await
            .expect(200);
        let complete = lines(&answer)
            .iter()
            .any(|line| !matches!(line, QueryLine::Failed { .. } | QueryLine::End { .. }));
        assert!(!complete, "{sql}: {answer}");
    }
    for (tenant, entries) in [(&acme, 2), (&beta, 1)] {
        let count = "select count(*) from entries.entry";
        let left = world.postgres().number(tenant.id().as_str(), count).await;
        assert_eq!(left, entries);
    }

    // What the server lets anybody make is gone with the question.
    let sql = "select lo_create(0)";
    ask(&world, json!({ "sql": sql, "filter": filter }))
        .await
        .expect(200);
    let objects = "select count(*) from pg_largeobject_metadata";
    let made = world.postgres().number(acme.id().as_str(), objects).await;
    assert_eq!(made, 0);

    // The role itself: no other database, no writing, no attributes.
    let reference = "select query_credential from registry.cluster where name = 'main'";
    let reference = world
        .postgres()
        .texts("registry", reference)
        .await
        .remove(0);
    let subject = SecretSubject::Cluster("main".parse().unwrap(), ClusterRole::Query);
    let password = crate::support::seal(&world)
        .open(&subject, &SecretRef(reference))
        .await
        .unwrap();
    for database in ["registry", "postgres"] {
        let entered = world
            .postgres()
            .connect_as("tn_query", password.expose(), database)
            .await;
        assert!(entered.is_err(), "{database}");
    }
    let mut entered = world
        .postgres()
        .connect_as("tn_query", password.expose(), acme.id().as_str())
        .await
        .unwrap();
    for sql in [
        "set default_transaction_read_only = off; insert into entries.entry default values",
        "begin read write; delete from entries.entry",
        "create table x ()",
        "create temporary table x ()",
    ] {
        let done = sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut entered)
            .await;
        assert!(done.is_err(), "{sql}");
        let _ = sqlx::raw_sql("rollback").execute(&mut entered).await;
    }
    let attributes =
        "select count(*) from pg_roles where (rolname = 'tn_query' or rolname like 'psql:%')
        and (rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls)";
    assert_eq!(world.postgres().number("postgres", attributes).await, 0);
}

#[tokio::test]
async fn no_more_tenants_are_asked_at_once_than_was_said() {
    const AT_ONCE: usize = 2;
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let (mut ids, mut locks) = (Vec::new(), Vec::new());
    for _ in 0..6 {
        let id = world.tenant("asked").await.id().to_string();
        locks.push(world.postgres().lock(&id, "entries.entry").await);
        ids.push(id);
    }
    let body = json!({
        "sql": "select title from entries.entry", "filter": { "ids": ids }, "at_once": AT_ONCE,
    });
    // Each waits for its lock for a second.
    let asked = async { ask(&world, body).await.expect(200) };
    let look = async || {
        let sql = "select count(*) from pg_stat_activity
             where usename = 'tn_query' and wait_event_type = 'Lock'";
        usize::try_from(world.postgres().number("postgres", sql).await).unwrap()
    };
    let (most, answer) = most_during(asked, look).await;
    assert_eq!(most, AT_ONCE);
    let Some(QueryLine::End { end }) = lines(&answer).pop() else {
        panic!("{answer}")
    };
    assert_eq!((end.tenants, end.failed), (6, 6), "{answer}");
}
