//! The database of a tenant that is being made: a claimed copy that gets the tenant's name.
//!
//! Deliberately looks before it makes anything again: an earlier try may have. Invariant: a database or role that
//! this operation did not make is never touched.

use contract::secret::SecretRef;
use kit::error::Problem;

use super::{FIRST_COPY, open_password};
use crate::clusters::connections::Server;
use crate::clusters::postgres::{self, Claim, Name, Whose};
use crate::clusters::scram::Verifier;
use crate::clusters::store::derived::{self, ClaimedCopy, Made};
use crate::clusters::{drops, stock};
use crate::operations::{Head, Stop, lease, mark};
use crate::platform::Platform;
use crate::tenants;

/// Turns the copy that this operation claimed into the tenant's database, unless that is done.
pub(super) async fn claim_copy(
    platform: &Platform,
    head: &Head,
    password: &SecretRef,
    known: Option<ClaimedCopy>,
) -> Result<ClaimedCopy, Stop> {
    let claimed = match known {
        Some(claimed) => claimed,
        None => derived::claimed_by(&mut *platform.registry.acquire().await?, head.id)
            .await?
            .ok_or_else(|| Stop::Fail(Problem::internal("the claimed copy has no row")))?,
    };
    let server = platform.server(&claimed.cluster).await?;
    let name = Name::Tenant(head.tenant()?.clone());
    let mark = mark::of(head.id);
    let password = open_password(platform, head, password).await?;
    let claim = Claim {
        tenant: &name,
        marker: &server.database(&name, FIRST_COPY).marker(),
        mark: &mark,
        verifier: &Verifier::of(&password),
        connection_limit: server.connection_budget(),
    };
    if claimed.made == Made::Ready {
        match stock::claim(&server, claimed.number, &claim).await {
            Ok(()) => return Ok(claimed),
            Err(stop) if stop.is_unusable() => return Err(stop),
            // What stands in the way is found out by looking.
            Err(stop) => {
                let cause = kit::error::chain(&stop.into_problem());
                tracing::debug!(%name, cause, "a ready copy could not be claimed at once");
            }
        }
    }
    let mut connection = server.acquire().await?;
    let [found, copy] =
        postgres::look_at(&mut connection, [&name, &Name::Stock(claimed.number)]).await?;
    // Not held while others copy.
    drop(connection);
    if found.role_mark() == Some(&mark) {
        return Ok(claimed);
    }
    if found.role.is_some() || found.database.is_some() {
        return Err(mark::taken(&server, &name));
    }
    if !stock::is_complete(&server, claimed.number, &copy) {
        stock::ensure(&server, claimed.number, claimed.template).await?;
        // It may have been dropped by who has taken the operation over, and is there again. From now
        // on that runner either drops it, and then there is nothing to claim, or sees what was claimed;
        // as it does with a copy that was there all the time.
        lease::still_ours(platform, head).await?;
    }
    stock::claim(&server, claimed.number, &claim).await?;
    Ok(claimed)
}

/// Drops what was claimed, and what became of it.
pub(super) async fn drop_database(platform: &Platform, head: &Head) -> Result<(), Stop> {
    let (cluster, claimed) = {
        let mut registry = platform.registry.acquire().await?;
        let tenant = tenants::store::find(&mut registry, head.tenant()?).await?;
        let claimed = derived::claimed_by(&mut registry, head.id).await?;
        (tenant.and_then(|tenant| tenant.cluster), claimed)
    };
    let Some(cluster) = cluster else {
        return Ok(());
    };
    let server = platform.server(&cluster).await?;
    if let Some(claimed) = claimed {
        drops::discard(&server, &Name::Stock(claimed.number), Whose::Anybody).await?;
    }
    drop_marked(&server, head).await
}

/// Drops the tenant's database and role if this operation made them.
pub(in crate::operations) async fn drop_marked(server: &Server, head: &Head) -> Result<(), Stop> {
    let name = Name::Tenant(head.tenant()?.clone());
    let mark = mark::of(head.id);
    // Looked at before, because a drop waits for all others on the server.
    if mark::is_on(server, &name, &mark).await? {
        drops::discard(server, &name, Whose::Marked(&mark)).await?;
    }
    Ok(())
}
