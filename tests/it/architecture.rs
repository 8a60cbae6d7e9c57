//! The shape of the code: who may depend on whom, and what modules may not say to a database.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What each package may use of ours, tests included. The picture of `docs/ARCHITECTURE.md`.
const PICTURE: &[(&str, &[&str])] = &[
    ("contract", &[]),
    ("kit", &["contract"]),
    ("adapters", &["contract", "kit"]),
    ("tenantctl", &["contract"]),
    ("platform-migrations", &[]),
    ("tenant-migrations", &[]),
    ("postgres-server", &[]),
    (
        "platform-service",
        &["contract", "kit", "adapters", "platform-migrations"],
    ),
    (
        "app-service",
        &["contract", "kit", "adapters", "tenant-migrations"],
    ),
    (
        "sql",
        &[
            "postgres-server",
            "platform-migrations",
            "tenant-migrations",
            "kit",
            "contract",
        ],
    ),
    (
        "local",
        &[
            "postgres-server",
            "contract",
            "kit",
            "adapters",
            "platform-service",
            "app-service",
            "platform-migrations",
            "tenant-migrations",
        ],
    ),
];
/// The files of what is shipped that send a server SQL which is not fixed when they are compiled, each with
/// the reason. A file more is a decision: who puts the text together, and from what?
const BUILT_SQL: &[(&str, &str)] = &[
    (
        "app-service/src/tenancy/connections.rs",
        "a rollback and a question of ours in one message",
    ),
    (
        "app-service/src/tenancy/open.rs",
        "the proof of a database and what a run of migrations asks first, in one message",
    ),
    (
        "crates/kit/src/db.rs",
        "a time limit, which is a number, has no bind place in `set`",
    ),
    (
        "crates/kit/src/migrate.rs",
        "refinery's statements, and the lock and the notes of an owner's schema",
    ),
    (
        "crates/kit/src/migrate/history.rs",
        "the history tables are named after their owners",
    ),
    (
        "crates/kit/src/migrate/step.rs",
        "a migration's file and its line of the history in one message",
    ),
    (
        "infra/sql/src/databases.rs",
        "databases and roles of a throw-away server",
    ),
    (
        "platform-service/src/backups/facts.rs",
        "tables, named by the server, are counted and hashed",
    ),
    (
        "platform-service/src/clusters/moving/contents.rs",
        "tables, named by the server, are compared",
    ),
    (
        "platform-service/src/clusters/moving/follow.rs",
        "changes read from a slot are done in the copy, values bound",
    ),
    (
        "platform-service/src/clusters/moving/follower.rs",
        "triggers of a copy that follows, named by the server",
    ),
    (
        "platform-service/src/clusters/moving/slot.rs",
        "a publication lists tables, named by the server",
    ),
    (
        "platform-service/src/clusters/postgres.rs",
        "names of databases and roles have no bind place",
    ),
    (
        "platform-service/src/clusters/postgres/anonymise.rs",
        "an operator's statements, as the owner of the schemas",
    ),
    (
        "platform-service/src/clusters/postgres/contents.rs",
        "things in a database that is taken over, named by the server",
    ),
    (
        "platform-service/src/clusters/postgres/limits.rs",
        "connection limits of roles have no bind place",
    ),
    (
        "platform-service/src/clusters/postgres/question.rs",
        "an operator's question, prepared, with read rights alone",
    ),
    (
        "platform-service/src/drift/look.rs",
        "repairs, made of what the catalog of the reference says",
    ),
];
/// What makes SQL of a text that is not a literal.
const BUILDS_SQL: [&str; 2] = ["AssertSqlSafe", "QueryBuilder"];
/// May use everything, and nothing uses them but each other.
const ABOVE: &[&str] = &["world", "bench"];

#[test]
fn packages_depend_as_in_the_picture() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<&str> = packages
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    let picture: BTreeMap<&str, BTreeSet<&str>> = PICTURE
        .iter()
        .map(|(name, uses)| (*name, uses.iter().copied().collect()))
        .collect();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        if ABOVE.contains(&name) {
            continue;
        }
        let allowed = picture
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not in the picture: draw it"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            assert!(
                !ours.contains(used) || used == name || allowed.contains(used),
                "{name} may not use {used}"
            );
        }
    }
    for name in picture.keys() {
        assert!(
            ours.contains(name),
            "{name} is in the picture and not in the workspace"
        );
    }
}

#[test]
fn the_contract_knows_neither_database_nor_server() {
    let manifest = std::fs::read_to_string(root().join("crates/contract/Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap();
    for banned in ["sqlx", "axum", "hyper", "refinery", "tokio-postgres"] {
        assert!(!dependencies.contains_key(banned), "contract uses {banned}");
    }
}

#[test]
fn modules_leave_no_state_in_a_session_and_open_none() {
    let source = root().join("app-service/src");
    let mut looked_at = 0;
    for folder in std::fs::read_dir(&source).unwrap() {
        let folder = folder.unwrap().path();
        if folder.is_dir() && !folder.ends_with("tenancy") {
            looked_at += 1;
            assert_eq!(world::objections(&folder), Vec::<String>::new());
        }
    }
    assert!(looked_at >= 2, "only {looked_at} modules");
}

#[test]
fn sql_that_is_put_together_stands_in_the_files_that_are_named_here() {
    let root = root();
    let mut built = BTreeSet::new();
    for part in ["app-service", "platform-service", "crates", "infra"] {
        for file in sources(&root.join(part)) {
            let code = std::fs::read_to_string(&file).unwrap();
            let mut lines = code.lines().map(str::trim_start);
            let builds = |line: &str| {
                !line.starts_with("//") && BUILDS_SQL.iter().any(|word| line.contains(word))
            };
            if lines.any(builds) {
                let path = file.strip_prefix(&root).unwrap();
                built.insert(path.to_str().unwrap().to_owned());
            }
        }
    }
    let named = BUILT_SQL.iter().map(|(path, _)| (*path).to_owned());
    assert_eq!(built, named.collect::<BTreeSet<_>>());
}

#[test]
fn every_metric_is_in_the_operators_table_and_nothing_else_is() {
    let mut measured = BTreeSet::new();
    for package in ["app-service", "platform-service", "crates/kit"] {
        measure(&root().join(package).join("src"), &mut measured);
    }
    let page = std::fs::read_to_string(root().join("docs/OPERATIONS.md")).unwrap();
    let (_, table) = page.split_once("## What is measured").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let documented: BTreeSet<String> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    assert_eq!(documented, measured);
    assert!(!measured.is_empty());
}

/// The names of what the code in a folder measures.
fn measure(folder: &Path, names: &mut BTreeSet<String>) {
    for file in sources(folder) {
        let code = std::fs::read_to_string(&file).unwrap();
        for kind in ["gauge!(", "counter!(", "histogram!("] {
            let after = code.split(kind).skip(1);
            names.extend(after.filter_map(|text| text.split('"').nth(1).map(str::to_owned)));
        }
    }
}

/// The Rust files in a folder, but those of tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_rust = path.extension().is_some_and(|extension| extension == "rs");
        if path.is_dir() && !path.ends_with("tests") {
            found.extend(sources(&path));
        } else if is_rust && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}
