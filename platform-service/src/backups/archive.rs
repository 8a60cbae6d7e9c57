//! A tenant's data as an object: written, loaded and compared.
//!
//! Deliberately knows no registry and no operation. Invariants: what is written is of one moment, and
//! so are the rows that are counted and hashed for it; what is loaded is held against the object's
//! checksum and against those rows.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use adapters::object_store::{
    DataKey, FolderStore, ObjectError, ObjectPath, ObjectStore, Stored, open_reader, seal_reader,
};
use contract::operator::backup::BackupEncryption;
use contract::{Code, DatabaseRef, SchemaVersions, TenantId};
use kit::error::Problem;
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{facts, is_packed, keys};
use crate::archives::format;
use crate::clusters::connections::{ClusterRole, Server};
use crate::clusters::moving::contents;
use crate::clusters::postgres::Name;
use crate::clusters::postgres::moving::bytes_of;
use crate::clusters::spare;
use crate::config::{ObjectStoreKind, Settings};
use crate::meter::{self, Counted};
use crate::platform::Platform;
use crate::stop::Stop;
use crate::tools::{self, Compression, DumpOptions, LoadError};

/// What a table holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableFacts {
    pub(crate) rows: u64,
    /// Over all rows, whatever their order.
    pub(crate) hash: String,
}

/// By schema and table, e.g. `auth.account`.
pub(crate) type Tables = BTreeMap<String, TableFacts>;

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) tables: Tables,
    pub(crate) schema_versions: SchemaVersions,
}

impl Facts {
    /// Rows of all tables.
    pub(crate) fn rows(&self) -> u64 {
        rows(&self.tables)
    }
}

/// Rows of all tables.
pub(crate) fn rows(tables: &Tables) -> u64 {
    tables.values().map(|table| table.rows).sum()
}

/// Length and checksum of an object, as a plan keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) size_bytes: u64,
    pub(crate) sha256: [u8; 32],
}

impl Written {
    /// The checksum in hexadecimal digits.
    pub(crate) fn sha256_text(&self) -> String {
        hex(&self.sha256)
    }
}

impl From<Stored> for Written {
    fn from(stored: Stored) -> Self {
        Self {
            size_bytes: stored.size_bytes,
            sha256: stored.sha256,
        }
    }
}

