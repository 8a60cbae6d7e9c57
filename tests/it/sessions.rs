//! What a module leaves in a session, and what the next request of its tenant finds there.
//!
//! Deliberately by a module that does what none may: the scan of modules finds only what is written by mistake.
//! Invariant: whatever way a transaction ends, its session is again as it was opened.

use app_service::{App, InTenant, Module, SignedIn, auth, entries};
use contract::Code;
use kit::error::{Problem, Result};
use kit::extract::Json;
use kit::operations;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{Executor as _, PgConnection};
use world::{World, WorldOptions};

/// Everything that outlives a transaction and that a tenant's role can do.
const LITTER: &str = "set search_path to pg_catalog; set statement_timeout = '7s'; set time zone 'Asia/Tokyo';
    set session characteristics as transaction read only; set litter.note = 'mine'; set role tn_data;
    select pg_advisory_lock(42); listen litter; declare held cursor with hold for select 1";

/// How the transaction ends after which the litter lies about.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum End {
    Commit,
    Rollback,
    Drop,
    Fail,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct Littering {
    end: End,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Found {
    found: String,
}

/// What somebody finds in a session, with the server's process that it is.
async fn look(db: &mut PgConnection) -> sqlx::Result<String> {
    let look =
        "select concat_ws(' ', pg_backend_pid(), current_user, current_setting('search_path'),
             current_setting('statement_timeout'), current_setting('timezone'),
             current_setting('default_transaction_read_only'), coalesce(current_setting('litter.note', true), ''),
             (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),
             (select count(*) from pg_cursors where name = 'held'),
             (select count(*) from pg_listening_channels()),
             (select count(*) from pg_class where relnamespace = pg_my_temp_schema()))";
    sqlx::query_scalar(look)
        .persistent(false)
        .fetch_one(db)
        .await
}

#[utoipa::path(get, path = "/v1/litter", operation_id = "litter.look", responses((status = OK, body = Found)))]
async fn read(InTenant { tenant, .. }: InTenant<SignedIn>) -> Result<Json<Found>> {
    let found = tenant.read(|db, _| Box::pin(look(db))).await?;
    Ok(Json(Found { found }))
}

#[utoipa::path(post, path = "/v1/litter/looks", operation_id = "litter.write", responses((status = OK, body = Found)))]
async fn write(InTenant { tenant, .. }: InTenant<SignedIn>) -> Result<Json<Found>> {
    let mut transaction = tenant.begin().await?;
    let found = look(&mut transaction).await?;
    transaction.commit().await?;
    Ok(Json(Found { found }))
}

#[utoipa::path(
    post, path = "/v1/litter", operation_id = "litter.drop", request_body = Littering,
    responses((status = OK, body = Found))
)]
async fn litter(
    InTenant { tenant, .. }: InTenant<SignedIn>,
    Json(Littering { end }): Json<Littering>,
) -> Result<Json<Found>> {
    let mut transaction = tenant.begin().await?;
    transaction.execute(LITTER).await?;
    let found = look(&mut transaction).await?;
    match end {
        End::Commit => transaction.commit().await?,
        End::Rollback => transaction.rollback().await?,
        End::Drop => drop(transaction),
        End::Fail => {
            transaction.execute("select 1 / 0").await?;
        }
    }
    Ok(Json(Found { found }))
}

#[utoipa::path(
    post, path = "/v1/litter/tables", operation_id = "litter.table", responses((status = OK, body = Found))
)]
async fn table(InTenant { tenant, .. }: InTenant<SignedIn>) -> Result<Json<Found>> {
    let mut transaction = tenant.begin().await?;
    let made = transaction
        .execute("create temporary table litter (a int)")
        .await;
    let found = match made {
        Ok(_) => "made".to_owned(),
        Err(error) => error.to_string(),
    };
    drop(transaction);
    match found.contains("permission denied to create temporary tables") {
        true => Ok(Json(Found { found })),
        false => Err(Problem::new(Code::Conflict).detail(found)),
    }
}

fn module() -> Module {
    Module::new("litter", vec![]).routes(operations!(read, write, litter, table))
}

/// What was found besides the server's process.
fn left(found: &str) -> &str {
    found.split_once(' ').expect("a process").1
}

#[tokio::test]
async fn what_a_transaction_leaves_in_its_session_is_gone_for_the_next_borrower() {
    let app = || {
        let app = App::new().module(auth::module()).module(entries::module());
        app.module(module())
    };
    let world = World::with(WorldOptions::default().app(app)).await;
    let acme = world.tenant("tidy").await;
    let owner = acme.owner();
    let said = |answer: Value| answer["found"].as_str().unwrap().to_owned();
    let find = async || {
        let reads = said(owner.get("/v1/litter").await.expect(200).json());
        let writes = owner.post("/v1/litter/looks", json!({})).await;
        let writes = said(writes.expect(200).json());
        assert_eq!(left(&reads), left(&writes));
        reads
    };
    // A setting that was never set reads otherwise than one that was set back.
    owner
        .post("/v1/litter", json!({ "end": "commit" }))
        .await
        .expect(200);
    let clean = find().await;
    for end in ["commit", "rollback", "drop", "fail"] {
        let littered = owner.post("/v1/litter", json!({ "end": end })).await;
        match end {
            "fail" => assert_eq!(littered.status(), 500, "{littered}"),
            _ => assert_ne!(said(littered.expect(200).json()), clean, "{end}"),
        }
        // A rollback behind an answer may be met by the next request, which gets another session then.
        match end {
            "commit" | "rollback" => assert_eq!(find().await, clean, "{end}"),
            _ => assert_eq!(left(&find().await), left(&clean), "{end}"),
        }
    }
    // And these are not to be had.
    owner.post("/v1/litter/tables", json!({})).await.expect(200);
    assert_eq!(left(&find().await), left(&clean));
}
