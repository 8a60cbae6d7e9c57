//! A throw-away PostgreSQL with one database per service, at the newest schema.
//!
//! Deliberately reads the migration files from the work tree and not from the crates that embed
//! them: a new folder of tenant migrations needs no line here. Invariant: schemas are made the way
//! that the services make them, by `kit::migrate`.

use std::path::Path;

use anyhow::Context as _;
use contract::SchemaOwner;
use contract::tenant::{DATA_ROLE, READ_ROLE, SIGN_IN_ROLE};
use kit::migrate::{Grants, RunLimits};
use postgres_server::{Binaries, DataFolder, Port, Profile, Server, ServerConfig};
use refinery_core::load_sql_migrations;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};

/// Owner of the registry's schema, and the folder that its migrations are in.
const REGISTRY: (&str, &str) = ("registry", "platform-migrations/sql");
/// Each folder in here holds the migrations of the owner that it is named after.
const TENANTS: &str = "tenant-migrations";
const MAX_CONNECTIONS: u16 = 50;

/// What the SQL of a service is checked against.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Schema {
    /// The registry.
    Registry,
    /// Every schema of a tenant's database.
    Tenant,
}

impl Schema {
    fn database(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Tenant => "tenant",
        }
    }
}

/// The running server; dropping it removes it.
pub(crate) struct Databases(Server);

impl Databases {
    /// Starts the server and brings both databases to the newest schema of `workspace`.
    pub(crate) async fn start(workspace: &Path) -> anyhow::Result<Self> {
        let config = ServerConfig {
            binaries: Binaries::of_workspace().await?,
            data: DataFolder::Temporary,
            port: Port::Free,
            profile: Profile::ThrowAway,
            max_connections: MAX_CONNECTIONS,
            extra: Vec::new(),
        };
        let (server, _) = Server::start(config).await?;
        let databases = Self(server);
        databases.create().await?;
        let (owner, folder) = REGISTRY;
        let registry = [(owner.parse()?, workspace.join(folder))];
        databases
            .migrate(Schema::Registry, &registry, Grants::None)
            .await?;
        let tenant = owners(&workspace.join(TENANTS))?;
        databases
            .migrate(Schema::Tenant, &tenant, Grants::TenantRoles)
            .await?;
        Ok(databases)
    }

    /// The address of a database, for `DATABASE_URL` of a process that we start.
    pub(crate) fn url(&self, schema: Schema) -> String {
        self.0
            .superuser()
            .options(schema.database())
            .to_url_lossy()
            .into()
    }

    async fn create(&self) -> anyhow::Result<()> {
        let mut connection = self.connect("postgres").await?;
        for statement in [
            format!("create role {DATA_ROLE} nologin"),
            format!("create role {READ_ROLE} nologin"),
            format!("create role {SIGN_IN_ROLE} nologin"),
            format!("create database {}", Schema::Registry.database()),
            format!("create database {}", Schema::Tenant.database()),
        ] {
            sqlx::raw_sql(AssertSqlSafe(statement))
                .execute(&mut connection)
                .await?;
        }
        Ok(connection.close().await?)
    }

    async fn migrate(
        &self,
        schema: Schema,
        owners: &[(SchemaOwner, std::path::PathBuf)],
        grants: Grants,
    ) -> anyhow::Result<()> {
        let limits = RunLimits::default();
        let mut connection = self.connect(schema.database()).await?;
        kit::migrate::lock(&mut connection, limits.lock_wait).await?;
        for (owner, folder) in owners {
            let migrations = load_sql_migrations(folder)?;
            kit::migrate::run(&mut connection, owner, &migrations, grants, limits)
                .await
                .with_context(|| format!("migrations in {}", folder.display()))?;
        }
        Ok(connection.close().await?)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a server of our own, with no tenant on it"
    )]
    async fn connect(&self, database: &str) -> anyhow::Result<PgConnection> {
        Ok(self.0.superuser().options(database).connect().await?)
    }
}

/// The folders of `tenants` that hold migrations, in the order of their names.
fn owners(tenants: &Path) -> anyhow::Result<Vec<(SchemaOwner, std::path::PathBuf)>> {
    let mut owners = Vec::new();
    for entry in std::fs::read_dir(tenants).with_context(|| tenants.display().to_string())? {
        let folder = entry?.path();
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if folder.is_dir() && name != "src" {
            let owner = name.parse().with_context(|| folder.display().to_string())?;
            owners.push((owner, folder));
        }
    }
    owners.sort();
    Ok(owners)
}
