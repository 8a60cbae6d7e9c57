//! What each step of a move does on the two servers, and what undoes it.
//!
//! Deliberately trusts no earlier step and looks before it acts: a runner that takes a move over may find
//! it half done anywhere. Invariant: what is dropped or renamed is this operation's own, by its name or by
//! the mark on its role.

use std::sync::Arc;
use std::time::Duration;

use adapters::secret_store::SecretSubject;
use contract::Code;
use contract::operator::cluster::MoveVariant;
use contract::secret::Secret;
use kit::error::Problem;
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;

use super::{CopyFound, MovePlan, replicate};
use crate::clusters::connections::Server;
use crate::clusters::moving::contents::{self, Rows};
use crate::clusters::moving::{self, Side};
use crate::clusters::postgres::moving::{Arrival, Migrations, Role};
use crate::clusters::postgres::wall::{self, Wall, Who};
use crate::clusters::postgres::{self, Name, Whose};
use crate::clusters::scram::Verifier;
use crate::clusters::{drops, spare};
use crate::operations::saga::Head;
use crate::operations::{hold, lease, mark};
use crate::platform::Platform;
use crate::stop::Stop;
use crate::{feed, meter, tenants};

/// How long sessions may take to end.
const EMPTY_PATIENCE: Duration = Duration::from_secs(5);

/// Both ends of a move.
pub(super) struct Ends {
    source: Arc<Server>,
    target: Arc<Server>,
    tenant: Name,
    side: Name,
    old: Name,
    old_copy: u32,
    copy: u32,
}

impl Ends {
    pub(super) async fn of(
        platform: &Platform,
        head: &Head,
        plan: &MovePlan,
    ) -> Result<Self, Stop> {
        let tenant = head.tenant()?;
        Ok(Self {
            source: platform.server(&plan.from).await?,
            target: platform.server(&plan.to).await?,
            tenant: Name::Tenant(tenant.clone()),
            side: plan.side(tenant),
            old: plan.old(tenant),
            old_copy: plan.old_copy,
            copy: plan.copy,
        })
    }

    /// Ensures that the copy is there with its walls and nothing in it, and is loaded now.
    pub(super) async fn ensure_empty_copy(&self, plan: &mut MovePlan) -> Result<(), Stop> {
        match std::mem::take(&mut plan.found) {
            CopyFound::Empty => Ok(()),
            CopyFound::Unknown => spare::ensure_empty(&self.target, &self.side).await,
        }
    }

    /// The tenant's database where it is.
    pub(super) fn here(&self) -> Side<'_> {
        Side {
            server: &self.source,
            name: &self.tenant,
            copy: self.old_copy,
        }
    }

    /// Whether what has this mark on the target is what an undone operation left, and the tenant's
    /// database stands where the registry says, so that nothing else is the only copy.
    async fn has_left(&self, platform: &Platform, left: &str) -> Result<bool, Stop> {
        if !mark::is_of_undone(platform, left).await? {
            return Ok(false);
        }
        let found = postgres::look(&mut *self.source.acquire().await?, &self.tenant).await?;
        let marker = found.database.and_then(|database| database.marker);
        Ok(marker == Some(self.here().database().marker()))
    }

    /// The one that it is to have.
    pub(super) fn there(&self) -> Side<'_> {
        Side {
            server: &self.target,
            name: &self.side,
            copy: self.copy,
        }
    }

    /// Keeps migrations out of the source: what was copied must not change.
    pub(super) async fn shut_migrations_out(&self, owner: PgConnection) -> Result<(), Stop> {
        let may_not = Migrations::MayNot;
        {
            let mut source = self.source.acquire().await?;
            postgres::moving::let_migrations(&mut source, &self.tenant, may_not).await?;
        }
        // Also who has come in before, and waits for the lock that the owner has.
        wall::empty(&self.source, &self.tenant, Who::Migrations, EMPTY_PATIENCE).await?;
        // Its session has ended with theirs.
        drop(owner);
        Ok(())
    }

    /// Lets migrations into the source again.
    pub(super) async fn let_migrations_in(&self) -> Result<(), Stop> {
        let mut source = self.source.acquire().await?;
        let may = Migrations::May;
        Ok(postgres::moving::let_migrations(&mut source, &self.tenant, may).await?)
    }

    /// The marker of the new copy once it has the tenant's name.
    fn marker(&self) -> String {
        self.target.database(&self.tenant, self.copy).marker()
    }
}

