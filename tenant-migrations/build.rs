//! Makes a function of every folder of migrations, so that a new owner is a new folder and no line
//! of code.
//!
//! Deliberately leaves reading the files to refinery. Invariant: the crate is built anew when a
//! folder or a file is added; edits are noticed without it.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=.");
    let mut owners = Vec::new();
    for entry in fs::read_dir(".")? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() && name != "src" {
            owners.push(name);
        }
    }
    owners.sort();
    let mut code = String::new();
    for owner in &owners {
        writeln!(
            code,
            "mod {owner}_files {{ refinery::embed_migrations!(\"{owner}\"); }}"
        )?;
        writeln!(code, "/// The migrations in `{owner}`, oldest first.")?;
        writeln!(
            code,
            "pub fn {owner}() -> Vec<Migration> {{ {owner}_files::migrations::runner().get_migrations().clone() }}"
        )?;
    }
    writeln!(
        code,
        "#[cfg(test)] fn all() -> Vec<(&'static str, Vec<Migration>)> {{ vec!["
    )?;
    for owner in &owners {
        writeln!(code, "(\"{owner}\", {owner}()),")?;
    }
    writeln!(code, "] }}")?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("owners.rs"), code)?;
    Ok(())
}
