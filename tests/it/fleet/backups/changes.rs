//! What a restore changes: told after it, and by a try of the backup before it.

use serde_json::{Value, json};
use world::WorldOptions;

use super::{Keeping, back_up, post, restore_body, restore_path, write};

/// A table's rows now and then; none where it is not listed.
fn rows<'a>(done: &'a Value, table: &str) -> Option<(&'a Value, &'a Value)> {
    let tables = done["result"]["changes"]["tables"].as_array();
    let tables = tables.unwrap_or_else(|| panic!("{done:#}"));
    let listed = tables.iter().find(|one| one["table"] == table)?;
    Some((&listed["rows_now"], &listed["rows_then"]))
}

#[tokio::test]
async fn a_restore_says_which_tables_rows_it_changes_and_so_does_a_try_before_it() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("changed").await;
    write(&acme, &["one", "two", "three"]).await;
    let backup = back_up(&operator, &acme, "none").await;
    let verify = format!("/v1/backups/{backup}/verify");
    let same = post(&operator, &verify).await.expect(200).json();
    assert_eq!(same["result"]["changes"]["tables"], json!([]), "{same:#}");

    write(&acme, &["four", "five"]).await;
    let sql = "create table entries.later (id int); insert into entries.later values (1);
         alter table entries.later owner to tn_schema";
    let database = acme.id().as_str();
    world.postgres().run(database, sql).await;
    let (five, three) = (json!(5), json!(3));
    let tried = post(&operator, &verify).await.expect(200).json();
    assert_eq!(rows(&tried, "entries.entry"), Some((&five, &three)));
    assert_eq!(rows(&tried, "entries.later"), Some((&json!(1), &json!(0))));
    assert_eq!(rows(&tried, "auth.account"), None, "{tried:#}");
    assert_eq!(tried["result"]["changes"]["unlisted"], 0);

    let restore = async |from: &str| {
        let body = restore_body(&acme, from);
        let done = operator.post(&restore_path(&acme), body).await;
        done.expect(200).json()
    };
    let done = restore(&backup).await;
    assert_eq!(done["result"]["changes"], tried["result"]["changes"]);
    let back = restore("previous").await;
    assert_eq!(rows(&back, "entries.entry"), Some((&three, &five)));
    assert_eq!(rows(&back, "entries.later"), Some((&json!(0), &json!(1))));
}

#[tokio::test]
async fn what_cannot_be_counted_in_time_is_said_and_stops_nothing() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("uncounted").await;
    write(&acme, &["one"]).await;
    let backup = back_up(&operator, &acme, "none").await;
    let verify = format!("/v1/backups/{backup}/verify");
    // A table whose owner needs a minute for each row.
    let slow = "create table entries.slow (id int); insert into entries.slow values (1);
         alter table entries.slow owner to tn_schema;
         alter table entries.slow enable row level security;
         alter table entries.slow force row level security;
         create policy slow on entries.slow using (pg_sleep(60) is not null);
         create table entries.tail (id int); insert into entries.tail values (1);
         alter table entries.tail owner to tn_schema";
    let database = acme.id().as_str();
    world.postgres().run(database, slow).await;
    write(&acme, &["two"]).await;
    let held = world.postgres().lock(database, "entries.entry").await;
    let done = post(&operator, &verify).await.expect(200).json();
    drop(held);
    assert_eq!(done["state"], "done", "{done:#}");
    let nothing = &Value::Null;
    assert_eq!(rows(&done, "entries.entry"), Some((nothing, &json!(1))));
    assert_eq!(rows(&done, "entries.slow"), Some((nothing, &json!(0))));
    // It keeps no other from being counted, nor itself the next time.
    let (one, none) = (json!(1), json!(0));
    let tail = Some((&one, &none));
    assert_eq!(rows(&done, "entries.tail"), tail);
    let drop = "drop table entries.slow";
    world.postgres().run(database, drop).await;
    let done = post(&operator, &verify).await.expect(200).json();
    assert_eq!(
        rows(&done, "entries.entry"),
        Some((&json!(2), &json!(1))),
        "{done:#}"
    );
}