/// Makes an empty database and the tenant's role on the target.
pub(super) async fn make_target(
    platform: &Platform,
    head: &Head,
    plan: &mut MovePlan,
) -> Result<(), Stop> {
    let ends = Ends::of(platform, head, plan).await?;
    let mark = mark::of(head.id);
    let found = drops::look_after(&ends.target, &ends.tenant).await?;
    let left = found.role.as_ref().and_then(|role| role.mark.as_deref());
    // Of the operations of a tenant one alone lives: another's mark is what an undone move left.
    let left = left.filter(|mark| mark::is_one(mark));
    let role = match (&found.role, &found.database, left) {
        (None, None, _) => Role::Missing,
        (Some(_), None, Some(_)) => Role::There,
        (_, Some(_), Some(left)) if ends.has_left(platform, left).await? => {
            drops::discard(&ends.target, &ends.tenant, Whose::Marked(left)).await?;
            Role::Missing
        }
        _ => return Err(mark::taken(&ends.target, &ends.tenant)),
    };
    spare::ensure_empty(&ends.target, &ends.side).await?;
    plan.found = CopyFound::Empty;
    let password = password(platform, head).await?;
    let arrival = Arrival {
        tenant: &ends.tenant,
        mark: &mark,
        verifier: &Verifier::of(&password),
        connection_limit: ends.target.connection_budget(),
    };
    let mut target = ends.target.acquire().await?;
    Ok(postgres::moving::ensure_role(&mut target, &arrival, role).await?)
}

/// The password that the tenant's role has.
async fn password(platform: &Platform, head: &Head) -> Result<Secret, Stop> {
    let tenant = head.tenant()?;
    let route = {
        let mut registry = platform.registry.acquire().await?;
        tenants::store::route(&mut registry, tenant).await?
    };
    let reference = route.and_then(|route| route.credentials.into_iter().next());
    let missing = || Stop::Fail(Problem::internal("the tenant has no credential"));
    let subject = SecretSubject::Tenant(tenant.clone());
    let opened = platform
        .secrets
        .open(&subject, &reference.ok_or_else(missing)?)
        .await;
    opened.map_err(|error| Stop::Retry(Problem::internal(error)))
}

/// Waits for a migration that is under way before requests are held, and proves the login with which they are
/// copied meanwhile.
pub(super) async fn look_before_hold(
    platform: &Platform,
    head: &Head,
    plan: &mut MovePlan,
) -> Result<(), Stop> {
    let ends = Ends::of(platform, head, plan).await?;
    ends.here().owner(platform).await?.close().await?;
    ends.here().unmigrated().await?;
    plan.held_at = Some(OffsetDateTime::now_utc());
    Ok(())
}

/// Waits until requests wait, then locks the tenant's role out and ends what is left.
pub(super) async fn shut(platform: &Platform, head: &Head, plan: &MovePlan) -> Result<(), Stop> {
    let ends = Ends::of(platform, head, plan).await?;
    let change = feed::store::last_number(&mut *platform.registry.acquire().await?).await?;
    hold::settled(platform, head.tenant()?, change).await?;
    let tenant = head.tenant()?;
    lease::set_wall((platform, head), &ends.source, tenant, Wall::Blocked).await?;
    wall::empty(&ends.source, &ends.tenant, Who::Everybody, EMPTY_PATIENCE).await?;
    Ok(())
}

/// Lets the tenant's role in again, as far as it may.
pub(super) async fn open_again(
    platform: &Platform,
    head: &Head,
    plan: &MovePlan,
) -> Result<(), Stop> {
    let ends = Ends::of(platform, head, plan).await?;
    let wanted = wanted(platform, head).await?;
    ends.let_migrations_in().await?;
    lease::set_wall((platform, head), &ends.source, head.tenant()?, wanted).await
}

/// The wall that the tenant is to stand behind.
async fn wanted(platform: &Platform, head: &Head) -> Result<Wall, Stop> {
    let mut registry = platform.registry.acquire().await?;
    let row = tenants::store::find(&mut registry, head.tenant()?).await?;
    let gone = || Stop::Fail(Problem::internal("the tenant's row is gone"));
    Ok(tenants::wall::wanted(&row.ok_or_else(gone)?))
}

/// Copies everything, while nobody can change it; then nobody can enter any more.
pub(super) async fn copy(
    platform: &Platform,
    head: &Head,
    plan: &mut MovePlan,
) -> Result<(), Stop> {
    let ends = Ends::of(platform, head, plan).await?;
    // An earlier try may have shut them out.
    ends.let_migrations_in().await?;
    ends.ensure_empty_copy(plan).await?;
    let mut owner = ends.here().locked_owner(platform).await?;
    meter::expect(plan.bytes);
    let dumping = moving::dump(platform, (ends.here(), &mut owner), ends.there(), None).await?;
    // Nobody changes anything meanwhile.
    tokio::try_join!(dumping.load(), async {
        plan.shape = contents::shape(&mut owner).await?;
        note_rows(&mut owner, plan).await
    })?;
    ends.shut_migrations_out(owner).await
}

/// Keeps how much is in the source for the comparison. Of a big tenant the rows are not counted, which
/// would hold its requests for longer than all the rest.
pub(super) async fn note_rows(owner: &mut PgConnection, plan: &mut MovePlan) -> Result<(), Stop> {
    plan.rows = if plan.counts_rows() {
        contents::rows(owner).await?
    } else {
        Rows::new()
    };
    Ok(())
}

