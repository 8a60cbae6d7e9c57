//! The PostgreSQL server of the local installation: one of our own, or an existing one.
//!
//! Deliberately no roles and databases of tenants: the platform makes them. Invariant: an existing
//! server is neither stopped nor wiped.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::{Context as _, bail};
use contract::Secret;
use contract::tenant::TlsMode;
use percent_encoding::percent_decode_str;
use postgres_server::{
    Binaries, DataFolder, Outcome, Port, Profile, Server, ServerConfig, ServerError, StopMode,
};
use reqwest::Url;
use secrecy::ExposeSecret as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use crate::arguments::Arguments;
use crate::folder::Folder;

const MAX_CONNECTIONS: u16 = 200;
const DEFAULT_PORT: u16 = 5432;

/// An administrator's login.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: Secret,
    pub(crate) tls: TlsMode,
    options: PgConnectOptions,
}

/// A server in use.
pub(crate) struct Database {
    /// None for an existing server.
    own: Option<Server>,
    pub(crate) admin: Admin,
    /// Which it is, and what there is to say about its start.
    pub(crate) notes: Vec<String>,
    /// Whose cluster an existing server was, where it is to be ours.
    pub(crate) takes_over_from: Option<String>,
    /// Where PostgreSQL's programs are, where the platform would not find them.
    pub(crate) programs: Option<PathBuf>,
}

impl Database {
    /// Starts the server of our own, or adopts it where it still runs. A port that another program
    /// took since the last start is named and replaced.
    pub(crate) async fn own(
        arguments: &Arguments,
        folder: &Folder,
        port: u16,
    ) -> anyhow::Result<Self> {
        let (binaries, notices) =
            Binaries::find_or_fetch(arguments.postgres_bin.as_deref()).await?;
        let mut notes: Vec<String> = notices.iter().map(ToString::to_string).collect();
        let version = binaries.version;
        let programs = binaries.unusual().map(Path::to_owned);
        let config = ServerConfig {
            binaries,
            data: DataFolder::Kept(folder.postgres()),
            port: port.into(),
            profile: Profile::Durable,
            max_connections: MAX_CONNECTIONS,
            extra: Vec::new(),
        };
        let started = match Server::start(config.clone()).await {
            Err(ServerError::PortTaken { port }) => {
                notes.push(format!(
                    "port {port} is taken by another program; took a free one"
                ));
                Server::start(ServerConfig {
                    port: Port::Free,
                    ..config
                })
                .await
            }
            started => started,
        };
        let (server, report) = started?;
        notes.extend(report.notices.iter().map(ToString::to_string));
        let how = match report.outcome {
            Outcome::Started => "data in",
            Outcome::Adopted => "was running already; data in",
        };
        let place = report.folder.display();
        let port = server.port();
        notes.push(format!(
            "PostgreSQL {version} on port {port}, {how} {place}"
        ));
        Ok(Self::of(server, notes, programs))
    }

    /// A server whose data is gone with it.
    pub(crate) async fn temporary(arguments: &Arguments) -> anyhow::Result<Self> {
        let (binaries, notices) =
            Binaries::find_or_fetch(arguments.postgres_bin.as_deref()).await?;
        let programs = binaries.unusual().map(Path::to_owned);
        let config = ServerConfig {
            binaries,
            data: DataFolder::Temporary,
            port: Port::Free,
            profile: Profile::ThrowAway,
            max_connections: MAX_CONNECTIONS,
            extra: Vec::new(),
        };
        let (server, _) = Server::start(config).await?;
        let notes = notices.iter().map(ToString::to_string).collect();
        Ok(Self::of(server, notes, programs))
    }

    fn of(server: Server, notes: Vec<String>, programs: Option<PathBuf>) -> Self {
        let superuser = server.superuser();
        let admin = Admin {
            host: superuser.host.to_string(),
            port: superuser.port,
            user: superuser.user.to_owned(),
            password: Secret::new(superuser.password.expose_secret().to_owned()),
            tls: TlsMode::Disable,
            options: superuser.options("postgres"),
        };
        Self {
            own: Some(server),
            admin,
            notes,
            takes_over_from: None,
            programs,
        }
    }

    /// An existing server.
    pub(crate) async fn existing(url: &str, takes_over_from: Option<&str>) -> anyhow::Result<Self> {
        let admin = Admin::of_url(url).await?;
        let notes = vec![format!(
            "the server at {}:{}, as {}",
            admin.host, admin.port, admin.user
        )];
        Ok(Self {
            own: None,
            admin,
            notes,
            takes_over_from: takes_over_from.map(str::to_owned),
            programs: None,
        })
    }

