//! What a server should be to carry a cluster: its version, its settings, its room. The one list by which it is
//! judged when it is added, when another takes its place, and whenever the doctor looks.
//!
//! Deliberately pure, and without the roles and rights, which only whoever makes them knows. Invariant: each
//! rule says what was found, why that matters, and what mends it.

use contract::operator::upkeep::Verdict;

use super::beside::Beside;

/// The oldest server that copies databases without checkpoints and keeps PUBLIC out of `public`.
const OLDEST_VERSION: i32 = 150_000;
/// The first one that marks a database whose drop was interrupted.
const MARKS_HALF_DROPPED: i32 = 150_004;
/// With thousands of databases a shorter pause keeps a core busy with idle ones.
const SHORTEST_NAPTIME_SECONDS: i32 = 300;
/// A start after a crash reads some ten thousand files a second.
pub(crate) const MANY_FILES: u64 = 100_000;
/// Has a server take up what was set.
pub(crate) const RELOAD: &str = "select pg_reload_conf();";
/// The same for what is read at the start alone.
pub(crate) const RESTART: &str = "-- then restart the server";

/// What is judged of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct ServerSettings {
    /// As `server_version_num`.
    pub(crate) version: i32,
    pub(crate) recovery_init_sync_method: String,
    pub(crate) naptime_seconds: i32,
    pub(crate) connection_check_ms: i32,
    pub(crate) fsync: bool,
    pub(crate) max_connections: i32,
    pub(crate) reserved_connections: i32,
}

impl ServerSettings {
    /// Connections that are not kept for superusers.
    pub(crate) fn free_connections(&self) -> u32 {
        u32::try_from(self.max_connections - self.reserved_connections).unwrap_or(0)
    }
}

/// What a cluster wants of its server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand<'a> {
    pub(crate) cluster: &'a str,
    /// Connections for tenants.
    pub(crate) budget: u32,
    /// Who has connections beside the budget.
    pub(crate) beside: Beside,
    /// Files of its databases, about, where it has any yet.
    pub(crate) files: Option<u64>,
}

/// The field of a request that is refused, and words.
pub(crate) type Failure = (&'static str, String);

/// What a rule says of a server.
#[derive(Debug)]
pub(crate) struct Ruling {
    /// The setting that it is about.
    pub(crate) setting: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) found: String,
    pub(crate) why: &'static str,
    /// A command.
    pub(crate) mend: String,
    /// Where the server can be no cluster as it is.
    pub(crate) bars: Option<Failure>,
}

/// All rulings, by name.
#[derive(Debug)]
pub(crate) struct Rulings {
    pub(crate) version: Ruling,
    pub(crate) sync_method: Ruling,
    pub(crate) naptime: Ruling,
    pub(crate) connection_check: Ruling,
    pub(crate) connections: Ruling,
    pub(crate) fsync: Ruling,
}

impl Rulings {
    /// What the rules say of a server of which a cluster wants so much.
    pub(crate) fn of(settings: &ServerSettings, demand: Demand<'_>) -> Self {
        Self {
            version: version(settings.version),
            sync_method: sync_method(&settings.recovery_init_sync_method, demand.files),
            naptime: naptime(settings.naptime_seconds),
            connection_check: connection_check(settings.connection_check_ms),
            connections: connections(settings, demand),
            fsync: fsync(settings.fsync),
        }
    }

    /// Each of them.
    pub(crate) fn into_iter(self) -> impl Iterator<Item = Ruling> {
        [
            self.version,
            self.sync_method,
            self.naptime,
            self.connection_check,
            self.connections,
            self.fsync,
        ]
        .into_iter()
    }
}

/// `Ok` where it holds, else how bad it is.
pub(crate) fn unless(holds: bool, otherwise: Verdict) -> Verdict {
    if holds { Verdict::Ok } else { otherwise }
}

/// The statements that change a setting.
pub(crate) fn set(setting: &str, value: &str, restart: &str) -> String {
    format!("alter system set {setting} = '{value}'; {restart}")
}

