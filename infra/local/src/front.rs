//! Both public APIs as one: one port, one document, one page.
//!
//! Deliberately for one machine: in production each service has its own address. Invariant: every
//! path is served by the service whose document has it, and takes bodies as large as there.

use std::collections::BTreeSet;

use anyhow::Context as _;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::Redirect;
use axum::routing::get;
use kit::docs::Title;
use kit::http::{CorsSettings, Layers};
use serde_json::Value;
use utoipa::openapi::OpenApi;

use crate::services::PublicApi;

const TITLE: Title = Title {
    name: "Tenantry",
    description: "Sign-up and the operators' API of platform-service, and the tenants' API of \
                  app-service, as they are served together on one machine.",
    // Each document brings its own.
    security: &[],
};
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);

/// The merged API, ready to be served.
pub(crate) fn front(platform: PublicApi, app: PublicApi) -> anyhow::Result<Router> {
    let mut document = platform.document.clone();
    document.merge(apart(app.document.clone(), &document)?);
    let document = kit::docs::complete(document, TITLE);
    let layers = Layers {
        listener: "front",
        deadline: Some(DEADLINE),
        body_bytes: platform.body_bytes.max(app.body_bytes),
        cors: CorsSettings::default(),
        trusted_proxies: kit::address::TrustedProxies::default(),
    };
    let first_look = Router::new().route("/", get(async || Redirect::to("/docs")));
    let router = limited(platform)
        .merge(limited(app))
        .merge(kit::http::liveness())
        .merge(first_look);
    Ok(kit::http::dress(router, &document, &layers)?)
}

/// The routes of a service, which take what they take behind its own listener.
fn limited(api: PublicApi) -> Router {
    api.router.layer(DefaultBodyLimit::max(api.body_bytes))
}

/// `document` with other names for schemas that `other` has under the same names with another
/// content, so that both can stand in one document.
fn apart(document: OpenApi, other: &OpenApi) -> anyhow::Result<OpenApi> {
    let mut document = serde_json::to_value(document)?;
    let other = serde_json::to_value(other)?;
    loop {
        let clashing = clashing(&document, &other);
        if clashing.is_empty() {
            return serde_json::from_value(document).context("the merged document");
        }
        for name in clashing {
            rename(&mut document, &name, &format!("App{name}"));
        }
    }
}

fn schemas(document: &Value) -> Option<&serde_json::Map<String, Value>> {
    document["components"]["schemas"].as_object()
}

fn clashing(document: &Value, other: &Value) -> BTreeSet<String> {
    let (Some(ours), Some(theirs)) = (schemas(document), schemas(other)) else {
        return BTreeSet::new();
    };
    let differs = |(name, schema): &(&String, &Value)| {
        theirs.get(*name).is_some_and(|theirs| theirs != *schema)
    };
    ours.iter()
        .filter(differs)
        .map(|(name, _)| name.clone())
        .collect()
}

fn rename(document: &mut Value, from: &str, to: &str) {
    let schemas = document.pointer_mut("/components/schemas");
    if let Some(Value::Object(schemas)) = schemas
        && let Some(schema) = schemas.remove(from)
    {
        schemas.insert(to.to_owned(), schema);
    }
    redirect(
        document,
        &format!("#/components/schemas/{from}"),
        &format!("#/components/schemas/{to}"),
    );
}

/// Changes every text that is `from`.
fn redirect(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::String(text) if text == from => to.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(|item| redirect(item, from, to)),
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|field| redirect(field, from, to)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{apart, front};
    use crate::services::PublicApi;
    use axum::Router;
    use axum::routing::post;
    use kit::extract::Json;
    use kit::serve::{Drain, DrainEnd, Listener, ServeLimits};
    use serde_json::{Value, json};
    use tokio_util::sync::CancellationToken;
    use utoipa::openapi::OpenApi;

    fn api(path: &str, body_bytes: usize) -> PublicApi {
        PublicApi {
            router: Router::new().route(path, post(async |Json(text): Json<String>| text)),
            document: document(&json!({}), "None"),
            body_bytes,
        }
    }

    #[tokio::test]
    async fn each_service_takes_bodies_of_its_own_size() {
        let router = front(api("/platform", 100), api("/app", 1000)).unwrap();
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let url = format!("http://{}", listener.local_addr());
        let drain = Drain {
            token: CancellationToken::new(),
            notice: std::time::Duration::ZERO,
            end: DrainEnd::new(super::DEADLINE),
        };
        let limits = ServeLimits::default();
        tokio::spawn(kit::serve::serve(listener, router, limits, drain));
        for (path, letters, status) in [
            ("/platform", 90, 200),
            ("/platform", 500, 413),
            ("/app", 500, 200),
            ("/app", 2000, 413),
        ] {
            let request = reqwest::Client::new().post(format!("{url}{path}"));
            let answer = request.json(&"x".repeat(letters)).send().await.unwrap();
            assert_eq!(answer.status(), status, "{path}: {letters}");
        }
    }

    fn document(schemas: &Value, uses: &str) -> OpenApi {
        let reference = format!("#/components/schemas/{uses}");
        serde_json::from_value(json!({
            "openapi": "3.1.0", "info": {"title": "t", "version": "1"},
            "paths": {"/x": {"get": {"responses": {"200": {"description": "d", "content": {
                "application/json": {"schema": {"$ref": reference}}}}}}}},
            "components": {"schemas": schemas},
        }))
        .unwrap()
    }

    #[test]
    fn schemas_of_one_name_and_two_contents_both_stay() {
        let page = json!({"type": "array", "items": {"$ref": "#/components/schemas/View"}});
        let text = json!({"type": "string"});
        let ours = document(
            &json!({"Page": page, "View": {"type": "integer"}, "Same": text}),
            "Page",
        );
        let theirs = document(&json!({"Page": page, "View": text, "Same": text}), "Page");
        let apart = serde_json::to_value(apart(ours, &theirs).unwrap()).unwrap();
        let schemas = &apart["components"]["schemas"];
        assert_eq!(schemas["AppView"]["type"], "integer");
        assert_eq!(
            schemas["AppPage"]["items"]["$ref"],
            "#/components/schemas/AppView"
        );
        assert_eq!(schemas["Same"]["type"], "string");
        assert!(schemas.get("View").is_none());
        let used = &apart["paths"]["/x"]["get"]["responses"]["200"]["content"];
        assert_eq!(
            used["application/json"]["schema"]["$ref"],
            "#/components/schemas/AppPage"
        );
    }
}
