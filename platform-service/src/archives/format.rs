//! What is in an archive: a manifest, what the registry knew, and the data.
//!
//! Deliberately a plain tar of JSON and PostgreSQL's own format, so that a customer can read it without
//! us. Invariants: the manifest comes first and has length and checksum of all that follows; a newer
//! format than this code knows is refused.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;

use contract::{Code, SchemaVersions, TenantId};
use kit::error::Problem;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::tar;
use crate::backups::archive::{Facts, Tables, Written, hex};
use crate::tenants::TenantRow;
use crate::tenants::overrides::Overrides;

/// The format that is written, and the newest that is read.
const FORMAT: u32 = 1;
pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const REGISTRY: &str = "registry.json";
pub(crate) const DUMP: &str = "database.dump";
/// Longest manifest or registry entry, in bytes: a thousand tables and more.
const MAX_JSON: u64 = 16 * 1024 * 1024;

/// What an archive says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    pub(crate) tenant: TenantId,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) created_at: OffsetDateTime,
    /// Of the server that it was made on, as `server_version_num` says.
    pub(crate) server_version: i32,
    pub(crate) schema_versions: SchemaVersions,
    pub(crate) tables: Tables,
    /// The other files, by name.
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) size_bytes: u64,
    /// In hexadecimal digits.
    pub(crate) sha256: String,
}

impl Entry {
    pub(crate) fn of(written: &Written) -> Self {
        Self {
            size_bytes: written.size_bytes,
            sha256: written.sha256_text(),
        }
    }
}

/// What the registry knew of a tenant, as far as another installation can use it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RegistryFacts {
    pub(crate) slug: String,
    pub(crate) company: String,
    pub(crate) contact_email: String,
    pub(crate) tier: String,
    pub(crate) region: String,
    pub(crate) time_zone: String,
    pub(crate) overrides: Overrides,
    /// Labels that its cluster must have; older archives say none.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
}

impl RegistryFacts {
    pub(crate) fn of(row: &TenantRow) -> Self {
        Self {
            slug: row.slug.to_string(),
            company: row.company.clone(),
            contact_email: row.contact_email.clone(),
            tier: row.tier.clone(),
            region: row.region.clone(),
            time_zone: row.time_zone.clone(),
            overrides: row.overrides.clone(),
            labels: row.labels.clone(),
        }
    }
}

/// Packs an archive: gives it as a stream.
pub(crate) fn pack(
    row: &TenantRow,
    server_version: i32,
    facts: &Facts,
    dump: (Written, tokio::fs::File),
) -> Result<Pin<Box<dyn AsyncRead + Send>>, serde_json::Error> {
    let now = OffsetDateTime::now_utc();
    let (written, file) = dump;
    let registry = serde_json::to_vec_pretty(&RegistryFacts::of(row))?;
    let about_registry = Written {
        size_bytes: registry.len() as u64,
        sha256: Sha256::digest(&registry).into(),
    };
    let manifest = serde_json::to_vec_pretty(&Manifest {
        format: FORMAT,
        tenant: row.id.clone(),
        created_at: now,
        server_version,
        schema_versions: facts.schema_versions.clone(),
        tables: facts.tables.clone(),
        entries: BTreeMap::from([
            (REGISTRY.to_owned(), Entry::of(&about_registry)),
            (DUMP.to_owned(), Entry::of(&written)),
        ]),
    })?;
    let mut head = Vec::new();
    for (name, content) in [(MANIFEST, manifest), (REGISTRY, registry)] {
        let size_bytes = content.len() as u64;
        head.extend(tar::header(name, size_bytes, now.unix_timestamp()));
        head.extend(content);
        head.resize(head.len() + tar::padding(size_bytes), 0);
    }
    head.extend(tar::header(DUMP, written.size_bytes, now.unix_timestamp()));
    let mut tail = vec![0; tar::padding(written.size_bytes)];
    tail.extend(tar::end());
    let body = io::Cursor::new(head)
        .chain(file.take(written.size_bytes))
        .chain(io::Cursor::new(tail));
    Ok(Box::pin(body))
}

