//! What is answered alike to everybody for as long as a process lives: compressed when it is first asked for,
//! and named by a tag, so that who has it is not sent it again.
//!
//! Deliberately for documents and pages alone: what handlers make is compressed as it leaves. Invariant: once it
//! was asked for, an answer costs no compression, whatever its caller accepts.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Write as _};
use std::sync::Arc;

use axum::body::Bytes;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::error::{Problem, Result};

/// How long a browser uses what it has without asking: a deploy is seen soon.
const MAX_AGE: HeaderValue = HeaderValue::from_static("max-age=60");
/// Bytes of the digest that make a tag.
const TAG_BYTES: usize = 12;

/// Something to be kept.
pub(super) struct Text {
    pub(super) content_type: String,
    pub(super) bytes: Cow<'static, [u8]>,
}

/// The same, in both its forms.
pub(super) struct Kept {
    content_type: HeaderValue,
    /// A weak one: both forms have it.
    tag: HeaderValue,
    plain: Bytes,
    gzip: Bytes,
}

impl Kept {
    fn new(text: Text) -> Result<Self> {
        let digest = Sha256::digest(&text.bytes);
        let tag = format!("W/\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..TAG_BYTES]));
        Ok(Self {
            content_type: text.content_type.try_into().map_err(Problem::internal)?,
            tag: tag.try_into().map_err(Problem::internal)?,
            gzip: compressed(&text.bytes).map_err(Problem::internal)?,
            plain: match text.bytes {
                Cow::Borrowed(bytes) => Bytes::from_static(bytes),
                Cow::Owned(bytes) => bytes.into(),
            },
        })
    }

    /// What is answered to a request with these headers.
    pub(super) fn answer(&self, asked: &HeaderMap) -> Response {
        let mut response = if self.is_had_by(asked) {
            StatusCode::NOT_MODIFIED.into_response()
        } else if asked.contains_key(header::ACCEPT_ENCODING) {
            // The one coding that is left there, see `http::coding`.
            let coding = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
            (coding, self.gzip.clone()).into_response()
        } else {
            self.plain.clone().into_response()
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
        headers.insert(header::ETAG, self.tag.clone());
        headers.insert(header::CACHE_CONTROL, MAX_AGE);
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        response
    }

    /// Whether the caller names this tag; strong or weak is the same here (RFC 9110, 13.1.2).
    fn is_had_by(&self, asked: &HeaderMap) -> bool {
        let opaque = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
        let ours = opaque(self.tag.as_bytes());
        let values = asked.get_all(header::IF_NONE_MATCH).into_iter();
        let mut tags = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        tags.any(|tag| {
            let tag = tag.trim_ascii();
            tag == b"*" || opaque(tag) == ours
        })
    }
}

fn compressed(plain: &[u8]) -> io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain)?;
    Ok(encoder.finish()?.into())
}

/// What was asked for so far, by its path: at most what there is.
#[derive(Clone, Default)]
pub(super) struct Shelf(Arc<Mutex<HashMap<String, Arc<Kept>>>>);

impl Shelf {
    /// What is kept for a path, if there is anything: `make` makes it when it is asked for first.
    pub(super) async fn take(
        &self,
        path: &str,
        make: impl FnOnce() -> Result<Option<Text>>,
    ) -> Result<Option<Arc<Kept>>> {
        // Held while it is made: many who ask at once have it made once.
        let mut shelf = self.0.lock().await;
        if let Some(kept) = shelf.get(path) {
            return Ok(Some(Arc::clone(kept)));
        }
        let Some(text) = make()? else {
            return Ok(None);
        };
        let made = tokio::task::spawn_blocking(move || Kept::new(text)).await;
        let kept = Arc::new(made.map_err(Problem::internal)??);
        shelf.insert(path.to_owned(), Arc::clone(&kept));
        Ok(Some(kept))
    }
}
