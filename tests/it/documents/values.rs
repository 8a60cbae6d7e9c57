//! What a document shows as a value is one that its own schema takes.
//!
//! Deliberately a part of JSON Schema: references, combinations, types, enums, properties and items. What
//! it does not know it lets pass.

use serde_json::{Map, Value};
use world::World;

use super::documents;

#[tokio::test]
async fn every_default_and_example_fits_its_schema() {
    let world = World::shared().await;
    let mut looked = 0;
    let mut wrong = Vec::new();
    for (name, document) in documents(&world).await {
        each(&document, "", &mut |path, node| {
            for (what, schema, value) in shown(node) {
                looked += 1;
                if let Err(why) = fits(&document, &schema, value) {
                    wrong.push(format!("{name}{path}: {what} {value}: {why}"));
                }
            }
        });
    }
    assert!(looked > 100, "{looked} values are not all");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every object of a document that is not itself a value that it shows.
fn each(value: &Value, path: &str, look: &mut dyn FnMut(&str, &Map<String, Value>)) {
    match value {
        Value::Object(node) => {
            // The names below are anybody's: a property may be called `default`.
            let names = ["/properties", "/schemas", "/paths", "/content", "/headers"];
            let of_names = names.iter().any(|last| path.ends_with(last));
            if !of_names {
                look(path, node);
            }
            let values = ["default", "example", "examples", "enum"];
            let inner = node.iter();
            for (key, inner) in inner.filter(|(key, _)| of_names || !values.contains(&key.as_str()))
            {
                each(inner, &format!("{path}/{key}"), look);
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| each(item, &format!("{path}/-"), look)),
        _ => {}
    }
}

/// The values that a schema, parameter or media type shows, each with its schema.
fn shown(node: &Map<String, Value>) -> Vec<(&str, Value, &Value)> {
    let itself = Value::Object(node.clone());
    let schema = node.get("schema").cloned().unwrap_or(itself);
    let mut found = Vec::new();
    for what in ["default", "example"] {
        found.extend(node.get(what).map(|value| (what, schema.clone(), value)));
    }
    match node.get("examples") {
        Some(Value::Array(values)) => {
            found.extend(
                values
                    .iter()
                    .map(|value| ("example", schema.clone(), value)),
            );
        }
        Some(Value::Object(named)) => {
            let values = named.values().filter_map(|example| example.get("value"));
            found.extend(values.map(|value| ("example", schema.clone(), value)));
        }
        _ => {}
    }
    for part in node
        .get("allOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        found.extend(
            part.get("default")
                .map(|value| ("default", schema.clone(), value)),
        );
    }
    found
}

/// Whether a schema takes a value; else why not.
fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let meant = document.pointer(reference.trim_start_matches('#'));
        fits(document, meant.ok_or("a reference leads nowhere")?, value)?;
    }
    let list = |name: &str| schema[name].as_array().cloned().unwrap_or_default();
    for part in list("allOf") {
        fits(document, &part, value)?;
    }
    for either in ["oneOf", "anyOf"] {
        let parts = list(either);
        if !parts.is_empty() && !parts.iter().any(|part| fits(document, part, value).is_ok()) {
            return Err(format!("fits none of {either}"));
        }
    }
    let named = list("enum");
    if !named.is_empty() && !named.contains(value) {
        return Err(format!("is none of {named:?}"));
    }
    let types = match &schema["type"] {
        Value::String(one) => vec![Value::from(one.as_str())],
        Value::Array(several) => several.clone(),
        _ => vec![],
    };
    if !types.is_empty() && !types.iter().any(|name| is_of(name, value)) {
        return Err(format!("is none of {types:?}"));
    }
    fits_inside(document, schema, value)
}

fn fits_inside(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
        fits(document, &schema["items"], item).map_err(|why| format!("/{at} {why}"))?;
    }
    let Some(fields) = value.as_object() else {
        return Ok(());
    };
    for (name, field) in fields {
        let inner = &schema["properties"][name];
        fits(document, inner, field).map_err(|why| format!("/{name} {why}"))?;
    }
    let required = schema["required"].as_array().into_iter().flatten();
    let mut missing = required.filter(|name| !fields.contains_key(name.as_str().unwrap()));
    match missing.next() {
        Some(name) => Err(format!("lacks {name}")),
        None => Ok(()),
    }
}

fn is_of(name: &Value, value: &Value) -> bool {
    match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    }
}
