//! What several themes need.

use adapters::secret_store::{KeyRing, SealedStore, SecretStore, SecretSubject};
use contract::TenantId;
use contract::secret::{Secret, SecretRef};
use http::Method;
use serde_json::{Map, Value, json};
use world::{Mode, PASSWORD, Speaker, TenantHandle, World};

const SERVER_LOG: &str = "pg_read_file(current_setting('data_directory') || '/../server.log')";

/// A slug that nobody else has.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{:08x}", rand::random::<u32>())
}

/// The body of a sign-up.
pub(crate) fn signup(slug: &str) -> Value {
    json!({
        "company": format!("{slug} Incorporated"),
        "slug": slug,
        "email": format!("owner@{slug}.example"),
        "password": PASSWORD,
    })
}

/// The body of an entry.
pub(crate) fn entry(title: &str) -> Value {
    json!({ "title": title, "body": { "note": title } })
}

/// A tenant's database is not where it was.
pub(crate) async fn away(world: &World, tenant: &TenantHandle) {
    let (id, postgres) = (tenant.id(), world.postgres());
    let ends =
        format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{id}'");
    postgres.run("postgres", &ends).await;
    let renames = format!("alter database \"{id}\" rename to \"elsewhere\"");
    postgres.run("postgres", &renames).await;
}

/// No service tells the platform that it lives, not even with a heartbeat that is on its way; over when
/// [`heard_again`].
pub(crate) async fn silenced(world: &World) {
    world.platform_link().set(Mode::Reset);
    let silent = "create function public.silence() returns trigger language plpgsql as $$
             begin new.live_until := now() - interval '1 s'; return new; end $$;
         create trigger silence before insert or update on registry.replica
             for each row execute function public.silence();
         update registry.replica set live_until = now()";
    world.postgres().run("registry", silent).await;
    let living = "select count(*) from registry.replica where live_until > now()";
    assert_eq!(world.postgres().number("registry", living).await, 0);
}

/// What the first server has logged so far, in bytes, for [`server_lines`].
pub(crate) async fn server_logged(world: &World) -> i64 {
    let length = format!("select length({SERVER_LOG})::bigint");
    world.postgres().number("postgres", &length).await
}

/// Lines of the first server's log, from there on, that a pattern fits.
pub(crate) async fn server_lines(world: &World, from: i64, pattern: &str) -> Vec<String> {
    let lines = format!(
        "select line from regexp_split_to_table(substr({SERVER_LOG}, {from}::int + 1), E'\\n') line
         where line ~ '{pattern}'"
    );
    world.postgres().texts("postgres", &lines).await
}

/// Ends what [`silenced`] began.
pub(crate) async fn heard_again(world: &World) {
    let speak = "drop function public.silence() cascade";
    world.postgres().run("registry", speak).await;
    world.platform_link().set(Mode::Pass);
}

/// The platform's own store of secrets, opened with the world's keys.
pub(crate) fn seal(world: &World) -> SecretStore {
    SecretStore::Sealed(SealedStore::new(KeyRing::parse(world.key_ring()).unwrap()))
}

/// The password of a tenant's role, as the services get it.
pub(crate) async fn role_password(world: &World, tenant: &TenantId) -> Secret {
    let sql = format!("select credentials[1] from registry.tenant where id = '{tenant}'");
    let reference = world.postgres().texts("registry", &sql).await.remove(0);
    seal(world)
        .open(
            &SecretSubject::Tenant(tenant.clone()),
            &SecretRef(reference),
        )
        .await
        .unwrap()
}

/// An operation as a document describes it.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) id: String,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) access: Value,
}

/// Every operation of a document.
pub(crate) fn operations(document: &Value) -> Vec<Described> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = method.to_ascii_uppercase().parse::<Method>() else {
                continue;
            };
            if !operation.is_object() || operation.get("responses").is_none() {
                continue;
            }
            found.push(Described {
                id: operation["operationId"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                method,
                path: path.clone(),
                access: operation["x-access"].clone(),
            });
        }
    }
    found
}

pub(crate) async fn document(speaker: &Speaker) -> Value {
    speaker.get("/openapi.json").await.expect(200).json()
}

/// The fields that a schema describes, with those of all its parts; none where it takes any.
fn described_fields(document: &Value, schema: &Value) -> Option<Map<String, Value>> {
    if let Some(reference) = schema["$ref"].as_str() {
        return described_fields(document, document.pointer(&reference[1..]).unwrap());
    }
    let parts = schema["allOf"].as_array().into_iter().flatten();
    let mut known: Option<Map<String, Value>> = schema["properties"].as_object().cloned();
    for fields in parts.filter_map(|part| described_fields(document, part)) {
        known.get_or_insert_default().extend(fields);
    }
    known
}

/// Fields of a value that its schema does not have, by where they are.
pub(crate) fn undescribed(
    document: &Value,
    schema: &Value,
    value: &Value,
    at: &str,
) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let leads_to = document.pointer(&reference[1..]).unwrap();
        return undescribed(document, leads_to, value, at);
    }
    for several in ["oneOf", "anyOf"] {
        if let Some(variants) = schema[several].as_array() {
            let of_each = variants.iter().filter(|one| one["type"] != "null");
            let of_each = of_each.map(|one| undescribed(document, one, value, at));
            return of_each.min_by_key(Vec::len).unwrap_or_default();
        }
    }
    let inner = |schema: &Value, value: &Value, name: &str| {
        undescribed(document, schema, value, &format!("{at}/{name}"))
    };
    match (value, described_fields(document, schema)) {
        (Value::Array(items), _) => items
            .iter()
            .flat_map(|item| inner(&schema["items"], item, "-"))
            .collect(),
        (Value::Object(fields), Some(known)) => fields
            .iter()
            .flat_map(|(name, field)| match known.get(name) {
                Some(property) => inner(property, field, name),
                None => vec![format!("{at}/{name}")],
            })
            .collect(),
        (Value::Object(fields), None) => fields
            .iter()
            .flat_map(|(name, field)| inner(&schema["additionalProperties"], field, name))
            .collect(),
        _ => Vec::new(),
    }
}
