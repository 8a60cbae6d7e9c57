//! The OpenAPI document of a listener, its page at `/docs`, and operation ids by path.
//!
//! Deliberately self-contained: the page's script and style come from the binary, so it works with
//! no internet. Invariant: the page is the only answer with a content security policy that allows
//! scripts, and only its own.

mod kept;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::response::{Redirect, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use utoipa::PartialSchema;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Components, InfoBuilder, OpenApi, RefOr, Schema, Tag};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::Config;

use self::kept::{Shelf, Text};
use crate::error::{Problem, Result};
use crate::http::unknown_path;

/// Where the document is served.
pub const OPENAPI_PATH: &str = "/openapi.json";
/// Where its page is.
const PAGE_PATH: &str = "/docs/";
const PAGE_POLICY: &str = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; \
                           frame-ancestors 'none'";
/// Paths that every service answers by itself.
pub const OWN_PATHS: [&str; 4] = [OPENAPI_PATH, "/docs", "/livez", "/readyz"];

/// Operation ids by method and path.
#[derive(Debug, Default)]
pub struct OperationIds {
    ids: HashMap<String, Vec<(Method, metrics::SharedString)>>,
    unhurried: Vec<(Method, String)>,
}

/// The extension of an operation that bounds itself, because it takes in more than fits a deadline.
pub const UNHURRIED: &str = "x-unhurried";

impl OperationIds {
    /// The ids of a document.
    pub fn of(document: &OpenApi) -> Self {
        let mut ids: HashMap<String, Vec<_>> = HashMap::new();
        let mut unhurried = Vec::new();
        for (path, item) in &document.paths.paths {
            for (method, operation) in [
                (Method::GET, &item.get),
                (Method::PUT, &item.put),
                (Method::POST, &item.post),
                (Method::DELETE, &item.delete),
                (Method::PATCH, &item.patch),
            ] {
                let extensions = operation.as_ref().and_then(|o| o.extensions.as_ref());
                if extensions.is_some_and(|extensions| extensions.contains_key(UNHURRIED)) {
                    unhurried.push((method.clone(), path.clone()));
                }
                if let Some(id) = operation.as_ref().and_then(|o| o.operation_id.clone()) {
                    ids.entry(path.clone())
                        .or_default()
                        .push((method, id.into()));
                }
            }
        }
        Self { ids, unhurried }
    }

    /// Whether a request's operation is one without a deadline.
    pub fn is_unhurried(&self, method: &Method, route: &str) -> bool {
        let mut operations = self.unhurried.iter();
        operations.any(|(known, path)| known == method && path == route)
    }

    /// The id of a request's operation; `none` for a path that the document does not have.
    pub fn find(&self, method: &Method, route: &str) -> metrics::SharedString {
        self.ids
            .get(route)
            .and_then(|operations| operations.iter().find(|(known, _)| known == method))
            .map_or(metrics::SharedString::const_str("none"), |(_, id)| {
                id.clone()
            })
    }
}

/// What heads a document.
#[derive(Debug, Clone, Copy)]
pub struct Title {
    /// The API's name.
    pub name: &'static str,
    /// What it is for, in Markdown.
    pub description: &'static str,
    /// The scheme of its bearer tokens, with words on where one comes from.
    pub security: &'static [(&'static str, &'static str)],
}

/// The schemas that every document has, by their names.
pub fn own_schemas() -> [(&'static str, RefOr<Schema>); 3] {
    [
        ("ProblemDocument", contract::ProblemDocument::schema()),
        ("Code", contract::Code::schema()),
        ("FieldError", contract::FieldError::schema()),
    ]
}

/// The operations of a listener with their state, beside what its document does not show; and the document.
pub fn api<S: Clone + Send + Sync + 'static>(
    routes: OpenApiRouter<S>,
    title: Title,
    state: S,
    undocumented: Router,
) -> (Router, OpenApi) {
    let (router, document) = routes.split_for_parts();
    let document = complete(document, title);
    (router.with_state(state).merge(undocumented), document)
}

/// Completes a document that a router collected.
pub fn complete(mut document: OpenApi, title: Title) -> OpenApi {
    document.info = InfoBuilder::new()
        .title(title.name)
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(title.description))
        .build();
    let components = document.components.get_or_insert_with(Components::new);
    for (name, schema) in own_schemas() {
        components.schemas.insert(name.to_owned(), schema);
    }
    for (name, description) in title.security {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.description = Some((*description).to_owned());
        components.add_security_scheme(*name, SecurityScheme::Http(scheme));
    }
    let mut tags: Vec<String> = Vec::new();
    for item in document.paths.paths.values_mut() {
        for operation in crate::openapi::operations_of(item) {
            tags.extend(operation.tags.iter().flatten().cloned());
        }
    }
    tags.sort();
    tags.dedup();
    document.tags = Some(tags.into_iter().map(Tag::new).collect());
    document
}

/// Serves the document and its page.
///
/// # Errors
/// The document cannot be written.
pub fn router(document: &OpenApi) -> serde_json::Result<Router> {
    let document = Documentation::of(document)?;
    let page = document.clone();
    let page = get(async move |uri: Uri, headers: HeaderMap| page.page(uri.path(), &headers).await);
    let router = Router::new()
        .route(
            OPENAPI_PATH,
            get(async move |headers: HeaderMap| document.document(&headers).await),
        )
        .route("/docs", get(async || Redirect::to(PAGE_PATH)))
        .route(PAGE_PATH, page.clone())
        .route("/docs/{*file}", page);
    Ok(router)
}

/// What is served of a document; clones share it.
#[derive(Clone)]
struct Documentation {
    text: Arc<str>,
    config: Arc<Config<'static>>,
    shelf: Shelf,
}

impl Documentation {
    fn of(document: &OpenApi) -> serde_json::Result<Self> {
        Ok(Self {
            text: document.to_json()?.into(),
            // The page's own validator is another host, which would be told our addresses.
            config: Arc::new(Config::from(OPENAPI_PATH).validator_url("none")),
            shelf: Shelf::default(),
        })
    }

    async fn document(&self, headers: &HeaderMap) -> Result<Response> {
        let make = || {
            Ok(Some(Text {
                content_type: "application/json".to_owned(),
                bytes: self.text.as_bytes().to_vec().into(),
            }))
        };
        self.answer(OPENAPI_PATH, headers, make).await
    }

    async fn page(&self, path: &str, headers: &HeaderMap) -> Result<Response> {
        let make = || {
            let name = path.strip_prefix(PAGE_PATH).unwrap_or_default();
            let file = utoipa_swagger_ui::serve(name, Arc::clone(&self.config));
            let file = file.map_err(|error| Problem::internal(error.to_string()))?;
            Ok(file.map(|file| Text {
                content_type: file.content_type,
                bytes: file.bytes,
            }))
        };
        let mut response = self.answer(path, headers, make).await?;
        let policy = HeaderValue::from_static(PAGE_POLICY);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        Ok(response)
    }

    async fn answer(
        &self,
        path: &str,
        headers: &HeaderMap,
        make: impl FnOnce() -> Result<Option<Text>>,
    ) -> Result<Response> {
        let kept = self.shelf.take(path, make).await?;
        kept.map(|kept| kept.answer(headers))
            .ok_or_else(|| unknown_path(path))
    }
}
