//! Whether what columns show is in what the API says of itself.
//!
//! Deliberately reads the document that the platform's tests keep, so that no server is needed. Invariant: a
//! view that nothing describes is a failure, and no view without fields.

use contract::operator::backup::RestorePreview;
use contract::operator::rollout::{DriftReport, RolloutTrial};
use contract::operator::tenant::{DeletePreview, PurgePreview};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{Column, plain, time};

const DOCUMENT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/it/snapshots/it__documents__openapi_platform.snap"
);

/// Fails where a column shows what its view does not have.
pub(crate) fn check(view: &str, columns: &[Column<'_>]) {
    let unknown = unknown(view, columns);
    assert!(unknown.is_empty(), "{view} has no {}", unknown.join(", "));
}

/// The pointers that point to nothing in a view.
fn unknown<'a>(view: &str, columns: &[Column<'a>]) -> Vec<&'a str> {
    let schemas = schemas();
    let view = reference(view);
    let pointers = columns
        .iter()
        .flat_map(|column| std::iter::once(column.pointer).chain(column.other));
    pointers
        .filter(|pointer| {
            let parts: Vec<&str> = pointer.split('/').skip(1).collect();
            !has(&schemas, &view, &parts)
        })
        .collect()
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// Whether a value of a schema can have something at a path.
fn has(schemas: &Map<String, Value>, schema: &Value, path: &[&str]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return true;
    };
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.trim_start_matches("#/components/schemas/");
        let named = schemas.get(name);
        return has(
            schemas,
            named.unwrap_or_else(|| panic!("nothing describes {name}")),
            path,
        );
    }
    let parts = ["allOf", "oneOf", "anyOf"].into_iter();
    let mut parts = parts.filter_map(|of| schema[of].as_array()).flatten();
    let property = schema["properties"].get(*first);
    property.is_some_and(|property| has(schemas, property, rest))
        || parts.any(|part| has(schemas, part, path))
}

/// The schemas of the API's document, and of answers and results that it leaves open.
fn schemas() -> Map<String, Value> {
    let text = std::fs::read_to_string(DOCUMENT).unwrap();
    let (_, document) = text.split_once("\n---\n").unwrap();
    let document: Value = serde_json::from_str(document).unwrap();
    let mut schemas = document["components"]["schemas"]
        .as_object()
        .unwrap()
        .clone();
    add::<DeletePreview>(&mut schemas);
    add::<PurgePreview>(&mut schemas);
    add::<RestorePreview>(&mut schemas);
    add::<RolloutTrial>(&mut schemas);
    add::<DriftReport>(&mut schemas);
    schemas
}

fn add<T: ToSchema>(schemas: &mut Map<String, Value>) {
    let mut found = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut found);
    for (name, schema) in found {
        schemas.entry(name).or_insert_with(|| json!(schema));
    }
}

#[test]
fn a_column_that_shows_nothing_is_found() {
    let columns = [
        plain("id", "/id"),
        time("measured", "/measured_at"),
        plain("wall", "/suspension/wall").or("/wall"),
        plain("email", "/suspension/email"),
    ];
    let unknown = unknown("TenantDetail", &columns);
    assert_eq!(unknown, ["/measured_at", "/wall", "/suspension/email"]);
}
