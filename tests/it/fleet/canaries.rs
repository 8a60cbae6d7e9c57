//! Canaries: texts that are looked for wherever they could have been left.
//!
//! Deliberately also past our own tables: everything that the servers, the object store and the logs
//! hold. Invariant: a look that could not find a canary finds one that is there first.

use std::path::Path;

use world::World;

/// Every place of a world and of its folder that holds a text.
pub(super) async fn places(world: &World, folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    // What is in stock may be claimed or dropped at any moment, and nobody has written to it.
    let databases = "select datname::text from pg_database
         where datallowconn and datname not like 'stock:%' and datname not like 'tpl:%'";
    for database in world.postgres().texts("postgres", databases).await {
        let tables = "select format('%I.%I', schemaname, tablename) from pg_tables
             where schemaname not in ('pg_catalog', 'information_schema')";
        for table in world.postgres().texts(&database, tables).await {
            let sql = format!("select count(*) from {table} held where held::text like '%{text}%'");
            if world.postgres().number(&database, &sql).await > 0 {
                found.push(format!("{database}: {table}"));
            }
        }
    }
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            let bytes = std::fs::read(&path).unwrap_or_default();
            let holds = bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes());
            if holds || path.to_string_lossy().contains(text) {
                found.push(path.display().to_string());
            }
        }
    }
    found.extend(world.logs().with(text));
    found
}
