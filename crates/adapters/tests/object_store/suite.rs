//! What every object store does.
//!
//! Deliberately knows no implementation. Invariant: each promise of the port is asked for here once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use adapters::object_store::{ObjectError, ObjectPath, ObjectStore};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

pub(crate) fn path(text: &str) -> ObjectPath {
    text.parse().unwrap()
}

/// Bytes that no two places have alike.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

pub(crate) async fn read(mut body: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    body.read_to_end(&mut all).await?;
    Ok(all)
}

/// Gives some bytes and then fails.
pub(crate) struct Breaking(pub(crate) usize);

impl AsyncRead for Breaking {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.0 == 0 {
            return Poll::Ready(Err(io::Error::other("the source broke")));
        }
        let part = self.0.min(buffer.remaining());
        buffer.put_slice(&vec![7; part]);
        self.0 -= part;
        Poll::Ready(Ok(()))
    }
}

/// Everything that the port promises.
pub(crate) async fn run(store: &ObjectStore) {
    what_is_written_is_read(store).await;
    a_write_that_breaks_leaves_what_was_there(store).await;
    a_changed_object_never_ends_well(store).await;
    lists_and_removals_keep_to_their_folder(store).await;
}

async fn what_is_written_is_read(store: &ObjectStore) {
    for length in [0, 1, 65_536, 700_001] {
        let (object, body) = (path("suite/written/x.dump"), bytes(length));
        let stored = store.put(&object, body.as_slice()).await.unwrap();
        assert_eq!(stored.size_bytes, length as u64);
        assert_eq!(stored.sha256, <[u8; 32]>::from(Sha256::digest(&body)));
        let reader = store.get(&object).await.unwrap();
        assert_eq!(reader.size_bytes(), length as u64);
        assert_eq!(read(reader.expecting(stored).unwrap()).await.unwrap(), body);
    }
    for nothing in ["suite/none", "suite", "suite/written/x.dump/y"] {
        let missing = store.get(&path(nothing)).await.unwrap_err();
        assert!(matches!(missing, ObjectError::NotFound { .. }), "{missing}");
    }
}

async fn a_write_that_breaks_leaves_what_was_there(store: &ObjectStore) {
    let (old, new) = (path("suite/broken/old"), path("suite/broken/new"));
    store.put(&old, &b"before"[..]).await.unwrap();
    for object in [&old, &new] {
        let failed = store.put(object, Breaking(300_000)).await.unwrap_err();
        assert!(matches!(failed, ObjectError::Body(_)), "{failed}");
        assert!(!failed.is_retryable());
    }
    assert_eq!(
        read(store.get(&old).await.unwrap()).await.unwrap(),
        b"before"
    );
    let listed = store.list(&path("suite/broken")).await.unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
}

async fn a_changed_object_never_ends_well(store: &ObjectStore) {
    let object = path("suite/changed");
    let stored = store.put(&object, bytes(5_000).as_slice()).await.unwrap();
    let mut other = bytes(5_000);
    other[4_999] ^= 1;
    store.put(&object, other.as_slice()).await.unwrap();
    let reader = store.get(&object).await.unwrap().expecting(stored).unwrap();
    let damaged = ObjectError::of(read(reader).await.unwrap_err());
    assert!(matches!(damaged, ObjectError::Corrupt { .. }), "{damaged}");
    assert!(damaged.to_string().contains("SHA-256"), "{damaged}");
    store.put(&object, &other[..100]).await.unwrap();
    let damaged = store
        .get(&object)
        .await
        .unwrap()
        .expecting(stored)
        .unwrap_err();
    assert!(matches!(damaged, ObjectError::Corrupt { .. }), "{damaged}");
}

async fn lists_and_removals_keep_to_their_folder(store: &ObjectStore) {
    for object in [
        "suite/list/b/2",
        "suite/list/a",
        "suite/list/b/1",
        "suite/list-2/a",
    ] {
        store.put(&path(object), &b"12345"[..]).await.unwrap();
    }
    let listed = store.list(&path("suite/list")).await.unwrap();
    let paths: Vec<&str> = listed.iter().map(|object| object.path.as_str()).collect();
    assert_eq!(paths, ["suite/list/a", "suite/list/b/1", "suite/list/b/2"]);
    assert!(listed.iter().all(|object| object.size_bytes == 5));

    let gone = path("suite/list/a");
    store.delete(&gone).await.unwrap();
    store.delete(&gone).await.unwrap();
    assert_eq!(store.delete_prefix(&path("suite/list")).await.unwrap(), 2);
    assert_eq!(store.delete_prefix(&path("suite/list")).await.unwrap(), 0);
    assert!(store.list(&path("suite/list")).await.unwrap().is_empty());
    assert_eq!(store.list(&path("suite/list-2")).await.unwrap().len(), 1);
}
