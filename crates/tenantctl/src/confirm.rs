//! Confirmation of what destroys, and secrets that are typed or piped.
//!
//! Deliberately never on stdout, and never without a terminal: a script says `--yes`. Invariant: a
//! prompt names the server and what is destroyed on it.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use contract::Secret;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::on_one_line;
use crate::profile;

/// The most that is read of a secret.
const MOST_SECRET_BYTES: u64 = 64 * 1024;

/// Asks for the id of what is to be destroyed, unless `--yes` stands in the command.
///
/// # Errors
/// There is nobody to ask, or something else was typed.
pub(crate) fn destroy(context: &Context, id: &str, consequence: &str) -> Result<(), Failure> {
    unless_looked(
        context,
        id,
        consequence,
        "see what would happen with --dry-run",
    )
}

/// The same of a command without `--dry-run`: `look` says how to see before what it would do.
///
/// # Errors
/// There is nobody to ask, or something else was typed.
pub(crate) fn unless_looked(
    context: &Context,
    id: &str,
    consequence: &str,
    look: &str,
) -> Result<(), Failure> {
    if context.says_yes() {
        return Ok(());
    }
    let server = context.server()?;
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::Usage {
            what: format!("this needs a confirmation, and there is no terminal: it {consequence}"),
            next: vec![
                "in a script, confirm with --yes".to_owned(),
                look.to_owned(),
            ],
        });
    }
    let (asked, typed) = (on_one_line(consequence), on_one_line(id));
    let prompt = format!("On {server}, this {asked}.\nType {typed} to confirm: ");
    let failed = |error| Failure::Io("asking for a confirmation", error);
    let mut stderr = std::io::stderr().lock();
    stderr.write_all(prompt.as_bytes()).map_err(failed)?;
    stderr.flush().map_err(failed)?;
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(failed)?;
    if line.trim() == id {
        Ok(())
    } else {
        Err(Failure::NotConfirmed)
    }
}

/// Where a secret comes from; never an argument.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// What it is, for the prompt and for messages.
    pub(crate) what: &'a str,
    pub(crate) variable: &'a str,
    pub(crate) file: Option<&'a Path>,
    pub(crate) stdin: Stdin,
    /// The flag that reads stdin, for messages.
    pub(crate) flag: &'a str,
}

/// Whether stdin is read although nobody types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stdin {
    Asked,
    NotAsked,
}

impl Stdin {
    /// As a flag says.
    pub(crate) const fn asked_if(flag: bool) -> Self {
        if flag { Self::Asked } else { Self::NotAsked }
    }
}

/// Reads a secret: from stdin or a file where the command says so, else from the environment, else
/// typed without being shown.
///
/// # Errors
/// There is none, it is empty, or others can read the file that has it.
pub(crate) fn secret(source: &Source<'_>) -> Result<Secret, Failure> {
    let failed = |error| Failure::Io("reading a secret", error);
    let text = if source.stdin == Stdin::Asked && !std::io::stdin().is_terminal() {
        let mut text = String::new();
        let mut stdin = std::io::stdin().lock().take(MOST_SECRET_BYTES);
        stdin.read_to_string(&mut text).map_err(failed)?;
        text
    } else if let Some(file) = source.file {
        of_file(file, source)?
    } else if let Some(text) = variable(source.variable) {
        text
    } else if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        typed(source.what).map_err(failed)?
    } else {
        return Err(missing(source));
    };
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err(missing(source)),
        text => Ok(Secret::new(text.to_owned())),
    }
}

/// What a file has that its owner alone can read; a pipe is nobody's to read.
fn of_file(path: &Path, source: &Source<'_>) -> Result<String, Failure> {
    let failed = Failure::file("reading", path);
    let file = std::fs::File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_file() {
        let piped = format!(
            "where its mode is not yours to change, pipe it in: `... {} < {}`",
            source.flag,
            path.display()
        );
        profile::refuse_open(path, &metadata, "secrets").map_err(|open| open.advising(piped))?;
    }
    let mut text = String::new();
    let mut limited = file.take(MOST_SECRET_BYTES);
    limited.read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// A variable of the environment that says something.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

fn missing(source: &Source<'_>) -> Failure {
    Failure::Usage {
        what: format!("no {} is given", source.what),
        next: vec![format!(
            "set {}, or pipe it in: `... {} < file`",
            source.variable, source.flag
        )],
    }
}

fn typed(what: &str) -> std::io::Result<String> {
    let terminal = console::Term::stderr();
    terminal.write_str(&format!("{what}: "))?;
    terminal.read_secure_line()
}
