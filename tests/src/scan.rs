//! What the source of a module may not say, because it would reach beyond its request: a session is given
//! to the tenant's next request, and a connection that is opened aside is in nobody's budget.
//!
//! Deliberately a scan of the text, which finds what is written by mistake and not what is hidden on
//! purpose. Invariant: what is local to a transaction is allowed.

use std::path::{Path, PathBuf};

/// Types that open connections, and traits whose transactions end ours: `begin` of sqlx's `Connection` does
/// not know of the transaction that a module is given, and its `commit` commits that.
const BANNED: [&str; 4] = ["PgPool", "PgConnectOptions", "Connection", "Acquire"];
const CALLS: [&str; 2] = [".connect(", "::connect("];

/// What the source of a module in this folder, or file, says that it may not: the file and the words.
///
/// # Panics
/// Where it cannot be read.
pub fn objections(module: &Path) -> Vec<String> {
    let files = match module.is_dir() {
        true => rust_files(module),
        false => vec![module.to_owned()],
    };
    files
        .iter()
        .filter(|file| !file.ends_with("tests.rs"))
        .flat_map(|file| {
            let source = std::fs::read_to_string(file).expect("a file that can be read");
            let said = in_source(&source);
            said.into_iter()
                .map(|words| format!("{}: {words}", file.display()))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// What a module's source says that it may not.
fn in_source(source: &str) -> Vec<String> {
    let code: String = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let words = |code: &str, word: &str| {
        code.split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|other| other == word)
    };
    let mut found: Vec<String> = BANNED
        .into_iter()
        .filter(|word| words(&code, word))
        .chain(CALLS.into_iter().filter(|call| code.contains(call)))
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
    for entry in std::fs::read_dir(folder).expect("a folder that can be read") {
        let path = entry.expect("a folder that can be read").path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "use sqlx::{Connection as _, PgConnection};",
            "use sqlx::Acquire;",
        ] {
            assert!(!in_source(bad).is_empty(), "{bad}");
        }
        for good in [
            r#"query!("update t set a = 1 where b = 2")"#,
            r#"query!("set local statement_timeout = 0")"#,
            "// PgPool is banned here",
            "use sqlx::PgConnection;",
            r#"problem("the connection was set up")"#,
        ] {
            assert!(in_source(good).is_empty(), "{good}: {:?}", in_source(good));
        }
    }
}
