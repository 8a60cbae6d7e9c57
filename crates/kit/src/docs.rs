//! The OpenAPI document of a listener, its page at `/docs`, and operation ids by path.
//!
//! Deliberately self-contained: the page's script and style come from the binary, so it works with
//! no internet. Invariant: the page is the only answer with a content security policy that allows
//! scripts, and only its own.

use std::borrow::Cow;
use std::collections::HashMap;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{HeaderValue, Method, StatusCode, header};
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::PartialSchema;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Components, InfoBuilder, OpenApi, RefOr, Schema, Tag};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::http::unknown_path;

/// Where the document is served.
pub const OPENAPI_PATH: &str = "/openapi.json";
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
pub fn router(document: &OpenApi) -> Router {
    let text: Cow<'static, str> = document.to_json().unwrap_or_default().into();
    let json = get(move || {
        let text = text.clone();
        async move {
            let content_type = HeaderValue::from_static("application/json");
            ([(header::CONTENT_TYPE, content_type)], text)
        }
    });
    // The page's own validator is another host, which would be told our addresses.
    let config = Config::from(OPENAPI_PATH).validator_url("none");
    let page = Router::from(SwaggerUi::new("/docs").config(config));
    let policy = HeaderValue::from_static(
        "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    );
    let page = page.layer(SetResponseHeaderLayer::overriding(
        header::CONTENT_SECURITY_POLICY,
        policy,
    ));
    Router::new()
        .route(OPENAPI_PATH, json)
        .merge(page.layer(middleware::from_fn(files)))
}

/// The page's files; for one that it does not have, its own answer is an empty one.
async fn files(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let answer = next.run(request).await;
    if answer.status() == StatusCode::NOT_FOUND {
        return unknown_path(&path).into_response();
    }
    answer
}