fn version(version: i32) -> Ruling {
    let (major, minor) = (version / 10_000, version % 10_000);
    let is_usable = version >= OLDEST_VERSION;
    Ruling {
        setting: "server_version",
        verdict: match version {
            ..OLDEST_VERSION => Verdict::Bad,
            OLDEST_VERSION..MARKS_HALF_DROPPED => Verdict::Warn,
            _ => Verdict::Ok,
        },
        found: format!("PostgreSQL {major}.{minor}"),
        why: if is_usable {
            "Before 15.4 a database whose drop was interrupted is not marked (datconnlimit = -2): it looks \
             whole, is damaged, and nobody finishes its drop."
        } else {
            "Older servers copy databases with checkpoints and let everybody write to `public`."
        },
        mend: "# upgrade the server to PostgreSQL 15.4 or newer".to_owned(),
        bars: (!is_usable).then(|| {
            let words = format!("the server is PostgreSQL {major}; 15 or newer is needed");
            ("/host", words)
        }),
    }
}

fn sync_method(method: &str, files: Option<u64>) -> Ruling {
    let otherwise = match files {
        None | Some(0..MANY_FILES) => Verdict::Warn,
        Some(_) => Verdict::Bad,
    };
    Ruling {
        setting: "recovery_init_sync_method",
        verdict: unless(method == "syncfs", otherwise),
        found: match files {
            Some(files) => format!("{method}, with about {files} files"),
            None => method.to_owned(),
        },
        why: "A start after a crash synchronises every file by itself unless this is `syncfs` \
              (Linux): minutes, with a thousand databases.",
        mend: set("recovery_init_sync_method", "syncfs", RELOAD),
        bars: None,
    }
}

fn naptime(seconds: i32) -> Ruling {
    Ruling {
        setting: "autovacuum_naptime",
        verdict: unless(seconds >= SHORTEST_NAPTIME_SECONDS, Verdict::Warn),
        found: format!("{seconds} s"),
        why: "Autovacuum visits every database once in this time: a short one keeps a core busy with \
              databases in which nothing happens.",
        mend: set("autovacuum_naptime", "5min", RELOAD),
        bars: None,
    }
}

fn connection_check(milliseconds: i32) -> Ruling {
    Ruling {
        setting: "client_connection_check_interval",
        verdict: unless(milliseconds > 0, Verdict::Warn),
        found: format!("{milliseconds} ms"),
        why: "At 0 a client that went away keeps its connection, and its place in the budget, until \
              its statement ends.",
        mend: set("client_connection_check_interval", "1s", RELOAD),
        bars: None,
    }
}

fn connections(settings: &ServerSettings, demand: Demand<'_>) -> Ruling {
    let own = demand.beside.connections();
    let free = u64::from(settings.free_connections());
    let budget = u64::from(demand.budget);
    Ruling {
        setting: "max_connections",
        verdict: match budget {
            _ if budget > free => Verdict::Bad,
            _ if budget + own > free => Verdict::Warn,
            _ => Verdict::Ok,
        },
        found: format!(
            "a budget of {budget} of {free} connections for ordinary logins; {own} are for the platform and migrations"
        ),
        why: "Requests of tenants may take all of their budget; what is left must do for each replica of \
              platform-service, for questions, and for the migrations of each replica of a service.",
        mend: match free.checked_sub(own) {
            Some(room @ 1..) => {
                format!(
                    "tenantctl clusters update {} --budget {room}",
                    demand.cluster
                )
            }
            _ => {
                let enough = budget + own + settings.reserved_connections.unsigned_abs() as u64;
                set("max_connections", &enough.to_string(), RESTART)
            }
        },
        bars: (budget > free).then(|| {
            let words =
                format!("the server has {free} connections for ordinary logins (max_connections)");
            ("/connection_budget", words)
        }),
    }
}

fn fsync(on: bool) -> Ruling {
    Ruling {
        setting: "fsync",
        verdict: unless(on, Verdict::Bad),
        found: if on { "on" } else { "off" }.to_owned(),
        why: "With it off a crash of the machine loses data that was acknowledged, or the whole \
              cluster.",
        mend: set("fsync", "on", RELOAD),
        bars: None,
    }
}