/// The copy has what the tenant had.
pub(super) async fn compare(platform: &Platform, head: &Head, plan: &MovePlan) -> Result<(), Stop> {
    let ends = Ends::of(platform, head, plan).await?;
    let mut owner = ends.there().owner(platform).await?;
    if contents::shape(&mut owner).await? != plan.shape {
        let detail = "The tenant's tables are not those of its copy: were they migrated meanwhile?";
        return Err(Stop::Fail(Problem::new(Code::Conflict).detail(detail)));
    }
    let copied = if plan.counts_rows() {
        contents::rows(&mut owner).await?
    } else {
        Rows::new()
    };
    owner.close().await?;
    match contents::difference(&plan.rows, &copied) {
        None => Ok(()),
        Some((table, here, there)) => {
            let rows = |rows: Option<i64>| rows.map_or("none".to_owned(), |rows| rows.to_string());
            let detail = format!(
                "The copy is not whole: {table} has {} rows and the copy {}.",
                rows(here),
                rows(there)
            );
            Err(Stop::Fail(Problem::internal(detail.clone()).detail(detail)))
        }
    }
}

/// Gives the copy the tenant's name on the target.
pub(super) async fn switch(
    platform: &Platform,
    head: &Head,
    plan: &mut MovePlan,
) -> Result<(), Stop> {
    let ends = Ends::of(platform, head, plan).await?;
    let wanted = wanted(platform, head).await?;
    let marker = ends.marker();
    if has_switched(&ends, &marker).await? {
        lease::set_wall((platform, head), &ends.target, head.tenant()?, wanted).await?;
    } else {
        wall::empty(&ends.target, &ends.side, Who::Everybody, EMPTY_PATIENCE).await?;
        let fence = lease::fence(platform, head, &ends.target).await?;
        let mut target = ends.target.acquire().await?;
        let names = (&ends.tenant, marker.as_str());
        postgres::moving::switch(&mut target, fence, &ends.side, names, wanted).await?;
    }
    plan.switched_at = Some(OffsetDateTime::now_utc());
    Ok(())
}

async fn has_switched(ends: &Ends, marker: &str) -> Result<bool, Stop> {
    let found = postgres::look(&mut *ends.target.acquire().await?, &ends.tenant).await?;
    let found = found.database.and_then(|database| database.marker);
    Ok(found.as_deref() == Some(marker))
}

/// Takes the tenant's name from the copy again, where its server can be reached.
pub(super) async fn switch_back(
    platform: &Platform,
    head: &Head,
    plan: &MovePlan,
) -> Result<(), Stop> {
    let ends = Ends::of(platform, head, plan).await?;
    match ends.target.acquire().await.map_err(Stop::from) {
        Ok(connection) => drop(connection),
        // The tenant does not wait for a server that it is not on. What is left there is found by its
        // mark, by the sweep or by the next move to there.
        Err(stop) if stop.is_unusable() => return Ok(()),
        Err(stop) => return Err(stop),
    }
    if !has_switched(&ends, &ends.marker()).await? {
        return Ok(());
    }
    let tenant = head.tenant()?;
    lease::set_wall((platform, head), &ends.target, tenant, Wall::Blocked).await?;
    wall::empty(&ends.target, &ends.tenant, Who::Everybody, EMPTY_PATIENCE).await?;
    let marker = ends.there().database().marker();
    let names = (&ends.side, marker.as_str());
    let fence = lease::fence(platform, head, &ends.target).await?;
    let mut target = ends.target.acquire().await?;
    Ok(postgres::moving::switch_back(&mut target, fence, &ends.tenant, names).await?)
}

/// Drops what was made on the target, which nobody has ever been routed to.
pub(super) async fn drop_target(
    platform: &Platform,
    head: &Head,
    plan: &MovePlan,
) -> Result<(), Stop> {
    let ends = Ends::of(platform, head, plan).await?;
    // The pool gives up in seconds on a server that does not answer at all.
    drop(ends.target.acquire().await?);
    drops::discard(&ends.target, &ends.side, Whose::Anybody).await?;
    let mark = mark::of(head.id);
    drops::discard(&ends.target, &ends.tenant, Whose::Marked(&mark)).await
}

/// Puts what is left on the source away, walled.
pub(super) async fn leave(platform: &Platform, head: &Head, plan: &MovePlan) -> Result<(), Stop> {
    let ends = Ends::of(platform, head, plan).await?;
    let mut source = ends.source.acquire().await?;
    let marker = ends.source.database(&ends.tenant, ends.old_copy).marker();
    let found = postgres::look(&mut source, &ends.tenant).await?;
    let found = found.database.and_then(|database| database.marker);
    if found.as_deref() != Some(&marker) {
        return Ok(());
    }
    drop(source);
    if plan.variant == MoveVariant::Replicate {
        // With a slot it could never be dropped.
        replicate::close_slot(platform, head, plan).await?;
    }
    wall::empty(&ends.source, &ends.tenant, Who::Everybody, EMPTY_PATIENCE).await?;
    let marker = ends.source.database(&ends.old, ends.old_copy).marker();
    let names = (&ends.old, marker.as_str());
    let fence = lease::fence(platform, head, &ends.source).await?;
    let mut source = ends.source.acquire().await?;
    Ok(postgres::moving::put_away(&mut source, fence, &ends.tenant, names).await?)
}
