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
    for file in rust_files(&source) {
        let inner = file.strip_prefix(&source).unwrap();
        let is_module = inner.components().count() > 1 && !inner.starts_with("tenancy");
        if !is_module || inner.ends_with("tests.rs") {
            continue;
        }
        looked_at += 1;
        let text = std::fs::read_to_string(&file).unwrap();
        let found = objections(&text);
        assert!(found.is_empty(), "{}: {found:?}", file.display());
    }
    assert!(looked_at >= 8, "only {looked_at} files of modules");
}

#[test]
fn the_scan_of_modules_finds_what_it_bans() {
    for bad in [
        r#"sqlx::query!("set search_path to x")"#,
        "sqlx::query(\"select 1; SET role x\")",
        "query!(r#\"\n  set session statement_timeout = 0\"#)",
        r#"query!("select pg_advisory_lock(1)")"#,
        r#"query!("select pg_try_advisory_xact_lock(1)")"#,
        r#"query!("select set_config('a', 'b', false)")"#,
        r#"query!("listen news")"#,
        r#"query!("create temporary table x ()")"#,
        r#"query!("CREATE TEMP TABLE x ()")"#,
        "fn f(pool: &PgPool) {}",
        "PgConnection::connect(url)",
        "options.connect().await",
        "PgConnectOptions::new()",
    ] {
        assert!(!objections(bad).is_empty(), "{bad}");
    }
    for good in [
        r#"query!("update t set a = 1 where b = 2")"#,
        r#"query!("set local statement_timeout = 0")"#,
        "// PgPool is banned here",
        r#"problem("the connection was set up")"#,
    ] {
        assert!(
            objections(good).is_empty(),
            "{good}: {:?}",
            objections(good)
        );
    }
}

/// What a module's source says that it may not.
fn objections(source: &str) -> Vec<String> {
    let code: String = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut found: Vec<String> = ["PgPool", "PgConnectOptions", ".connect(", "::connect("]
        .into_iter()
        .filter(|word| code.contains(word))
        .map(str::to_owned)
        .collect();
    for text in string_literals(&code) {
        let sql = text
            .to_lowercase()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        for statement in sql.split(';').map(str::trim) {
            let sets = statement.starts_with("set ") && !statement.starts_with("set local ");
            let banned = sets
                || statement.starts_with("listen ")
                || statement.starts_with("create temp")
                || statement.contains("advisory")
                || statement.contains("set_config(");
            if banned {
                found.push(statement.to_owned());
            }
        }
    }
    found
}

/// The contents of string literals, plain and raw.
fn string_literals(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find('"') {
        let hashes = rest[..start]
            .chars()
            .rev()
            .take_while(|c| *c == '#')
            .count();
        let is_raw = rest[..start - hashes].ends_with('r');
        let body = &rest[start + 1..];
        let end = if is_raw {
            body.find(&format!("\"{}", "#".repeat(hashes)))
        } else {
            end_of_plain(body)
        };
        let Some(end) = end else { break };
        found.push(body[..end].to_owned());
        let closing = if is_raw { 1 + hashes } else { 1 };
        rest = &body[end + closing..];
    }
    found
}

fn end_of_plain(body: &str) -> Option<usize> {
    let mut escaped = false;
    body.char_indices().find_map(|(at, letter)| {
        let ends = letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
        ends.then_some(at)
    })
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
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