    /// The server of our own, to be restarted.
    pub(crate) fn server(&mut self) -> Option<&mut Server> {
        self.own.as_mut()
    }

    /// Stops the server if it is ours.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        match &mut self.own {
            Some(server) => Ok(server.stop(StopMode::Fast).await?),
            None => Ok(()),
        }
    }
}

impl Admin {
    /// The login that a URL holds; whether the connection is encrypted is tried.
    async fn of_url(text: &str) -> anyhow::Result<Self> {
        let address = Address::parse(text)?;
        // The words of sqlx may repeat the URL, which may hold a password.
        let options = PgConnectOptions::from_str(text)
            .map_err(|_| anyhow::anyhow!("--database-url is not a PostgreSQL URL"))?
            .database("postgres");
        let wanted = options.get_ssl_mode();
        let mut admin = Self {
            host: address.host,
            port: address.port,
            user: address.user,
            password: Secret::new(address.password),
            tls: TlsMode::Disable,
            options,
        };
        let mut connection = admin.connect().await?;
        let encrypted: bool =
            sqlx::query_scalar("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
                .fetch_one(&mut connection)
                .await?;
        connection.close().await?;
        admin.tls = match (wanted, encrypted) {
            (PgSslMode::VerifyFull, _) => TlsMode::VerifyFull,
            (_, true) => TlsMode::Require,
            (_, false) => TlsMode::Disable,
        };
        Ok(admin)
    }

    /// A connection to the maintenance database.
    #[expect(
        clippy::disallowed_methods,
        reason = "an administrator's, to no tenant"
    )]
    pub(crate) async fn connect(&self) -> anyhow::Result<PgConnection> {
        self.options.connect().await.map_err(|error| {
            let refusal = error
                .as_database_error()
                .map(|refused| refused.message().to_owned());
            let words = refusal.unwrap_or_else(|| error.to_string());
            anyhow::anyhow!("{}:{} cannot be entered: {words}", self.host, self.port)
        })
    }
}

/// The parts of a PostgreSQL URL that say where and who.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    host: String,
    port: u16,
    user: String,
    password: String,
}

impl Address {
    fn parse(text: &str) -> anyhow::Result<Self> {
        const SHAPE: &str = "--database-url is not like postgres://user:password@host:port";
        let url = Url::parse(text).map_err(|_| anyhow::anyhow!(SHAPE))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") || url.username().is_empty() {
            bail!(SHAPE);
        }
        let decoded = |part: &str| -> anyhow::Result<String> {
            let text = percent_decode_str(part).decode_utf8();
            Ok(text.map_err(|_| anyhow::anyhow!(SHAPE))?.into_owned())
        };
        Ok(Self {
            host: url.host_str().context(SHAPE)?.to_owned(),
            port: url.port().unwrap_or(DEFAULT_PORT),
            user: decoded(url.username())?,
            password: decoded(url.password().unwrap_or_default())?,
        })
    }
}

/// What names an existing server among the folders of installations.
pub(crate) fn folder_name(url: &str) -> anyhow::Result<String> {
    let Address { host, port, .. } = Address::parse(url)?;
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' {
            c
        } else {
            '-'
        }
    };
    Ok(format!(
        "{}-{port}",
        host.chars().map(safe).collect::<String>()
    ))
}

#[cfg(test)]
mod tests {
    use super::{Address, folder_name};

    #[test]
    fn a_url_gives_where_and_who() {
        let address = Address::parse("postgres://ad%40min:p%2Fw@db.internal:6432/x").unwrap();
        assert_eq!(address.host, "db.internal");
        assert_eq!(address.port, 6432);
        assert_eq!(address.user, "ad@min");
        assert_eq!(address.password, "p/w");
        assert_eq!(
            folder_name("postgres://a:b@db.internal").unwrap(),
            "db.internal-5432"
        );
        assert_eq!(
            folder_name("postgres://a:b@[::1]:5433").unwrap(),
            "---1--5433"
        );
    }

    #[test]
    fn what_is_no_url_is_not_repeated() {
        for text in ["mysql://u:secret@h", "secret", "postgres://h:5432"] {
            let error = Address::parse(text).unwrap_err();
            assert!(!error.to_string().contains("secret"));
        }
    }
}
