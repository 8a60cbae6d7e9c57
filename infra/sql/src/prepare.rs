//! Has cargo check each service against its database, and collects what the SQL macros learn.
//!
//! Deliberately the service's library alone: checked statements stand nowhere else. Invariant: what
//! was collected is used only after a check without an error, so it is complete.

#![expect(clippy::print_stdout, reason = "a command that says what it does")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, ensure};

use crate::databases::{Databases, Schema};
use crate::offline::{Drift, Mode, OfflineData};

/// Packages with checked SQL; the folder of each has its name.
const SERVICES: [(&str, Schema); 2] = [
    ("platform-service", Schema::Registry),
    ("app-service", Schema::Tenant),
];

/// Prepares or checks the offline data of every service; one that fails does not stop the others.
///
/// # Errors
/// A statement that does not compile, as cargo shows it, or, with [`Mode::Check`], data that differs.
pub(crate) async fn prepare_all(mode: Mode) -> anyhow::Result<()> {
    let workspace = workspace()?;
    println!("PostgreSQL and its schemas ...");
    let databases = Databases::start(&workspace).await?;
    let mut failures = Vec::new();
    for (package, schema) in SERVICES {
        println!("{package} ...");
        if let Err(error) = prepare(&workspace, package, &databases.url(schema), mode) {
            failures.push(format!("{package}: {error:#}"));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

fn prepare(workspace: &Path, package: &str, url: &str, mode: Mode) -> anyhow::Result<()> {
    let service = workspace.join(package);
    let source = Touched::now(&service.join("src/lib.rs"))?;
    let learned = tempfile::tempdir()?;
    check(workspace, package, url, learned.path())?;
    let learned = OfflineData::read(learned.path())?;
    let kept = service.join(".sqlx");
    let drift = Drift::between(&OfflineData::read(&kept)?, &learned);
    println!("{package}: {} statements, {drift}", learned.len());
    if mode == Mode::Replace && !drift.is_none() {
        // The source stays touched: what was built from the old data is built anew.
        return learned.replace(&kept);
    }
    source.restore()?;
    ensure!(
        drift.is_none(),
        "`.sqlx` is not what the code needs; run `cargo sql` and commit it"
    );
    Ok(())
}

/// Checks one package with its statements described by the database at `url`.
fn check(workspace: &Path, package: &str, url: &str, into: &Path) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["check", "--quiet", "--lib", "--package", package])
        .current_dir(workspace)
        .env("DATABASE_URL", url)
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", into)
        .status()
        .context("cargo cannot be run")?;
    ensure!(status.success(), "it does not compile");
    Ok(())
}

/// A source file made newer than what was built from it, so that cargo compiles its crate again.
struct Touched {
    file: File,
    before: SystemTime,
}

impl Touched {
    fn now(path: &Path) -> anyhow::Result<Self> {
        let named = || path.display().to_string();
        let file = File::options()
            .append(true)
            .open(path)
            .with_context(named)?;
        let before = file.metadata()?.modified()?;
        file.set_modified(SystemTime::now())?;
        Ok(Self { file, before })
    }

    /// Gives it its time back: what was built from it before is still what it says.
    fn restore(self) -> anyhow::Result<()> {
        Ok(self.file.set_modified(self.before)?)
    }
}

/// The root of the work tree: cargo says where this package is, else we stand somewhere in it.
fn workspace() -> anyhow::Result<PathBuf> {
    let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(package) => PathBuf::from(package),
        None => std::env::current_dir()?,
    };
    let holds_all = |folder: &&Path| {
        SERVICES
            .iter()
            .all(|(package, _)| folder.join(package).is_dir())
    };
    start
        .ancestors()
        .find(holds_all)
        .map(Path::to_owned)
        .context("run this inside the work tree")
}
