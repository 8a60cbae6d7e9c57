//! What modules name in the one API that they make together: paths, schemas, permissions.
//!
//! Deliberately before anything is routed: the router and the document would take the one for the other, or
//! panic. Invariants: a path with its method, and the name of a schema, mean one thing; a token has room for
//! every permission.

use std::collections::{BTreeMap, BTreeSet};

use contract::SchemaOwner;
use kit::auth::MAX_TOKEN_BYTES;
use utoipa::openapi::{OpenApi, PathItem, RefOr, Schema};

use super::{Declarer, InvalidModule};
use crate::auth::grants::declared;

/// See the module.
pub(crate) struct ApiNames {
    paths: Vec<ApiPath>,
    schemas: BTreeMap<String, (Declarer, RefOr<Schema>)>,
    permissions: BTreeMap<SchemaOwner, BTreeSet<String>>,
}

/// A path of a module.
struct ApiPath {
    path: String,
    /// The same without the names of what varies in it: what the router tells apart.
    shape: String,
    methods: Vec<&'static str>,
    declarer: Declarer,
}

impl ApiNames {
    /// Those that every document has.
    pub(crate) fn new() -> Self {
        let own = kit::docs::own_schemas().into_iter();
        let schemas = own.map(|(name, schema)| (name.to_owned(), (Declarer::Platform, schema)));
        let paths = kit::docs::OWN_PATHS.map(|path| ApiPath {
            path: path.to_owned(),
            shape: shape(path),
            methods: vec!["GET", "HEAD"],
            declarer: Declarer::Platform,
        });
        Self {
            paths: paths.into(),
            schemas: schemas.collect(),
            permissions: BTreeMap::new(),
        }
    }

    /// Adds what a module has; a schema may be the same as another one's.
    pub(crate) fn add(&mut self, owner: &SchemaOwner, api: &OpenApi) -> Result<(), InvalidModule> {
        self.permissions.insert(owner.clone(), declared(api));
        self.add_paths(owner, api)?;
        self.add_schemas(owner, api)
    }

    /// Every permission that an operation asks for.
    pub(crate) fn permissions(&self) -> BTreeSet<String> {
        self.permissions.values().flatten().cloned().collect()
    }

    /// Whether a token with every permission, which has at most so many bytes, is one that is taken.
    pub(crate) fn fit_into(&self, longest: usize) -> Result<(), InvalidModule> {
        if longest <= MAX_TOKEN_BYTES {
            return Ok(());
        }
        let counts = self.permissions.iter();
        let counts = counts.map(|(owner, own)| format!("{owner} has {} permissions", own.len()));
        Err(InvalidModule::Permissions {
            longest,
            most: MAX_TOKEN_BYTES,
            permissions: counts.collect::<Vec<_>>().join(", "),
        })
    }

    fn add_paths(&mut self, owner: &SchemaOwner, api: &OpenApi) -> Result<(), InvalidModule> {
        for (path, item) in &api.paths.paths {
            let methods = methods_of(item);
            for known in self.paths.iter().filter(|known| known.shape == shape(path)) {
                let both = methods.iter().find(|method| known.methods.contains(method));
                let path = match both {
                    // Another name for what varies in it does not make it another one to the router.
                    _ if known.path != *path => path.clone(),
                    Some(method) => format!("{method} {path}"),
                    None => continue,
                };
                return Err(InvalidModule::PathTwice {
                    path,
                    first: known.declarer.clone(),
                    second: Declarer::Module(owner.clone()),
                });
            }
            self.paths.push(ApiPath {
                path: path.clone(),
                shape: shape(path),
                methods,
                declarer: Declarer::Module(owner.clone()),
            });
        }
        Ok(())
    }

    fn add_schemas(&mut self, owner: &SchemaOwner, api: &OpenApi) -> Result<(), InvalidModule> {
        let components = api.components.iter();
        for (name, schema) in components.flat_map(|components| &components.schemas) {
            let second = Declarer::Module(owner.clone());
            match self.schemas.get(name) {
                Some((_, same)) if same == schema => {}
                Some((first, _)) => {
                    return Err(InvalidModule::SchemaTwice {
                        name: name.clone(),
                        first: first.clone(),
                        second,
                    });
                }
                None => {
                    self.schemas.insert(name.clone(), (second, schema.clone()));
                }
            }
        }
        Ok(())
    }
}

fn methods_of(item: &PathItem) -> Vec<&'static str> {
    let all = [
        ("GET", item.get.is_some()),
        ("PUT", item.put.is_some()),
        ("POST", item.post.is_some()),
        ("DELETE", item.delete.is_some()),
        ("PATCH", item.patch.is_some()),
        ("HEAD", item.head.is_some()),
        ("OPTIONS", item.options.is_some()),
        ("TRACE", item.trace.is_some()),
    ];
    let there = all.into_iter().filter(|(_, is_there)| *is_there);
    there.map(|(method, _)| method).collect()
}

fn shape(path: &str) -> String {
    let segments = path
        .split('/')
        .map(|segment| match segment.starts_with('{') {
            true => "{}",
            false => segment,
        });
    segments.collect::<Vec<_>>().join("/")
}