impl From<Written> for Stored {
    fn from(written: Written) -> Self {
        Self {
            size_bytes: written.size_bytes,
            sha256: written.sha256,
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An archive in the object store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Archive {
    pub(crate) tenant: TenantId,
    pub(crate) object: String,
    pub(crate) written: Written,
    pub(crate) encryption: BackupEncryption,
    /// Of the server that it was made on.
    pub(crate) server_version: i32,
}

/// The store of the settings.
///
/// # Errors
/// None is set.
pub(crate) fn objects(settings: &Settings) -> Result<ObjectStore, Problem> {
    match (settings.objects.store, &settings.objects.folder) {
        (ObjectStoreKind::Folder, Some(folder)) => {
            Ok(ObjectStore::Folder(FolderStore::new(folder)))
        }
        (ObjectStoreKind::Folder, None) => Err(Problem::new(Code::Conflict).detail(
            "No objects are kept here: set objects.folder to a folder for backups and archives.",
        )),
    }
}

/// Where archives are spooled and passwords handed to programs.
pub(crate) fn work_dir(settings: &Settings) -> PathBuf {
    let chosen = settings.objects.work_dir.clone();
    chosen.unwrap_or_else(std::env::temp_dir)
}

pub(crate) fn object_path(text: &str) -> Result<ObjectPath, Stop> {
    let parsed = text.parse::<ObjectPath>();
    parsed.map_err(|error| Stop::Fail(Problem::internal(error)))
}

/// What a failure of the store means to an operation.
pub(crate) fn object_stop(error: ObjectError) -> Stop {
    let problem = |code: Code| Problem::new(code).detail(sentence(&error));
    match &error {
        ObjectError::Unavailable(_) => {
            Stop::Retry(problem(Code::ObjectStoreUnavailable).caused_by(error))
        }
        // Nothing makes room in the seconds for which it would be tried again.
        ObjectError::Full | ObjectError::Refused(_) => {
            Stop::Fail(problem(Code::ObjectStoreUnavailable).caused_by(error))
        }
        ObjectError::NotFound { .. } | ObjectError::Corrupt { .. } => {
            Stop::Fail(problem(Code::ArchiveCorrupt))
        }
        ObjectError::Body(_) => Stop::Retry(Problem::internal(error)),
    }
}

fn sentence(error: &ObjectError) -> String {
    let mut text = error.to_string();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text + "."
}

/// A database whose data is written or was loaded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) server: &'a Server,
    pub(crate) name: &'a Name,
    pub(crate) copy: u32,
}

impl Source<'_> {
    fn database(&self) -> DatabaseRef {
        self.server.database(self.name, self.copy)
    }
}

/// Gives a dump of one moment of a database to `take`, and what the database held then.
async fn dumped<T>(
    platform: &Platform,
    source: Source<'_>,
    take: impl AsyncFnOnce(&mut Counted<&mut tokio::process::ChildStdout>) -> Result<T, Stop>,
) -> Result<(T, Facts), Stop> {
    let version = source.server.version();
    let tools = tools::find(&platform.settings.tools).await;
    let tool = tools::pick(&tools, version, version)?;
    let login = source.server.login(platform, ClusterRole::Schema).await?;
    let mut session = source
        .server
        .connect_as(platform, ClusterRole::Schema, &source.database())
        .await?;
    meter::expect(bytes_of(&mut session, source.name).await?);
    let snapshot = Some(facts::begin(&mut session).await?);
    let options = DumpOptions {
        compression: Compression::Fast,
        large_objects: contents::large_objects(&mut session).await?,
        snapshot,
    };
    let folder = work_dir(&platform.settings);
    let mut dumping = tools::dump(tool, &login, &folder, source.name, &options)?;
    let mut output = Counted(dumping.output());
    let (taken, facts) = tokio::try_join!(take(&mut output), async {
        Ok(facts::of(&mut session).await?)
    })?;
    dumping.finish().await?;
    session.close().await?;
    Ok((taken, facts))
}

/// Writes a database's data to an object.
pub(crate) async fn write(
    platform: &Platform,
    source: Source<'_>,
    object: &str,
    encrypt_for: Option<&TenantId>,
) -> Result<(Written, Facts), Stop> {
    let store = objects(&platform.settings)?;
    let path = object_path(object)?;
    let key = match encrypt_for {
        Some(tenant) => Some(keys::ensure(platform, tenant).await?),
        None => None,
    };
    let (stored, facts) = dumped(platform, source, async |output| {
        let stored = match &key {
            Some(key) => store.put(&path, seal_reader(key, &path, output)).await,
            None => store.put(&path, output).await,
        };
        stored.map_err(object_stop)
    })
    .await?;
    Ok((stored.into(), facts))
}

/// Writes a database's data to a file of this machine, as it is.
pub(crate) async fn spool(
    platform: &Platform,
    source: Source<'_>,
    file: &mut tokio::fs::File,
) -> Result<Facts, Stop> {
    let ((), facts) = dumped(platform, source, async |output| {
        let copied = tokio::io::copy(output, file).await;
        copied.map_err(|error| match ObjectError::of(error) {
            ObjectError::Full => Stop::Fail(Problem::new(Code::NotReady).detail(
                "The folder for spooled archives is full: make room, or set objects.work_dir.",
            )),
            other => Stop::Retry(Problem::internal(other)),
        })?;
        Ok(())
    })
    .await?;
    Ok(facts)
}

/// Loads an archive into an empty database beside the tenants'.
pub(crate) async fn load(
    platform: &Platform,
    server: &Server,
    into: &Name,
    archive: &Archive,
) -> Result<(), Stop> {
    let store = objects(&platform.settings)?;
    let path = object_path(&archive.object)?;
    let expected = Stored::from(archive.written);
    meter::expect(archive.written.size_bytes);
    let reader = store.get(&path).await.map_err(object_stop)?;
    let mut reader = reader.expecting(expected).map_err(object_stop)?;
    let loaded = match archive.encryption {
        BackupEncryption::None if is_packed(&archive.object) => {
            load_packed(platform, server, into, &mut reader).await
        }
        BackupEncryption::None => {
            load_stream(platform, server, into, archive.server_version, reader).await
        }
        BackupEncryption::Tenant => {
            let key = data_key(platform, &archive.tenant).await?;
            let reader = open_reader(&key, &path, reader);
            load_stream(platform, server, into, archive.server_version, reader).await
        }
    };
    if let Err(Stop::Fail(refused)) = loaded {
        // A damaged archive is refused in many words; its checksum says it in one.
        let reader = store.get(&path).await.map_err(object_stop)?;
        let mut reader = reader.expecting(expected).map_err(object_stop)?;
        let read = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
        read.map_err(|error| object_stop(ObjectError::of(error)))?;
        return Err(Stop::Fail(refused));
    }
    loaded
}

/// Loads the dump of an archive to take along.
async fn load_packed(
    platform: &Platform,
    server: &Server,
    into: &Name,
    archive: &mut (impl AsyncRead + Send + Unpin),
) -> Result<(), Stop> {
    let head = format::unpack_head(archive).await;
    let (manifest, _) = head.map_err(unreadable)?;
    let dump = manifest.entries.get(format::DUMP);
    let size = dump.map_or(0, |dump| dump.size_bytes);
    let version = manifest.server_version;
    load_stream(platform, server, into, version, archive.take(size)).await?;
    // To its end: only there its checksum is known.
    let read = tokio::io::copy(archive, &mut tokio::io::sink()).await;
    read.map_err(|error| object_stop(ObjectError::of(error)))?;
    Ok(())
}

/// What it means that a part could not be read: of an archive, or of the store that stopped giving it.
pub(crate) fn unreadable(problem: Problem) -> Stop {
    match problem
        .cause()
        .and_then(|cause| cause.downcast_ref::<io::Error>())
    {
        // What comes to its end too early, or is not what it should be, is the archive's.
        Some(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
            ) =>
        {
            let detail = "The object store stopped giving what was read.";
            let unavailable = Problem::new(Code::ObjectStoreUnavailable).detail(detail);
            Stop::Retry(unavailable.caused_by(problem))
        }
        _ => Stop::Fail(problem),
    }
}

async fn data_key(platform: &Platform, tenant: &TenantId) -> Result<DataKey, Stop> {
    keys::open(platform, tenant).await?.ok_or_else(|| {
        Stop::Fail(Problem::new(Code::ArchiveCorrupt).detail(
            "The key that the backup is encrypted with is destroyed: nobody can read it any more.",
        ))
    })
}

/// Loads an archive of a server of this version as it comes.
pub(crate) async fn load_stream(
    platform: &Platform,
    server: &Server,
    into: &Name,
    server_version: i32,
    archive: impl AsyncRead + Send + Unpin,
) -> Result<(), Stop> {
    let tools = tools::find(&platform.settings.tools).await;
    let tool = tools::pick(&tools, server_version, server.version())?;
    let login = server.login(platform, ClusterRole::Schema).await?;
    let folder = work_dir(&platform.settings);
    match tools::load(tool, &login, &folder, into, archive).await {
        Ok(loaded) => loaded.kept_by(server).await,
        Err(LoadError::Refused(stop)) => Err(stop),
        Err(LoadError::Archive(error)) => Err(object_stop(ObjectError::of(error))),
    }
}

/// Copies a database's data into an empty one, on the same server or another.
pub(crate) async fn copy(
    platform: &Platform,
    source: Source<'_>,
    server: &Server,
    into: &Name,
) -> Result<Facts, Stop> {
    let tools = tools::find(&platform.settings.tools).await;
    let tool = tools::pick(&tools, source.server.version(), server.version())?;
    let from = source.server.login(platform, ClusterRole::Schema).await?;
    let to = server.login(platform, ClusterRole::Schema).await?;
    let mut session = source
        .server
        .connect_as(platform, ClusterRole::Schema, &source.database())
        .await?;
    meter::expect(bytes_of(&mut session, source.name).await?);
    let snapshot = Some(facts::begin(&mut session).await?);
    let options = DumpOptions {
        compression: Compression::None,
        large_objects: contents::large_objects(&mut session).await?,
        snapshot,
    };
    let folder = work_dir(&platform.settings);
    let dumping = tools::dump(tool, &from, &folder, source.name, &options)?;
    let (loaded, facts) =
        tokio::try_join!(tools::pipe(dumping, tool, &to, &folder, into), async {
            Ok::<_, Stop>(facts::of(&mut session).await?)
        })?;
    session.close().await?;
    loaded.kept_by(server).await?;
    Ok(facts)
}

/// Holds what was loaded against what was written.
///
/// # Errors
/// `archive-corrupt` names the table that differs.
pub(crate) async fn compare(
    platform: &Platform,
    server: &Server,
    name: &Name,
    expected: &Tables,
) -> Result<SchemaVersions, Stop> {
    let database = server.database(name, spare::copy_of(name));
    let mut session = server
        .connect_as(platform, ClusterRole::Schema, &database)
        .await?;
    let found = facts_of(&mut session).await?;
    session.close().await?;
    let names = expected.keys().chain(found.tables.keys());
    for table in names {
        let (wanted, got) = (expected.get(table), found.tables.get(table));
        if wanted != got {
            let rows = |facts: Option<&TableFacts>| facts.map_or(0, |facts| facts.rows);
            let detail = format!(
                "The table {table} does not have the rows that were written: {} rows with another \
                 content or number than the {} of the archive.",
                rows(got),
                rows(wanted)
            );
            return Err(Stop::Fail(
                Problem::new(Code::ArchiveCorrupt).detail(detail),
            ));
        }
    }
    Ok(found.schema_versions)
}

async fn facts_of(session: &mut PgConnection) -> Result<Facts, Stop> {
    facts::begin(session).await?;
    Ok(facts::of(session).await?)
}