/// The head of an archive: its manifest and what the registry knew, both checked; the stream is at the
/// first byte of the dump then.
///
/// # Errors
/// `archive-corrupt` names the entry.
pub(crate) async fn unpack_head(
    archive: &mut (impl AsyncRead + Send + Unpin),
) -> Result<(Manifest, RegistryFacts), Problem> {
    let (bytes, _) = small(archive, MANIFEST).await?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| corrupt(MANIFEST, "it is no manifest").caused_by(error))?;
    if manifest.format > FORMAT {
        let what = "it is of a newer format than this release reads";
        return Err(corrupt(MANIFEST, what));
    }
    let (bytes, seen) = small(archive, REGISTRY).await?;
    if manifest.entries.get(REGISTRY) != Some(&seen) {
        return Err(checksum(REGISTRY));
    }
    let registry = serde_json::from_slice(&bytes)
        .map_err(|error| corrupt(REGISTRY, "it cannot be read").caused_by(error))?;
    let dump = next(archive, DUMP).await?;
    let said = manifest.entries.get(DUMP).map(|entry| entry.size_bytes);
    if said != Some(dump.size_bytes) {
        return Err(corrupt(DUMP, "its size is not that of the manifest"));
    }
    Ok((manifest, registry))
}

/// Reads the dump, after the head, to its end and holds it against the manifest.
///
/// # Errors
/// `archive-corrupt`.
pub(crate) async fn check_dump(
    archive: &mut (impl AsyncRead + Send + Unpin),
    manifest: &Manifest,
) -> Result<(), Problem> {
    let entry = manifest.entries.get(DUMP).ok_or_else(|| checksum(DUMP))?;
    let mut left = entry.size_bytes;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 256 * 1024];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        let read = archive.read(&mut chunk[..most]).await;
        let read = read.map_err(|error| corrupt(DUMP, "it cannot be read").caused_by(error))?;
        if read == 0 {
            return Err(corrupt(DUMP, "it breaks off"));
        }
        hash.update(&chunk[..read]);
        left -= read as u64;
    }
    if hex(&hash.finalize()) != entry.sha256 {
        return Err(checksum(DUMP));
    }
    Ok(())
}

async fn next(
    archive: &mut (impl AsyncRead + Send + Unpin),
    name: &'static str,
) -> Result<tar::File, Problem> {
    let mut block = [0; tar::HEADER];
    let unreadable = |error: io::Error| corrupt(name, "its header cannot be read").caused_by(error);
    archive.read_exact(&mut block).await.map_err(unreadable)?;
    let file = tar::parse(&block).map_err(unreadable)?;
    let file = file.ok_or_else(|| corrupt(name, "it is missing"))?;
    if file.name != name {
        return Err(corrupt(name, "it does not stand where it should"));
    }
    Ok(file)
}

async fn small(
    archive: &mut (impl AsyncRead + Send + Unpin),
    name: &'static str,
) -> Result<(Vec<u8>, Entry), Problem> {
    let file = next(archive, name).await?;
    if file.size_bytes > MAX_JSON {
        return Err(corrupt(name, "it is longer than such a file can be"));
    }
    let unreadable = |error: io::Error| corrupt(name, "it breaks off").caused_by(error);
    let length = usize::try_from(file.size_bytes).map_err(Problem::internal)?;
    let mut bytes = vec![0; length + tar::padding(file.size_bytes)];
    archive.read_exact(&mut bytes).await.map_err(unreadable)?;
    bytes.truncate(length);
    let entry = Entry {
        size_bytes: file.size_bytes,
        sha256: hex(&Sha256::digest(&bytes)),
    };
    Ok((bytes, entry))
}

fn checksum(name: &'static str) -> Problem {
    corrupt(name, "its SHA-256 checksum is not that of the manifest")
}

fn corrupt(name: &'static str, what: &'static str) -> Problem {
    Problem::new(Code::ArchiveCorrupt).detail(format!("{name} in the archive is damaged: {what}."))
}
