//! Encrypted objects: what was sealed for one tenant and path opens there and nowhere else.
//!
//! Deliberately without a store: the sealing does not know of one. Invariant: whatever is changed, the
//! stream ends in an error, and never short.

use std::io;

use adapters::object_store::{DataKey, ObjectError, open_reader, seal_reader};

use crate::suite::{Breaking, bytes, path, read};

const CHUNK: usize = 64 * 1024;
const HEADER: usize = 12;
const TAG: usize = 16;

async fn sealed(key: &DataKey, at: &str, body: &[u8]) -> Vec<u8> {
    read(seal_reader(key, &path(at), body)).await.unwrap()
}

async fn opened(key: &DataKey, at: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    read(open_reader(key, &path(at), body)).await
}

async fn refused(key: &DataKey, at: &str, body: &[u8], what: &str) {
    let error = ObjectError::of(opened(key, at, body).await.expect_err(what));
    assert!(
        matches!(error, ObjectError::Corrupt { .. }),
        "{what}: {error}"
    );
}

#[tokio::test]
async fn what_is_sealed_opens_whatever_its_length() {
    let key = DataKey::random();
    let known = DataKey::parse(&key.to_secret()).unwrap();
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
        let body = bytes(length);
        let closed = sealed(&key, "a/b", &body).await;
        let chunks = length.div_ceil(CHUNK).max(1);
        assert_eq!(closed.len(), HEADER + length + chunks * TAG);
        assert_eq!(opened(&known, "a/b", &closed).await.unwrap(), body);
    }
}

#[tokio::test]
async fn two_objects_cannot_be_swapped_cut_or_changed() {
    let key = DataKey::random();
    let body = bytes(3 * CHUNK);
    let closed = sealed(&key, "tenants/t_acme/x", &body).await;
    let at = "tenants/t_acme/x";
    refused(&key, "tenants/t_acme/y", &closed, "another path").await;
    refused(&DataKey::random(), at, &closed, "another key").await;

    let chunk = CHUNK + TAG;
    for (length, what) in [
        (0, "nothing"),
        (HEADER - 1, "half a header"),
        (HEADER, "a header alone"),
        (HEADER + chunk, "one chunk of three"),
        (HEADER + 2 * chunk, "two chunks of three"),
        (closed.len() - 1, "all but one byte"),
    ] {
        refused(&key, at, &closed[..length], what).await;
    }
    for (changed, what) in [
        (0, "magic"),
        (6, "prefix"),
        (HEADER, "first byte"),
        (closed.len() - 1, "tag"),
    ] {
        let mut other = closed.clone();
        other[changed] ^= 1;
        refused(&key, at, &other, what).await;
    }
    let (header, chunks) = closed.split_at(HEADER);
    let swapped = [
        header,
        &chunks[chunk..2 * chunk],
        &chunks[..chunk],
        &chunks[2 * chunk..],
    ]
    .concat();
    refused(&key, at, &swapped, "chunks in another order").await;
    refused(&key, at, &[&closed[..], &[0]].concat(), "a byte more").await;
}

#[tokio::test]
async fn the_same_data_never_looks_the_same_twice() {
    let key = DataKey::random();
    let (one, other) = (sealed(&key, "a", b"x").await, sealed(&key, "a", b"x").await);
    assert_ne!(one, other);
}

#[tokio::test]
async fn a_source_that_breaks_is_not_the_end() {
    let body = seal_reader(&DataKey::random(), &path("a"), Breaking(CHUNK + 5));
    assert_eq!(
        read(body).await.unwrap_err().to_string(),
        "the source broke"
    );
}
