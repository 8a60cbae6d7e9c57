//! Who sits in a database, and how they are thrown out.
//!
//! Deliberately never ends a session of a superuser where we are none, which nobody but another one can, nor a
//! worker of the server, which has no user and gives way by itself. Invariant: our own session stays.

use std::fmt;
use std::time::{Duration, Instant};

use contract::Code;
use kit::error::Problem;
use sqlx::PgConnection;

use super::Name;
use super::wall::Who;
use crate::clusters::connections::Server;
use crate::stop::Stop;

/// Pause between two looks at the sessions: a client that was logging in at the first one shows at the
/// second.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// Looks in a row that must find nobody.
const QUIET_LOOKS: u32 = 2;

/// Ends the sessions in a database; gives how many there were.
pub(crate) async fn end_sessions(
    connection: &mut PgConnection,
    name: &Name,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "select count(pg_terminate_backend(session.pid))
         from pg_stat_activity session join pg_roles role on role.oid = session.usesysid
         where session.datname = $1::text::name and session.pid <> pg_backend_pid()
             and (not role.rolsuper
                 or (select rolsuper from pg_roles where rolname = current_user))",
    )
    .bind(name.to_string())
    .fetch_one(connection)
    .await
}

/// Whether a session with this `application_name` is left, in whatever database.
pub(crate) async fn has_session(
    connection: &mut PgConnection,
    application: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select exists (select from pg_stat_activity where application_name = $1)")
        .bind(application)
        .fetch_one(connection)
        .await
}

/// Ends every session of a role, in whatever database; needs its rights, or leave to end others' sessions.
pub(crate) async fn end_sessions_everywhere(
    connection: &mut PgConnection,
    role: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where usename = $1::text::name and pid <> pg_backend_pid()",
    )
    .bind(role)
    .execute(connection)
    .await?;
    Ok(())
}

/// The sessions that are meant.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sitting<'a> {
    /// These people's, in the database of this name.
    In(&'a Name, Who),
    /// Everybody's, in a database that is not ours by its name: it is known by its oid.
    InForeign { oid: u32, name: &'a str },
}

impl Sitting<'_> {
    /// The name, the roles besides that of the name, and the oid: what a statement finds them by.
    fn binds(self) -> (Option<String>, &'static str, Option<i64>) {
        match self {
            Self::In(name, who) => (Some(name.to_string()), who.others(), None),
            Self::InForeign { oid, .. } => (None, Who::Everybody.others(), Some(oid.into())),
        }
    }
}

impl fmt::Display for Sitting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(name, _) => name.fmt(f),
            Self::InForeign { name, .. } => f.write_str(name),
        }
    }
}

/// Ends sessions until two looks in a row find none; gives how many it ended.
///
/// # Errors
/// Somebody is still there after `patience`; the words say who.
pub(crate) async fn empty(
    server: &Server,
    sitting: Sitting<'_>,
    patience: Duration,
) -> Result<u64, Stop> {
    let began = Instant::now();
    let (mut ended, mut quiet) = (0, 0);
    let mut connection = server.acquire().await?;
    loop {
        let here = end(&mut connection, sitting).await?;
        ended += here;
        quiet = if here == 0 { quiet + 1 } else { 0 };
        if quiet >= QUIET_LOOKS {
            return Ok(ended);
        }
        if began.elapsed() >= patience {
            let left = left(&mut connection, sitting).await?;
            if left.is_empty() {
                return Ok(ended);
            }
            let detail = format!("Sessions of {} do not end in {sitting}.", left.join(", "));
            return Err(Stop::Retry(Problem::new(Code::NotReady).detail(detail)));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Ends these sessions, but for superusers'; gives how many there were, theirs included.
async fn end(connection: &mut PgConnection, sitting: Sitting<'_>) -> Result<u64, sqlx::Error> {
    let (name, others, oid) = sitting.binds();
    let found: i64 = sqlx::query_scalar(
        "select count(case when not coalesce(role.rolsuper, false)
                 then pg_terminate_backend(session.pid)::text else '' end)
         from pg_stat_activity session left join pg_roles role on role.oid = session.usesysid
         where (session.datname = $1::text::name or session.datid = $3::bigint::oid)
             and session.pid <> pg_backend_pid() and session.usesysid is not null
             and ($2 = '%' or session.usename like $2 or session.usename = $1::text::name)",
    )
    .bind(name)
    .bind(others)
    .bind(oid)
    .fetch_one(connection)
    .await?;
    Ok(found.unsigned_abs())
}

/// Who still sits there: roles and their programs.
async fn left(
    connection: &mut PgConnection,
    sitting: Sitting<'_>,
) -> Result<Vec<String>, sqlx::Error> {
    let (name, others, oid) = sitting.binds();
    sqlx::query_scalar(
        "select distinct concat_ws(' ', usename, nullif(application_name, ''))
         from pg_stat_activity
         where (datname = $1::text::name or datid = $3::bigint::oid)
             and pid <> pg_backend_pid() and usesysid is not null
             and ($2 = '%' or usename like $2 or usename = $1::text::name)
         order by 1",
    )
    .bind(name)
    .bind(others)
    .bind(oid)
    .fetch_all(connection)
    .await
}

/// The marker of the database that a connection is in.
pub(crate) async fn marker(connection: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select pg_catalog.shobj_description(oid, 'pg_database') from pg_catalog.pg_database
         where datname = pg_catalog.current_database()",
    )
    .fetch_one(connection)
    .await
}

/// What a role does in the database of its name.
#[derive(Debug)]
pub(crate) struct Presence {
    /// How many it has.
    pub(crate) sessions: i64,
    /// The transactions that they are in, a single statement's among them.
    pub(crate) transactions: Vec<String>,
}

/// What the role of this name does in the database of the same name. A session's state is shown to few logins;
/// who is in a transaction has the lock of its own, which all may see.
pub(crate) async fn presence_of(
    connection: &mut PgConnection,
    name: &Name,
) -> Result<Presence, sqlx::Error> {
    let (sessions, transactions) = sqlx::query_as(
        "select count(distinct activity.pid),
             coalesce(array_agg(lock.virtualxid) filter (where lock.virtualxid is not null), '{}')
         from pg_stat_activity activity
         left join pg_locks lock
             on lock.pid = activity.pid and lock.locktype = 'virtualxid'
                 and lock.virtualxid = lock.virtualtransaction
         where activity.datname = $1::text::name and activity.usename = $1::text::name",
    )
    .bind(name.to_string())
    .fetch_one(connection)
    .await?;
    Ok(Presence {
        sessions,
        transactions,
    })
}
