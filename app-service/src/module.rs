//! What a module brings: a schema with its migrations, routes with their permissions, and what is
//! to be done in a new tenant's database.
//!
//! Deliberately a value and not a trait: a module has no behaviour beyond what it lists here.
//! Invariants: module X owns the PostgreSQL schema X in every tenant database, and no other; and a name
//! in the OpenAPI document means one thing, whoever uses it.

mod api;

use std::fmt;

use contract::SchemaOwner;
use contract::internal::{OwnedSchema, OwnershipRequest, ProvisionRequest};
use futures::future::BoxFuture;
use kit::error::Problem;
use refinery::Migration;
use sqlx::PgConnection;
use utoipa_axum::router::OpenApiRouter;

pub(crate) use self::api::ApiNames;
use crate::state::AppState;

/// What a module does in a new tenant's database, in a transaction as the tenant's role. It must
/// accept that it was done before.
pub type ProvisionHook =
    for<'c> fn(&'c mut PgConnection, &'c ProvisionRequest) -> BoxFuture<'c, Result<(), Problem>>;

/// What a module does about a tenant's owners, in a transaction as the tenant's role: gives it another
/// one, takes back what that change did, or looks whether it could be done, which is always rolled back.
/// It must accept that it was done before.
pub type OwnershipHook =
    for<'c> fn(&'c mut PgConnection, &'c OwnershipRequest) -> BoxFuture<'c, Result<(), Problem>>;

/// A module of an app: see `docs/ADD-A-MODULE.md`.
pub struct Module {
    name: &'static str,
    migrations: Vec<Migration>,
    minimum: Option<i32>,
    pub(crate) routes: OpenApiRouter<AppState>,
    pub(crate) provision: Option<ProvisionHook>,
    pub(crate) ownership: Option<OwnershipHook>,
}

/// Migrations of one owner.
pub(crate) struct OwnedMigrations {
    pub(crate) owner: SchemaOwner,
    pub(crate) migrations: Vec<Migration>,
    /// The oldest version that the module's code serves.
    pub(crate) minimum: i32,
}

/// A module that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum InvalidModule {
    /// Its name cannot be a schema.
    #[error(transparent)]
    Name(#[from] contract::ids::InvalidId),
    /// It needs a newer schema than its migrations make.
    #[error("module {owner} needs version {minimum}, but its newest migration is {newest}")]
    Minimum {
        /// The module.
        owner: SchemaOwner,
        /// What it needs.
        minimum: i32,
        /// What it has.
        newest: i32,
    },
    /// Two modules have one name.
    #[error("there are two modules named {0}")]
    Twice(SchemaOwner),
    /// Two modules have one address, or one has an address that every service has.
    #[error("{first} and {second} each have {path}: a module has to have another path")]
    PathTwice {
        /// As the second one has it, with its method where both have the same path.
        path: String,
        /// Who has it.
        first: Declarer,
        /// Who has it too.
        second: Declarer,
    },
    /// Two schemas of the API have one name; a document has room for one.
    #[error(
        "{first} and {second} each have a schema {name} in the OpenAPI document, and not the same: \
         rename the type, or its schema with #[schema(as = ...)]"
    )]
    SchemaTwice {
        /// Of the schemas.
        name: String,
        /// Who has it.
        first: Declarer,
        /// Who has it too.
        second: Declarer,
    },
    /// Owners could log in, and every request of theirs would be refused.
    #[error(
        "the token of an owner, who has every permission, may have {longest} bytes and no more than {most} \
         are taken: {permissions}; fewer permissions, or shorter names, are needed"
    )]
    Permissions {
        /// What a token may come to, in bytes.
        longest: usize,
        /// What it may have.
        most: usize,
        /// How many each module has.
        permissions: String,
    },
}

/// Who declares schemas of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declarer {
    /// Each document has them.
    Platform,
    /// A module.
    Module(SchemaOwner),
}

impl fmt::Display for Declarer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform => f.write_str("the platform"),
            Self::Module(owner) => write!(f, "module {owner}"),
        }
    }
}

impl Module {
    /// A module that owns the schema `name` and needs its newest version.
    pub fn new(name: &'static str, migrations: Vec<Migration>) -> Self {
        Self {
            name,
            migrations,
            minimum: None,
            routes: OpenApiRouter::default(),
            provision: None,
            ownership: None,
        }
    }

    /// The oldest schema version that the module's code serves; a tenant below it is migrated
    /// before it is served, one between this and the newest may be served first.
    #[must_use]
    pub fn minimum(mut self, version: i32) -> Self {
        self.minimum = Some(version);
        self
    }

    /// Its routes, from `kit::operations!`.
    #[must_use]
    pub fn routes(mut self, routes: OpenApiRouter<AppState>) -> Self {
        self.routes = routes;
        self
    }

    /// What it does in a new tenant's database.
    #[must_use]
    pub fn on_provision(mut self, hook: ProvisionHook) -> Self {
        self.provision = Some(hook);
        self
    }

    /// What it does when a tenant gets another owner.
    #[must_use]
    pub fn on_ownership(mut self, hook: OwnershipHook) -> Self {
        self.ownership = Some(hook);
        self
    }

    /// Its migrations, once they are known to make sense.
    pub(crate) fn take_migrations(&mut self) -> Result<OwnedMigrations, InvalidModule> {
        let mut owned = OwnedMigrations {
            owner: self.name.parse()?,
            migrations: std::mem::take(&mut self.migrations),
            minimum: 0,
        };
        owned.minimum = self.minimum.unwrap_or(owned.newest());
        if owned.minimum > owned.newest() {
            return Err(InvalidModule::Minimum {
                minimum: owned.minimum,
                newest: owned.newest(),
                owner: owned.owner,
            });
        }
        Ok(owned)
    }
}

impl OwnedMigrations {
    pub(crate) fn newest(&self) -> i32 {
        self.migrations
            .iter()
            .map(Migration::version)
            .max()
            .unwrap_or(0)
    }

    pub(crate) fn declared(&self) -> OwnedSchema {
        OwnedSchema {
            owner: self.owner.clone(),
            newest: self.newest(),
            minimum: self.minimum,
        }
    }
}
