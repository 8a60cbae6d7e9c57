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
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            measure(&path, names);
        } else if !path.ends_with("tests.rs") {
            let code = std::fs::read_to_string(&path).unwrap();
            for kind in ["gauge!(", "counter!(", "histogram!("] {
                let after = code.split(kind).skip(1);
                names.extend(after.filter_map(|text| text.split('"').nth(1).map(str::to_owned)));
            }
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}
