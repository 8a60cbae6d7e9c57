//! Archives on their way to a file: of exports, and of the last backups of purged tenants.
//!
//! Deliberately never to a stream that others read meanwhile. Invariant: an archive is in its file only
//! when all of it is.

use std::io::{ErrorKind, Write as _};
use std::path::Path;

use reqwest::Method;
use tempfile::NamedTempFile;

use crate::context::Context;
use crate::failure::Failure;
use crate::follow::Bar;

/// What becomes of a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Stays,
    Replaced,
}

impl Existing {
    /// As `--force` says.
    pub(crate) const fn replaced_if(force: bool) -> Self {
        if force { Self::Replaced } else { Self::Stays }
    }
}

/// The file that an archive is written to.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    file: &'a Path,
    existing: Existing,
}

impl<'a> Target<'a> {
    /// A file that may be written to, known before anything is made.
    ///
    /// # Errors
    /// It is none, or is there already and nobody said that it is to be replaced.
    pub(crate) fn of(file: &'a Path, existing: Existing) -> Result<Self, Failure> {
        if file.as_os_str() == "-" {
            return Err(Failure::usage(
                "an archive cannot be written to stdout; give a file",
            ));
        }
        if existing == Existing::Stays && file.exists() {
            return Err(taken(file));
        }
        Ok(Self { file, existing })
    }

    /// Fetches an archive into it.
    ///
    /// # Errors
    /// It cannot be fetched as a whole, or not be written.
    pub(crate) async fn fetch(&self, context: &Context, archive: &str) -> Result<(), Failure> {
        let fetched = fetched(context, archive, self.file).await?;
        let written = match self.existing {
            Existing::Replaced => fetched.persist(self.file),
            Existing::Stays => fetched.persist_noclobber(self.file),
        };
        written.map_err(|error| match error.error.kind() {
            ErrorKind::AlreadyExists => taken(self.file),
            _ => Failure::file("writing", self.file)(error.error),
        })?;
        Ok(())
    }
}

/// Refuses to write over a file that nobody said is to be replaced.
fn taken(file: &Path) -> Failure {
    Failure::Usage {
        what: format!("{} already exists", file.display()),
        next: vec!["choose another file with --to, or overwrite it with --force".to_owned()],
    }
}

/// Fetches an archive into a file beside the one that it is to be: that one is there whole
/// or not at all.
async fn fetched(context: &Context, archive: &str, to: &Path) -> Result<NamedTempFile, Failure> {
    let failed = Failure::file("writing", to);
    let api = context.api()?;
    let from = format!("/v1/exports/{archive}/archive");
    let mut response = api.stream(Method::GET, &from, None).await?;
    let total = response.content_length().unwrap_or(0);
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    // For its owner alone: it holds a customer's data.
    let mut file = NamedTempFile::new_in(folder).map_err(failed)?;
    let bar = Bar::new();
    let mut done = 0_u64;
    loop {
        let chunk = response
            .chunk()
            .await
            .map_err(|source| Failure::Unreachable {
                server: api.server().to_owned(),
                source: source.without_url(),
            })?;
        let Some(chunk) = chunk else { break };
        file.write_all(&chunk).map_err(failed)?;
        done += chunk.len() as u64;
        bar.counted(done, total, "bytes", "archive");
    }
    if total > 0 && done != total {
        return Err(failed(ErrorKind::UnexpectedEof.into()));
    }
    file.as_file().sync_all().map_err(failed)?;
    Ok(file)
}
