//! Logins for a person to one tenant's database, for minutes.
//!
//! Deliberately a role of its own each time: what it did can be told apart in the server's log, and its
//! end takes nobody else's sessions. Invariants: it passes no wall that the tenant stands behind; it is recorded with its reason before it is made; its
//! password is in one answer and nowhere else; it ends by itself, sessions included; nobody gets one
//! that writes while an operation changes where the database is or who may enter it.

pub(crate) mod store;

use std::time::Duration;

use axum::extract::State;
use contract::operator::upkeep::{NewPsql, PsqlAccess, PsqlLogin};
use contract::secret::Secret;
use contract::{ClusterName, Code, TenantId, TenantStatus};
use http::StatusCode;
use kit::error::{Problem, Result};
use kit::extract::{Json, Path};
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use self::store::LoginRow;
use crate::audit::{self, Action};
use crate::clusters::away::Away;
use crate::clusters::connections::ClusterRole;
use crate::clusters::postgres::Name;
use crate::clusters::postgres::logins::{self, NewLogin};
use crate::clusters::postgres::wall::Wall;
use crate::clusters::scram::Verifier;
use crate::operations::begin::refuse_busy;
use crate::operations::{OperationKind, Subject};
use crate::operators::{Operator, Scope, TenantsQuery};
use crate::pace;
use crate::platform::Platform;
use crate::stop::Stop;
use crate::tenants::TenantRow;
use crate::tenants::idempotency::MaybeIdempotencyKey;
use crate::tenants::rules::words;
use crate::{made_once, tenants};

const TTL_SECONDS: u32 = 900;
const TTLS_SECONDS: std::ops::RangeInclusive<u32> = 60..=3_600;
const MOST_REASON_CHARS: usize = 200;
/// Logins of one tenant at once.
const MOST_LOGINS: i64 = 10;
/// How often logins whose time is over are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Logins of a cluster that are ended in one look.
const ENDED_PER_CLUSTER: i64 = 50;

