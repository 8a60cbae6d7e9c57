//! Writing a database to an archive in the object store.
//!
//! Deliberately spooled first: a tar says the length of a file before the file. Invariant: no spool
//! outlives its process.

use kit::error::Problem;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::format;
use crate::backups::archive::{self, Facts, Source, Written};
use crate::platform::Platform;
use crate::stop::Stop;
use crate::tenants::TenantRow;

/// Writes a tenant's data, with what the registry knows of it, to an object.
pub(crate) async fn write(
    platform: &Platform,
    row: &TenantRow,
    source: Source<'_>,
    object: &str,
) -> Result<(Written, Facts), Stop> {
    let objects = archive::objects(&platform.settings)?;
    let path = archive::object_path(object)?;
    // Without a name: it is gone with its last handle.
    let folder = archive::work_dir(&platform.settings);
    let spool = tempfile::tempfile_in(folder).map_err(Problem::internal)?;
    let mut spool = tokio::fs::File::from_std(spool);
    let facts = archive::spool(platform, source, &mut spool).await?;
    let dump = checked(&mut spool).await?;
    let body = format::pack(row, source.server.version(), &facts, (dump, spool));
    let body = body.map_err(|error| Stop::Fail(Problem::internal(error)))?;
    let stored = objects.put(&path, body).await;
    let stored = stored.map_err(archive::object_stop)?;
    Ok((stored.into(), facts))
}

/// Length and checksum of a spooled file, which is at its beginning afterwards.
async fn checked(file: &mut tokio::fs::File) -> Result<Written, Stop> {
    let mut hash = Sha256::new();
    let mut size_bytes = 0;
    let mut chunk = vec![0; 256 * 1024];
    let failed = |error: std::io::Error| Stop::Retry(Problem::internal(error));
    file.rewind().await.map_err(failed)?;
    loop {
        let read = file.read(&mut chunk).await.map_err(failed)?;
        if read == 0 {
            break;
        }
        hash.update(&chunk[..read]);
        size_bytes += read as u64;
    }
    file.rewind().await.map_err(failed)?;
    Ok(Written {
        size_bytes,
        sha256: hash.finalize().into(),
    })
}