/// Get a login to a tenant's database.
///
/// For a person with `psql`: at most an hour, read-only unless asked otherwise, which needs
/// `tenants:destroy` too. Recorded with the reason. Refused for a tenant that is suspended and blocked
/// (`tenant-suspended`), and to write for one that may only read (`tenant-read-only`). The same request
/// with its key again makes no second one and shows no password (`secret-shown`).
#[utoipa::path(
    post,
    path = "/v1/tenants/{id}/psql",
    operation_id = "tenants.psql",
    tag = "upkeep",
    params(("id" = TenantId, Path, example = "t_acme_corp")),
    request_body = NewPsql,
    responses((status = 201, description = "The login; its password is shown once.", body = PsqlLogin))
)]
pub(crate) async fn issue(
    operator: Operator<TenantsQuery>,
    State(platform): State<Platform>,
    Path(tenant): Path<TenantId>,
    key: MaybeIdempotencyKey,
    Json(new): Json<NewPsql>,
) -> Result<(StatusCode, Json<PsqlLogin>)> {
    if new.access == PsqlAccess::Write {
        operator.may_grant(&[Scope::TenantsDestroy])?;
    }
    let reason = words("/reason", &new.reason, MOST_REASON_CHARS)?;
    let ttl = lifetime(&new)?;
    let id = Uuid::now_v7();
    let expires_at = OffsetDateTime::now_utc() + ttl;
    let mut transaction = platform.registry.begin().await?;
    let request = serde_json::json!({ "psql": tenant, "request": new });
    let claimed = (operator.actor(), key);
    let made = format!("the login {}", Name::Psql(id));
    made_once::claim(&platform, &mut transaction, claimed, &request, &made).await?;
    let row = tenants::store::find_for_update(&mut transaction, &tenant)
        .await?
        .ok_or_else(|| Problem::new(Code::NotFound))?;
    let cluster = enterable(&row, new.access)?;
    undisturbed(&mut transaction, &tenant, new.access).await?;
    if store::living(&mut transaction, &tenant).await? >= MOST_LOGINS {
        let detail = format!("It has {MOST_LOGINS} logins already; each ends by itself.");
        return Err(Problem::new(Code::Conflict).detail(detail));
    }
    let login = LoginRow {
        id,
        tenant: tenant.clone(),
        cluster,
        access: new.access,
        reason,
        issued_to: operator.actor().to_string(),
        expires_at,
    };
    store::insert(&mut transaction, &login).await?;
    let detail = serde_json::json!({
        "login": id.simple().to_string(),
        "access": login.access,
        "reason": login.reason,
        "seconds": ttl.as_secs(),
    });
    let action = Action::PsqlIssued;
    audit::record(
        &mut transaction,
        operator.actor(),
        action,
        Some(&tenant),
        detail,
    )
    .await?;
    transaction.commit().await?;
    let made = make(&platform, &login).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Where a tenant is whose wall lets such a login in.
fn enterable(row: &TenantRow, access: PsqlAccess) -> Result<ClusterName> {
    match (row.status, tenants::wall::wanted(row), access) {
        (TenantStatus::Deleted, ..) => return Err(Problem::new(Code::TenantDeleted)),
        (_, Wall::Blocked, _) => {
            let detail = "Nobody enters its database: resume it, or suspend it read-only.";
            return Err(Problem::new(Code::TenantSuspended).detail(detail));
        }
        (_, Wall::ReadOnly, PsqlAccess::Write) => {
            let detail = "Ask for a login that reads, or resume the tenant.";
            return Err(Problem::new(Code::TenantReadOnly).detail(detail));
        }
        (TenantStatus::Provisioning, ..) => {}
        (_, Wall::Open | Wall::ReadOnly, _) => {
            if let Some(cluster) = &row.cluster {
                return Ok(cluster.clone());
            }
        }
    }
    Err(Problem::new(Code::Conflict).detail("The tenant is being made."))
}

fn lifetime(new: &NewPsql) -> Result<Duration> {
    let seconds = new.ttl_seconds.unwrap_or(TTL_SECONDS);
    if !TTLS_SECONDS.contains(&seconds) {
        let rule = format!("is {} to {}", TTLS_SECONDS.start(), TTLS_SECONDS.end());
        return Err(Problem::field("/ttl_seconds", rule));
    }
    Ok(Duration::from_secs(u64::from(seconds)))
}

/// Nothing is being done to the tenant that a login which writes could disturb. Who reads may look at
/// any time, most of all where something is stuck.
async fn undisturbed(
    connection: &mut PgConnection,
    tenant: &TenantId,
    access: PsqlAccess,
) -> Result<()> {
    if access == PsqlAccess::Read {
        return Ok(());
    }
    let subject = Subject::Tenant(tenant.clone());
    // Of a tenant the kind does not matter.
    refuse_busy(connection, &subject, OperationKind::Change).await
}

/// Makes the role of a recorded login.
async fn make(platform: &Platform, login: &LoginRow) -> Result<PsqlLogin> {
    let password = Secret::random();
    let (name, database) = (Name::Psql(login.id), Name::Tenant(login.tenant.clone()));
    let server = platform
        .server(&login.cluster)
        .await
        .map_err(Stop::into_problem)?;
    let new = NewLogin {
        name: &name,
        database: &database,
        access: login.access,
        verifier: &Verifier::of(&password),
        until: login.expires_at,
    };
    logins::create(&mut *server.acquire().await?, &new).await?;
    // An operation that was begun meanwhile may have locked out who was there before this login was:
    // whoever begins from now on finds it.
    if let Err(problem) = still_allowed(platform, login).await {
        end(platform, login).await.map_err(Stop::into_problem)?;
        return Err(problem);
    }
    let endpoint = server.database(&database, 0).cluster;
    Ok(PsqlLogin {
        tenant: login.tenant.clone(),
        cluster: login.cluster.clone(),
        host: endpoint.host,
        port: endpoint.port,
        tls: endpoint.tls,
        database: database.to_string(),
        role: name.to_string(),
        password,
        expires_at: login.expires_at,
    })
}

/// Whether a login could still be asked for.
async fn still_allowed(platform: &Platform, login: &LoginRow) -> Result<()> {
    let mut registry = platform.registry.acquire().await?;
    undisturbed(&mut registry, &login.tenant, login.access).await?;
    let row = tenants::store::find(&mut registry, &login.tenant).await?;
    let row = row.ok_or_else(|| Problem::new(Code::NotFound))?;
    enterable(&row, login.access).map(|_| ())
}

/// Ends a login and its sessions. May be done twice.
async fn end(platform: &Platform, login: &LoginRow) -> Result<(), Stop> {
    let Some(server) = platform.find_server(&login.cluster).await? else {
        return Ok(());
    };
    let name = Name::Psql(login.id);
    let mut ended = logins::end(&mut *server.acquire().await?, &name).await;
    if ended.as_ref().is_err_and(logins::owns_something) {
        // The tenant may be elsewhere by now, and what the login made in a copy that is kept.
        let places = logins::places_of_its_own(&mut *server.acquire().await?, &name).await?;
        for (oid, database) in &places {
            let place = (*oid, database.as_str());
            let mut inside = server
                .connect_foreign(platform, ClusterRole::Platform, place)
                .await?;
            logins::disown(&mut inside, &name).await?;
            inside.close().await?;
        }
        ended = logins::end(&mut *server.acquire().await?, &name).await;
    }
    ended?;
    let mut registry = platform.registry.acquire().await?;
    Ok(store::set_dropped(&mut registry, login.id).await?)
}

/// Ends logins whose time is over, until the service stops.
pub(crate) async fn keep(platform: Platform) {
    let mut tick = pace::every(LOOK_EVERY);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = platform.stopping.cancelled() => return,
        }
        if let Err(error) = end_due(&platform).await {
            tracing::warn!(cause = %error, "logins cannot be listed");
        }
    }
}

/// Ends what is due, one after the other; a server that cannot be reached is left until the next look.
async fn end_due(platform: &Platform) -> Result<(), sqlx::Error> {
    let due = store::due(&mut *platform.registry.acquire().await?, ENDED_PER_CLUSTER).await?;
    let mut away = Away::default();
    for login in due {
        let ended = away.unless(&login.cluster, end(platform, &login)).await;
        if let Err(stop) = ended {
            let (login, cause) = (login.id.simple().to_string(), stop.words());
            tracing::warn!(
                login,
                cause,
                "a login could not be ended; it is tried again"
            );
        }
    }
    Ok(())
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(issue)
}
